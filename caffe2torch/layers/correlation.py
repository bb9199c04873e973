"""Correlation of FlowNet2: how alike two maps are where the second is displaced."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from caffe2torch.calls import Step
from caffe2torch.layers.loops import Body
from caffe2torch.layers.windows import padding
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
        height, width = self._extent(bottoms[0])
        return padding(bottoms[0][2:], (2 * self.pad,) * 2) * bottoms[0][1] + len(self._shifts()) * height * width

    def multiply_adds(self, bottoms: Sequence[Shape]) -> int:
        _, shifts, height, width = self.shape(bottoms)[0]
        return bottoms[0][0] * bottoms[0][1] * shifts * height * width * self.kernel**2

    def torch(self) -> Step:
        options = {"step": (self.step, 1), "kernel": (self.kernel, 1), "stride": (self.stride, 1), "pad": (self.pad, 0)}
        given = "".join(f", {name}={value}" for name, (value, default) in options.items() if value != default)
        return Step(f"correlation({{0}}, {{1}}, {self.reach}{given}{', subtract=True' if self.subtract else ''})")

    def onnx(self, nodes: LayerNodes) -> None:
        """Row by row of displacements, in a Loop."""
        first, second = (self._padded(nodes, value) for value in nodes.inputs)
        height, width = self._extent(nodes.input_shapes[0])
        first = _window(nodes, first, (self.reach, self.reach), (height, width))
        shifts = self._shifts()
        body = Body(nodes, "displace")
        turn, going = body.inputs(("int64", []), ("bool", []))
        start = body.add("Mul", [turn, nodes.constant(np.array([self.step], np.int64), "step")])
        start = body.add("Add", [start, nodes.constant(np.array([shifts.start], np.int64), "first")])
        end = body.add("Add", [start, nodes.constant(np.array([height], np.int64), "rows")])
        band = body.add("Slice", [second, start, end, nodes.constant(np.array([2], np.int64), "axis")])
        alike = self._differences if self.subtract else self._products
        row = alike(nodes, body, first, band, (height, width))
        graph = body.graph(("bool", body.add("Identity", [going]), []), ("float32", row, [None] * 4))
        count, always = nodes.constant(np.int64(len(shifts)), "count"), nodes.constant(np.bool_(True), "always")
        rows = nodes.add("Transpose", [nodes.add("Loop", [count, always], body=graph)], perm=[1, 0, 4, 2, 3])

        plain = self.kernel == self.stride == 1
        shape = nodes.batched([nodes.input_shapes[0][0], len(shifts) ** 2, height, width])
        joined = nodes.reshape(rows, shape, nodes.outputs[0] if plain else None)
        if not plain:
            sides = {"kernel_shape": [self.kernel] * 2, "strides": [self.stride] * 2}
            nodes.add("AveragePool", [joined], nodes.outputs, **sides)

    def _products(self, nodes: LayerNodes, body: Body, first: str, band: str, size: tuple[int, int]) -> str:
        """Means of products, (N, height, width, displacements): of the products of all columns with all, a band."""
        width, columns = size[1], size[1] + 2 * self.reach
        scale = nodes.constant(np.float32(1 / nodes.input_shapes[0][1]), "mean")
        lines = nodes.add("Mul", [nodes.add("Transpose", [first], perm=[0, 2, 3, 1]), scale])
        every = body.add("MatMul", [lines, body.add("Transpose", [band], perm=[0, 2, 1, 3])])
        # With one number more in each line, what lies on a diagonal comes to lie in a column.
        flat = body.add("Reshape", [every, nodes.constant(np.array([0, 0, -1], np.int64), "flat")])
        flat = body.add("Pad", [flat, nodes.constant(np.array([0] * 5 + [width], np.int64), "pads")])
        wide = body.add("Reshape", [flat, nodes.constant(np.array([0, 0, width, columns + 1], np.int64), "shape")])
        shifts = self._shifts()
        places = ((shifts.start,), (shifts.stop,), (3,), (self.step,))
        return body.add("Slice", [wide, *(nodes.constant(np.array(each, np.int64), "place") for each in places)])

    def _differences(self, nodes: LayerNodes, body: Body, first: str, band: str, size: tuple[int, int]) -> str:
        """Means of absolute differences, (N, height, width, displacements)."""
        columns = np.arange(size[1])[:, None] + np.array(self._shifts())
        moved = body.add("Gather", [band, nodes.constant(columns.astype(np.int64), "columns")], axis=3)
        still = nodes.add("Unsqueeze", [first, nodes.constant(np.array([4], np.int64), "axis")])
        return body.add("ReduceMean", [body.add("Abs", [body.add("Sub", [still, moved])])], axes=[1], keepdims=0)

    def _padded(self, nodes: LayerNodes, value: str) -> str:
        if not self.pad:
            return value
        pads = np.array([0, 0, self.pad, self.pad] * 2, np.int64)
        return str(nodes.add("Pad", [value, nodes.constant(pads, "pads")]))


def _window(nodes: LayerNodes, value: str, start: tuple[int, int], size: tuple[int, int]) -> str:
    """Rows and columns of a map."""
    bounds = [start, (start[0] + size[0], start[1] + size[1]), (2, 3)]
    return str(nodes.add("Slice", [value, *(nodes.constant(np.array(each, np.int64), "bound") for each in bounds)]))
