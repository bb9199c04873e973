"""Training a converted net on: its layers' lr_mult and decay_mult as torch's parameter groups."""

from __future__ import annotations

from collections.abc import Iterable
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
    names: dict[nn.Parameter, list[str]] = {}
    for name, parameter in module.named_parameters(remove_duplicate=False):
        names.setdefault(parameter, []).append(name)
    for parameter, shared in names.items():
        said = [spec for name in shared for spec in specs.get(name, ())]
        lr_mult = _multiplier(spec.lr_mult for spec in said)
        decay_mult = _multiplier(spec.decay_mult for spec in said)
        group = groups.setdefault(
            (lr_mult, decay_mult),
            {
                "params": [],
                "names": [],
                "lr": lr * lr_mult,
                "weight_decay": weight_decay * decay_mult,
                "lr_mult": lr_mult,
                "decay_mult": decay_mult,
            },
        )
        group["params"].append(parameter)
        group["names"].append(shared[0])
    return list(groups.values())


def _specs(graph: Graph) -> dict[str, list[ParamSpec]]:
    """What the net says of each parameter, by its name in the state_dict; layers that share a module say more."""
    found: dict[str, list[ParamSpec]] = {}
    for node in graph.nodes:
        for param, spec in zip(node.operation.params(), node.layer.specs, strict=False):
            found.setdefault(f"{node.name}.{param.name}", []).append(spec)
    return found


def _multiplier(values: Iterable[float]) -> float:
    """Of layers that share a blob those that say something agree; 1 is what is not said."""
    return next((value for value in values if value != 1.0), 1.0)
