"""Convolution."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from caffe2torch.calls import Call, Step, same
from caffe2torch.net import Fields, Layer, Shape
from caffe2torch.registry import LayerError, Operation, Param, canonical_axis, layer

if TYPE_CHECKING:
    from caffe2torch.onnx_model import LayerNodes

_FIELDS = (
    "num_output bias_term pad kernel_size stride dilation pad_h pad_w kernel_h kernel_w stride_h stride_w "
    "group weight_filler bias_filler engine axis force_nd_im2col"
)


def spatial(p: Fields, name: str, axes: int, default: int | None) -> Shape:
    """One number an axis from ``kernel_size``/``stride``/``pad`` or their _h and _w forms, as Caffe reads them."""
    short = name.removesuffix("_size")
    given = getattr(p, name)
    pair = [f"{short}_h", f"{short}_w"]
    if any(side in p for side in pair):
        if given:
            raise LayerError(f"{name} and {short}_h/{short}_w are both set; Caffe takes one form or the other")
        if axes != 2:
            raise LayerError(f"{short}_h and {short}_w need 2 spatial axes, here are {axes}")
        return tuple(getattr(p, side) for side in pair)
    if not given and default is not None:
        return (default,) * axes
    if len(given) not in (1, axes):
        raise LayerError(f"{name} has {len(given)} values for {axes} spatial axes")
    return tuple(given) * (axes if len(given) == 1 else 1)


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
        axis = canonical_axis(p.axis, len(shape))
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
            dilation=_dilation(p, axes),
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

    def _state_weight(self, blob: np.ndarray) -> np.ndarray:
        # Without spatial axes torch convolves over one axis of length 1.
        return blob if self.kernel else blob.reshape(*blob.shape, 1)

    def state(self, blobs: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        state = super().state(blobs)
        return {**state, "weight": self._state_weight(state["weight"])}

    def _constructor(self, target: str, **extra: Any) -> Call:
        axes = max(len(self.kernel), 1)
        options: dict[str, Any] = {
            "stride": (same(self.stride or (1,)), 1),
            "padding": (same(self.pad or (0,)), 0),
            "dilation": (same(self.dilation or (1,)), 1),
            "groups": (self.group, 1),
            "bias": (self.bias, True),
        }
        kwargs = {name: value for name, (value, default) in options.items() if value != default}
        return Call(f"{target}{axes}d", self.channels, self.num_output, same(self.kernel or (1,)), **kwargs, **extra)

    def _around(self, bottom: str) -> str:
        """The expression that brings a bottom into torch's form and the result back."""
        if self.axis > 1:
            return f"{{self}}({bottom}.flatten(0, {self.axis - 1})).unflatten(0, {bottom}.shape[:{self.axis}])"
        if self.axis == 0:
            return f"{{self}}({bottom}.unsqueeze(0)).squeeze(0)"
        if not self.kernel:
            return f"{{self}}({bottom}.unsqueeze(-1)).squeeze(-1)"
        return f"{{self}}({bottom})"

    def _step(self, call: Call) -> Step:
        return Step(", ".join(self._around(f"{{{index}}}") for index in range(self.count)), call)

    def _emit(self, nodes: LayerNodes, operator: str, **attributes: Any) -> None:
        weight = nodes.state("weight")
        bias = [nodes.state("bias")] if self.bias else []
        axes = max(len(self.kernel), 1)
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
                pads=(list(self.pad) or [0]) * 2,
                dilations=list(self.dilation) or [1] * axes,
                group=self.group,
                **attributes,
            )
            if not direct:
                nodes.reshape(y, nodes.batched(nodes.output_shapes[index]), nodes.outputs[index])


def _dilation(p: Fields, axes: int) -> Shape:
    given = p.dilation
    if len(given) not in (0, 1, axes):
        raise LayerError(f"dilation has {len(given)} values for {axes} spatial axes")
    return tuple(given) if len(given) == axes else tuple(given or (1,)) * axes


@layer("Convolution", bottoms=(1, float("inf")), tops=(1, float("inf")), convolution_param=_FIELDS)
@dataclass(frozen=True)
class Convolution(_Windows):
    """Windows over any number of axes behind ``axis``; the output's size is rounded down."""

    def shape(self, bottoms: Sequence[Shape]) -> list[Shape]:
        shape = bottoms[0]
        sizes = []
        for size, kernel, stride, pad, dilation in zip(
            shape[self.axis + 1 :], self.kernel, self.stride, self.pad, self.dilation, strict=True
        ):
            room = size + 2 * pad - (dilation * (kernel - 1) + 1)
            if room < 0:
                raise LayerError(
                    f"the window of {dilation * (kernel - 1) + 1} is larger than the padded input of {size + 2 * pad}"
                )
            sizes.append(room // stride + 1)
        return [(*shape[: self.axis], self.num_output, *sizes)] * self.count

    def params(self) -> tuple[Param, ...]:
        weight = (self.num_output, self.channels // self.group, *self.kernel)
        bias = (Param("bias", (self.num_output,), self.bias_filler),) if self.bias else ()
        return (Param("weight", weight, self.weight_filler), *bias)

    def multiply_adds(self, bottoms: Sequence[Shape]) -> int:
        window = self.channels // self.group * prod(self.kernel)
        return sum(prod(top) for top in self.shape(bottoms)) * window

    def torch(self) -> Step:
        return self._step(self._constructor("nn.Conv"))

    def onnx(self, nodes: LayerNodes) -> None:
        self._emit(nodes, "Conv")
