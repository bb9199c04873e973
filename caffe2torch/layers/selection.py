"""Slice, Crop, Tile, BatchReindex and Filter: parts of a blob, or copies of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from caffe2torch.calls import Step
from caffe2torch.net import Layer, Shape
from caffe2torch.registry import LayerError, Operation, canonical_axis, layer

if TYPE_CHECKING:
    from caffe2torch.onnx_model import LayerNodes

MANY = float("inf")


@layer("Slice", tops=(1, MANY), slice_param="axis slice_point slice_dim")
@dataclass(frozen=True)
class Slice(Operation):
    """Parts along an axis, cut at ``points`` or, without them, equal; ``slice_dim`` is the axis's old name."""

    axis: int
    count: int
    points: Shape

    @classmethod
    def parse(cls, layer: Layer, bottoms: Sequence[Shape]) -> Slice:
        p, count = layer.param("slice_param"), len(layer.tops)
        if "axis" in p and "slice_dim" in p:
            raise LayerError("axis and slice_dim are both set; Caffe takes one of them")
        axis = canonical_axis(p.slice_dim if "slice_dim" in p else p.axis, len(bottoms[0]))
        size, points = bottoms[0][axis], p.slice_point
        if not points and size % count:
            raise LayerError(f"axis {axis} of size {size} does not divide into {count} equal tops; set slice_point")
        if points and len(points) != count - 1:
            raise LayerError(f"{len(points)} values of slice_point for {count} tops, {count - 1} are wanted")
        edges = (0, *points, size)
        if points and (count > size or any(low >= high for low, high in zip(edges, points, strict=False))):
            raise LayerError(
                f"slice_point {list(points)} must rise from above 0, for {count} parts of size {size} in all"
            )
        if points and points[-1] > size:
            raise LayerError(f"slice_point {points[-1]} lies beyond axis {axis} of size {size}")
        return cls(axis, count, points)

    def shape(self, bottoms: Sequence[Shape]) -> list[Shape]:
        shape = bottoms[0]
        return [(*shape[: self.axis], size, *shape[self.axis + 1 :]) for size in self._sizes(shape[self.axis])]

    def _sizes(self, size: int) -> list[int]:
        if not self.points:
            return [size // self.count] * self.count
        return [high - low for low, high in zip((0, *self.points), (*self.points, size), strict=True)]

    def torch(self) -> Step:
        if self.count == 1:
            return Step("{0}")
        if not self.points:
            return Step(f"{{0}}.chunk({self.count}, dim={self.axis})")
        return Step(f"{{0}}.tensor_split({self.points}, dim={self.axis})")

    def onnx(self, nodes: LayerNodes) -> None:
        if self.count == 1:
            nodes.add("Identity", nodes.inputs, nodes.outputs)
            return
        sizes = []
        if self.points:
            sizes = [nodes.constant(np.array(self._sizes(nodes.input_shapes[0][self.axis]), np.int64), "sizes")]
        nodes.add("Split", [*nodes.inputs, *sizes], nodes.outputs, axis=self.axis)


@layer("Crop", bottoms=(2, 2), crop_param="axis offset")
@dataclass(frozen=True)
class Crop(Operation):
    """The first bottom, from ``axis`` on cut to the second's sizes."""

    cuts: tuple[tuple[int, int] | None, ...]  # by axis: from, to; None: all of it
    measured = (1,)

    @classmethod
    def parse(cls, layer: Layer, bottoms: Sequence[Shape]) -> Crop:
        p, (shape, like) = layer.param("crop_param"), bottoms
        axis = canonical_axis(p.axis, len(shape))
        cropped = len(shape) - axis
        if len(p.offset) not in (0, 1, cropped):
            raise LayerError(f"{len(p.offset)} values of offset for the {cropped} axes from axis {axis} on")
        if len(like) < len(shape):
            raise LayerError(f"the second bottom {like} has fewer axes than the first {shape}")
        offsets = p.offset if len(p.offset) == cropped else (p.offset or (0,)) * cropped
        cuts: list[tuple[int, int] | None] = [None] * axis
        for place, offset in enumerate(offsets, axis):
            end = offset + like[place]
            if end > shape[place]:
                raise LayerError(f"{like} at offset {offset} reaches beyond the first bottom {shape} in axis {place}")
            cuts.append(None if (offset, end) == (0, shape[place]) else (offset, end))
        return cls(tuple(cuts))

    def shape(self, bottoms: Sequence[Shape]) -> list[Shape]:
        return [tuple(cut[1] - cut[0] if cut else size for cut, size in zip(self.cuts, bottoms[0], strict=True))]

    def torch(self) -> Step:
        parts = [f"{cut[0] or ''}:{cut[1]}" if cut else ":" for cut in self.cuts]
        while parts and parts[-1] == ":":
            parts.pop()
        return Step(f"{{0}}[{', '.join(parts)}]" if parts else "{0}")

    def onnx(self, nodes: LayerNodes) -> None:
        cuts = [(cut[0], cut[1], axis) for axis, cut in enumerate(self.cuts) if cut]
        if not cuts:
            nodes.add("Identity", nodes.inputs, nodes.outputs)
            return
        columns = zip(("starts", "ends", "axes"), np.array(cuts, np.int64).T, strict=True)
        nodes.add("Slice", [*nodes.inputs, *(nodes.constant(column, name) for name, column in columns)], nodes.outputs)


@layer("Tile", tile_param="axis tiles")
@dataclass(frozen=True)
class Tile(Operation):
    """Copies side by side along an axis."""

    axis: int
    tiles: int
    axes: int

    @classmethod
    def parse(cls, layer: Layer, bottoms: Sequence[Shape]) -> Tile:
        p, axes = layer.param("tile_param"), len(bottoms[0])
        if "tiles" not in p or p.tiles < 1:
            raise LayerError("tiles must be set, and at least 1")
        return cls(canonical_axis(p.axis, axes), p.tiles, axes)

    def shape(self, bottoms: Sequence[Shape]) -> list[Shape]:
        return [tuple(size * times for size, times in zip(bottoms[0], self._repeats(), strict=True))]

    def _repeats(self) -> list[int]:
        return [self.tiles if place == self.axis else 1 for place in range(self.axes)]

    def torch(self) -> Step:
        return Step(f"{{0}}.repeat({', '.join(map(str, self._repeats()))})")

    def onnx(self, nodes: LayerNodes) -> None:
        repeats = nodes.constant(np.array(self._repeats(), np.int64), "repeats")
        nodes.add("Tile", [nodes.inputs[0], repeats], nodes.outputs)


@layer("BatchReindex", bottoms=(2, 2))
@dataclass(frozen=True)
class BatchReindex(Operation):
    """The items of the first bottom that the second names."""

    @classmethod
    def parse(cls, layer: Layer, bottoms: Sequence[Shape]) -> BatchReindex:
        if not bottoms[0]:
            raise LayerError("the first bottom has no axes, so no items")
        if len(bottoms[1]) != 1:
            raise LayerError(f"the second bottom {bottoms[1]} must have one axis: a list of indices")
        return cls()

    def shape(self, bottoms: Sequence[Shape]) -> list[Shape]:
        return [bottoms[1] + bottoms[0][1:]]

    def torch(self) -> Step:
        return Step("{0}.index_select(0, {1}.long())")

    def onnx(self, nodes: LayerNodes) -> None:
        indices = nodes.add("Cast", [nodes.inputs[1]], to=7)
        nodes.add("Gather", [nodes.inputs[0], indices], nodes.outputs)


@layer("Filter", bottoms=(2, MANY), tops=(1, MANY))
@dataclass(frozen=True)
class Filter(Operation):
    """Of each bottom but the last the items where the last is not 0: how many there are, the data tells."""

    count: int
    selects = True

    @classmethod
    def parse(cls, layer: Layer, bottoms: Sequence[Shape]) -> Filter:
        *items, selector = bottoms
        if len(layer.tops) != len(items):
            raise LayerError(f"{len(bottoms)} bottoms, the selector among them, want {len(items)} tops")
        if not selector or any(size != 1 for size in selector[1:]):
            raise LayerError(f"the selector {selector} must have one number an item: axes behind the first of size 1")
        for shape in items:
            if shape[:1] != selector[:1]:
                raise LayerError(f"bottom {shape} and selector {selector} have different numbers of items")
        return cls(len(items))

    def shape(self, bottoms: Sequence[Shape]) -> list[Shape]:
        return list(bottoms[:-1])

    def torch(self) -> Step:
        chosen = f"{{{self.count}}}.flatten() != 0"
        return Step(", ".join(f"{{{index}}}[{chosen}]" for index in range(self.count)))

    def onnx(self, nodes: LayerNodes) -> None:
        chosen = nodes.add("Cast", [nodes.reshape(nodes.inputs[-1], [-1])], to=9)
        for bottom, top in zip(nodes.inputs, nodes.outputs, strict=False):
            nodes.add("Compress", [bottom, chosen], [top], axis=0)
