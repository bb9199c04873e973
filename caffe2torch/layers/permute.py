"""Permute of SSD: the axes in another order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from caffe2torch.calls import Step
from caffe2torch.net import Layer, Shape
from caffe2torch.registry import LayerError, Operation, layer, refuse_in_place

if TYPE_CHECKING:
    from caffe2torch.onnx_model import LayerNodes


@layer("Permute", permute_param="order", proto={"permute_param": "order 1 uint32*"})
@dataclass(frozen=True)
class Permute(Operation):
    """Axis ``order[i]`` of the bottom becomes axis i; axes that ``order`` does not name follow, rising."""

    order: tuple[int, ...]

    @classmethod
    def parse(cls, layer: Layer, bottoms: Sequence[Shape]) -> Permute:
        given, axes = tuple(layer.param("permute_param").order), range(len(bottoms[0]))
        if any(axis not in axes for axis in given):
            raise LayerError(f"order {list(given)} names an axis that the bottom {bottoms[0]} has not")
        if len(set(given)) < len(given):
            raise LayerError(f"order {list(given)} names an axis twice")
        order = given + tuple(axis for axis in axes if axis not in given)
        if order != tuple(axes):
            refuse_in_place(layer)
        return cls(order)

    def shape(self, bottoms: Sequence[Shape]) -> list[Shape]:
        return [tuple(bottoms[0][axis] for axis in self.order)]

    def torch(self) -> Step:
        if self.order == tuple(range(len(self.order))):
            return Step("{0}")
        return Step(f"{{0}}.permute({', '.join(map(str, self.order))}).contiguous()")

    def onnx(self, nodes: LayerNodes) -> None:
        nodes.add("Transpose", nodes.inputs, nodes.outputs, perm=list(self.order))
