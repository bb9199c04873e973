"""Accuracy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from caffe2torch.calls import Call, Step
from caffe2torch.layers.labels import FLOAT, Labels, class_axis
from caffe2torch.net import Layer, Shape
from caffe2torch.registry import LayerError, Operation, layer

if TYPE_CHECKING:
    from caffe2torch.onnx_model import LayerNodes


@layer("Accuracy", bottoms=(2, 2), tops=(1, 2), loss=True, accuracy_param="top_k axis ignore_label")
@dataclass(frozen=True)
class Accuracy(Operation):
    """The share of labels among the top_k best scores; a tie counts against the label. Second top: for each class."""

    axis: int
    top_k: int
    ignore_label: int | None
    per_class: bool

    @classmethod
    def parse(cls, layer: Layer, bottoms: Sequence[Shape]) -> Accuracy:
        p = layer.param("accuracy_param")
        scores, labels = bottoms
        axis = class_axis(p.axis, scores, labels)
        if p.top_k > prod(scores) // max(prod(labels), 1):
            raise LayerError(f"top_k {p.top_k} is more than there are classes ({scores[axis]})")
        return cls(axis, p.top_k, p.get("ignore_label"), len(layer.tops) > 1)

    def shape(self, bottoms: Sequence[Shape]) -> list[Shape]:
        return [(), (bottoms[0][self.axis],)] if self.per_class else [()]

    def torch(self) -> Step:
        options = {
            "axis": (self.axis, 1),
            "top_k": (self.top_k, 1),
            "ignore_label": (self.ignore_label, None),
            "per_class": (self.per_class, False),
        }
        given = {name: value for name, (value, default) in options.items() if value != default}
        return Step("{self}({0}, {1})", Call("Accuracy", **given))

    def onnx(self, nodes: LayerNodes) -> None:
        scores, shape = nodes.inputs[0], nodes.input_shapes[0]
        wanted = nodes.batched([*shape[: self.axis], 1, *shape[self.axis + 1 :]])
        labels = Labels.emit(nodes, nodes.inputs[1], wanted, self.ignore_label)
        own = nodes.add("GatherElements", [scores, labels.values], axis=self.axis)
        best = nodes.add("Cast", [nodes.add("GreaterOrEqual", [scores, own])], to=FLOAT)
        # The label's own score is among those that are as good.
        rank = nodes.add("ReduceSum", [best, nodes.constant(np.array([self.axis], np.int64), "axis")], keepdims=1)
        right = nodes.add("LessOrEqual", [rank, nodes.constant(np.float32(self.top_k), "top_k")])
        hits = labels.masked(nodes, nodes.add("Cast", [right], to=FLOAT))
        total = nodes.add("ReduceSum", [hits], keepdims=0)
        nodes.add("Div", [total, labels.count(nodes)], nodes.outputs[:1])
        if self.per_class:
            self._onnx_per_class(nodes, labels, hits)

    def made(self, bottoms: Sequence[Shape]) -> int:
        return bottoms[0][self.axis] if self.per_class else 0

    def _onnx_per_class(self, nodes: LayerNodes, labels: Labels, hits: str) -> None:
        flat = nodes.reshape(labels.values, [-1, 1])
        every = nodes.constant(np.arange(nodes.input_shapes[0][self.axis], dtype=np.int64), "classes")
        of_class = nodes.add("Cast", [nodes.add("Equal", [flat, every])], to=FLOAT)
        first = nodes.constant(np.array([0], np.int64), "first")
        counted = of_class
        if labels.valid is not None:
            valid = nodes.add("Cast", [nodes.reshape(labels.valid, [-1, 1])], to=FLOAT)
            counted = nodes.add("Mul", [of_class, valid])
        right = nodes.add("ReduceSum", [nodes.add("Mul", [of_class, nodes.reshape(hits, [-1, 1])]), first], keepdims=0)
        count = nodes.add("ReduceSum", [counted, first], keepdims=0)
        nodes.add("Div", [right, nodes.add("Max", [count, nodes.constant(np.float32(1), "one")])], nodes.outputs[1:])
