"""Convolution and Deconvolution."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from caffe2torch.calls import Call, Step, same
from caffe2torch.layers.windows import WINDOW_FIELDS, WINDOW_READING, dilations, padding, spatial, steps
from caffe2torch.net import Fields, Layer, Shape
from caffe2torch.registry import LayerError, Operation, Param, canonical_axis, layer

if TYPE_CHECKING:
    from caffe2torch.onnx_model import LayerNodes


@dataclass(frozen=True)
class _Windows(Operation):
    """What Convolution and Deconvolution share: windows over the axes behind the channels."""

    channels: int
    num_output: int
    kernel: Shape
    stride: Shape
    pad: Shape
    dilation: Shape
    group: int
    bias: bool
    axis: int
    count: int  # bottoms, each with a top of its own
    weight_filler: Fields
    bias_filler: Fields

    @classmethod
    def parse(cls, layer: Layer, bottoms: Sequence[Shape]) -> Any:
        p = layer.param("convolution_param")
        shape = bottoms[0]
        axis = canonical_axis(getattr(p, "axis", 1), len(shape))
        if any(other != shape for other in bottoms):
            raise LayerError("all bottoms must have the same shape")
        if len(layer.tops) != len(bottoms):
            raise LayerError(f"it has {len(bottoms)} bottoms but {len(layer.tops)} tops")
        axes = len(shape) - axis - 1
        operation = cls(
            channels=shape[axis],
            num_output=p.num_output,
            kernel=spatial(p, "kernel_size", axes, None if axes else 1),
            stride=spatial(p, "stride", axes, 1),
            pad=spatial(p, "pad", axes, 0),
            dilation=dilations(p, axes),
            group=p.group,
            bias=p.bias_term,
            axis=axis,
            count=len(bottoms),
            weight_filler=p.weight_filler,
            bias_filler=p.bias_filler,
        )
        operation._check(axes)
        return operation

    def _check(self, axes: int) -> None:
        if axes > 3:
            raise LayerError(f"{axes} spatial axes; torch convolves over at most 3")
        if min(self.kernel, default=1) < 1:
            raise LayerError("the kernel must be at least 1 in each axis; set kernel_size, or kernel_h and kernel_w")
        if min(self.stride, default=1) < 1 or min(self.dilation, default=1) < 1:
            raise LayerError("stride and dilation must be at least 1 in each axis")
        if self.num_output < 1:
            raise LayerError("num_output is missing or 0")
        if self.group < 1 or self.channels % self.group or self.num_output % self.group:
            raise LayerError(
                f"{self.channels} channels and num_output {self.num_output} must both divide by group {self.group}"
            )

    def made(self, bottoms: Sequence[Shape]) -> int:
        return padding(bottoms[0][self.axis + 1 :], tuple(2 * pad for pad in self.pad)) * self.channels

    def _state_weight(self, blob: np.ndarray) -> np.ndarray:
        # Without spatial axes torch convolves over one axis of length 1.
        return blob if self.kernel else blob.reshape(*blob.shape, 1)

    def state(self, blobs: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        state = super().state(blobs)
        return {**state, "weight": self._state_weight(state["weight"])}

    def _constructor(self, target: str) -> Call:
        axes = max(len(self.kernel), 1)
        options: dict[str, Any] = {
            "stride": (same(self.stride or (1,)), 1),
            "padding": (same(self.pad or (0,)), 0),
            "dilation": (same(self.dilation or (1,)), 1),
            "groups": (self.group, 1),
            "bias": (self.bias, True),
        }
        kwargs = {name: value for name, (value, default) in options.items() if value != default}
        return Call(f"{target}{axes}d", self.channels, self.num_output, same(self.kernel or (1,)), **kwargs)

    def _padded(self, bottom: str) -> str:
        """The expression of a bottom with the zeros that the module's own padding does not cover."""
        return bottom

    def _around(self, bottom: str) -> str:
        """The expression that brings a bottom into torch's form and the result back."""
        x, back = self._padded(bottom), ""
        if self.axis > 1:
            x, back = f"{x}.flatten(0, {self.axis - 1})", f".unflatten(0, {bottom}.shape[:{self.axis}])"
        elif self.axis == 0:
            x, back = f"{x}.unsqueeze(0)", ".squeeze(0)"
        if not self.kernel:
            x, back = f"{x}.unsqueeze(-1)", f".squeeze(-1){back}"
        return f"{{self}}({x}){back}"

    def _step(self, call: Call) -> Step:
        return Step(", ".join(self._around(f"{{{index}}}") for index in range(self.count)), call)

    def _emit(self, nodes: LayerNodes, operator: str, beyond: Shape = ()) -> None:
        weight = nodes.state("weight")
        bias = [nodes.state("bias")] if self.bias else []
        begin = list(self.pad) or [0]
        end = [pad + zeros for pad, zeros in zip(begin, beyond or [0] * len(begin), strict=True)]
        for index, bottom in enumerate(nodes.inputs):
            x = bottom
            inner = [*nodes.input_shapes[index][self.axis :], *([] if self.kernel else [1])]
            direct = self.axis == 1 and bool(self.kernel)
            if not direct:
                x = nodes.reshape(x, [-1, *inner])
            y = nodes.add(
                operator,
                [x, weight, *bias],
                [nodes.outputs[index]] if direct else 1,
                kernel_shape=list(self.kernel) or [1],
                strides=list(self.stride) or [1],
                pads=begin + end,
                dilations=list(self.dilation) or [1],
                group=self.group,
            )
            if not direct:
                nodes.reshape(y, nodes.batched(nodes.output_shapes[index]), nodes.outputs[index])


