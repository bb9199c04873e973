"""A plugin: three layers that this project does not have. `caffe2torch convert … --plugin my_layers.py`.

1. ``Swish6``, a layer of one's own fork, with its own swish6_param;
2. ``Gate``, which has learned weights and an nn.Module of its own;
3. ``shift.ShiftLayer``, a layer written in Python (``type: "Python"``).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from caffe2torch.calls import Call, Step, literal
from caffe2torch.net import Layer, Shape
from caffe2torch.readings import Reading
from caffe2torch.registry import LayerError, Operation, Param, layer


# What swish6_param may say in a .prototxt, and the number that LayerParameter of the fork gives it in a .caffemodel.
@layer(
    "Swish6",
    swish6_param="beta limit",
    proto={"swish6_param": Reading("my-fork", 1234, "beta 1 float =1; limit 2 float =6")},
)
@dataclass(frozen=True)
class Swish6(Operation):
    """min(x * sigmoid(beta * x), limit)."""

    beta: float
    limit: float

    @classmethod
    def parse(cls, layer: Layer, bottoms: Sequence[Shape]) -> Swish6:
        p = layer.param("swish6_param")
        if p.limit <= 0:
            raise LayerError(f"limit {p.limit} must be above 0")
        return cls(p.beta, p.limit)

    def torch(self) -> Step:
        # {0} is the first bottom; a module's call could stand here as well, as below.
        return Step(f"torch.clamp({{0}} * torch.sigmoid({literal(self.beta)} * {{0}}), max={literal(self.limit)})")

    def onnx(self, nodes: Any) -> None:
        beta = nodes.constant(np.float32(self.beta), "beta")
        gate = nodes.add("Sigmoid", [nodes.add("Mul", [nodes.inputs[0], beta])])
        limit = nodes.constant(np.float32(self.limit), "limit")
        nodes.add("Min", [nodes.add("Mul", [nodes.inputs[0], gate]), limit], nodes.outputs)


# Its source is printed into model.py, with the imports it needs.
class ChannelGate(nn.Module):
    """Channels times weight / sqrt(channels)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(channels))
        self.divisor = math.sqrt(channels)

    def forward(self, x: Tensor) -> Tensor:
        return x * (self.weight / self.divisor)[:, None, None]


@layer("Gate")
@dataclass(frozen=True)
class Gate(Operation):
    """One learned factor a channel."""

    channels: int

    @classmethod
    def parse(cls, layer: Layer, bottoms: Sequence[Shape]) -> Gate:
        if len(bottoms[0]) != 4:
            raise LayerError("it takes a bottom of 4 axes")
        return cls(bottoms[0][1])

    def params(self) -> tuple[Param, ...]:
        return (Param("weight", (self.channels,), 1.0),)

    def torch(self) -> Step:
        return Step(module=Call("ChannelGate", self.channels))

    def onnx(self, nodes: Any) -> None:
        divisor = nodes.constant(np.full((1, 1, 1), math.sqrt(self.channels), np.float32), "divisor")
        weight = nodes.add("Unsqueeze", [nodes.state("weight"), nodes.constant(np.array([1, 2]), "axes")])
        nodes.add("Mul", [nodes.inputs[0], nodes.add("Div", [weight, divisor])], nodes.outputs)


# python_param { module: "shift" layer: "ShiftLayer" param_str: "2.5" }
@layer("Python:shift.ShiftLayer", python_param="module layer param_str")
@dataclass(frozen=True)
class Shift(Operation):
    """x + param_str."""

    by: float

    @classmethod
    def parse(cls, layer: Layer, bottoms: Sequence[Shape]) -> Shift:
        return cls(float(layer.param("python_param").param_str))

    def torch(self) -> Step:
        return Step(f"{{0}} + {literal(self.by)}")

    def onnx(self, nodes: Any) -> None:
        nodes.add("Add", [nodes.inputs[0], nodes.constant(np.float32(self.by), "shift")], nodes.outputs)
