"""Normalize: SSD's, with a learned scale, and caffe-windows', without."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from caffe2torch.calls import Call, Step
from caffe2torch.layers.labels import check_legacy
from caffe2torch.net import Fields, Layer, Shape
from caffe2torch.readings import Reading
from caffe2torch.registry import LayerError, Operation, Param, layer

if TYPE_CHECKING:
    from caffe2torch.onnx_model import LayerNodes

EPS = 1e-6  # caffe-windows'
FIELDS = "across_spatial 1 bool =true; scale_filler 2 FillerParameter; channel_shared 3 bool =true; eps 4 float =1e-10"


@layer(
    "Normalize",
    tops=(1, 2),
    norm_param="across_spatial scale_filler channel_shared eps add_eps_before_sqrt",
    normalize_param="normalize_type fix_gradient bp_norm",
    proto={
        "norm_param": (
            Reading("ssd mobilenet-ssd intel nvcaffe mobilenet-yolo ssd-windows inisis", None, FIELDS),
            Reading("synopsys", None, f"{FIELDS}; add_eps_before_sqrt 5 bool =true"),
        ),
        "normalize_param": "normalize_type 1 string =L2; fix_gradient 2 bool =false; bp_norm 3 bool =false",
    },
)
@dataclass(frozen=True)
class Normalize(Operation):
    """SSD: x / sqrt(sum x^2 + eps), over C, H and W or over C alone, times a learned scale, one or one a channel."""

    channels: int  # 0: one scale for all
    axes: int
    across: bool
    eps: float
    filler: Fields | float

    @classmethod
    def parse(cls, layer: Layer, bottoms: Sequence[Shape]) -> Operation:
        check_legacy(bottoms[0])
        if len(bottoms[0]) < 2:
            raise LayerError(f"the bottom {bottoms[0]} must have 2 axes or more")
        if "caffe-windows" in layer.fork:
            return _of_caffe_windows(layer, bottoms[0])
        if len(layer.tops) != 1:
            raise LayerError("SSD's Normalize has one top")
        either = not layer.readings  # one of several readings; one alone was asked for
        if either and "norm_param" not in layer.params and not layer.blobs:
            raise LayerError("without norm_param and blobs it is caffe-windows'; for SSD's defaults say norm_param {}")
        p = layer.param("norm_param")
        if not getattr(p, "add_eps_before_sqrt", True):
            raise LayerError("add_eps_before_sqrt=false is not supported")
        channels = 0 if p.channel_shared else bottoms[0][1]
        filler = p.scale_filler if "scale_filler" in p else 1.0
        return cls(channels, len(bottoms[0]), p.across_spatial, p.eps, filler)

    def params(self) -> tuple[Param, ...]:
        return (Param("weight", (self.channels,) if self.channels else (), self.filler),)

    def torch(self) -> Step:
        options: dict[str, Any] = {} if self.across else {"across": False}
        if self.eps != 1e-10:
            options["eps"] = self.eps
        return Step(module=Call("Normalize", self.channels, **options))

    def onnx(self, nodes: LayerNodes) -> None:
        x = nodes.inputs[0]
        axes = np.array(range(1, self.axes) if self.across else [1], np.int64)
        total = nodes.add("ReduceSum", [nodes.add("Mul", [x, x]), nodes.constant(axes, "axes")], keepdims=1)
        norm = nodes.add("Sqrt", [nodes.add("Add", [total, nodes.constant(np.float32(self.eps), "eps")])])
        weight = nodes.state("weight")
        if self.channels:
            weight = nodes.reshape(weight, [-1] + [1] * (self.axes - 2))
        nodes.add("Mul", [nodes.add("Div", [x, norm]), weight], nodes.outputs)


def _of_caffe_windows(layer: Layer, bottom: Shape) -> Operation:
    if layer.blobs:
        raise LayerError("caffe-windows' Normalize has no blobs")
    kind = layer.param("normalize_param").normalize_type
    if kind not in ("L1", "L2"):
        raise LayerError(f"normalize_type={kind} is not supported; caffe-windows has L1 and L2")
    return ChannelNormalize(kind, len(layer.tops) == 2, 4 - len(bottom))


@dataclass(frozen=True)
class ChannelNormalize(Operation):
    """caffe-windows: x / norm over channels, with eps 1e-6 in it; a second top is the norm. Always 4 axes."""

    kind: str  # L1 or L2
    norm: bool  # a second top
    behind: int  # axes of length 1 to put behind

    def shape(self, bottoms: Sequence[Shape]) -> list[Shape]:
        shape = bottoms[0] + (1,) * self.behind
        return [shape, (shape[0], 1, *shape[2:])] if self.norm else [shape]

    def torch(self) -> Step:
        x = f"{{0}}[..., {', '.join(['None'] * self.behind)}]" if self.behind else "{0}"
        sums = f"{x}.{'abs' if self.kind == 'L1' else 'square'}().sum(1, keepdim=True) + {EPS!r}"
        norm = f"({sums})" if self.kind == "L1" else f"({sums}).sqrt()"
        return Step(f"divided({x}, {norm})" if self.norm else f"{x} / {norm}")

    def onnx(self, nodes: LayerNodes) -> None:
        x = nodes.inputs[0]
        if self.behind:
            axes = np.arange(4 - self.behind, 4, dtype=np.int64)
            x = nodes.add("Unsqueeze", [x, nodes.constant(axes, "axes")])
        parts = nodes.add("Abs", [x]) if self.kind == "L1" else nodes.add("Mul", [x, x])
        total = nodes.add("ReduceSum", [parts, nodes.constant(np.array([1], np.int64), "axes")], keepdims=1)
        eps, tops = nodes.constant(np.float32(EPS), "eps"), nodes.outputs
        last: list[str] | int = tops[1:] if self.norm else 1
        norm = nodes.add("Add", [total, eps], 1 if self.kind == "L2" else last)
        if self.kind == "L2":
            norm = nodes.add("Sqrt", [norm], last)
        nodes.add("Div", [x, norm], tops[:1])
