"""Power, Exp and Log: functions of shift + scale * x."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from caffe2torch.calls import Step, number
from caffe2torch.fields import plain_float
from caffe2torch.net import Fields, Layer, Shape
from caffe2torch.registry import LayerError, Operation, layer

if TYPE_CHECKING:
    from caffe2torch.onnx_model import LayerNodes


def affine(x: str, scale: float, shift: float) -> str:
    """``0.5 * x - 3``"""
    text = x if scale == 1 else f"-{x}" if scale == -1 else f"{number(scale)} * {x}"
    if shift == 0:
        return text
    return f"{text} {'-' if shift < 0 else '+'} {number(abs(shift))}"


def chain(nodes: LayerNodes, *steps: tuple[str, float | None]) -> None:
    """The first bottom through operators, each with a number (None: without); those that change nothing left out."""
    neutral = (("Mul", 1), ("Add", 0))
    kept = [step for step in steps if step not in neutral] or [("Identity", None)]
    value = nodes.inputs[0]
    for index, (operator, operand) in enumerate(kept, 1):
        operands = [] if operand is None else [nodes.constant(np.float32(operand), operator.lower())]
        value = nodes.add(operator, [value, *operands], nodes.outputs if index == len(kept) else 1)


@layer("Power", power_param="power scale shift")
@dataclass(frozen=True)
class Power(Operation):
    """(shift + scale * x) ^ power; a constant, whatever x, where scale or power is 0."""

    power: float
    scale: float
    shift: float

    @classmethod
    def parse(cls, layer: Layer, bottoms: Sequence[Shape]) -> Power:
        p = layer.param("power_param")
        return cls(p.power, p.scale, p.shift)

    def _constant(self) -> float | None:
        power, scale, shift = (np.float32(value) for value in (self.power, self.scale, self.shift))
        with np.errstate(all="ignore"):
            if power * scale != 0:
                return None
            return plain_float(float(shift**power))

    def torch(self) -> Step:
        constant = self._constant()
        if constant is not None:
            return Step(f"torch.full_like({{0}}, {number(constant)})")
        base = affine("{0}", self.scale, self.shift)
        if self.power == 1:
            return Step(base)
        return Step(f"{base if base == '{0}' else f'({base})'}.pow({number(self.power)})")

    def onnx(self, nodes: LayerNodes) -> None:
        constant = self._constant()
        if constant is None:
            power = [] if self.power == 1 else [("Pow", self.power)]
            chain(nodes, ("Mul", self.scale), ("Add", self.shift), *power)
            return
        from onnx import numpy_helper

        value = numpy_helper.from_array(np.array([constant], np.float32))
        nodes.add("ConstantOfShape", [nodes.add("Shape", nodes.inputs)], nodes.outputs, value=value)


def _log_of_base(p: Fields) -> float:
    """log(base); base -1 stands for e."""
    if p.base == -1:
        return 1.0
    if not 0 < p.base < float("inf"):
        raise LayerError(f"base {p.base} must be above 0 and finite, or -1 for e")
    return float(np.log(np.float32(p.base)))


@layer("Exp", exp_param="base scale shift")
@dataclass(frozen=True)
class Exp(Operation):
    """base ^ (shift + scale * x)."""

    base: float
    log_base: float
    scale: float
    shift: float

    @classmethod
    def parse(cls, layer: Layer, bottoms: Sequence[Shape]) -> Exp:
        p = layer.param("exp_param")
        return cls(p.base, _log_of_base(p), p.scale, p.shift)

    def torch(self) -> Step:
        exponent = affine("{0}", self.scale, self.shift)
        if self.base in (-1, 2):
            return Step(f"torch.{'exp' if self.base == -1 else 'exp2'}({exponent})")
        return Step(f"torch.pow({number(self.base)}, {exponent})")

    def onnx(self, nodes: LayerNodes) -> None:
        chain(nodes, ("Mul", self.scale * self.log_base), ("Add", self.shift * self.log_base), ("Exp", None))


@layer("Log", log_param="base scale shift")
@dataclass(frozen=True)
class Log(Operation):
    """The logarithm of shift + scale * x; NaN below 0, -inf at 0."""

    base: float
    log_base: float
    scale: float
    shift: float

    @classmethod
    def parse(cls, layer: Layer, bottoms: Sequence[Shape]) -> Log:
        p = layer.param("log_param")
        log_base = _log_of_base(p)
        if log_base == 0:
            raise LayerError("base 1 has no logarithm: 1 / log(base) is infinite")
        return cls(p.base, log_base, p.scale, p.shift)

    def torch(self) -> Step:
        argument = affine("{0}", self.scale, self.shift)
        if self.base in (-1, 2, 10):
            return Step(f"torch.log{'' if self.base == -1 else number(self.base)}({argument})")
        return Step(f"torch.log({argument}) / {number(plain_float(self.log_base))}")

    def onnx(self, nodes: LayerNodes) -> None:
        chain(nodes, ("Mul", self.scale), ("Add", self.shift), ("Log", None), ("Mul", 1 / self.log_base))
