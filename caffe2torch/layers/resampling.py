"""FlowNet2's maps of another size: Resample and Downsample."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from caffe2torch.calls import Step
from caffe2torch.checks import check_made
from caffe2torch.layers.labels import FLOAT
from caffe2torch.net import Layer, Shape
from caffe2torch.registry import LayerError, Operation, layer

if TYPE_CHECKING:
    from caffe2torch.onnx_model import LayerNodes

Pair = tuple[int, int]
ONE = np.float32(1)


@layer(
    "Resample",
    bottoms=(1, 2),
    resample_param="antialias width height type factor",
    proto={
        "resample_param": "antialias 4 bool =true; width 1 uint32; height 2 uint32; type 3 ResampleType =LINEAR; "
        "factor 5 float =1.0 | ResampleType: NEAREST=1, LINEAR=2, CUBIC=3, AREA=4"
    },
)
@dataclass(frozen=True)
class Resample(Operation):
    """Edges onto edges, to ``height`` and ``width`` or the second bottom's; nothing reads ``factor``.

    Each pixel is put together by the weights of a filter, as wide as a pixel of the top where ``antialias`` and one of
    the sizes becomes smaller. The fork shifts each axis by half the step of the *other* one, which is kept.
    """

    size: Pair
    mode: str
    antialias: bool
    old: Pair  # the bottom's height and width
    measured = (1,)

    @classmethod
    def parse(cls, layer: Layer, bottoms: Sequence[Shape]) -> Resample:
        p, old = layer.param("resample_param"), map_size(bottoms[0])
        if p.type == "AREA":
            raise LayerError("type=AREA is not supported, by the fork neither")
        size = map_size(bottoms[1]) if len(bottoms) > 1 else (p.height, p.width)
        if min(size) < 1:
            raise LayerError(f"height {size[0]} and width {size[1]} must be at least 1")
        operation = cls(size, p.type, p.antialias and p.type != "NEAREST", old)
        check_made(operation.made(bottoms))  # before places are made
        if p.type == "NEAREST" and operation._places().max() >= old[0] * old[1]:
            raise LayerError(
                f"from {old} to {size} the nearest pixels lie outside of the bottom: the fork shifts each axis by half "
                "the step of the other one"
            )
        return operation

    def shape(self, bottoms: Sequence[Shape]) -> list[Shape]:
        return [(*bottoms[0][:2], *self.size)]

    def made(self, bottoms: Sequence[Shape]) -> int:
        matrices = sum(new * old for new, old in zip(self.size, self.old, strict=True))
        return prod(self.size) if self.mode == "NEAREST" else matrices

    def torch(self) -> Step:
        if self.mode == "NEAREST":
            return Step(f"resample_nearest({{0}}, {self.size})")
        options = "" if self.mode == "LINEAR" else ", cubic=True"
        return Step(f"resample({{0}}, {self.size}{options}{'' if self.antialias else ', antialias=False'})")

    def onnx(self, nodes: LayerNodes) -> None:
        if self.mode == "NEAREST":
            items, channels = nodes.input_shapes[0][:2]
            flat = nodes.reshape(nodes.inputs[0], nodes.batched([items, channels, self.old[0] * self.old[1]]))
            nodes.add("Gather", [flat, nodes.constant(self._places(), "places")], nodes.outputs, axis=2)
            return
        steps = self._steps()
        wide = self.antialias and max(steps) > 1
        rows, columns = (
            _filter(self._centres(axis), self.old[axis], self.mode, steps[axis] if wide else ONE) for axis in (0, 1)
        )
        columns_first = nodes.add("MatMul", [nodes.inputs[0], nodes.constant(columns.T, "columns")])
        nodes.add("MatMul", [nodes.constant(rows, "rows"), columns_first], nodes.outputs)

    def _steps(self) -> tuple[np.float32, np.float32]:
        rows, columns = (np.float32(old) / np.float32(new) for old, new in zip(self.old, self.size, strict=True))
        return rows, columns

    def _centres(self, axis: int) -> np.ndarray:
        """Where each row or column of the top lies in the bottom."""
        steps = self._steps()
        places = np.arange(self.size[axis], dtype=np.float32) * steps[axis]
        return np.asarray(places + steps[1 - axis] / np.float32(2) - np.float32(0.5))

    def _places(self) -> np.ndarray:
        """The nearest pixels in a plane's memory; beyond the end of a row the next one begins."""
        rows, columns = (np.floor(self._centres(axis) + np.float32(0.5)).astype(np.int64) for axis in (0, 1))
        return np.asarray(rows[:, None] * self.old[1] + columns)


