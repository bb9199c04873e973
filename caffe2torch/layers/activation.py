"""ReLU, PReLU, Sigmoid, Softmax and Dropout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from caffe2torch.calls import Call, Step, literal
from caffe2torch.net import Fields, Layer, Shape
from caffe2torch.registry import LayerError, Operation, Param, canonical_axis, layer

if TYPE_CHECKING:
    from caffe2torch.onnx_model import LayerNodes


@layer("ReLU", relu_param="negative_slope engine")
@dataclass(frozen=True)
class ReLU(Operation):
    """max(x, 0) + negative_slope * min(x, 0)."""

    negative_slope: float

    @classmethod
    def parse(cls, layer: Layer, bottoms: Sequence[Shape]) -> ReLU:
        return cls(layer.param("relu_param").negative_slope)

    def torch(self) -> Step:
        if self.negative_slope:
            return Step(f"F.leaky_relu({{0}}, {literal(self.negative_slope)})")
        return Step("F.relu({0})")

    def onnx(self, nodes: LayerNodes) -> None:
        if self.negative_slope:
            nodes.add("LeakyRelu", nodes.inputs, nodes.outputs, alpha=self.negative_slope)
        else:
            nodes.add("Relu", nodes.inputs, nodes.outputs)


@layer("PReLU", prelu_param="filler channel_shared")
@dataclass(frozen=True)
class PReLU(Operation):
    """A learned slope below 0, one for each channel or one for all."""

    channels: int
    axes: int
    shared: bool
    filler: Fields | float

    @classmethod
    def parse(cls, layer: Layer, bottoms: Sequence[Shape]) -> PReLU:
        p = layer.param("prelu_param")
        if len(bottoms[0]) < 2:
            raise LayerError(f"the bottom has {len(bottoms[0])} axes, Caffe wants at least 2")
        return cls(bottoms[0][1], len(bottoms[0]), p.channel_shared, p.filler if "filler" in p else 0.25)

    def params(self) -> tuple[Param, ...]:
        return (Param("weight", () if self.shared else (self.channels,), self.filler),)

    def state(self, blobs: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        return {"weight": blobs[0].reshape(-1)}

    def torch(self) -> Step:
        return Step(module=Call("nn.PReLU") if self.shared else Call("nn.PReLU", self.channels))

    def onnx(self, nodes: LayerNodes) -> None:
        slope = nodes.state("weight")
        if not self.shared and self.axes > 2:
            slope = nodes.add("Unsqueeze", [slope, nodes.constant(np.arange(1, self.axes - 1, dtype=np.int64), "axes")])
        nodes.add("PRelu", [nodes.inputs[0], slope], nodes.outputs)


@layer("Sigmoid", sigmoid_param="engine")
@dataclass(frozen=True)
class Sigmoid(Operation):
    """1 / (1 + exp(-x))."""

    @classmethod
    def parse(cls, layer: Layer, bottoms: Sequence[Shape]) -> Sigmoid:
        return cls()

    def torch(self) -> Step:
        return Step("torch.sigmoid({0})")

    def onnx(self, nodes: LayerNodes) -> None:
        nodes.add("Sigmoid", nodes.inputs, nodes.outputs)


@layer("Softmax", softmax_param="engine axis")
@dataclass(frozen=True)
class Softmax(Operation):
    """exp(x) / sum exp(x) along an axis."""

    axis: int

    @classmethod
    def parse(cls, layer: Layer, bottoms: Sequence[Shape]) -> Softmax:
        return cls(canonical_axis(layer.param("softmax_param").axis, len(bottoms[0])))

    def torch(self) -> Step:
        return Step(f"F.softmax({{0}}, dim={self.axis})")

    def onnx(self, nodes: LayerNodes) -> None:
        nodes.add("Softmax", nodes.inputs, nodes.outputs, axis=self.axis)


@layer("Dropout", dropout_param="dropout_ratio")
@dataclass(frozen=True)
class Dropout(Operation):
    """Nothing at test time; in training it zeroes, and scales what stays, as torch's does."""

    ratio: float

    @classmethod
    def parse(cls, layer: Layer, bottoms: Sequence[Shape]) -> Dropout:
        ratio = layer.param("dropout_param").dropout_ratio
        if not 0 <= ratio <= 1:
            raise LayerError(f"dropout_ratio {ratio} must lie between 0 and 1")
        return cls(ratio)

    def torch(self) -> Step:
        return Step(module=Call("nn.Dropout") if self.ratio == 0.5 else Call("nn.Dropout", self.ratio))

    def onnx(self, nodes: LayerNodes) -> None:
        nodes.add("Identity", nodes.inputs, nodes.outputs)
