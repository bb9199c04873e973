"""Axpy: channels scaled and added to a blob, as squeeze-and-excitation nets have it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from caffe2torch.calls import Step
from caffe2torch.layers.scale import stretched
from caffe2torch.net import Layer, Shape
from caffe2torch.registry import LayerError, Operation, layer, refuse_in_place

if TYPE_CHECKING:
    from caffe2torch.onnx_model import LayerNodes


@layer("Axpy", bottoms=(3, 3))
@dataclass(frozen=True)
class Axpy(Operation):
    """a * x + y, one number of a for each channel of an item. SENet's, and others' forks."""

    axes: int
    factor: Shape  # behind the batch

    @classmethod
    def parse(cls, layer: Layer, bottoms: Sequence[Shape]) -> Axpy:
        a, x, y = bottoms
        if x != y:
            raise LayerError(f"x and y have the shapes {x} and {y}; the fork wants equal ones")
        if len(a) not in (2, 4) or a[:2] != x[:2] or any(size != 1 for size in a[2:]):
            raise LayerError(f"a has the shape {a}; for x of {x} it must be {x[:2]} or {(*x[:2], 1, 1)}")
        refuse_in_place(layer)
        return cls(len(x), a[1:])

    def shape(self, bottoms: Sequence[Shape]) -> list[Shape]:
        return [bottoms[1]]

    def torch(self) -> Step:
        a = "{0}"
        if len(self.factor) + 1 != self.axes:
            a = stretched("{0}" if len(self.factor) == 1 else "{0}.flatten(1)", self.axes - 2)
        return Step(f"{a} * {{1}} + {{2}}")

    def onnx(self, nodes: LayerNodes) -> None:
        a = nodes.inputs[0]
        if len(self.factor) + 1 != self.axes:
            a = nodes.reshape(a, [0, 0, *[1] * (self.axes - 2)])
        nodes.add("Add", [nodes.add("Mul", [a, nodes.inputs[1]]), nodes.inputs[2]], nodes.outputs)
