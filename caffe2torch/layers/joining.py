"""Eltwise and Concat: several bottoms, one top."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from caffe2torch.calls import Step, literal
from caffe2torch.net import Layer, Shape
from caffe2torch.registry import LayerError, Operation, canonical_axis, layer

if TYPE_CHECKING:
    from caffe2torch.onnx_model import LayerNodes

MANY = float("inf")
DEEPEST = 50  # calls within each other; Python reads 200 at most


@layer("Eltwise", bottoms=(2, MANY), eltwise_param="operation coeff stable_prod_grad")
@dataclass(frozen=True)
class Eltwise(Operation):
    """Product, weighted sum or maximum of blobs of one shape; Caffe never broadcasts."""

    operation: str
    coefficients: tuple[float, ...]

    @classmethod
    def parse(cls, layer: Layer, bottoms: Sequence[Shape]) -> Eltwise:
        p = layer.param("eltwise_param")
        if any(shape != bottoms[0] for shape in bottoms):
            raise LayerError(f"its bottoms have the shapes {', '.join(map(str, bottoms))}; Caffe wants equal ones")
        if p.coeff and p.operation == "PROD":
            raise LayerError("coeff does not go with operation PROD, only with SUM")
        if p.coeff and len(p.coeff) != len(bottoms):
            raise LayerError(f"{len(p.coeff)} values of coeff for {len(bottoms)} bottoms")
        # A maximum does not read its coefficients.
        return cls(p.operation, p.coeff if p.coeff and p.operation == "SUM" else (1.0,) * len(bottoms))

    def torch(self) -> Step:
        names = [f"{{{index}}}" for index in range(len(self.coefficients))]
        if self.operation == "PROD":
            return Step(" * ".join(names))
        if self.operation == "SUM":
            return Step(_weighted_sum(names, self.coefficients))
        if len(names) > DEEPEST:
            return Step(f"torch.stack(({', '.join(names)})).amax(0)")
        text = names[0]
        for name in names[1:]:
            text = f"torch.maximum({text}, {name})"
        return Step(text)

    def onnx(self, nodes: LayerNodes) -> None:
        if self.operation == "MAX":
            nodes.add("Max", nodes.inputs, nodes.outputs)
            return
        terms = [
            x if factor == 1 else nodes.add("Mul", [x, nodes.constant(np.float32(factor), "coeff")])
            for x, factor in zip(nodes.inputs, self.coefficients, strict=True)
        ]
        operator = "Mul" if self.operation == "PROD" else "Add"
        total = terms[0]
        for index, term in enumerate(terms[1:], 2):
            total = nodes.add(operator, [total, term], nodes.outputs if index == len(terms) else 1)


def _weighted_sum(names: Sequence[str], factors: Sequence[float]) -> str:
    """``a + 0.5 * b - c``"""
    text = ""
    for name, factor in zip(names, factors, strict=True):
        size = abs(factor)
        term = name if size == 1 else f"{literal(size)} * {name}"
        if not text:
            text = term if factor >= 0 else f"-{term}"
        else:
            text += f" {'+' if factor >= 0 else '-'} {term}"
    return text


@layer("Concat", bottoms=(1, MANY), concat_param="axis concat_dim")
@dataclass(frozen=True)
class Concat(Operation):
    """Blobs side by side along an axis; ``concat_dim`` is the axis's old name."""

    axis: int
    count: int

    @classmethod
    def parse(cls, layer: Layer, bottoms: Sequence[Shape]) -> Concat:
        p = layer.param("concat_param")
        if "axis" in p and "concat_dim" in p:
            raise LayerError("axis and concat_dim are both set; Caffe takes one of them")
        axis = canonical_axis(p.concat_dim if "concat_dim" in p else p.axis, len(bottoms[0]))
        first = bottoms[0]
        for shape in bottoms[1:]:
            if len(shape) != len(first) or any(
                a != b for index, (a, b) in enumerate(zip(shape, first, strict=True)) if index != axis
            ):
                raise LayerError(f"shapes {first} and {shape} differ in another axis than {axis}")
        return cls(axis, len(bottoms))

    def shape(self, bottoms: Sequence[Shape]) -> list[Shape]:
        total = sum(shape[self.axis] for shape in bottoms)
        return [(*bottoms[0][: self.axis], total, *bottoms[0][self.axis + 1 :])]

    def torch(self) -> Step:
        if self.count == 1:
            return Step("{0}")
        names = ", ".join(f"{{{index}}}" for index in range(self.count))
        return Step(f"torch.cat([{names}], dim={self.axis})")

    def onnx(self, nodes: LayerNodes) -> None:
        nodes.add("Concat", nodes.inputs, nodes.outputs, axis=self.axis)
