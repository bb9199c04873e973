"""Flatten and Reshape: the same numbers in another shape."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

from caffe2torch.calls import Step
from caffe2torch.net import Layer, Shape
from caffe2torch.registry import LayerError, Operation, canonical_axis, layer, refuse_in_place

if TYPE_CHECKING:
    from caffe2torch.onnx_model import LayerNodes


@layer("Flatten", flatten_param="axis end_axis")
@dataclass(frozen=True)
class Flatten(Operation):
    """Axes ``start`` to ``end`` as one; a new axis of length 1 where ``end`` is just before ``start``."""

    start: int
    end: int
    axes: int

    @classmethod
    def parse(cls, layer: Layer, bottoms: Sequence[Shape]) -> Flatten:
        refuse_in_place(layer)
        p, axes = layer.param("flatten_param"), len(bottoms[0])
        start, end = canonical_axis(p.axis, axes), canonical_axis(p.end_axis, axes)
        if start > end + 1:
            raise LayerError(f"end_axis {p.end_axis} lies before axis {p.axis}")
        return cls(start, end, axes)

    def shape(self, bottoms: Sequence[Shape]) -> list[Shape]:
        shape = bottoms[0]
        return [(*shape[: self.start], prod(shape[self.start : self.end + 1]), *shape[self.end + 1 :])]

    def torch(self) -> Step:
        if self.start > self.end:
            return Step(f"{{0}}.unsqueeze({self.start})")
        return Step(f"{{0}}.flatten({self.start if self.end == self.axes - 1 else f'{self.start}, {self.end}'})")

    def onnx(self, nodes: LayerNodes) -> None:
        if self.start == 1 and self.end == self.axes - 1:
            nodes.add("Flatten", nodes.inputs, nodes.outputs)
        else:
            first = 0 if self.start else -1  # 0: as it is, -1: what is left
            nodes.reshape(nodes.inputs[0], [first, *nodes.output_shapes[0][1:]], nodes.outputs[0])


@layer("Reshape", reshape_param="shape axis num_axes")
@dataclass(frozen=True)
class Reshape(Operation):
    """Some axes replaced by others; at most one of ``sizes`` is -1: what is left."""

    sizes: Shape
    batch: bool  # the first size is that of the bottom's first axis

    @classmethod
    def parse(cls, layer: Layer, bottoms: Sequence[Shape]) -> Reshape:
        refuse_in_place(layer)
        p, shape = layer.param("reshape_param"), bottoms[0]
        start, end = _replaced(p.axis, p.num_axes, len(shape))
        new = list(p.shape.dim)
        if new.count(-1) > 1:
            raise LayerError(f"shape {new} has more than one -1")
        if min(new, default=0) < -1:
            raise LayerError(f"shape {new} has a negative size other than -1")
        # Where each size comes from: an axis of the bottom, or a number.
        axes: list[int | None] = [start + place if size == 0 else None for place, size in enumerate(new)]
        if any(axis is not None and axis >= len(shape) for axis in axes):
            raise LayerError(f"shape {new} has a 0 where the bottom {shape} has no axis to copy")
        axes = [*range(start), *axes, *range(end, len(shape))]
        sizes = [*shape[:start], *new, *shape[end:]]
        sizes = [size if axis is None else shape[axis] for size, axis in zip(sizes, axes, strict=True)]
        if -1 in sizes:
            sizes[sizes.index(-1)] = _left(sizes, shape)
        if prod(sizes) != prod(shape):
            raise LayerError(f"the shape {tuple(sizes)} holds {prod(sizes)} numbers, the bottom {shape} {prod(shape)}")
        if axes.count(0) == 1 and prod(sizes[: axes.index(0)] + sizes[axes.index(0) + 1 :]):
            sizes[axes.index(0)] = -1  # the batch
        elif -1 in new and not axes.count(0):
            sizes[start + new.index(-1)] = -1
        return cls(tuple(sizes), axes[:1] == [0] and sizes[0] == -1)

    def shape(self, bottoms: Sequence[Shape]) -> list[Shape]:
        left = _left(self.sizes, bottoms[0]) if -1 in self.sizes else 0
        return [tuple(left if size == -1 else size for size in self.sizes)]

    def torch(self) -> Step:
        return Step(f"{{0}}.reshape({', '.join(map(str, self.sizes)) or '()'})")

    def onnx(self, nodes: LayerNodes) -> None:
        sizes = [0, *self.sizes[1:]] if self.batch else self.sizes  # 0: as it is
        nodes.reshape(nodes.inputs[0], sizes, nodes.outputs[0])


def _replaced(axis: int, num_axes: int, axes: int) -> tuple[int, int]:
    """The first axis to replace and the one behind the last; negative axes count from one behind the end."""
    start = axis if axis >= 0 else axes + axis + 1
    if not 0 <= start <= axes:
        raise LayerError(f"axis {axis} is out of range for a blob of {axes} axes")
    if num_axes < -1:
        raise LayerError(f"num_axes {num_axes} must be 0 or more, or -1 for all")
    end = axes if num_axes == -1 else start + num_axes
    if end > axes:
        raise LayerError(f"axis {axis} and num_axes {num_axes} reach beyond the {axes} axes of the bottom")
    return start, end


def _left(sizes: Sequence[int], shape: Shape) -> int:
    """What -1 stands for."""
    rest = prod(size for size in sizes if size != -1)
    if not rest or prod(shape) % rest:
        raise LayerError(
            f"the {prod(shape)} numbers of the bottom {shape} do not divide by the {rest} of {tuple(sizes)}"
        )
    return prod(shape) // rest
