"""Im2col."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from caffe2torch.calls import Call, Step, literal, same
from caffe2torch.layers.windows import WINDOW_FIELDS, dilations, spatial, steps
from caffe2torch.net import Layer, Shape
from caffe2torch.registry import LayerError, Operation, canonical_axis, layer

if TYPE_CHECKING:
    from caffe2torch.onnx_model import LayerNodes


@layer("Im2col", convolution_param=WINDOW_FIELDS)
@dataclass(frozen=True)
class Im2col(Operation):
    """What each window sees, as channels: channel by channel, row by row."""

    axis: int
    kernel: Shape
    stride: Shape
    pad: Shape
    dilation: Shape
    counts: Shape  # of windows along each spatial axis
    beyond: Shape  # zeros behind the padding

    @classmethod
    def parse(cls, layer: Layer, bottoms: Sequence[Shape]) -> Im2col:
        p, shape = layer.param("convolution_param"), bottoms[0]
        axis = canonical_axis(p.axis, len(shape))
        axes = len(shape) - axis - 1
        if axes < 1:
            raise LayerError(f"no axes are left behind axis {axis} of {shape} to lay windows over")
        kernel, stride = spatial(p, "kernel_size", axes, None), spatial(p, "stride", axes, 1)
        pad, dilation = spatial(p, "pad", axes, 0), dilations(p, axes)
        if min(*kernel, *stride, *dilation) < 1:
            raise LayerError("kernel, stride and dilation must be at least 1 in each axis")
        found = [steps(*column) for column in zip(shape[axis + 1 :], kernel, stride, pad, dilation, strict=True)]
        counts, beyond = zip(*found, strict=True)
        return cls(axis, kernel, stride, pad, dilation, counts, beyond)

    def shape(self, bottoms: Sequence[Shape]) -> list[Shape]:
        shape = bottoms[0]
        return [(*shape[: self.axis], shape[self.axis] * prod(self.kernel), *self.counts)]

    def made(self, bottoms: Sequence[Shape]) -> int:
        return sum(kernel * count for kernel, count in zip(self.kernel, self.counts, strict=True))

    def _ends(self) -> list[int]:
        return [pad + zeros for pad, zeros in zip(self.pad, self.beyond, strict=True)]

    def torch(self) -> Step:
        if len(self.kernel) == 2 and self.axis == 1 and not any(self.beyond):
            options = {"dilation": (self.dilation, 1), "padding": (self.pad, 0), "stride": (self.stride, 1)}
            given = [
                f", {name}={literal(same(value))}" for name, (value, rest) in options.items() if set(value) != {rest}
            ]
            return Step(f"F.unfold({{0}}, {literal(same(self.kernel))}{''.join(given)}).unflatten(2, {self.counts})")
        pads = [side for pair in zip(self.pad, self._ends(), strict=True) for side in reversed(pair)]
        return Step(module=Call("Unfold", self.kernel, self.stride, tuple(reversed(pads)), self.dilation))

    def onnx(self, nodes: LayerNodes) -> None:
        x, lead, axes = nodes.inputs[0], self.axis + 1, len(self.kernel)
        if any(self._ends()):
            pads = np.array([0] * lead + list(self.pad) + [0] * lead + self._ends(), np.int64)
            x = nodes.add("Pad", [x, nodes.constant(pads, "pads")])
        # Each spatial axis becomes two: the place in the window, and the window.
        columns = zip(self.kernel, self.stride, self.dilation, self.counts, strict=True)
        for place, (kernel, stride, dilation, count) in enumerate(columns):
            index = np.arange(kernel)[:, None] * dilation + np.arange(count) * stride
            x = nodes.add("Gather", [x, nodes.constant(index.astype(np.int64), "index")], axis=lead + 2 * place)
        order = [*range(lead), *range(lead, lead + 2 * axes, 2), *range(lead + 1, lead + 2 * axes, 2)]
        sizes = nodes.output_shapes[0]
        x = nodes.add("Transpose", [x], perm=order)
        nodes.reshape(x, [0, *sizes[1:]] if self.axis else sizes, nodes.outputs[0])  # 0: as it is
