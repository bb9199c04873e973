"""Activations that only forks have: ReLU6, CReLU, HardSigmoid, HardSwish, Mish, SeLU, Softplus and LogSoftmax."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from caffe2torch.calls import Step, literal, number
from caffe2torch.layers.elementwise import BNLL
from caffe2torch.net import Layer, Shape
from caffe2torch.readings import Reading
from caffe2torch.registry import Operation, canonical_axis, layer, refuse_in_place

if TYPE_CHECKING:
    from caffe2torch.onnx_model import LayerNodes

LEAST_LOG = float(np.log(np.float32(1e-20)))  # synopsys-caffe's LogSoftmax gives no less


@layer(
    "ReLU6",
    relu6_param="negative_slope threshold engine",
    proto={
        "relu6_param": (
            Reading("mobilenet-ssd", None, "engine 2 Engine =DEFAULT | Engine: DEFAULT=0, CAFFE=1, CUDNN=2"),
            Reading("mobilenet-yolo", None, "ReLUParameter"),
            Reading("ssd-windows", None, "negative_slope 1 float =0"),
            Reading("inisis", None, "negative_slope 1 float =0; threshold 2 float =6"),
        )
    },
)
@dataclass(frozen=True)
class ReLU6(Operation):
    """ReLU, with its slope below 0, cut at 6, or at inisis's ``threshold``."""

    slope: float
    most: float

    @classmethod
    def parse(cls, layer: Layer, bottoms: Sequence[Shape]) -> ReLU6:
        p = layer.param("relu6_param")
        return cls(getattr(p, "negative_slope", 0.0), getattr(p, "threshold", 6.0))

    def torch(self) -> Step:
        if self.slope:
            return Step(f"F.leaky_relu({{0}}, {literal(self.slope)}).clamp(max={number(self.most)})")
        return Step("F.relu6({0})" if self.most == 6 else f"F.relu({{0}}).clamp(max={number(self.most)})")

    def onnx(self, nodes: LayerNodes) -> None:
        x, most = nodes.inputs[0], nodes.constant(np.float32(self.most), "most")
        if not self.slope and self.most >= 0:
            nodes.add("Clip", [x, nodes.constant(np.float32(0), "least"), most], nodes.outputs)
            return
        x = nodes.add("LeakyRelu", [x], alpha=self.slope) if self.slope else nodes.add("Relu", [x])
        nodes.add("Min", [x, most], nodes.outputs)


@layer(
    "CReLU",
    crelu_param="negative_slope concat_axis",
    proto={"crelu_param": "negative_slope 1 float =0; concat_axis 2 int32 =1"},
)
@dataclass(frozen=True)
class CReLU(Operation):
    """ReLU of x and of -x, side by side along the channels (Cambricon's fork: along concat_axis)."""

    slope: float
    axis: int

    @classmethod
    def parse(cls, layer: Layer, bottoms: Sequence[Shape]) -> CReLU:
        refuse_in_place(layer)
        p = layer.param("crelu_param")
        return cls(p.negative_slope, canonical_axis(p.concat_axis, len(bottoms[0])))

    def shape(self, bottoms: Sequence[Shape]) -> list[Shape]:
        shape = bottoms[0]
        return [(*shape[: self.axis], 2 * shape[self.axis], *shape[self.axis + 1 :])]

    def torch(self) -> Step:
        both = f"torch.cat([{{0}}, -{{0}}], dim={self.axis})"
        return Step(f"F.leaky_relu({both}, {literal(self.slope)})" if self.slope else f"F.relu({both})")

    def onnx(self, nodes: LayerNodes) -> None:
        x = nodes.inputs[0]
        both = nodes.add("Concat", [x, nodes.add("Neg", [x])], axis=self.axis)
        if self.slope:
            nodes.add("LeakyRelu", [both], nodes.outputs, alpha=self.slope)
        else:
            nodes.add("Relu", [both], nodes.outputs)


_SIGMOID = "alpha 1 float =0.2; beta 2 float =0.5"


