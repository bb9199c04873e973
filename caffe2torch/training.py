"""Training a converted net on: its layers' lr_mult and decay_mult as torch's parameter groups."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from caffe2torch.conversion import graph_of
from caffe2torch.graph import Graph
from caffe2torch.net import ParamSpec

if TYPE_CHECKING:
    from torch import nn


def parameter_groups(module: nn.Module, lr: float, weight_decay: float = 0.0) -> list[dict[str, Any]]:
    """The parameters of a module that ``convert`` made, for a torch optimizer, with each layer's own lr and decay.

    One group for each (lr_mult, decay_mult) of the layers' ``param { }``, in the order in which they come up:
    ``params``, their ``names`` in the state_dict, ``lr`` and ``weight_decay`` (``lr`` and ``weight_decay`` times the
    multiplier), ``lr_mult`` and ``decay_mult``. A ``param { lr_mult: 0 }`` makes a group with lr 0, which no optimizer
    changes. Statistics of BatchNorm are no parameters. CaffeError for a module that ``convert`` did not make.
    """
    specs = _specs(graph_of(module))
    groups: dict[tuple[float, float], dict[str, Any]] = {}
    for name, parameter in module.named_parameters():
        spec = specs.get(name, ParamSpec())
        group = groups.setdefault(
            (spec.lr_mult, spec.decay_mult),
            {
                "params": [],
                "names": [],
                "lr": lr * spec.lr_mult,
                "weight_decay": weight_decay * spec.decay_mult,
                "lr_mult": spec.lr_mult,
                "decay_mult": spec.decay_mult,
            },
        )
        group["params"].append(parameter)
        group["names"].append(name)
    return list(groups.values())


def _specs(graph: Graph) -> dict[str, ParamSpec]:
    """What the net says of each parameter, by its name in the state_dict; layers that share one say the same."""
    return {
        f"{node.name}.{param.name}": spec
        for node in graph.nodes
        for param, spec in zip(node.operation.params(), node.layer.specs, strict=False)
    }
