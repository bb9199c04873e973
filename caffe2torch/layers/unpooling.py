"""Unpooling and MaxUnPool: numbers back to where a pooling found them, or spread over its windows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from caffe2torch.calls import Step, literal, same
from caffe2torch.net import Fields, Layer, Shape
from caffe2torch.readings import Reading
from caffe2torch.registry import LayerError, Operation, layer

if TYPE_CHECKING:
    from caffe2torch.onnx_model import LayerNodes

Pair = tuple[int, int]


def check_mask(bottoms: Sequence[Shape]) -> None:
    """LayerError unless data and mask are maps of one shape."""
    if len(bottoms[0]) != 4:
        raise LayerError(f"the bottom has {len(bottoms[0])} axes, the fork wants 4")
    if len(bottoms) > 1 and bottoms[1] != bottoms[0]:
        raise LayerError(f"the mask's shape {bottoms[1]} is not that of the data, {bottoms[0]}")


def scatter(nodes: LayerNodes, places: str, size: Pair) -> None:
    """Emit zeros of ``size`` with each number of the bottom at its place, of shape (N or 1, C or 1, h * w), int64."""
    x = nodes.inputs[0]
    rows = nodes.add("Shape", [x], start=0, end=2)
    area = nodes.constant(np.array([size[0] * size[1]], np.int64), "area")
    zeros = nodes.add("ConstantOfShape", [nodes.add("Concat", [rows, area], axis=0)])
    values = nodes.reshape(x, [0, 0, -1])
    spread = nodes.add("ScatterElements", [zeros, places, values], axis=2)
    nodes.reshape(spread, [0, 0, *size], nodes.outputs[0])


@dataclass(frozen=True)
class Unpool(Operation):
    """Each number at the place in its map that the mask tells, row * width + column; 0 elsewhere.

    Of numbers with one place the last stays. A place outside is an error when the net runs.
    """

    size: Pair

    def shape(self, bottoms: Sequence[Shape]) -> list[Shape]:
        return [(*bottoms[0][:2], *self.size)]

    def torch(self) -> Step:
        return Step(f"unpool({{0}}, {{1}}, {self.size})")

    def onnx(self, nodes: LayerNodes) -> None:
        places = nodes.add("Cast", [nodes.inputs[1]], to=7)
        scatter(nodes, nodes.reshape(places, [0, 0, -1]), self.size)


@dataclass(frozen=True)
class _Corners(Operation):
    """Each number in the first place of its window, pulled inside where that is outside; 0 elsewhere."""

    stride: Pair
    size: Pair
    bottom: Pair  # height and width of the bottom

    def shape(self, bottoms: Sequence[Shape]) -> list[Shape]:
        return [(*bottoms[0][:2], *self.size)]

    def made(self, bottoms: Sequence[Shape]) -> int:
        return prod(self.bottom)

    def torch(self) -> Step:
        return Step(f"unpool_corners({{0}}, {self.stride}, {self.size})")

    def onnx(self, nodes: LayerNodes) -> None:
        rows, columns = (
            np.minimum(np.arange(count) * stride, size - 1)
            for count, stride, size in zip(self.bottom, self.stride, self.size, strict=True)
        )
        places = (rows[:, None] * self.size[1] + columns).reshape(1, 1, -1).astype(np.int64)
        flat = nodes.add("Shape", [nodes.reshape(nodes.inputs[0], [0, 0, -1])])
        scatter(nodes, nodes.add("Expand", [nodes.constant(places, "places"), flat]), self.size)


@dataclass(frozen=True)
class _Spread(Operation):
    """Each number, or its share if ``average``, added to all of its window, as far as that lies inside."""

    channels: int
    kernel: Pair
    stride: Pair
    size: Pair
    average: bool
    bottom: Pair  # height and width of the bottom

    def shape(self, bottoms: Sequence[Shape]) -> list[Shape]:
        return [(*bottoms[0][:2], *self.size)]

    def made(self, bottoms: Sequence[Shape]) -> int:
        columns = zip(self.bottom, self.stride, self.kernel, self.size, strict=True)
        spread = prod(max((count - 1) * step + kernel, size) for count, step, kernel, size in columns)
        wide = spread > 4 * prod(self.size)  # what is spread is cut to its size only then
        return prod(self.bottom) + self.channels * (prod(self.kernel) + (spread if wide else 0))

    def torch(self) -> Step:
        kernel, stride = literal(same(self.kernel)), literal(same(self.stride))
        shared = ", average=True" if self.average else ""
        return Step(f"spread({{0}}, {kernel}, {stride}, {self.size}{shared})")

    def onnx(self, nodes: LayerNodes) -> None:
        x = nodes.inputs[0]
        if self.average:
            x = nodes.add("Div", [x, nodes.constant(self._lengths(), "window")])
        # Rows and columns of zeros before, and Slice behind: a Pad at the end onnxruntime would join to a pooling.
        columns = list(zip(self.bottom, self.stride, self.kernel, self.size, strict=True))
        more = [max(-(((n - 1) * step + kernel - size) // step), 0) for n, step, kernel, size in columns]
        if any(more):
            x = nodes.add("Pad", [x, nodes.constant(np.array([0] * 6 + more, np.int64), "pads")])
        weight = nodes.constant(np.ones((self.channels, 1, *self.kernel), np.float32), "ones")
        attributes: dict[str, Any] = {
            "kernel_shape": list(self.kernel),
            "strides": list(self.stride),
            "group": self.channels,
        }
        windows = nodes.add("ConvTranspose", [x, weight], **attributes)
        places = {"starts": (0, 0), "ends": self.size, "axes": (2, 3)}
        arrays = [nodes.constant(np.array(numbers, np.int64), name) for name, numbers in places.items()]
        nodes.add("Slice", [windows, *arrays], nodes.outputs)

    def _lengths(self) -> np.ndarray:
        """How much of each window lies inside, at least 1: (h, w)."""
        rows, columns = (
            np.clip(size - np.arange(count) * stride, 1, kernel)
            for count, kernel, stride, size in zip(self.bottom, self.kernel, self.stride, self.size, strict=True)
        )
        return (rows[:, None] * columns).astype(np.float32)


@layer(
    "Unpooling",
    bottoms=(1, 2),
    unpooling_param="unpool pad pad_h pad_w kernel_size kernel_h kernel_w stride stride_h stride_w unpool_size "
    "unpool_h unpool_w engine",
    proto={
        "unpooling_param": Reading(
            "deconvnet",
            None,
            "unpool 1 UnpoolMethod =MAX; kernel_size 2 uint32; stride 3 uint32 =1; pad 4 uint32 =0; kernel_h 5 uint32; "
            "kernel_w 6 uint32; stride_h 7 uint32; stride_w 8 uint32; pad_h 9 uint32 =0; pad_w 10 uint32 =0; "
            "engine 11 Engine =DEFAULT; unpool_size 12 uint32; unpool_h 13 uint32; unpool_w 14 uint32 "
            "| UnpoolMethod: MAX=0, AVE=1, TILE=2 | Engine: DEFAULT=0, CAFFE=1",
        )
    },
)
@dataclass(frozen=True)
class Unpooling(Operation):
    """DeconvNet's: MAX by the mask of a pooling, or to the windows' corners; AVE and TILE over the windows."""

    @classmethod
    def parse(cls, layer: Layer, bottoms: Sequence[Shape]) -> Operation:
        p = layer.param("unpooling_param")
        check_mask(bottoms)
        size = _sides(p, "unpool_size", "unpool", None)
        kernel, stride = _sides(p, "kernel_size", "kernel", None), _sides(p, "stride", "stride", 1)
        if _sides(p, "pad", "pad", 0) != (0, 0):
            raise LayerError("pad must be 0, the fork takes no other")
        if min(*kernel, *stride, *size) < 1:
            raise LayerError("kernel, stride and unpool size must be at least 1 in each axis")
        bottom = (bottoms[0][2], bottoms[0][3])
        if p.unpool == "MAX":
            return Unpool(size) if len(bottoms) > 1 else _Corners(stride, size, bottom)
        return _Spread(bottoms[0][1], kernel, stride, size, p.unpool == "AVE", bottom)


def _sides(p: Fields, name: str, short: str, default: int | None) -> Pair:
    """A field for both axes, or its _h and _w forms together; never both."""
    sides = (f"{short}_h", f"{short}_w")
    given = [side for side in sides if side in p]
    if name in p and given:
        raise LayerError(f"{name} and {given[0]} are both set; the fork takes one form or the other")
    if len(given) == 1:
        raise LayerError(f"{sides[0]} and {sides[1]} must be set together")
    if given:
        return getattr(p, sides[0]), getattr(p, sides[1])
    if name not in p and default is None:
        raise LayerError(f"{name} is missing; set it, or {sides[0]} and {sides[1]}")
    return (getattr(p, name),) * 2


@layer(
    "MaxUnPool",
    bottoms=(2, 2),
    max_unpool_param="dst_h dst_w",
    proto={"max_unpool_param": Reading("inisis", None, "dst_h 1 uint32; dst_w 2 uint32")},
)
@dataclass(frozen=True)
class MaxUnPool(Operation):
    """Of inisis's fork: by the mask of a pooling, to a given size."""

    @classmethod
    def parse(cls, layer: Layer, bottoms: Sequence[Shape]) -> Unpool:
        p = layer.param("max_unpool_param")
        check_mask(bottoms)
        if not p.dst_h or not p.dst_w:
            raise LayerError("dst_h and dst_w must both be set, to at least 1")
        return Unpool((p.dst_h, p.dst_w))
