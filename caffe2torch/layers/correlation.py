"""Correlation of FlowNet2: how alike two maps are where the second is displaced."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from caffe2torch.calls import Step
from caffe2torch.layers.windows import padding
from caffe2torch.limits import NODE
from caffe2torch.net import Layer, Shape
from caffe2torch.registry import LayerError, Operation, layer

if TYPE_CHECKING:
    from caffe2torch.onnx_model import LayerNodes


@layer(
    "Correlation",
    bottoms=(2, 2),
    # single_direction is Correlation1D's; nothing reads do_abs
    correlation_param="pad kernel_size max_displacement stride_1 stride_2 single_direction do_abs correlation_type",
    proto={
        "correlation_param": "pad 2 uint32 =0; kernel_size 3 uint32; max_displacement 4 uint32; stride_1 5 uint32 =1; "
        "stride_2 6 uint32 =1; single_direction 8 int32 =0; do_abs 7 bool =false; "
        "correlation_type 15 CorrelationType =MULTIPLY | CorrelationType: MULTIPLY=0, SUBTRACT=1"
    },
)
@dataclass(frozen=True)
class Correlation(Operation):
    """Means of products (or of absolute differences) over windows and channels, a channel for each displacement.

    Displacements are the multiples of ``step`` from -reach to reach, rows before columns. ``pad`` zeros surround both
    bottoms; windows lie where all displaced ones are inside, ``stride`` apart.
    """

    kernel: int
    reach: int
    step: int
    stride: int
    pad: int
    subtract: bool

    @classmethod
    def parse(cls, layer: Layer, bottoms: Sequence[Shape]) -> Correlation:
        p = layer.param("correlation_param")
        if len(bottoms[0]) != 4 or bottoms[0] != bottoms[1]:
            raise LayerError(f"its bottoms {bottoms[0]} and {bottoms[1]} must have one shape of 4 axes")
        if "kernel_size" not in p or "max_displacement" not in p:
            raise LayerError("kernel_size and max_displacement must be set")
        if p.kernel_size % 2 == 0:
            raise LayerError(f"kernel_size {p.kernel_size} must be odd")
        if min(p.stride_1, p.stride_2) < 1:
            raise LayerError(f"stride_1 {p.stride_1} and stride_2 {p.stride_2} must be at least 1")
        subtract = p.correlation_type == "SUBTRACT"
        operation = cls(p.kernel_size, p.max_displacement, p.stride_2, p.stride_1, p.pad, subtract)
        if min(operation._extent(bottoms[0])) < p.kernel_size:
            raise LayerError(
                f"a window of {p.kernel_size} displaced by {p.max_displacement} does not fit in the bottom "
                f"{bottoms[0]} padded by {p.pad}"
            )
        return operation

    def _shifts(self) -> range:
        """The displacements along an axis, counted from -reach."""
        return range(self.reach % self.step, 2 * self.reach + 1, self.step)

    def _extent(self, bottom: Shape) -> tuple[int, int]:
        """Rows and columns of the first bottom, padded, that windows may see."""
        height, width = (size + 2 * (self.pad - self.reach) for size in bottom[2:])
        return height, width

    def shape(self, bottoms: Sequence[Shape]) -> list[Shape]:
        height, width = ((size - self.kernel) // self.stride + 1 for size in self._extent(bottoms[0]))
        return [(bottoms[0][0], len(self._shifts()) ** 2, height, width)]

    def made(self, bottoms: Sequence[Shape]) -> int:
        planes = padding(bottoms[0][2:], (2 * self.pad,) * 2) * bottoms[0][1]
        return planes + NODE * len(self._shifts()) ** 2

    def multiply_adds(self, bottoms: Sequence[Shape]) -> int:
        _, shifts, height, width = self.shape(bottoms)[0]
        return bottoms[0][0] * bottoms[0][1] * shifts * height * width * self.kernel**2

    def torch(self) -> Step:
        options = {"step": (self.step, 1), "kernel": (self.kernel, 1), "stride": (self.stride, 1), "pad": (self.pad, 0)}
        given = "".join(f", {name}={value}" for name, (value, default) in options.items() if value != default)
        return Step(f"correlation({{0}}, {{1}}, {self.reach}{given}{', subtract=True' if self.subtract else ''})")

    def onnx(self, nodes: LayerNodes) -> None:
        first, second = (self._padded(nodes, value) for value in nodes.inputs)
        height, width = self._extent(nodes.input_shapes[0])
        first = _window(nodes, first, (self.reach, self.reach), (height, width))
        maps = []
        for row in self._shifts():
            band = _window(nodes, second, (row, 0), (height, width + 2 * self.reach))
            for column in self._shifts():
                moved = _window(nodes, band, (0, column), (height, width))
                if self.subtract:
                    likeness = nodes.add("Abs", [nodes.add("Sub", [first, moved])])
                else:
                    likeness = nodes.add("Mul", [first, moved])
                maps.append(nodes.add("ReduceMean", [likeness], axes=[1]))
        plain = self.kernel == self.stride == 1
        joined = nodes.add("Concat", maps, nodes.outputs if plain else 1, axis=1)
        if not plain:
            sides = {"kernel_shape": [self.kernel] * 2, "strides": [self.stride] * 2}
            nodes.add("AveragePool", [joined], nodes.outputs, **sides)

    def _padded(self, nodes: LayerNodes, value: str) -> str:
        if not self.pad:
            return value
        pads = np.array([0, 0, self.pad, self.pad] * 2, np.int64)
        return str(nodes.add("Pad", [value, nodes.constant(pads, "pads")]))


def _window(nodes: LayerNodes, value: str, start: tuple[int, int], size: tuple[int, int]) -> str:
    """Rows and columns of a map."""
    bounds = [start, (start[0] + size[0], start[1] + size[1]), (2, 3)]
    return str(nodes.add("Slice", [value, *(nodes.constant(np.array(each, np.int64), "bound") for each in bounds)]))
