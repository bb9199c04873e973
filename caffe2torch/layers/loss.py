"""Losses without an ignored label: EuclideanLoss, HingeLoss, ContrastiveLoss and MultinomialLogisticLoss.

They, cross_entropy.py's and Accuracy are dropped from a deployed net unless they are asked for as an output.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from caffe2torch.calls import Call, Step
from caffe2torch.layers.labels import FLOAT, INT64, check_legacy, check_loss, check_single
from caffe2torch.net import Layer, Shape
from caffe2torch.registry import LayerError, Operation, layer

if TYPE_CHECKING:
    from caffe2torch.onnx_model import LayerNodes

LOWEST_MULTINOMIAL = 1e-20  # kLOG_THRESHOLD


@dataclass(frozen=True)
class _Loss(Operation):
    """A scalar."""

    def shape(self, bottoms: Sequence[Shape]) -> list[Shape]:
        return [()]


def _rows(nodes: LayerNodes, value: str) -> str:
    """(N, numbers of one index of the batch)"""
    shape = nodes.input_shapes[0]
    return nodes.reshape(value, nodes.batched([shape[0], prod(shape[1:])]))


def _first_labels(nodes: LayerNodes, index: int) -> str:
    """The first N numbers of a bottom as int64 (N, 1): Caffe reads no further."""
    size, shape = nodes.input_shapes[0][0], nodes.input_shapes[index]
    labels = nodes.add("Cast", [nodes.reshape(nodes.inputs[index], [-1, 1])], to=INT64)
    if prod(shape) != size:
        bounds = [nodes.constant(np.array([bound], np.int64), "bound") for bound in (0, size, 0)]
        labels = nodes.add("Slice", [labels, *bounds])
    return str(labels)


def _mean(nodes: LayerNodes, losses: str, factor: int = 1) -> None:
    """The sum of losses (N, ...), divided by ``factor`` N."""
    total = nodes.add("ReduceSum", [losses], keepdims=0)
    rows = nodes.add("Gather", [nodes.add("Shape", [losses]), nodes.constant(np.int64(0), "zero")])
    count = nodes.add("Cast", [rows], to=FLOAT)
    if factor != 1:
        count = nodes.add("Mul", [count, nodes.constant(np.float32(factor), "factor")])
    nodes.add("Div", [total, count], nodes.outputs)


@layer("EuclideanLoss", bottoms=(2, 2), loss=True)
@dataclass(frozen=True)
class EuclideanLoss(_Loss):
    """Half the squared difference, summed and divided by N."""

    same: bool  # both bottoms have one shape

    @classmethod
    def parse(cls, layer: Layer, bottoms: Sequence[Shape]) -> EuclideanLoss:
        check_loss(layer, bottoms)
        check_legacy(bottoms[0])
        if prod(bottoms[0][1:]) != prod(bottoms[1][1:]):
            raise LayerError(f"its bottoms {bottoms[0]} and {bottoms[1]} must have one count behind the first axis")
        return cls(bottoms[0] == bottoms[1])

    def torch(self) -> Step:
        target = "{1}" if self.same else "{1}.reshape({0}.shape)"
        return Step(f'F.mse_loss({{0}}, {target}, reduction="sum") / (2 * len({{0}}))')

    def onnx(self, nodes: LayerNodes) -> None:
        x, target = nodes.inputs
        if not self.same:
            target = nodes.reshape(target, nodes.batched(nodes.input_shapes[0]))
        difference = nodes.add("Sub", [x, target])
        _mean(nodes, nodes.add("Mul", [difference, difference]), 2)


@layer("HingeLoss", bottoms=(2, 2), loss=True, hinge_loss_param="norm")
@dataclass(frozen=True)
class HingeLoss(_Loss):
    """max(0, 1 - x) at the label and max(0, 1 + x) elsewhere, or their squares; summed and divided by N."""

    squared: bool
    labels: int | None  # how many there are, where they are not one for each index of the batch

    @classmethod
    def parse(cls, layer: Layer, bottoms: Sequence[Shape]) -> HingeLoss:
        check_loss(layer, bottoms)
        check_legacy(bottoms[0])
        extra = prod(bottoms[1]) if prod(bottoms[1]) != bottoms[0][0] else None
        return cls(layer.param("hinge_loss_param").norm == "L2", extra)

    def made(self, bottoms: Sequence[Shape]) -> int:
        return prod(bottoms[0][1:])

    def torch(self) -> Step:
        return Step("{self}({0}, {1})", Call("HingeLoss", **({"squared": True} if self.squared else {})))

    def onnx(self, nodes: LayerNodes) -> None:
        x = _rows(nodes, nodes.inputs[0])
        classes = np.arange(prod(nodes.input_shapes[0][1:]), dtype=np.int64)
        at_label = nodes.add("Equal", [_first_labels(nodes, 1), nodes.constant(classes, "classes")])
        signed = nodes.add("Where", [at_label, nodes.add("Neg", [x]), x])
        losses = nodes.add("Relu", [nodes.add("Add", [signed, nodes.constant(np.float32(1), "one")])])
        _mean(nodes, nodes.add("Mul", [losses, losses]) if self.squared else losses)


@layer("ContrastiveLoss", bottoms=(3, 3), loss=True, contrastive_loss_param="margin legacy_version")
@dataclass(frozen=True)
class ContrastiveLoss(_Loss):
    """d^2 of pairs that are alike (third bottom not 0), max(0, margin - d)^2 of others; summed, divided by 2N."""

    margin: float
    legacy: bool  # max(0, margin - d^2)

    @classmethod
    def parse(cls, layer: Layer, bottoms: Sequence[Shape]) -> ContrastiveLoss:
        check_loss(layer, bottoms)
        check_legacy(*bottoms)
        a, b, alike = bottoms
        if any(prod(shape[2:]) != 1 for shape in (a, b)) or prod(a) != prod(b):
            raise LayerError(f"its bottoms {a} and {b} must be N x C, with size 1 in any axes behind, and one C")
        check_single("the third bottom", alike)
        if prod(alike) < a[0]:
            raise LayerError(f"the third bottom {alike} has too few numbers for {a[0]} pairs")
        p = layer.param("contrastive_loss_param")
        return cls(p.margin, p.legacy_version)

    def torch(self) -> Step:
        options = {"margin": (self.margin, 1.0), "legacy": (self.legacy, False)}
        given = {name: value for name, (value, default) in options.items() if value != default}
        return Step("{self}({0}, {1}, {2})", Call("ContrastiveLoss", **given))

    def onnx(self, nodes: LayerNodes) -> None:
        difference = nodes.add("Sub", [_rows(nodes, value) for value in nodes.inputs[:2]])
        square = nodes.add(
            "ReduceSum",
            [nodes.add("Mul", [difference, difference]), nodes.constant(np.array([1], np.int64), "axis")],
            keepdims=1,
        )
        near = square if self.legacy else nodes.add("Sqrt", [square])
        apart = nodes.add("Relu", [nodes.add("Sub", [nodes.constant(np.float32(self.margin), "margin"), near])])
        if not self.legacy:
            apart = nodes.add("Mul", [apart, apart])
        different = nodes.add("Equal", [_first_labels(nodes, 2), nodes.constant(np.int64(0), "zero")])
        _mean(nodes, nodes.add("Where", [different, apart, square]), 2)


@layer("MultinomialLogisticLoss", bottoms=(2, 2), loss=True)
@dataclass(frozen=True)
class MultinomialLogisticLoss(_Loss):
    """-log x[label] of probabilities x, each at least 1e-20; summed and divided by N."""

    axes: int

    @classmethod
    def parse(cls, layer: Layer, bottoms: Sequence[Shape]) -> MultinomialLogisticLoss:
        check_loss(layer, bottoms)
        check_legacy(bottoms[0])
        check_single("the second bottom", bottoms[1])
        return cls(len(bottoms[0]))

    def torch(self) -> Step:
        rows = "{0}" if self.axes == 2 else "{0}.reshape(len({0}), -1)"
        return Step(f"F.nll_loss({rows}.clamp(min=1e-20).log(), {{1}}.long().flatten())")

    def onnx(self, nodes: LayerNodes) -> None:
        lowest = nodes.constant(np.float32(LOWEST_MULTINOMIAL), "lowest")
        logarithm = nodes.add("Log", [nodes.add("Max", [_rows(nodes, nodes.inputs[0]), lowest])])
        picked = nodes.add("GatherElements", [logarithm, _first_labels(nodes, 1)], axis=1)
        _mean(nodes, nodes.add("Neg", [picked]))