@layer(
    "HardSigmoid",
    hard_sigmoid_param="alpha beta",
    hardsigmoid_param="alpha beta",
    proto={
        "hard_sigmoid_param": Reading("synopsys", None, _SIGMOID),
        "hardsigmoid_param": Reading("inisis", None, _SIGMOID),
    },
)
@dataclass(frozen=True)
class HardSigmoid(Operation):
    """alpha * x + beta between 0 and 1; 0.2 and 0.5 by default, and always in MobileNet-YOLO."""

    alpha: float
    beta: float

    @classmethod
    def parse(cls, layer: Layer, bottoms: Sequence[Shape]) -> HardSigmoid:
        name = "hardsigmoid_param" if "hardsigmoid_param" in layer.params else "hard_sigmoid_param"
        p = layer.param(name)
        return cls(p.alpha, p.beta)

    def torch(self) -> Step:
        return Step(f"({number(self.alpha)} * {{0}} + {number(self.beta)}).clamp(0, 1)")

    def onnx(self, nodes: LayerNodes) -> None:
        nodes.add("HardSigmoid", nodes.inputs, nodes.outputs, alpha=self.alpha, beta=self.beta)


@layer("HardSwish")
@dataclass(frozen=True)
class HardSwish(Operation):
    """x * clip(x + 3, 0, 6) / 6."""

    @classmethod
    def parse(cls, layer: Layer, bottoms: Sequence[Shape]) -> HardSwish:
        return cls()

    def torch(self) -> Step:
        return Step("F.hardswish({0})")

    def onnx(self, nodes: LayerNodes) -> None:
        nodes.add("HardSwish", nodes.inputs, nodes.outputs)


@layer("Mish")
@dataclass(frozen=True)
class Mish(Operation):
    """x * tanh(log(1 + exp(x)))."""

    @classmethod
    def parse(cls, layer: Layer, bottoms: Sequence[Shape]) -> Mish:
        return cls()

    def torch(self) -> Step:
        return Step("F.mish({0})")

    def onnx(self, nodes: LayerNodes) -> None:
        x = nodes.inputs[0]
        nodes.add("Mul", [x, nodes.add("Tanh", [nodes.add("Softplus", [x])])], nodes.outputs)


@layer(
    "SeLU",
    selu_param="lambda alpha",
    proto={"selu_param": Reading("synopsys", None, "lambda 1 float =1.050700987; alpha 2 float =1.67326324")},
)
@dataclass(frozen=True)
class SeLU(Operation):
    """lambda * x above 0, lambda * alpha * (exp(x) - 1) below."""

    scale: float
    alpha: float

    @classmethod
    def parse(cls, layer: Layer, bottoms: Sequence[Shape]) -> SeLU:
        p = layer.param("selu_param")
        return cls(getattr(p, "lambda"), p.alpha)

    def torch(self) -> Step:
        if np.float32(self.scale) == np.float32(1.050700987) and np.float32(self.alpha) == np.float32(1.67326324):
            return Step("F.selu({0})")
        return Step(f"{number(self.scale)} * F.elu({{0}}, {literal(self.alpha)})")

    def onnx(self, nodes: LayerNodes) -> None:
        nodes.add("Selu", nodes.inputs, nodes.outputs, alpha=self.alpha, gamma=self.scale)


@layer("Softplus")
@dataclass(frozen=True)
class Softplus(BNLL):
    """log(1 + exp(x)): BNLL by another name."""


@layer(
    "LogSoftmax",
    log_softmax_param="axis",
    proto={"log_softmax_param": Reading("synopsys", None, "axis 1 int32 =1")},
)
@dataclass(frozen=True)
class LogSoftmax(Operation):
    """log softmax(x) along an axis, where no softmax counts as less than 1e-20."""

    axis: int

    @classmethod
    def parse(cls, layer: Layer, bottoms: Sequence[Shape]) -> LogSoftmax:
        return cls(canonical_axis(layer.param("log_softmax_param").axis, len(bottoms[0])))

    def torch(self) -> Step:
        return Step(f"F.log_softmax({{0}}, dim={self.axis}).clamp(min={LEAST_LOG:.4f})")

    def onnx(self, nodes: LayerNodes) -> None:
        y = nodes.add("LogSoftmax", nodes.inputs, axis=self.axis)
        nodes.add("Max", [y, nodes.constant(np.float32(LEAST_LOG), "least")], nodes.outputs)
