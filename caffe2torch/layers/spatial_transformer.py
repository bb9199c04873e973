"""SpatialTransformer: a map read where an affine transformation, which the net computes, takes each place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from caffe2torch.calls import Step, literal
from caffe2torch.net import Layer, Shape
from caffe2torch.registry import LayerError, Operation, layer

if TYPE_CHECKING:
    from caffe2torch.onnx_model import LayerNodes

_GIVEN = tuple(f"theta_{row}_{column}" for row in (1, 2) for column in (1, 2, 3))


@layer(
    "SpatialTransformer",
    bottoms=(2, 2),
    st_param=f"transform_type sampler_type output_H output_W to_compute_dU {' '.join(_GIVEN)}",
    proto={
        "st_param": "transform_type 1 string =affine; sampler_type 2 string =bilinear; output_H 3 int32; "
        "output_W 4 int32; to_compute_dU 5 bool =true; "
        + "; ".join(f"{name} {number} double" for number, name in enumerate(_GIVEN, 6))
    },
)
@dataclass(frozen=True)
class SpatialTransformer(Operation):
    """Of daerduoCarey's fork: theta, 2 x 3 for each item, takes a place of the top to one of the map.

    Places are (row, column, 1) with rows and columns from -1 up to, but not including, 1; theta's first line gives the
    row. The map is read between its pixels, with zeros around it. Numbers of theta that the file fixes are not in the
    second bottom.
    """

    size: tuple[int, int]
    given: tuple[float | None, ...]  # theta's six numbers, None where the second bottom has them

    @classmethod
    def parse(cls, layer: Layer, bottoms: Sequence[Shape]) -> SpatialTransformer:
        p = layer.param("st_param")
        if (p.transform_type, p.sampler_type) != ("affine", "bilinear"):
            raise LayerError(f"{p.transform_type}, {p.sampler_type}: only affine transformations, bilinear, are there")
        given = tuple(getattr(p, name) if name in p else None for name in _GIVEN)
        if len(bottoms[0]) != 4:
            raise LayerError(f"the bottom has {len(bottoms[0])} axes; 4 are supported")
        wanted = (bottoms[0][0], given.count(None))
        if bottoms[1] != wanted:
            raise LayerError(
                f"theta has the shape {bottoms[1]}; {wanted} is wanted, as {6 - wanted[1]} numbers are set"
            )
        size = (p.output_H if "output_H" in p else bottoms[0][2], p.output_W if "output_W" in p else bottoms[0][3])
        if min(size) < 1:
            raise LayerError(f"output_H {size[0]} and output_W {size[1]} must be at least 1")
        return cls(size, given)

    def shape(self, bottoms: Sequence[Shape]) -> list[Shape]:
        return [(*bottoms[0][:2], *self.size)]

    def made(self, bottoms: Sequence[Shape]) -> int:
        return 3 * self.size[0] * self.size[1]

    def torch(self) -> Step:
        given = f", {literal(self.given)}" if any(value is not None for value in self.given) else ""
        return Step(f"spatial_transform({{0}}, {{1}}, {self.size}{given})")

    def onnx(self, nodes: LayerNodes) -> None:
        height, width = nodes.input_shapes[0][2:]
        fixed = np.array([value or 0 for value in self.given], np.float32)
        free = [place for place, value in enumerate(self.given) if value is None]
        choose = np.zeros((len(free), 6), np.float32)
        choose[range(len(free)), free] = 1
        theta = nodes.add("MatMul", [nodes.inputs[1], nodes.constant(choose, "choose")])
        theta = nodes.reshape(nodes.add("Add", [theta, nodes.constant(fixed, "fixed")]), [-1, 2, 3])
        rows, columns = (np.arange(side, dtype=np.float32) / side * 2 - 1 for side in self.size)
        places = np.stack([*np.meshgrid(rows, columns, indexing="ij"), np.ones(self.size, np.float32)])
        found = nodes.add("MatMul", [theta, nodes.constant(places.reshape(3, -1).astype(np.float32), "places")])
        # GridSample wants x before y, and counts from edge to edge: half a pixel more.
        turn, half = np.array([1, 0], np.int64), np.array([1 / width, 1 / height], np.float32)
        grid = nodes.add(
            "Gather", [nodes.add("Transpose", [found], perm=[0, 2, 1]), nodes.constant(turn, "turn")], axis=2
        )
        grid = nodes.add("Add", [grid, nodes.constant(half, "half")])
        grid = nodes.reshape(grid, [-1, *self.size, 2])
        nodes.add("GridSample", [nodes.inputs[0], grid], nodes.outputs, mode="bilinear", padding_mode="zeros")