@layer(
    "Downsample",
    bottoms=(1, 2),
    downsample_param="top_height top_width",
    proto={"downsample_param": "top_height 1 uint32 =0; top_width 2 uint32 =0"},
)
@dataclass(frozen=True)
class Downsample(Operation):
    """Weighted means around each place, corners onto corners; the size is given, or the second bottom's.

    NaN do not count; where they weigh more than half of what counts, the result is NaN.
    """

    size: Pair
    old: Pair
    measured = (1,)

    @classmethod
    def parse(cls, layer: Layer, bottoms: Sequence[Shape]) -> Downsample:
        p, old = layer.param("downsample_param"), map_size(bottoms[0])
        size = map_size(bottoms[1]) if len(bottoms) > 1 else (p.top_height, p.top_width)
        if min(size) < 1:
            raise LayerError(f"top_height {size[0]} and top_width {size[1]} must be at least 1")
        if size != old and 1 in (*size, *old):
            raise LayerError(f"from {old} to {size}: the fork divides by 0 where a height or width is 1")
        return cls(size, old)

    def shape(self, bottoms: Sequence[Shape]) -> list[Shape]:
        return [(*bottoms[0][:2], *self.size)]

    def made(self, bottoms: Sequence[Shape]) -> int:
        return sum(new * old for new, old in zip(self.size, self.old, strict=True))

    def torch(self) -> Step:
        return Step("{0}" if self.size == self.old else f"downsample({{0}}, {self.size})")

    def onnx(self, nodes: LayerNodes) -> None:
        if self.size == self.old:
            nodes.add("Identity", nodes.inputs, nodes.outputs)
            return
        x, zero = nodes.inputs[0], nodes.constant(np.float32(0), "zero")
        missing = nodes.add("IsNaN", [x])
        present = nodes.add("Cast", [nodes.add("Not", [missing])], to=FLOAT)
        total, counted, lost = (
            self._weighted(nodes, value)
            for value in (nodes.add("Where", [missing, zero, x]), present, nodes.add("Cast", [missing], to=FLOAT))
        )
        share = nodes.add("Div", [lost, counted])
        gone = nodes.add("Greater", [share, nodes.constant(np.float32(0.5), "half")])
        nan = nodes.constant(np.float32(np.nan), "nan")
        nodes.add("Where", [gone, nan, nodes.add("Div", [total, counted])], nodes.outputs)

    def _weighted(self, nodes: LayerNodes, value: str) -> str:
        rows, columns = (self._weights(axis) for axis in (0, 1))
        columns_first = nodes.add("MatMul", [value, nodes.constant(columns.T, "columns")])
        return str(nodes.add("MatMul", [nodes.constant(rows, "rows"), columns_first]))

    def _weights(self, axis: int) -> np.ndarray:
        """How much each row (column) of the bottom counts for each of the top."""
        old, new = (np.float32(sizes[axis] - 1) for sizes in (self.old, self.size))
        centres = np.arange(self.size[axis], dtype=np.float32) / new * old
        distance = np.abs(centres[:, None] - np.arange(self.old[axis], dtype=np.float32)) / (old / new)
        return np.maximum(ONE - distance, 0)


def map_size(shape: Shape) -> Pair:
    """Height and width; LayerError if there are not 4 axes."""
    if len(shape) != 4:
        raise LayerError(f"a bottom has {len(shape)} axes; 4 are supported")
    return shape[2], shape[3]


def _filter(centres: np.ndarray, size: int, mode: str, width: np.float32) -> np.ndarray:
    """(centres, size): how much each of ``size`` numbers counts at each centre; rows of sum 1, or 0 outside of all."""
    numbers = np.arange(size, dtype=np.float32)
    distance = np.abs(centres[:, None] - numbers) * (ONE / width)
    if mode == "LINEAR":
        weights = np.maximum(ONE - distance, 0)
    else:
        near = distance * distance * (1.5 * distance - 2.5) + 1
        far = distance * (distance * (-0.5 * distance + 2.5) - 4) + 2
        weights = np.where(distance <= 1, near, np.where(distance < 2, far, 0)).astype(np.float32)
    total = weights.sum(1, keepdims=True)
    return np.asarray(weights / np.where(total == 0, ONE, total))
