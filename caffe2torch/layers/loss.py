"""Losses and Accuracy: dropped from a deployed net unless they are asked for as an output."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from caffe2torch.calls import Step
from caffe2torch.net import Layer, Shape
from caffe2torch.registry import LayerError, Operation, layer

if TYPE_CHECKING:
    from caffe2torch.onnx_model import LayerNodes

# Dropped by name even where no converter stands behind them.
LOSS_TYPES = frozenset(
    {
        "Accuracy",
        "ContrastiveLoss",
        "EuclideanLoss",
        "HingeLoss",
        "InfogainLoss",
        "MultinomialLogisticLoss",
        "SigmoidCrossEntropyLoss",
        "SoftmaxWithLoss",
        "SoftmaxLoss",
    }
)


@layer("SigmoidCrossEntropyLoss", bottoms=(2, 2), tops=(1, 1), loss=True, loss_param="normalization")
@dataclass(frozen=True)
class SigmoidCrossEntropyLoss(Operation):
    """Cross entropy of sigmoid(first bottom) against the second, summed and divided by the batch size."""

    @classmethod
    def parse(cls, layer: Layer, bottoms: Sequence[Shape]) -> SigmoidCrossEntropyLoss:
        if prod(bottoms[0]) != prod(bottoms[1]):
            raise LayerError(f"its bottoms {bottoms[0]} and {bottoms[1]} must have the same count")
        normalization = layer.param("loss_param").get("normalization", "BATCH_SIZE")
        if normalization != "BATCH_SIZE":
            raise LayerError(f"loss_param.normalization={normalization} is not supported")
        return cls()

    def shape(self, bottoms: Sequence[Shape]) -> list[Shape]:
        return [()]

    def torch(self) -> Step:
        return Step('F.binary_cross_entropy_with_logits({0}, {1}.reshape({0}.shape), reduction="sum") / len({0})')

    def onnx(self, nodes: LayerNodes) -> None:
        x, target = nodes.inputs
        target = nodes.add("Reshape", [target, nodes.add("Shape", [x])])
        # max(x, 0) - x * target + log(1 + exp(-|x|)), which never overflows.
        softplus = nodes.add("Softplus", [nodes.add("Neg", [nodes.add("Abs", [x])])])
        linear = nodes.add("Sub", [nodes.add("Relu", [x]), nodes.add("Mul", [x, target])])
        total = nodes.add("ReduceSum", [nodes.add("Add", [linear, softplus])], keepdims=0)
        batch = nodes.add("Gather", [nodes.add("Shape", [x]), nodes.constant(np.int64(0), "zero")])
        nodes.add("Div", [total, nodes.add("Cast", [batch], to=1)], nodes.outputs)
