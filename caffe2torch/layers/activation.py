"""ReLU, PReLU, Sigmoid, Softmax and Dropout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from caffe2torch.calls import Call, Step, literal
from caffe2torch.net import Fields, Layer, Shape
from caffe2torch.readings import Reading
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


@layer(
    "Dropout",
    dropout_param="dropout_ratio scale_train sample_weights_test engine random_seed",
    proto={
        "dropout_param": (
            Reading("faster-rcnn rfcn", None, "+ scale_train 2 bool =true"),
            Reading("segnet", None, "+ sample_weights_test 2 bool =false"),
            Reading("synopsys", None, "+ sample_weights_test 2 bool =false; scale_train 3 bool =true"),
            Reading(
                "nvcaffe",
                None,
                "+ engine 2 Engine =DEFAULT; random_seed 3 int64 =-1 | Engine: DEFAULT=0, CAFFE=1, CUDNN=2",
            ),
        )
    },
)
@dataclass(frozen=True)
class Dropout(Operation):
    """Nothing at test time; in training it zeroes, and scales what stays, as torch's does.

    Without Fast R-CNN's ``scale_train`` it scales at test time instead, by what stays in training.
    """

    ratio: float
    scaled: bool = True  # in training

    @classmethod
    def parse(cls, layer: Layer, bottoms: Sequence[Shape]) -> Dropout:
        p = layer.param("dropout_param")
        if not 0 <= p.dropout_ratio <= 1:
            raise LayerError(f"dropout_ratio {p.dropout_ratio} must lie between 0 and 1")
        if getattr(p, "sample_weights_test", False):
            raise LayerError(
                "sample_weights_test=true: Bayesian SegNet draws at random when it is used, which is not supported; "
                "without the field it is plain SegNet"
            )
        return cls(p.dropout_ratio, bool(getattr(p, "scale_train", True)) or not p.dropout_ratio)

    def torch(self) -> Step:
        call = Call("nn.Dropout") if self.ratio == 0.5 else Call("nn.Dropout", self.ratio)
        return Step(module=call) if self.scaled else Step(f"{self._kept()!r} * {{self}}({{0}})", call)

    def _kept(self) -> float:
        return round(1 - self.ratio, 9)

    def onnx(self, nodes: LayerNodes) -> None:
        if self.scaled:
            nodes.add("Identity", nodes.inputs, nodes.outputs)
        else:
            nodes.add("Mul", [nodes.inputs[0], nodes.constant(np.float32(self._kept()), "kept")], nodes.outputs)
