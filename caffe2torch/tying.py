"""Blobs that layers share, as one Parameter in torch and one initializer in ONNX."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from hashlib import sha256
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from caffe2torch.errors import NetError, Problem
from caffe2torch.net import Layer, Shape
from caffe2torch.registry import Operation

if TYPE_CHECKING:
    from caffe2torch.graph import Node

Place = tuple[int, int]  # of a layer among the kept ones, of a blob in the layer


@dataclass(frozen=True)
class Lie:
    """How a blob lies in a state_dict: under which key, in which shape, and in which order of its numbers."""

    key: str
    shape: Shape
    order: str = ""  # "": row by row, as in Caffe

    def same(self, other: Lie) -> bool:
        """Whether two layers can hold one tensor so."""
        return (self.shape, self.order) == (other.shape, other.order)


@dataclass
class Tied:
    """A kept layer: its submodule, which may be another layer's; what it means; which tensors are another's.

    ``shared`` is a state_dict key of the layer -> the whole key of the tensor's first holder.
    """

    name: str
    operation: Operation
    shared: dict[str, str] = field(default_factory=dict)


def tie(layers: Sequence[Layer], operations: Sequence[Operation], names: Sequence[str], path: str) -> list[Tied]:
    """Let layers that share blobs hold the first one's tensors, or be that very module where they share all.

    Raises NetError where Caffe refuses the shapes, and where torch has no form for it.
    """
    tied = [Tied(name, operation) for name, operation in zip(names, operations, strict=True)]
    groups = _groups(layers, operations)
    problems = [problem for group in groups for problem in _misfits(layers, operations, group)]
    if not problems:
        whole = _whole(layers, operations, groups)
        for group in groups:
            problems += _hold(layers, tied, [place for place in group if place[0] not in whole])
        for place, owner in whole.items():
            tied[place] = Tied(tied[owner].name, tied[owner].operation)
    if problems:
        raise NetError.of(problems, len(layers), path)
    return tied


def _groups(layers: Sequence[Layer], operations: Sequence[Operation]) -> list[list[Place]]:
    groups: dict[str, list[Place]] = {}
    for place, (layer, operation) in enumerate(zip(layers, operations, strict=True)):
        for index, shared in sorted(layer.shared.items()):
            if index < len(operation.params()):
                groups.setdefault(shared.name, []).append((place, index))
    return [group for group in groups.values() if len(group) > 1]


def _misfits(layers: Sequence[Layer], operations: Sequence[Operation], group: Sequence[Place]) -> list[Problem]:
    """As Caffe checks: equal shapes, or only equal counts where the layer's share_mode is PERMISSIVE."""
    (first, at), *others = group
    wanted = operations[first].params()[at].shape
    problems = []
    for place, index in others:
        layer = layers[place]
        shape = operations[place].params()[index].shape
        if shape == wanted or (layer.specs[index].permissive and prod(shape) == prod(wanted)):
            continue
        reason = (
            f"its param {layer.shared[index].name!r} has the shape {shape} here, {wanted} in layer "
            f"{layers[first].name!r}; to be shared, shapes must be equal (counts, with share_mode: PERMISSIVE)"
        )
        problems.append(Problem(layer.name, layer.type, reason))
    return problems


def _whole(
    layers: Sequence[Layer], operations: Sequence[Operation], groups: Sequence[Sequence[Place]]
) -> dict[int, int]:
    """Layers that are another one over again: all their blobs are that one's, and they are the same module."""
    owners = {place: group[0] for group in groups for place in group}
    found = {}
    for place, operation in enumerate(operations):
        wanted = [(place, index) for index in range(len(operation.params()))]
        owner = owners.get((place, 0), (place, 0))[0]
        if (
            wanted
            and owner != place
            and [owners.get(each) for each in wanted] == [(owner, index) for _, index in wanted]
            and _alike(operation, operations[owner])
        ):
            found[place] = owner
    return found


def _alike(operation: Operation, other: Operation) -> bool:
    """Whether one module with one state can be both; fillers do not count."""
    if type(operation) is not type(other) or len(operation.params()) != len(other.params()):
        return False
    names = [each.name for each in fields(operation) if not each.name.endswith("filler")]
    return all(getattr(operation, name) == getattr(other, name) for name in names)


def _hold(layers: Sequence[Layer], tied: Sequence[Tied], group: Sequence[Place]) -> list[Problem]:
    """Let all of a group hold the first one's tensor, in a form that all of them have."""
    if len(group) < 2:
        return []
    lies = [lie(tied[place].operation, index) for place, index in group]
    owner, at = group[0]
    first = lies[0]
    if first is None or not all(each is not None and each.same(first) for each in lies):
        shape = tied[owner].operation.params()[at].shape
        for place, index in group:
            other = _held(tied[place].operation, index, shape)
            if other is None:
                layer = layers[place]
                reason = (
                    f"its param {layer.shared[index].name!r} is that of layer {layers[owner].name!r}, where it has "
                    "another form; torch cannot share it so"
                )
                return [Problem(layer.name, layer.type, reason)]
            tied[place].operation = other
        lies = [lie(tied[place].operation, index) for place, index in group]
        first = lies[0]
    assert first is not None
    for (place, _), each in zip(group[1:], lies[1:], strict=True):
        assert each is not None
        tied[place].shared[each.key] = f"{tied[owner].name}.{first.key}"
    return []


def _held(operation: Operation, index: int, shape: Shape) -> Operation | None:
    """The operation in a form that keeps the blob row by row in ``shape``."""
    wanted = Lie("", shape)
    now = lie(operation, index)
    if now is not None and now.same(wanted):
        return operation
    other = operation.holding(index, shape)
    if other is None:
        return None
    then = lie(other, index)
    return other if then is not None and then.same(wanted) else None


def moved(found: Mapping[str, np.ndarray], old: Node, new: Node) -> Mapping[str, np.ndarray]:
    """The tensors of a layer in one graph, by their keys in it, as another graph of the same net wants them.

    A weight that was kept in another layer's form need not be so any more.
    """
    if not old.layer.shared:
        return found
    params = old.operation.params()
    lies = [lie(old.operation, index) for index in range(len(params))]
    wanted = [lie(new.operation, index) for index in range(len(params))]
    if lies == wanted:
        return found
    blobs = []
    for param, each in zip(params, lies, strict=True):
        assert each is not None and not each.order, "only the form that is row by row gives way to another"
        blobs.append(found[each.key].reshape(param.shape))
    return new.operation.state(blobs)


def lie(operation: Operation, index: int) -> Lie | None:
    """How blob ``index`` lies in the state, found by looking what comes of numbered ones; None if not in one piece."""
    shapes = [param.shape for param in operation.params()]
    count = prod(shapes[index])
    zeros = [np.zeros(shape, np.float32) for shape in shapes]
    numbered = np.arange(1, count + 1, dtype=np.float32)
    before = operation.state(zeros)
    after = operation.state([*zeros[:index], numbered.reshape(shapes[index]), *zeros[index + 1 :]])
    changed = [key for key, array in after.items() if not np.array_equal(array, before[key])]
    if len(changed) != 1:
        return None
    array = after[changed[0]]
    flat = array.reshape(-1)
    if np.array_equal(flat, numbered):
        return Lie(changed[0], array.shape)
    if not np.array_equal(np.sort(flat), numbered):
        return None
    return Lie(changed[0], array.shape, sha256(np.ascontiguousarray(flat).data).hexdigest())
