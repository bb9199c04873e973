"""Convolution3D: windows over depth (or time), height and width."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from caffe2torch.layers.convolution import Convolution
from caffe2torch.net import Layer, Shape
from caffe2torch.readings import Reading
from caffe2torch.registry import LayerError, Param, layer


def five_axes(shape: Shape) -> None:
    """LayerError unless a bottom is made of volumes."""
    if len(shape) != 5:
        raise LayerError(f"the bottom has {len(shape)} axes, the fork wants 5: N, C, depth, height and width")


@layer(
    "Convolution3D",
    convolution3d_param="num_output bias_term pad kernel_size group kernel_depth stride temporal_stride weight_filler "
    "bias_filler filter_group temporal_pad",
    proto={
        "convolution3d_param": Reading(
            "c3d",
            None,
            "num_output 1 uint32; bias_term 2 bool =true; pad 3 uint32 =0; kernel_size 4 uint32; group 5 uint32 =1; "
            "kernel_depth 6 uint32; stride 7 uint32 =1; temporal_stride 8 uint32 =1; weight_filler 9 FillerParameter; "
            "bias_filler 10 FillerParameter; filter_group 11 uint32 =1; temporal_pad 12 uint32 =0",
        )
    },
)
@dataclass(frozen=True)
class Convolution3D(Convolution):
    """C3D's: kernel_size, stride and pad for height and width. filter_group and group do not change the result."""

    @classmethod
    def parse(cls, layer: Layer, bottoms: Sequence[Shape]) -> Convolution3D:
        five_axes(bottoms[0])
        p = layer.param("convolution3d_param")
        if p.filter_group < 1 or p.num_output % p.filter_group:
            raise LayerError(f"num_output {p.num_output} does not divide by filter_group {p.filter_group}")
        operation = cls(
            channels=bottoms[0][1],
            num_output=p.num_output,
            kernel=(p.kernel_depth, p.kernel_size, p.kernel_size),
            stride=(p.temporal_stride, p.stride, p.stride),
            pad=(p.temporal_pad, p.pad, p.pad),
            dilation=(1, 1, 1),
            group=1,
            bias=p.bias_term,
            axis=1,
            count=1,
            weight_filler=p.weight_filler,
            bias_filler=p.bias_filler,
        )
        if min(operation.kernel) < 1:
            raise LayerError("kernel_size and kernel_depth must both be set, to at least 1")
        operation._check(3)
        beyond = tuple(zeros for _, zeros in operation._steps(bottoms[0]))
        return replace(operation, beyond=beyond if any(beyond) else ())

    def params(self) -> tuple[Param, ...]:
        return tuple(
            replace(param, shape=(1, 1, 1, 1, self.num_output)) if param.name == "bias" else param
            for param in super().params()
        )

    def state(self, blobs: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        state = super().state(blobs)
        return {**state, "bias": state["bias"].reshape(-1)} if self.bias else state
