"""ROIPooling of Fast R-CNN and PSROIPooling of R-FCN: a grid of numbers for each region of a map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from caffe2torch.calls import Call, Step
from caffe2torch.layers.labels import FLOAT, INT64, check_legacy
from caffe2torch.net import Layer, Shape
from caffe2torch.readings import Reading
from caffe2torch.registry import LayerError, Operation, layer

if TYPE_CHECKING:
    from caffe2torch.onnx_model import LayerNodes

DOUBLE = 11
FIELDS = "pooled_h 1 uint32 =0; pooled_w 2 uint32 =0; spatial_scale 3 float =1"


def _check_bottoms(bottoms: Sequence[Shape]) -> None:
    check_legacy(*bottoms)
    if len(bottoms[0]) != 4:
        raise LayerError(f"the first bottom {bottoms[0]} must have 4 axes")
    if not bottoms[1] or prod(bottoms[1][1:]) != 5:
        raise LayerError(f"the second bottom {bottoms[1]} must have 5 numbers a region: item, x1, y1, x2, y2")


@layer(
    "ROIPooling",
    bottoms=(2, 2),
    roi_pooling_param="pooled_h pooled_w spatial_scale",
    proto={
        "roi_pooling_param": (
            Reading("faster-rcnn rfcn tsn caffe-windows synopsys", None, FIELDS),
            Reading("intel", None, f"{FIELDS}; pooled_size 4 uint32*"),
        )
    },
)
@dataclass(frozen=True)
class ROIPooling(Operation):
    """The maximum of each bin of a region, both ends of which count; bins share rows. An empty bin gives 0.

    intel/caffe counts a bin's end in whole numbers, where Fast R-CNN rounds a float32: the same but for a last bit.
    """

    size: tuple[int, int]
    scale: float

    @classmethod
    def parse(cls, layer: Layer, bottoms: Sequence[Shape]) -> ROIPooling:
        p = layer.param("roi_pooling_param")
        if min(p.pooled_h, p.pooled_w) < 1:
            raise LayerError("pooled_h and pooled_w must be set, and above 0")
        _check_bottoms(bottoms)
        return cls((p.pooled_h, p.pooled_w), p.spatial_scale)

    def shape(self, bottoms: Sequence[Shape]) -> list[Shape]:
        return [(bottoms[1][0], bottoms[0][1], *self.size)]

    def torch(self) -> Step:
        return Step("{self}({0}, {1})", Call("RegionMaxPool", self.size, self.scale))

    def onnx(self, nodes: LayerNodes) -> None:
        regions = nodes.reshape(nodes.inputs[1], [-1, 5])
        attributes = {"pooled_shape": list(self.size), "spatial_scale": self.scale}
        nodes.add("MaxRoiPool", [nodes.inputs[0], regions], nodes.outputs, **attributes)


@layer(
    "PSROIPooling",
    bottoms=(2, 2),
    psroi_pooling_param="spatial_scale output_dim group_size",
    proto={"psroi_pooling_param": "spatial_scale 1 float!; output_dim 2 int32!; group_size 3 int32!"},
)
@dataclass(frozen=True)
class PSROIPooling(Operation):
    """The average of each bin of a region, each bin in channels of its own. An empty bin gives 0."""

    channels: int  # output_dim
    bins: int  # group_size: rows and columns
    scale: float
    size: tuple[int, int]  # height and width of the bottom

    @classmethod
    def parse(cls, layer: Layer, bottoms: Sequence[Shape]) -> PSROIPooling:
        p = layer.param("psroi_pooling_param")
        if any(name not in p for name in ("spatial_scale", "output_dim", "group_size")):
            raise LayerError("spatial_scale, output_dim and group_size must be set")
        if min(p.output_dim, p.group_size) < 1:
            raise LayerError("output_dim and group_size must be above 0")
        _check_bottoms(bottoms)
        wanted = p.output_dim * p.group_size**2
        if bottoms[0][1] != wanted:
            raise LayerError(f"{wanted} channels are wanted (output_dim * group_size^2), the bottom is {bottoms[0]}")
        return cls(p.output_dim, p.group_size, p.spatial_scale, (bottoms[0][2], bottoms[0][3]))

    def shape(self, bottoms: Sequence[Shape]) -> list[Shape]:
        return [(bottoms[1][0], self.channels, self.bins, self.bins)]

    def made(self, bottoms: Sequence[Shape]) -> int:
        return self.channels * self.bins**2

    def torch(self) -> Step:
        return Step("{self}({0}, {1})", Call("RegionAvgPool", self.channels, self.bins, self.scale))

    def onnx(self, nodes: LayerNodes) -> None:
        """Sums over rectangles from four corners of running sums, in double precision."""
        height, width = self.size
        sums = nodes.add("Cast", [nodes.inputs[0]], to=DOUBLE)
        for axis in (2, 3):
            sums = nodes.add("CumSum", [sums, nodes.constant(np.int64(axis), "axis")])
        pads = nodes.constant(np.array([0, 0, 1, 1, 0, 0, 0, 0], np.int64), "pads")
        sums = nodes.reshape(nodes.add("Pad", [sums, pads]), [-1])
        regions = nodes.reshape(nodes.inputs[1], [-1, 5, 1])
        item, *corners = nodes.add("Split", [regions], 5, axis=1)
        low_x, low_y, high_x, high_y = (_rounded(nodes, corner) for corner in corners)
        top, bottom = self._edges(nodes, low_y, high_y, height, [-1, 1, self.bins, 1])
        left, right = self._edges(nodes, low_x, high_x, width, [-1, 1, 1, self.bins])

        plane = (height + 1) * (width + 1)
        bins = self.bins
        each = np.arange(self.channels * bins * bins, dtype=np.int64).reshape(1, self.channels, bins, bins) * plane
        items = nodes.reshape(nodes.add("Cast", [item], to=INT64), [-1, 1, 1, 1])
        items = nodes.add("Mul", [items, nodes.constant(np.int64(self.channels * bins * bins * plane), "item")])
        planes = nodes.add("Add", [items, nodes.constant(each, "planes")])
        row = nodes.constant(np.int64(width + 1), "row")

        def total(y: str, x: str) -> str:
            place = nodes.add("Add", [nodes.add("Add", [planes, nodes.add("Mul", [y, row])]), x])
            return str(nodes.add("Gather", [sums, place]))

        outer = nodes.add("Sub", [total(bottom, right), total(top, right)])
        inner = nodes.add("Sub", [total(bottom, left), total(top, left)])
        added = nodes.add("Sub", [outer, inner])
        sides = [nodes.add("Sub", pair) for pair in ((bottom, top), (right, left))]
        zero, one = (nodes.constant(np.int64(value), "bound") for value in (0, 1))
        count = nodes.add("Mul", [nodes.add("Max", [side, zero]) for side in sides])
        mean = nodes.add("Div", [added, nodes.add("Cast", [nodes.add("Max", [count, one])], to=DOUBLE)])
        found = nodes.add("Greater", [count, zero])
        value = nodes.add("Cast", [mean], to=FLOAT)
        nodes.add("Where", [found, value, nodes.constant(np.float32(0), "nothing")], nodes.outputs)

    def _edges(self, nodes: LayerNodes, low: str, high: str, size: int, shape: list[int]) -> tuple[str, str]:
        """Where bins begin and end, as int64 in a shape, along an axis of a size."""
        scale = nodes.constant(np.float32(self.scale), "scale")
        start = nodes.add("Mul", [low, scale])
        end = nodes.add("Mul", [nodes.add("Add", [high, nodes.constant(np.float32(1), "one")]), scale])
        extent = nodes.add("Max", [nodes.add("Sub", [end, start]), nodes.constant(np.float32(0.1), "least")])
        extent = nodes.add("Div", [extent, nodes.constant(np.float32(self.bins), "bins")])
        steps = np.arange(self.bins + 1, dtype=np.float32)
        edges = []
        for operator, part in (("Floor", steps[:-1]), ("Ceil", steps[1:])):
            edge = nodes.add("Add", [nodes.add("Mul", [extent, nodes.constant(part, "steps")]), start])
            bounds = [nodes.constant(np.float32(bound), "bound") for bound in (0, size)]
            edge = nodes.add("Clip", [nodes.add(operator, [edge]), *bounds])
            edges.append(nodes.reshape(nodes.add("Cast", [edge], to=INT64), shape))
        return edges[0], edges[1]


def _rounded(nodes: LayerNodes, value: str) -> str:
    """To the nearest whole number, halves away from zero (Round takes them to the even one)."""
    whole = nodes.add("Mul", [nodes.add("Floor", [nodes.add("Abs", [value])]), nodes.add("Sign", [value])])
    rest = nodes.add("Abs", [nodes.add("Sub", [value, whole])])
    up = nodes.add("GreaterOrEqual", [rest, nodes.constant(np.float32(0.5), "half")])
    step = nodes.add("Mul", [nodes.add("Cast", [up], to=FLOAT), nodes.add("Sign", [value])])
    return str(nodes.add("Add", [whole, step]))