@layer(
    "Convolution",
    bottoms=(1, float("inf")),
    tops=(1, float("inf")),
    convolution_param=WINDOW_FIELDS,
    proto={"convolution_param": WINDOW_READING},
)
@dataclass(frozen=True)
class Convolution(_Windows):
    """Windows over any number of axes behind ``axis``; the output's size is rounded down."""

    beyond: Shape = ()  # zeros to be put behind each spatial axis; () where no window reaches that far

    @classmethod
    def parse(cls, layer: Layer, bottoms: Sequence[Shape]) -> Convolution:
        operation: Convolution = super().parse(layer, bottoms)
        beyond = tuple(zeros for _, zeros in operation._steps(bottoms[0]))
        return replace(operation, beyond=beyond if any(beyond) else ())

    def _steps(self, shape: Shape) -> list[tuple[int, int]]:
        columns = (shape[self.axis + 1 :], self.kernel, self.stride, self.pad, self.dilation)
        return [steps(*column) for column in zip(*columns, strict=True)]

    def shape(self, bottoms: Sequence[Shape]) -> list[Shape]:
        sizes = (count for count, _ in self._steps(bottoms[0]))
        return [(*bottoms[0][: self.axis], self.num_output, *sizes)] * self.count

    def params(self) -> tuple[Param, ...]:
        weight = (self.num_output, self.channels // self.group, *self.kernel)
        bias = (Param("bias", (self.num_output,), self.bias_filler),) if self.bias else ()
        return (Param("weight", weight, self.weight_filler), *bias)

    def multiply_adds(self, bottoms: Sequence[Shape]) -> int:
        window = self.channels // self.group * prod(self.kernel)
        return sum(prod(top) for top in self.shape(bottoms)) * window

    def torch(self) -> Step:
        return self._step(self._constructor("nn.Conv"))

    def _padded(self, bottom: str) -> str:
        pads = [number for zeros in reversed(self.beyond) for number in (0, zeros)]
        return f"F.pad({bottom}, ({', '.join(map(str, pads))}))" if pads else bottom

    def onnx(self, nodes: LayerNodes) -> None:
        self._emit(nodes, "Conv", self.beyond)


@layer(
    "Deconvolution",
    bottoms=(1, float("inf")),
    tops=(1, float("inf")),
    convolution_param=WINDOW_FIELDS,
    proto={"convolution_param": WINDOW_READING},
)
@dataclass(frozen=True)
class Deconvolution(_Windows):
    """Convolution backwards: each number of the bottom adds a window to the top; weights are in x out / group."""

    def shape(self, bottoms: Sequence[Shape]) -> list[Shape]:
        sizes = []
        for size, kernel, stride, pad, dilation in zip(
            bottoms[0][self.axis + 1 :], self.kernel, self.stride, self.pad, self.dilation, strict=True
        ):
            sizes.append(stride * (size - 1) + dilation * (kernel - 1) + 1 - 2 * pad)
        if min(sizes, default=1) < 1:
            raise LayerError(f"pad {self.pad} leaves nothing of the output: its size would be {tuple(sizes)}")
        return [(*bottoms[0][: self.axis], self.num_output, *sizes)] * self.count

    def params(self) -> tuple[Param, ...]:
        weight = (self.channels, self.num_output // self.group, *self.kernel)
        bias = (Param("bias", (self.num_output,), self.bias_filler),) if self.bias else ()
        return (Param("weight", weight, self.weight_filler), *bias)

    def multiply_adds(self, bottoms: Sequence[Shape]) -> int:
        return sum(prod(bottom) for bottom in bottoms) * self.num_output // self.group * prod(self.kernel)

    def torch(self) -> Step:
        return self._step(self._constructor("nn.ConvTranspose"))

    def onnx(self, nodes: LayerNodes) -> None:
        self._emit(nodes, "ConvTranspose")
