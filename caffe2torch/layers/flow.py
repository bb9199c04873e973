"""FlowNet2's layers that work pixel by pixel: FlowWarp, ChannelNorm, Mean and NegReLU."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from caffe2torch.calls import Step, literal, number
from caffe2torch.layers.labels import BOOL, FLOAT
from caffe2torch.net import Layer, Shape
from caffe2torch.registry import LayerError, Operation, layer

if TYPE_CHECKING:
    from caffe2torch.onnx_model import LayerNodes

MANY = float("inf")


@layer(
    "FlowWarp",
    bottoms=(2, 2),
    flow_warp_param="fill_value",
    proto={"flow_warp_param": "fill_value 1 FillParameter =ZERO | FillParameter: ZERO=1, NOT_A_NUMBER=2"},
)
@dataclass(frozen=True)
class FlowWarp(Operation):
    """The first bottom, read where the second (x and y, in pixels) points to; 0 or NaN outside of the map.

    Places up to the right and lower edge of the last pixels are inside.
    """

    nan: bool

    @classmethod
    def parse(cls, layer: Layer, bottoms: Sequence[Shape]) -> FlowWarp:
        image, flow = bottoms
        if len(image) != 4 or flow != (image[0], 2, *image[2:]):
            raise LayerError(f"the flow {flow} must have 2 channels, else the shape of the image {image}")
        return cls(layer.param("flow_warp_param").fill_value == "NOT_A_NUMBER")

    def made(self, bottoms: Sequence[Shape]) -> int:
        return prod(bottoms[1][1:])

    def torch(self) -> Step:
        return Step('warp({0}, {1}, float("nan"))' if self.nan else "warp({0}, {1})")

    def onnx(self, nodes: LayerNodes) -> None:
        height, width = nodes.input_shapes[0][2:]
        pixels = np.stack(np.meshgrid(np.arange(width), np.arange(height))).astype(np.float32)
        place = nodes.add("Add", [nodes.inputs[1], nodes.constant(pixels, "pixels")])
        size = np.array([width, height], np.float32).reshape(2, 1, 1)
        begin = nodes.add("GreaterOrEqual", [place, nodes.constant(np.float32(0), "zero")])
        end = nodes.add("Less", [place, nodes.constant(size, "size")])
        inside = nodes.add("Cast", [nodes.add("And", [begin, end])], to=FLOAT)
        inside = nodes.add("Cast", [nodes.add("ReduceMin", [inside], axes=[1])], to=BOOL)
        # GridSample counts from -1 to 1, edge to edge.
        grid = nodes.add("Mul", [place, nodes.constant(2 / size, "scale")])
        grid = nodes.add("Add", [grid, nodes.constant(1 / size - 1, "shift")])
        grid = nodes.add("Transpose", [grid], perm=[0, 2, 3, 1])
        read = nodes.add("GridSample", [nodes.inputs[0], grid], mode="bilinear", padding_mode="border")
        nodes.add("Where", [inside, read, nodes.constant(np.float32(np.nan if self.nan else 0), "fill")], nodes.outputs)


@layer("ChannelNorm")
@dataclass(frozen=True)
class ChannelNorm(Operation):
    """The length of each pixel's vector of channels."""

    @classmethod
    def parse(cls, layer: Layer, bottoms: Sequence[Shape]) -> ChannelNorm:
        if len(bottoms[0]) != 4:
            raise LayerError(f"the bottom has {len(bottoms[0])} axes; 4 are supported")
        return cls()

    def shape(self, bottoms: Sequence[Shape]) -> list[Shape]:
        return [(bottoms[0][0], 1, *bottoms[0][2:])]

    def torch(self) -> Step:
        return Step("torch.linalg.vector_norm({0}, dim=1, keepdim=True)")

    def onnx(self, nodes: LayerNodes) -> None:
        nodes.add("ReduceL2", nodes.inputs, nodes.outputs, axes=[1])


