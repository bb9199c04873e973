"""Scale and Bias."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from caffe2torch.calls import Call, Step
from caffe2torch.net import Fields, Layer, Shape
from caffe2torch.registry import LayerError, Operation, Param, canonical_axis, layer

if TYPE_CHECKING:
    from caffe2torch.onnx_model import LayerNodes


def spanned(bottoms: Sequence[Shape], axis: int, num_axes: int) -> tuple[Shape, int]:
    """The shape of the factor (or bias), and how many axes of the first bottom lie behind it.

    With two bottoms it is the second's shape, which must lie in the first's at ``axis``; else ``num_axes`` axes from
    ``axis`` on (-1: all that follow, 0: a scalar).
    """
    first = bottoms[0]
    # A second bottom without axes is a scalar, wherever it is put.
    start = canonical_axis(axis, len(first)) if len(bottoms) == 1 or bottoms[1] else 0
    if len(bottoms) == 2:
        shape = bottoms[1]
    elif num_axes == 0:
        return (), 0
    else:
        if num_axes < -1 or start + num_axes > len(first):
            raise LayerError(f"axis {axis} and num_axes {num_axes} reach beyond the {len(first)} axes of the bottom")
        shape = first[start:] if num_axes == -1 else first[start : start + num_axes]
    if first[start : start + len(shape)] != shape:
        raise LayerError(f"shape {shape} does not lie in the first bottom's {first} at axis {start}")
    return shape, len(first) - start - len(shape) if shape else 0


def module_shape(shape: Shape) -> tuple[int | Shape]:
    """The shape as the argument of Scale and Bias in modules/scaling.py: a single number where there is one axis."""
    return (shape[0] if len(shape) == 1 else shape,)


def trailing_option(trailing: int) -> dict[str, int]:
    """``trailing=``, left out at its default of 2."""
    return {} if trailing == 2 else {"trailing": trailing}


def stretched(text: str, trailing: int) -> str:
    """An expression with ``trailing`` axes of length 1 behind."""
    return f"{text}[{', '.join(['...'] + ['None'] * trailing)}]" if trailing else text


def add_axes(nodes: LayerNodes, value: str, trailing: int, outputs: list[str] | int = 1) -> str:
    """ONNX: a value with ``trailing`` axes of length 1 behind."""
    if not trailing:
        return value
    stretched: str = nodes.add(
        "Unsqueeze", [value, nodes.constant(np.arange(-trailing, 0, dtype=np.int64), "axes")], outputs
    )
    return stretched


@layer("Scale", bottoms=(1, 2), scale_param="axis num_axes filler bias_term bias_filler")
@dataclass(frozen=True)
class Scale(Operation):
    """Multiply by a factor (learned, or the second bottom), then add a learned bias if asked to."""

    factor: Shape  # of what is learned; () where nothing is
    trailing: int
    learned: bool
    bias: bool
    filler: Fields | float
    bias_filler: Fields

    @classmethod
    def parse(cls, layer: Layer, bottoms: Sequence[Shape]) -> Scale:
        p = layer.param("scale_param")
        factor, trailing = spanned(bottoms, p.axis, p.num_axes)
        learned = len(bottoms) == 1
        # Caffe's default filler here is 1, not 0.
        filler = p.filler if "filler" in p else 1.0
        shape = factor if learned or p.bias_term else ()
        return cls(shape, trailing, learned, p.bias_term, filler, p.bias_filler)

    def params(self) -> tuple[Param, ...]:
        weight = (Param("weight", self.factor, self.filler),) if self.learned else ()
        bias = (Param("bias", self.factor, self.bias_filler),) if self.bias else ()
        return weight + bias

    def torch(self) -> Step:
        if self.learned:
            options = {"bias": True} if self.bias else {}
            return Step(module=Call("Scale", *module_shape(self.factor), **trailing_option(self.trailing), **options))
        product = f"{{0}} * {stretched('{1}', self.trailing)}"
        if self.bias:
            call = Call("Bias", *module_shape(self.factor), **trailing_option(self.trailing))
            return Step(f"{{self}}({product})", call)
        return Step(product)

    def onnx(self, nodes: LayerNodes) -> None:
        factor = nodes.state("weight") if self.learned else nodes.inputs[1]
        factor = add_axes(nodes, factor, self.trailing)
        product = nodes.add("Mul", [nodes.inputs[0], factor], 1 if self.bias else nodes.outputs)
        if self.bias:
            nodes.add("Add", [product, add_axes(nodes, nodes.state("bias"), self.trailing)], nodes.outputs)


@layer("Bias", bottoms=(1, 2), bias_param="axis num_axes filler")
@dataclass(frozen=True)
class Bias(Operation):
    """Add a bias: learned, or the second bottom."""

    bias: Shape  # of what is learned; () where nothing is
    trailing: int
    learned: bool
    filler: Fields

    @classmethod
    def parse(cls, layer: Layer, bottoms: Sequence[Shape]) -> Bias:
        p = layer.param("bias_param")
        shape, trailing = spanned(bottoms, p.axis, p.num_axes)
        learned = len(bottoms) == 1
        return cls(shape if learned else (), trailing, learned, p.filler)

    def params(self) -> tuple[Param, ...]:
        return (Param("bias", self.bias, self.filler),) if self.learned else ()

    def torch(self) -> Step:
        if self.learned:
            return Step(module=Call("Bias", *module_shape(self.bias), **trailing_option(self.trailing)))
        return Step(f"{{0}} + {stretched('{1}', self.trailing)}")

    def onnx(self, nodes: LayerNodes) -> None:
        bias = nodes.state("bias") if self.learned else nodes.inputs[1]
        nodes.add("Add", [nodes.inputs[0], add_axes(nodes, bias, self.trailing)], nodes.outputs)
