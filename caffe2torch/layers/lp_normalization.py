"""LpNormalization."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from caffe2torch.calls import Step
from caffe2torch.net import Layer, Shape
from caffe2torch.readings import Reading
from caffe2torch.registry import LayerError, Operation, canonical_axis, layer

if TYPE_CHECKING:
    from caffe2torch.onnx_model import LayerNodes


@layer(
    "LpNormalization",
    lp_normalization_param="axis p",
    proto={"lp_normalization_param": Reading("synopsys", None, "axis 1 int32*; p 2 uint32 =2")},
)
@dataclass(frozen=True)
class LpNormalization(Operation):
    """Of synopsys-caffe: x / (sum |x|^p)^(1/p) over some axes; no axis: each number by itself. 0 / 0 is NaN."""

    axes: tuple[int, ...]
    p: int

    @classmethod
    def parse(cls, layer: Layer, bottoms: Sequence[Shape]) -> LpNormalization:
        p = layer.param("lp_normalization_param")
        axes = tuple(sorted(canonical_axis(axis, len(bottoms[0])) for axis in p.axis))
        if len(set(axes)) < len(axes):
            raise LayerError(f"axis {p.axis} names an axis of the bottom twice")
        if p.p < 1:
            raise LayerError(f"p {p.p} must be at least 1")
        return cls(axes, p.p)

    def torch(self) -> Step:
        if not self.axes:
            return Step("{0} / {0}.abs()")
        order = "" if self.p == 2 else f"{self.p}, "
        dim = self.axes[0] if len(self.axes) == 1 else self.axes
        return Step(f"{{0}} / torch.linalg.vector_norm({{0}}, {order}dim={dim}, keepdim=True)")

    def onnx(self, nodes: LayerNodes) -> None:
        x = nodes.inputs[0]
        if not self.axes:
            norm = nodes.add("Abs", [x])
        elif self.p in (1, 2):
            norm = nodes.add(f"ReduceL{self.p}", [x], axes=list(self.axes))
        else:
            power = nodes.add("Pow", [nodes.add("Abs", [x]), nodes.constant(np.float32(self.p), "p")])
            axes = nodes.constant(np.array(self.axes, np.int64), "axes")
            root = nodes.constant(np.float32(1 / self.p), "root")
            norm = nodes.add("Pow", [nodes.add("ReduceSum", [power, axes]), root])
        nodes.add("Div", [x, norm], nodes.outputs)