@layer(
    "Mean",
    bottoms=(1, MANY),
    tops=(1, MANY),
    mean_param="operation value mean_scale input_scale output_scale",
    proto={
        "mean_param": "operation 1 MeanOperation!; file 2 string; value 3 float*; mean_scale 4 float =1; "
        "input_scale 5 float =1; output_scale 6 float =1 | MeanOperation: ADD=1, SUBTRACT=4"
    },
)
@dataclass(frozen=True)
class Mean(Operation):
    """output_scale * (input_scale * x + mean) of each bottom, with a mean for each channel.

    If the bottom has more channels than there are values, they begin again. A mean from a file is refused.
    """

    means: tuple[float, ...]  # with mean_scale, and the operation's sign
    input_scale: float
    output_scale: float
    channels: tuple[int, ...]  # of the bottoms

    @classmethod
    def parse(cls, layer: Layer, bottoms: Sequence[Shape]) -> Mean:
        p = layer.param("mean_param")
        if len(bottoms) != len(layer.tops):
            raise LayerError(f"it has {len(bottoms)} bottoms and {len(layer.tops)} tops, Caffe wants as many")
        if "operation" not in p or not p.value:
            raise LayerError("operation and value must be set")
        if any(len(shape) != 4 or shape[1] % len(p.value) for shape in bottoms):
            raise LayerError(
                f"its bottoms {', '.join(map(str, bottoms))} must have 4 axes, and a multiple of {len(p.value)} "
                "channels, as there are values"
            )
        sign = -1 if p.operation == "SUBTRACT" else 1
        means = tuple(sign * p.mean_scale * value for value in p.value)
        if len(set(means)) == 1:
            means = means[:1]
        return cls(means, p.input_scale, p.output_scale, tuple(shape[1] for shape in bottoms))

    def shape(self, bottoms: Sequence[Shape]) -> list[Shape]:
        return list(bottoms)

    def torch(self) -> Step:
        return Step(", ".join(self._expression(f"{{{index}}}", size) for index, size in enumerate(self.channels)))

    def _expression(self, x: str, channels: int) -> str:
        scaled = x if self.input_scale == 1 else f"{number(self.input_scale)} * {x}"
        if len(self.means) == 1:
            mean = self.means[0]
            total = f"{scaled} {'-' if mean < 0 else '+'} {number(abs(mean))}"
        else:
            repeats = channels // len(self.means)
            values = ", ".join(literal(float(mean)) for mean in self.means)
            again = f".repeat({repeats})" if repeats > 1 else ""
            total = f"{scaled} + {x}.new_tensor([{values}]){again}[:, None, None]"
        return total if self.output_scale == 1 else f"{number(self.output_scale)} * ({total})"

    def onnx(self, nodes: LayerNodes) -> None:
        for bottom, channels, output in zip(nodes.inputs, self.channels, nodes.outputs, strict=True):
            x = bottom
            means = np.resize(np.array(self.means, np.float32), (channels, 1, 1))
            if self.input_scale != 1:
                x = nodes.add("Mul", [x, nodes.constant(np.float32(self.input_scale), "scale")])
            last = [output] if self.output_scale == 1 else 1
            x = nodes.add("Add", [x, nodes.constant(means, "mean")], last)
            if self.output_scale != 1:
                nodes.add("Mul", [x, nodes.constant(np.float32(self.output_scale), "scale")], [output])


@layer("NegReLU", relu_param="negative_slope engine")
@dataclass(frozen=True)
class NegReLU(Operation):
    """What is below 0; what is above it times ``negative_slope``."""

    slope: float

    @classmethod
    def parse(cls, layer: Layer, bottoms: Sequence[Shape]) -> NegReLU:
        return cls(layer.param("relu_param").negative_slope)

    def torch(self) -> Step:
        if self.slope:
            return Step(f"-F.leaky_relu(-{{0}}, {number(self.slope)})")
        return Step("{0}.clamp(max=0)")

    def onnx(self, nodes: LayerNodes) -> None:
        if not self.slope:
            nodes.add("Min", [nodes.inputs[0], nodes.constant(np.float32(0), "zero")], nodes.outputs)
            return
        turned = nodes.add("LeakyRelu", [nodes.add("Neg", nodes.inputs)], alpha=self.slope)
        nodes.add("Neg", [turned], nodes.outputs)
