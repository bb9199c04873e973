"""InnerProduct."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from caffe2torch.calls import Call, Step
from caffe2torch.net import Fields, Layer, Shape
from caffe2torch.registry import LayerError, Operation, Param, canonical_axis, layer

if TYPE_CHECKING:
    from caffe2torch.onnx_model import LayerNodes


@layer(
    "InnerProduct",
    inner_product_param="num_output bias_term weight_filler bias_filler axis transpose",
)
@dataclass(frozen=True)
class InnerProduct(Operation):
    """A matrix product over all axes from ``axis`` on, flattened."""

    in_features: int
    num_output: int
    bias: bool
    axis: int
    axes: int  # of the bottom
    transpose: bool  # the file's weights are K x N
    weight_filler: Fields
    bias_filler: Fields
    held: Shape | None = None  # the weights are another layer's too, and lie as the file has them, in this shape

    @classmethod
    def parse(cls, layer: Layer, bottoms: Sequence[Shape]) -> InnerProduct:
        p = layer.param("inner_product_param")
        shape = bottoms[0]
        axis = canonical_axis(p.axis, len(shape))
        if p.num_output < 1:
            raise LayerError("num_output is missing or 0")
        return cls(
            in_features=prod(shape[axis:]),
            num_output=p.num_output,
            bias=p.bias_term,
            axis=axis,
            axes=len(shape),
            transpose=p.transpose,
            weight_filler=p.weight_filler,
            bias_filler=p.bias_filler,
        )

    def shape(self, bottoms: Sequence[Shape]) -> list[Shape]:
        return [(*bottoms[0][: self.axis], self.num_output)]

    def params(self) -> tuple[Param, ...]:
        weight = (self.num_output, self.in_features)
        if self.transpose:
            weight = (self.in_features, self.num_output)
        bias = (Param("bias", (self.num_output,), self.bias_filler),) if self.bias else ()
        return (Param("weight", weight, self.weight_filler), *bias)

    def state(self, blobs: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        state = super().state(blobs)
        if self.held is not None:
            state["weight"] = state["weight"].reshape(self.held)
        elif self.transpose:
            state["weight"] = state["weight"].T
        return state

    def holding(self, index: int, shape: Shape) -> InnerProduct | None:
        return replace(self, held=shape) if index == 0 else None

    def multiply_adds(self, bottoms: Sequence[Shape]) -> int:
        return prod(bottoms[0][: self.axis]) * self.in_features * self.num_output

    def torch(self) -> Step:
        options = {} if self.bias else {"bias": False}
        flat = "{0}" if self.axis == self.axes - 1 else f"{{0}}.flatten({self.axis})"
        if self.held is None:
            return Step(f"{{self}}({flat})", Call("nn.Linear", self.in_features, self.num_output, **options))
        tied: dict[str, Any] = {"transposed": True, **options} if self.transpose else options
        return Step(f"{{self}}({flat})", Call("TiedLinear", self.in_features, self.num_output, self.held, **tied))

    def onnx(self, nodes: LayerNodes) -> None:
        x = nodes.inputs[0]
        if not (self.axis == 1 and self.axes == 2):
            x = nodes.add("Flatten", [x], axis=self.axis)
        bias = [nodes.state("bias")] if self.bias else []
        direct = self.axis == 1
        weight, transposed = nodes.state("weight"), True
        if self.held is not None:
            shape, transposed = self.params()[0].shape, not self.transpose
            weight = weight if self.held == shape else nodes.reshape(weight, shape)
        y = nodes.add("Gemm", [x, weight, *bias], nodes.outputs if direct else 1, transB=int(transposed))
        if not direct:
            nodes.reshape(y, nodes.batched(nodes.output_shapes[0]), nodes.outputs[0])
