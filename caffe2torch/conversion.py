"""The Python interface: a file in, a module out; from the module to ONNX and to source."""

from __future__ import annotations

import json
import linecache
import os
from collections.abc import Mapping, Sequence
from itertools import count
from typing import TYPE_CHECKING, Any

import numpy as np

from caffe2torch import arguments, digest, onnx_model, plugins, surgery, weights
from caffe2torch.errors import CaffeError, NetError, ShapeError
from caffe2torch.graph import Graph, resolve
from caffe2torch.net import Net, Shape
from caffe2torch.reader import PathLike, load_net
from caffe2torch.torch_source import source

if TYPE_CHECKING:
    import torch
    from torch import nn

_serial = count(1)


def convert(
    caffemodel: PathLike | None = None,
    prototxt: PathLike | None = None,
    drop: Sequence[str] = (),
    outputs: Sequence[str] | None = None,
    input_shape: Shape | Mapping[str, Shape] | None = None,
    stages: Sequence[str] = (),
    level: int = 0,
    phase: str = "TEST",
    fork: str | None = None,
) -> nn.Module:
    """Convert a Caffe net into an ordinary torch module, in eval mode.

    ``caffemodel``: weights; None fills them as the prototxt says, seeded, up to a gigabyte of them. ``prototxt``: None
    takes the net inside the caffemodel in its deploy form. ``drop``: globs of layers to leave out, with all that only
    they feed. ``outputs``: blobs to give, in this order; None: those that nothing consumes. ``input_shape``: a shape,
    or {blob: shape}, over what the net says. ``fork``: the fork of Caffe that is meant where several have a layer of
    one type.

    The module takes float32 tensors in the order of ``module.input_names`` and gives one, or a tuple in the order of
    ``module.output_names``. Raises CaffeError for every fault of the files or the net.
    """
    patterns = arguments.names(drop, "drop")
    blobs = None if outputs is None else arguments.names(outputs, "outputs")
    shapes = arguments.input_shape(input_shape)
    net = load_net(caffemodel, prototxt, phase=phase, stages=stages, level=level, fork=fork)
    if patterns:
        net, _ = surgery.drop(net, patterns)
    graph = _resolve(net, blobs, shapes)
    return build(graph, weights.state_dict(graph))


def _resolve(net: Net, outputs: Sequence[str] | None, input_shape: Shape | Mapping[str, Shape] | None) -> Graph:
    """As ``resolve``; an error that is there only with ``input_shape`` names it."""
    try:
        return resolve(net, outputs, input_shape)
    except NetError as error:
        if input_shape is None or _fails(net, outputs):
            raise
        raise NetError(f"input_shape={input_shape} does not fit the net: {error}", error.problems) from error


def _fails(net: Net, outputs: Sequence[str] | None) -> bool:
    try:
        resolve(net, outputs)
    except NetError:
        return True
    except ShapeError:  # the net does not say its size; all else was sound
        return False
    return False


def build(graph: Graph, state: Mapping[str, np.ndarray]) -> nn.Module:
    """An instance of the very class that ``to_source`` shows, holding ``state``'s arrays, in eval mode."""
    import torch

    with torch.device("meta"):
        module = model_class(graph)()
    # num_batches_tracked is int64, everything else float32.
    tensors = {name: torch.from_numpy(np.require(array, requirements=["C", "W"])) for name, array in state.items()}
    for node in graph.nodes:
        for key, owner in node.shared.items():
            if not isinstance(tensors[owner], torch.nn.Parameter):
                tensors[owner] = torch.nn.Parameter(tensors[owner])
            tensors[f"{node.name}.{key}"] = tensors[owner]
    _assign(module, tensors)
    for name, parameter in module.named_parameters():
        parameter.requires_grad_(name in tensors)
    return module.eval()


def _assign(module: nn.Module, tensors: Mapping[str, torch.Tensor]) -> None:
    """As ``module.load_state_dict``, strict and without copies, which takes time by layers times tensors."""
    by_child: dict[str, dict[str, torch.Tensor]] = {name: {} for name, _ in module.named_children()}
    for name, tensor in tensors.items():
        layer, _, key = name.partition(".")
        by_child[layer][key] = tensor
    for name, child in module.named_children():
        child.load_state_dict(by_child[name], strict=True, assign=True)


def model_class(graph: Graph) -> Any:
    """The printed class, compiled; tracebacks show its source."""
    filename = f"<caffe2torch model {next(_serial)}>"
    namespace: dict[str, Any] = {"__name__": "caffe2torch_model"}
    with plugins.blamed((type(node.operation) for node in graph.nodes), "the printed class"):
        text = source(graph)
        linecache.cache[filename] = (len(text), None, text.splitlines(keepends=True), filename)
        exec(compile(text, filename, "exec"), namespace)
    model = namespace["Model"]
    model._graph = graph  # no layer's name begins with an underscore
    return model


def graph_of(module: nn.Module) -> Graph:
    """The graph a module was made from; CaffeError for a module that ``convert`` did not make."""
    graph = getattr(type(module), "_graph", None)
    if not isinstance(graph, Graph):
        raise CaffeError(f"{type(module).__name__} is not a module made by caffe2torch.convert")
    return graph


def to_onnx(module: nn.Module, path: str | os.PathLike[str]) -> None:
    """Write a converted module with its present weights as ONNX (opset 17, one file under 2 GB).

    Inputs and outputs are named as in Caffe; axis 0 is symbolic where the net allows any batch size. The metadata
    "source" names the files that it came from, and the SHA-256 of what it computes, as ``digest.of_net`` has it.
    """
    graph, state = graph_of(module), state_of(module)
    net = graph.net
    told = {
        "caffemodel": None if net.weights_path is None else os.path.basename(net.weights_path),
        "prototxt": None if net.path == net.weights_path else os.path.basename(net.path),
        "module_sha256": digest.of_net(source(graph), state),
    }
    onnx_model.save(graph, state, path, {"source": json.dumps(told)})


def to_source(module: nn.Module) -> str:
    """The Python source of a converted module: class Model, which loads the module's state_dict."""
    return source(graph_of(module))


def state_of(module: nn.Module) -> dict[str, np.ndarray]:
    """A module's state_dict as numpy arrays."""
    return {name: tensor.detach().cpu().numpy() for name, tensor in module.state_dict().items()}
