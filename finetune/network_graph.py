"""A torch network as ONNX nodes: the layers that our own networks are made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import nn

from caffe2torch.onnx_model import Nodes
from finetune.models.facemask import FaceMask
from finetune.models.resnet import Bottleneck


def add_network(nodes: Nodes, network: nn.Module, value: str, name: str = "network") -> str:
    """Nodes that compute what ``network`` does in eval mode; gives the name of its output.

    Raises TypeError for a layer that is not in LAYERS.
    """
    if isinstance(network, nn.Sequential):
        for part, module in network.named_children():
            value = add_network(nodes, module, value, f"{name}/{part}")
        return value
    for kind, add in LAYERS.items():
        if isinstance(network, kind):
            return add(nodes, network, value, name)
    raise TypeError(f"{name}: {type(network).__name__} has no ONNX form here")


def _constants(nodes: Nodes, module: nn.Module, name: str, *tensors: str) -> list[str]:
    state = module.state_dict()
    return [nodes.constant(state[tensor].cpu().numpy(), f"{name}/{tensor}") for tensor in tensors if tensor in state]


def _pair(value: Any) -> list[int]:
    return list(value) if isinstance(value, Sequence) else [value, value]


def _convolution(nodes: Nodes, module: nn.Conv2d, value: str, name: str) -> str:
    assert not isinstance(module.padding, str) and module.padding_mode == "zeros"
    weights = _constants(nodes, module, name, "weight", "bias")
    attributes: dict[str, Any] = {
        "kernel_shape": list(module.kernel_size),
        "strides": list(module.stride),
        "pads": list(module.padding) * 2,
        "dilations": list(module.dilation),
        "group": module.groups,
    }
    return str(nodes.add("Conv", [value, *weights], name=name, **attributes))


def _normalization(nodes: Nodes, module: nn.BatchNorm2d, value: str, name: str) -> str:
    statistics = _constants(nodes, module, name, "weight", "bias", "running_mean", "running_var")
    return str(nodes.add("BatchNormalization", [value, *statistics], name=name, epsilon=module.eps))


def _linear(nodes: Nodes, module: nn.Linear, value: str, name: str) -> str:
    return str(nodes.add("Gemm", [value, *_constants(nodes, module, name, "weight", "bias")], name=name, transB=1))


def _max_pool(nodes: Nodes, module: nn.MaxPool2d, value: str, name: str) -> str:
    attributes: dict[str, Any] = {
        "kernel_shape": _pair(module.kernel_size),
        "strides": _pair(module.stride),
        "pads": _pair(module.padding) * 2,
        "ceil_mode": int(module.ceil_mode),
    }
    return str(nodes.add("MaxPool", [value], name=name, **attributes))


def _average(nodes: Nodes, module: nn.AdaptiveAvgPool2d, value: str, name: str) -> str:
    assert module.output_size in (1, (1, 1))
    return str(nodes.add("GlobalAveragePool", [value], name=name))


def _bottleneck(nodes: Nodes, module: Bottleneck, value: str, name: str) -> str:
    body = add_network(nodes, module.body, value, f"{name}/body")
    shortcut = add_network(nodes, module.shortcut, value, f"{name}/shortcut")
    return str(nodes.add("Relu", [nodes.add("Add", [body, shortcut], name=f"{name}/sum")], name=name))


def _face_mask(nodes: Nodes, module: FaceMask, value: str, name: str) -> str:
    levels, picture = [], value
    for place, step in enumerate(module.down):
        value = add_network(nodes, step, value, f"{name}/down{place}")
        levels.append(value)
    top = ""
    for place in reversed(range(1, len(levels))):
        same = add_network(nodes, module.across[place - 1], levels[place], f"{name}/across{place}")
        top = nodes.add("Add", [same, _resized(nodes, top, same)]) if top else same
    face = _resized(nodes, add_network(nodes, module.out, top, f"{name}/out"), picture)
    other = nodes.add("Sub", [face, face], name=f"{name}/other")
    return str(nodes.add("Concat", [other, face], name=name, axis=1))


def _resized(nodes: Nodes, value: str, like: str) -> str:
    """Bilinear, to the height and width of ``like``, as torch's interpolate does it."""
    sizes = [nodes.add("Shape", [value], end=2), nodes.add("Shape", [like], start=2)]
    size = nodes.add("Concat", sizes, axis=0)
    return str(nodes.add("Resize", [value, "", "", size], mode="linear", coordinate_transformation_mode="half_pixel"))


def _nothing(nodes: Nodes, module: nn.Module, value: str, name: str) -> str:
    return value


LAYERS: dict[type[nn.Module], Callable[[Nodes, Any, str, str], str]] = {
    nn.Conv2d: _convolution,
    nn.BatchNorm2d: _normalization,
    nn.Linear: _linear,
    nn.MaxPool2d: _max_pool,
    nn.AdaptiveAvgPool2d: _average,
    nn.ReLU: lambda nodes, module, value, name: str(nodes.add("Relu", [value], name=name)),
    nn.LeakyReLU: lambda nodes, module, value, name: str(
        nodes.add("LeakyRelu", [value], name=name, alpha=module.negative_slope)
    ),
    nn.Flatten: lambda nodes, module, value, name: str(nodes.add("Flatten", [value], name=name, axis=1)),
    Bottleneck: _bottleneck,
    FaceMask: _face_mask,
    nn.Dropout: _nothing,
    nn.Identity: _nothing,
}
