"""Functions of single numbers: TanH, AbsVal, BNLL, ELU, Swish, Clip and Threshold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from caffe2torch.calls import Step, literal, number
from caffe2torch.net import Layer, Shape
from caffe2torch.registry import LayerError, Operation, layer, refuse_in_place

if TYPE_CHECKING:
    from caffe2torch.onnx_model import LayerNodes


@layer("TanH", tanh_param="engine")
@dataclass(frozen=True)
class TanH(Operation):
    """tanh(x)."""

    @classmethod
    def parse(cls, layer: Layer, bottoms: Sequence[Shape]) -> TanH:
        return cls()

    def torch(self) -> Step:
        return Step("torch.tanh({0})")

    def onnx(self, nodes: LayerNodes) -> None:
        nodes.add("Tanh", nodes.inputs, nodes.outputs)


@layer("AbsVal")
@dataclass(frozen=True)
class AbsVal(Operation):
    """|x|."""

    @classmethod
    def parse(cls, layer: Layer, bottoms: Sequence[Shape]) -> AbsVal:
        refuse_in_place(layer)
        return cls()

    def torch(self) -> Step:
        return Step("torch.abs({0})")

    def onnx(self, nodes: LayerNodes) -> None:
        nodes.add("Abs", nodes.inputs, nodes.outputs)


@layer("BNLL")
@dataclass(frozen=True)
class BNLL(Operation):
    """log(1 + exp(x))."""

    @classmethod
    def parse(cls, layer: Layer, bottoms: Sequence[Shape]) -> BNLL:
        return cls()

    def torch(self) -> Step:
        return Step("F.softplus({0})")

    def onnx(self, nodes: LayerNodes) -> None:
        nodes.add("Softplus", nodes.inputs, nodes.outputs)


@layer("ELU", elu_param="alpha")
@dataclass(frozen=True)
class ELU(Operation):
    """x above 0, alpha * (exp(x) - 1) below."""

    alpha: float

    @classmethod
    def parse(cls, layer: Layer, bottoms: Sequence[Shape]) -> ELU:
        return cls(layer.param("elu_param").alpha)

    def torch(self) -> Step:
        return Step("F.elu({0})" if self.alpha == 1 else f"F.elu({{0}}, {literal(self.alpha)})")

    def onnx(self, nodes: LayerNodes) -> None:
        nodes.add("Elu", nodes.inputs, nodes.outputs, alpha=self.alpha)


@layer("Swish", swish_param="beta")
@dataclass(frozen=True)
class Swish(Operation):
    """x * sigmoid(beta * x)."""

    beta: float

    @classmethod
    def parse(cls, layer: Layer, bottoms: Sequence[Shape]) -> Swish:
        return cls(layer.param("swish_param").beta)

    def torch(self) -> Step:
        if self.beta == 1:
            return Step("F.silu({0})")
        return Step(f"{{0}} * torch.sigmoid({number(self.beta)} * {{0}})")

    def onnx(self, nodes: LayerNodes) -> None:
        x = nodes.inputs[0]
        if self.beta != 1:
            x = nodes.add("Mul", [x, nodes.constant(np.float32(self.beta), "beta")])
        nodes.add("Mul", [nodes.inputs[0], nodes.add("Sigmoid", [x])], nodes.outputs)


@layer("Clip", clip_param="min max")
@dataclass(frozen=True)
class Clip(Operation):
    """max(min, min(x, max)): ``min`` wins where it is the larger."""

    low: float
    high: float

    @classmethod
    def parse(cls, layer: Layer, bottoms: Sequence[Shape]) -> Clip:
        p = layer.param("clip_param")
        if "min" not in p or "max" not in p:
            raise LayerError("min and max must both be set")
        return cls(p.min, p.max)

    def torch(self) -> Step:
        low, high = number(self.low), number(self.high)
        if self.low > self.high:
            return Step(f"{{0}}.clamp(max={high}).clamp(min={low})")
        return Step(f"{{0}}.clamp({low}, {high})")

    def onnx(self, nodes: LayerNodes) -> None:
        low, high = (nodes.constant(np.float32(value), "bound") for value in (self.low, self.high))
        x = nodes.inputs[0]
        if self.low > self.high:
            nodes.add("Max", [nodes.add("Min", [x, high]), low], nodes.outputs)
        else:
            nodes.add("Clip", [x, low, high], nodes.outputs)


@layer("Threshold", threshold_param="threshold")
@dataclass(frozen=True)
class Threshold(Operation):
    """1 where x is above the threshold, 0 elsewhere."""

    threshold: float

    @classmethod
    def parse(cls, layer: Layer, bottoms: Sequence[Shape]) -> Threshold:
        return cls(layer.param("threshold_param").threshold)

    def torch(self) -> Step:
        return Step(f"({{0}} > {number(self.threshold)}).float()")

    def onnx(self, nodes: LayerNodes) -> None:
        above = nodes.add("Greater", [nodes.inputs[0], nodes.constant(np.float32(self.threshold), "threshold")])
        nodes.add("Cast", [above], nodes.outputs, to=1)
