"""SmoothL1Loss of Fast R-CNN and of SSD."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from caffe2torch.calls import Step, literal
from caffe2torch.layers.labels import FLOAT, check_legacy, check_loss
from caffe2torch.net import Layer, Shape
from caffe2torch.readings import Reading
from caffe2torch.registry import LayerError, Operation, layer

if TYPE_CHECKING:
    from caffe2torch.onnx_model import LayerNodes


@layer(
    "SmoothL1Loss",
    bottoms=(2, 4),
    loss=True,
    smooth_l1_loss_param="sigma abssum",
    proto={
        "smooth_l1_loss_param": (
            Reading("faster-rcnn rfcn intel", None, "sigma 1 float =1"),
            Reading("synopsys", None, "sigma 1 float =1; abssum 3 bool =true"),
        )
    },
)
@dataclass(frozen=True)
class SmoothL1Loss(Operation):
    """d^2 s^2 / 2 where |d| < 1 / s^2, |d| - 1 / 2 s^2 elsewhere; summed and divided by N.

    d is the difference of the first two bottoms, times the third; the fourth weighs the losses. SSD's has no sigma (1)
    and two bottoms.
    """

    sigma: float
    weights: bool
    same: tuple[bool, ...]  # which of the other bottoms have the first's shape, axis by axis

    @classmethod
    def parse(cls, layer: Layer, bottoms: Sequence[Shape]) -> SmoothL1Loss:
        if len(bottoms) == 3:
            raise LayerError("it has 3 bottoms: weights must be given both inside and outside of the loss")
        check_loss(layer, bottoms)
        check_legacy(*bottoms)
        wanted = (bottoms[0] + (1,) * 3)[1:4]
        for shape in bottoms[1:]:
            if (shape + (1,) * 3)[1:4] != wanted or shape[0] != bottoms[0][0]:
                raise LayerError(f"bottom {shape} must have the channels, height and width of the first {bottoms[0]}")
        sigma = layer.param("smooth_l1_loss_param").sigma if "smooth_l1_loss_param" in layer.params else 1.0
        if sigma <= 0:
            raise LayerError(f"sigma {sigma} must be above 0")
        return cls(sigma, len(bottoms) == 4, tuple(shape == bottoms[0] for shape in bottoms[1:]))

    def shape(self, bottoms: Sequence[Shape]) -> list[Shape]:
        return [()]

    def _beta(self) -> float:
        return 1 / self.sigma**2

    def torch(self) -> Step:
        others = [
            f"{{{place}}}" if same else f"{{{place}}}.reshape({{0}}.shape)" for place, same in enumerate(self.same, 1)
        ]
        beta = "" if self.sigma == 1 else f", beta={literal(self._beta())}"
        if not self.weights:
            return Step(f'F.smooth_l1_loss({{0}}, {others[0]}, reduction="sum"{beta}) / len({{0}})')
        target, inside, outside = others
        difference = f"{inside} * ({{0}} - {target})"
        losses = f'F.smooth_l1_loss({difference}, torch.zeros_like({{0}}), reduction="none"{beta})'
        return Step(f"({outside} * {losses}).sum() / len({{0}})")

    def onnx(self, nodes: LayerNodes) -> None:
        shape = nodes.batched(nodes.input_shapes[0])
        x, target, *weights = (
            value if same else nodes.reshape(value, shape)
            for value, same in zip(nodes.inputs, (True, *self.same), strict=True)
        )
        difference = nodes.add("Sub", [x, target])
        if weights:
            difference = nodes.add("Mul", [weights[0], difference])
        beta, half = nodes.constant(np.float32(self._beta()), "beta"), nodes.constant(np.float32(0.5), "half")
        size = nodes.add("Abs", [difference])
        square = nodes.add("Div", [nodes.add("Mul", [nodes.add("Mul", [size, size]), half]), beta])
        line = nodes.add("Sub", [size, nodes.add("Mul", [beta, half])])
        losses = nodes.add("Where", [nodes.add("Less", [size, beta]), square, line])
        if weights:
            losses = nodes.add("Mul", [weights[1], losses])
        count = nodes.add("Gather", [nodes.add("Shape", [x]), nodes.constant(np.int64(0), "zero")])
        total = nodes.add("ReduceSum", [losses], keepdims=0)
        nodes.add("Div", [total, nodes.add("Cast", [count], to=FLOAT)], nodes.outputs)
