"""Reduction and ArgMax: a number, or a place, for many numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from caffe2torch.calls import Call, Step, number
from caffe2torch.net import Layer, Shape
from caffe2torch.registry import LayerError, Operation, canonical_axis, layer

if TYPE_CHECKING:
    from caffe2torch.onnx_model import LayerNodes


@layer("Reduction", reduction_param="operation axis coeff")
@dataclass(frozen=True)
class Reduction(Operation):
    """Sum, mean, or sum of absolute values or squares, over all axes from one on, times ``coeff``."""

    operation: str
    axis: int
    axes: int
    coeff: float

    @classmethod
    def parse(cls, layer: Layer, bottoms: Sequence[Shape]) -> Reduction:
        p, axes = layer.param("reduction_param"), len(bottoms[0])
        return cls(p.operation, canonical_axis(p.axis, axes), axes, p.coeff)

    def shape(self, bottoms: Sequence[Shape]) -> list[Shape]:
        return [bottoms[0][: self.axis]]

    def torch(self) -> Step:
        over = tuple(range(self.axis, self.axes))
        options = f"dim={over[0] if len(over) == 1 else over}" if self.axis else ""
        method = {"SUM": "sum", "MEAN": "mean", "ASUM": "abs().sum", "SUMSQ": "square().sum"}[self.operation]
        text = f"{{0}}.{method}({options})"
        return Step(text if self.coeff == 1 else f"{number(self.coeff)} * {text}")

    def onnx(self, nodes: LayerNodes) -> None:
        over = list(range(self.axis, self.axes))
        last = nodes.outputs if self.coeff == 1 else 1
        if self.operation == "SUM":
            axes = nodes.constant(np.array(over, np.int64), "axes")
            total = nodes.add("ReduceSum", [*nodes.inputs, axes], last, keepdims=0)
        else:
            operator = {"MEAN": "ReduceMean", "ASUM": "ReduceL1", "SUMSQ": "ReduceSumSquare"}[self.operation]
            total = nodes.add(operator, nodes.inputs, last, axes=over, keepdims=0)
        if self.coeff != 1:
            nodes.add("Mul", [total, nodes.constant(np.float32(self.coeff), "coeff")], nodes.outputs)


@layer("ArgMax", argmax_param="out_max_val top_k axis")
@dataclass(frozen=True)
class ArgMax(Operation):
    """Where the largest numbers are; of equal ones the last comes first.

    Along an axis: their indices, or, with ``values``, the numbers instead. Without one each item is searched as a
    whole: N x 1 x top_k indices, or N x 2 x top_k with the numbers behind; at least 3 axes, 1s to the bottom's count.
    """

    axis: int | None
    axes: int
    top_k: int
    values: bool

    @classmethod
    def parse(cls, layer: Layer, bottoms: Sequence[Shape]) -> ArgMax:
        p, shape = layer.param("argmax_param"), bottoms[0]
        axis = canonical_axis(p.axis, len(shape)) if "axis" in p else None
        if not shape:
            raise LayerError("the bottom has no axes")
        there = prod(shape[1:]) if axis is None else shape[axis]
        if not 1 <= p.top_k <= there:
            raise LayerError(f"top_k {p.top_k} must lie between 1 and {there}, as many as are compared")
        return cls(axis, len(shape), p.top_k, p.out_max_val)

    def shape(self, bottoms: Sequence[Shape]) -> list[Shape]:
        shape = bottoms[0]
        if self.axis is not None:
            return [(*shape[: self.axis], self.top_k, *shape[self.axis + 1 :])]
        return [(shape[0], 2 if self.values else 1, self.top_k) + (1,) * (self.axes - 3)]

    def torch(self) -> Step:
        options = {} if self.axis in (None, 1) else {"dim": self.axis}
        call = Call("Largest", *([] if self.top_k == 1 else [self.top_k]), **options)
        if self.axis is not None:
            return Step(f"{{self}}({{0}})[{int(self.values)}]", call)
        found = "{self}({0}.flatten(1))" if self.axes > 1 else "{self}({0}[:, None])"
        behind = ", None" * (self.axes - 3)
        if self.values:
            return Step(f"torch.stack({found}, dim=1){f'[...{behind}]' if behind else ''}", call)
        return Step(f"{found}[0][:, None{f', :{behind}' if behind else ''}]", call)

    def onnx(self, nodes: LayerNodes) -> None:
        if self.axis is not None:
            self._rows(nodes, nodes.inputs[0], self.axis, nodes.outputs[0])
            return
        x = nodes.inputs[0] if self.axes == 2 else nodes.add("Flatten", nodes.inputs)
        rows = self._rows(nodes, x, 1, None)
        axes = nodes.constant(np.array([1, *range(3, self.axes)], np.int64), "axes")
        rows = [nodes.add("Unsqueeze", [row, axes], 1 if self.values else nodes.outputs) for row in rows]
        if self.values:
            nodes.add("Concat", rows, nodes.outputs, axis=1)

    def _rows(self, nodes: LayerNodes, x: str, axis: int, output: str | None) -> list[str]:
        """The indices, the numbers, or both; ``output`` names the result where it is one."""
        last = [output] if output else 1
        places = self.axis is None or not self.values
        rows = []
        if self.top_k == 1:
            if places:
                index = nodes.add("ArgMax", [x], axis=axis, select_last_index=1)
                rows.append(nodes.add("Cast", [index], last, to=1))
            if self.values:
                rows.append(nodes.add("ReduceMax", [x], last, axes=[axis]))
            return rows
        # TopK takes the first of equal ones, so it searches from the end.
        ends = (nodes.constant(np.array([end], np.int64), "ends") for end in (-1, -(1 << 63), axis, -1))
        backward = nodes.add("Slice", [x, *ends])
        wanted = nodes.constant(np.array([self.top_k], np.int64), "top_k")
        names = [output if output and not places else nodes.unique("values"), nodes.unique("places")]
        values, index = nodes.add("TopK", [backward, wanted], names, axis=axis)
        if places:
            size = nodes.add("Shape", [x], start=axis, end=axis + 1)
            index = nodes.add("Sub", [nodes.add("Sub", [size, nodes.constant(np.int64(1), "one")]), index])
            rows.append(nodes.add("Cast", [index], last, to=1))
        return [*rows, values] if self.values else rows
