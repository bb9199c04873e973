"""Noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from caffe2torch.calls import Call, Step
from caffe2torch.net import Layer, Shape
from caffe2torch.readings import Reading
from caffe2torch.registry import Operation, layer

if TYPE_CHECKING:
    from caffe2torch.onnx_model import LayerNodes


@layer(
    "Noise",
    noise_param="gaussian_std uniform_range bias",
    proto={
        "noise_param": Reading(
            "caffe-windows", None, "gaussian_std 1 float =0; uniform_range 2 float =0; bias 3 float =0"
        )
    },
)
@dataclass(frozen=True)
class Noise(Operation):
    """Of caffe-windows: nothing at test time; in training it adds normal or else uniform noise around ``bias``."""

    deviation: float
    reach: float
    bias: float

    @classmethod
    def parse(cls, layer: Layer, bottoms: Sequence[Shape]) -> Noise:
        p = layer.param("noise_param")
        if "gaussian_std" in p:
            return cls(p.gaussian_std, 0.0, p.bias)
        return cls(0.0, p.uniform_range, p.bias) if "uniform_range" in p else cls(0.0, 0.0, 0.0)

    def torch(self) -> Step:
        options = {"deviation": self.deviation, "reach": self.reach, "bias": self.bias}
        return Step(module=Call("Noise", **{name: value for name, value in options.items() if value}))

    def onnx(self, nodes: LayerNodes) -> None:
        nodes.add("Identity", nodes.inputs, nodes.outputs)
