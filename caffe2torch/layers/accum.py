"""Accum of FlowNet2: maps of several sizes joined."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from caffe2torch.calls import Step
from caffe2torch.layers.resampling import Pair, map_size
from caffe2torch.net import Layer, Shape
from caffe2torch.registry import LayerError, Operation, layer

if TYPE_CHECKING:
    from caffe2torch.onnx_model import LayerNodes


@layer(
    "Accum",
    bottoms=(1, float("inf")),
    accum_param="top_height top_width size_divisible_by have_reference",
    proto={
        "accum_param": "top_height 1 uint32 =0; top_width 2 uint32 =0; size_divisible_by 3 uint32 =0; "
        "have_reference 4 bool =false"
    },
)
@dataclass(frozen=True)
class Accum(Operation):
    """The bottoms, stretched to one size, corners onto corners, and joined as channels.

    The size: the last bottom's, which is not joined, with ``have_reference``; else the largest height and width, or,
    if it is larger in both, the given one or the next that can be divided.
    """

    size: Pair
    old: tuple[Pair, ...]
    measured: tuple[int, ...] = field(default=(), kw_only=True)  # type: ignore[misc]  # the reference, the last bottom

    @classmethod
    def parse(cls, layer: Layer, bottoms: Sequence[Shape]) -> Accum:
        p, sizes = layer.param("accum_param"), tuple(map_size(shape) for shape in bottoms)
        if p.have_reference and len(bottoms) < 2:
            raise LayerError("have_reference wants a second bottom at least, which tells the size")
        joined = bottoms[: len(bottoms) - p.have_reference]
        if len({shape[0] for shape in joined}) > 1:
            raise LayerError(f"its bottoms {', '.join(map(str, joined))} must have the same number of items")
        height, width = (max(size[axis] for size in sizes) for axis in (0, 1))
        given = (p.top_height, p.top_width)
        if "size_divisible_by" in p:
            if p.size_divisible_by < 1:
                raise LayerError("size_divisible_by 0 must be at least 1")
            given = (height + -height % p.size_divisible_by, width + -width % p.size_divisible_by)
        if p.have_reference:
            height, width = sizes[-1]
        elif given[0] > height and given[1] > width:
            height, width = given
        if 1 in (height, width) and any(size != (height, width) for size in sizes[: len(joined)]):
            raise LayerError(f"the fork divides by 0 where the top, {height} x {width}, has a height or width of 1")
        reference = (len(joined),) if p.have_reference else ()
        return cls((height, width), sizes[: len(joined)], measured=reference)

    def shape(self, bottoms: Sequence[Shape]) -> list[Shape]:
        return [(bottoms[0][0], sum(shape[1] for shape in bottoms[: len(self.old)]), *self.size)]

    def torch(self) -> Step:
        parts = [f"{{{index}}}" for index in range(len(self.old))]
        for index, old in enumerate(self.old):
            if old != self.size:
                parts[index] = f'F.interpolate({parts[index]}, {self.size}, mode="bilinear", align_corners=True)'
        return Step(parts[0] if len(parts) == 1 else f"torch.cat(({', '.join(parts)}), dim=1)")

    def onnx(self, nodes: LayerNodes) -> None:
        parts = [
            value if old == self.size else self._stretched(nodes, value)
            for value, old in zip(nodes.inputs, self.old, strict=True)
        ]
        nodes.add("Concat", parts, nodes.outputs, axis=1)

    def _stretched(self, nodes: LayerNodes, value: str) -> str:
        size = nodes.constant(np.array(self.size, np.int64), "size")
        sizes = nodes.add("Concat", [nodes.add("Shape", [value], start=0, end=2), size], axis=0)
        corners = {"mode": "linear", "coordinate_transformation_mode": "align_corners"}
        return str(nodes.add("Resize", [value, "", "", sizes], **corners))
