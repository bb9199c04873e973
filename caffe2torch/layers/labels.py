"""What the losses and Accuracy share: the checks of Caffe's LossLayer, labels as whole numbers, what does not count."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from caffe2torch.net import Layer, Shape
from caffe2torch.registry import LayerError, canonical_axis

if TYPE_CHECKING:
    from caffe2torch.onnx_model import LayerNodes

INT64, FLOAT, BOOL = 7, 1, 9  # ONNX's numbers of element types


def check_loss(layer: Layer, bottoms: Sequence[Shape]) -> None:
    """What Caffe's LossLayer asks: the first two bottoms have one first axis, a second top its own loss_weight."""
    first, second = bottoms[:2]
    if not first or not second or first[0] != second[0]:
        raise LayerError(f"its bottoms {first} and {second} must have the same first axis")
    if len(layer.tops) > 1 and not layer.loss_weights:
        raise LayerError("with two tops Caffe wants loss_weight twice (1 and 0), else it counts one for two tops")


def check_legacy(*shapes: Shape) -> None:
    """LayerError for more than four axes, where Caffe reads num, channels, height and width."""
    for shape in shapes:
        if len(shape) > 4:
            raise LayerError(f"a bottom has the shape {shape}; Caffe takes at most 4 axes here")


def check_single(name: str, shape: Shape) -> None:
    """LayerError unless there is one number for each index of the first axis."""
    check_legacy(shape)
    if prod(shape[1:]) != 1:
        raise LayerError(f"{name} {shape} must have size 1 in every axis but the first")


def class_axis(axis: int, scores: Shape, labels: Shape) -> int:
    """The axis of the classes, counted from 0; LayerError unless there is one label for each index of the others."""
    axis = canonical_axis(axis, len(scores))
    wanted = prod(scores[:axis]) * prod(scores[axis + 1 :])
    if prod(labels) != wanted:
        raise LayerError(
            f"with classes along axis {axis}, scores of {scores} want {wanted} labels; {labels} are {prod(labels)}"
        )
    return axis


@dataclass(frozen=True)
class Labels:
    """ONNX values: labels as int64 with 0 for those that do not count, and which do (None: all)."""

    values: str
    valid: str | None

    @classmethod
    def emit(cls, nodes: LayerNodes, value: str, shape: Sequence[int], ignore_label: int | None) -> Labels:
        """Of a float32 value, cut to whole numbers and reshaped."""
        labels = nodes.add("Cast", [nodes.reshape(value, shape)], to=INT64)
        if ignore_label is None:
            return cls(labels, None)
        ignored = nodes.add("Equal", [labels, nodes.constant(np.int64(ignore_label), "ignore_label")])
        zero = nodes.constant(np.int64(0), "zero")
        return cls(nodes.add("Where", [ignored, zero, labels]), nodes.add("Not", [ignored]))

    def masked(self, nodes: LayerNodes, losses: str) -> str:
        """Losses with 0 where the label does not count."""
        if self.valid is None:
            return losses
        masked: str = nodes.add("Where", [self.valid, losses, nodes.constant(np.float32(0), "nothing")])
        return masked

    def count(self, nodes: LayerNodes) -> str:
        """How many count, as a float, at least 1."""
        if self.valid is None:
            return size(nodes, self.values)
        total = nodes.add("ReduceSum", [nodes.add("Cast", [self.valid], to=FLOAT)], keepdims=0)
        count: str = nodes.add("Max", [total, nodes.constant(np.float32(1), "one")])
        return count


def size(nodes: LayerNodes, value: str) -> str:
    """How many numbers a value has, as a float."""
    count: str = nodes.add("Cast", [nodes.add("Size", [value])], to=FLOAT)
    return count


def normalized(nodes: LayerNodes, losses: str, labels: Labels, mode: str, inner: int) -> None:
    """Sum the losses and divide by what ``mode`` says; ``inner`` labels belong to one index of the batch."""
    summed = labels.masked(nodes, losses)
    if mode == "NONE":
        nodes.add("ReduceSum", [summed], nodes.outputs[:1], keepdims=0)
        return
    divisor = labels.count(nodes) if mode == "VALID" else size(nodes, labels.values)
    if mode == "BATCH_SIZE":
        divisor = nodes.add("Div", [divisor, nodes.constant(np.float32(inner), "inner")])
    nodes.add("Div", [nodes.add("ReduceSum", [summed], keepdims=0), divisor], nodes.outputs[:1])
