"""BN, which has two meanings: SegNet's and DeconvNet's with two blobs, PSPNet's and others' with four."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from caffe2torch.calls import Call, Step
from caffe2torch.layers.scale import add_axes
from caffe2torch.net import Fields, Layer, Shape
from caffe2torch.readings import Reading
from caffe2torch.registry import LayerError, Operation, Param, layer

if TYPE_CHECKING:
    from caffe2torch.onnx_model import LayerNodes

SEGNET = ("bn_mode", "scale_filler", "shift_filler")
PSPNET = ("slope_filler", "bias_filler", "momentum", "eps", "frozen", "engine")
_ENGINE = "Engine: DEFAULT=0, CAFFE=1, CUDNN=2"


@layer(
    "BN",
    tops=(1, 3),
    bn_param=" ".join(SEGNET + PSPNET),
    proto={
        "bn_param": (
            Reading(
                "segnet deconvnet",
                None,
                "scale_filler 1 FillerParameter; shift_filler 2 FillerParameter; bn_mode 3 BNMode =LEARN "
                "| BNMode: LEARN=0, INFERENCE=1",
            ),
            Reading(
                "pspnet tsn caffe-windows ssd-windows inisis",
                None,
                "slope_filler 1 FillerParameter; bias_filler 2 FillerParameter; momentum 3 float =0.9; "
                f"eps 4 float =1e-5; frozen 5 bool =false; engine 6 Engine =DEFAULT | {_ENGINE}",
            ),
            Reading(
                "synopsys",
                None,
                "scale_filler 1 FillerParameter; shift_filler 2 FillerParameter; bn_mode 3 BNMode =LEARN; "
                "eps 4 float =1e-5; frozen 5 bool =false; engine 6 Engine =DEFAULT; slope_filler 7 FillerParameter; "
                "bias_filler 8 FillerParameter; momentum 9 float =0.9; icnet 10 bool =false "
                f"| BNMode: LEARN=0, INFERENCE=1 | {_ENGINE}",
            ),
        )
    },
)
@dataclass(frozen=True)
class BN(Operation):
    """Two blobs, SegNet's: scale and shift, of the batch normalized by its own statistics unless INFERENCE is set.

    Four blobs, PSPNet's: slope, bias, mean and variance. synopsys-caffe has both in one message: the fields that are
    set tell which is meant, else the number of blobs.
    """

    @classmethod
    def parse(cls, layer: Layer, bottoms: Sequence[Shape]) -> Operation:
        p = layer.param("bn_param")
        if not 2 <= len(bottoms[0]) <= 4:
            raise LayerError(f"the bottom has {len(bottoms[0])} axes; 2 to 4 are supported")
        if _is_segnet(layer, p):
            return _segnet(layer, p, bottoms[0])
        if len(layer.tops) != 1:
            raise LayerError(f"it has {len(layer.tops)} tops; a BN with running statistics has 1")
        stored = p.frozen or layer.phase != "TRAIN"
        return RunningBN(
            bottoms[0][1],
            len(bottoms[0]),
            p.eps,
            round(1 - p.momentum, 9),
            stored,
            _blob_shape(layer, bottoms[0][1]),
            p.slope_filler,
            p.bias_filler,
        )


def _is_segnet(layer: Layer, p: Fields) -> bool:
    if "synopsys" not in layer.fork:
        return hasattr(p, "bn_mode")
    kinds = [any(name in p for name in names) for names in (SEGNET, PSPNET)]
    if all(kinds):
        raise LayerError("bn_param mixes fields of SegNet's BN (bn_mode, scale_filler) and of PSPNet's (eps, frozen)")
    return kinds[0] or (not kinds[1] and len(layer.blobs or ()) == 2)


def _segnet(layer: Layer, p: Fields, shape: Shape) -> Operation:
    learn = p.bn_mode == "LEARN"
    if not learn and len(layer.tops) > 1:
        raise LayerError("bn_mode=INFERENCE computes no mean and variance: its second and third tops are never written")
    blob = _blob_shape(layer, shape[1])
    return BatchBN(shape[1], len(shape), learn, len(layer.tops), blob, p.scale_filler, p.shift_filler)


def _blob_shape(layer: Layer, channels: int) -> Shape:
    """As the file has it: forks say (1, C) or (1, C, 1, 1)."""
    if layer.blobs and prod(layer.blobs[0].shape) == channels:
        return layer.blobs[0].shape
    return (1, channels, 1, 1)


@dataclass(frozen=True)
class BatchBN(Operation):
    """scale * x + shift, x normalized by the batch's mean and variance if ``learn``; they may be tops as well."""

    channels: int
    axes: int
    learn: bool
    count: int  # tops
    blob: Shape
    scale_filler: Fields
    shift_filler: Fields

    def shape(self, bottoms: Sequence[Shape]) -> list[Shape]:
        statistics = [(1, self.channels, 1, 1)] * (self.count - 1)
        return [bottoms[0] + (1,) * (4 - self.axes), *statistics]

    def params(self) -> tuple[Param, ...]:
        return Param("weight", self.blob, self.scale_filler), Param("bias", self.blob, self.shift_filler)

    def state(self, blobs: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        return {name: blob.reshape(-1) for name, blob in super().state(blobs).items()}

    def torch(self) -> Step:
        behind = ", None" * (4 - self.axes)
        expression = f"{{self}}({{0}}[...{behind}])" if behind else "{self}({0})"
        if not self.learn:
            return Step(expression, Call("Scale", self.channels, bias=True))
        if self.count == 1:
            return Step(expression, Call("nn.BatchNorm2d", self.channels, eps=1e-9, track_running_stats=False))
        cut = f"[:{self.count}]" if self.count < 3 else ""
        return Step(expression + cut, Call("BatchNormWithStatistics", self.channels, eps=1e-9))

    def onnx(self, nodes: LayerNodes) -> None:
        x = nodes.inputs[0]
        if self.axes < 4:
            x = add_axes(nodes, x, 4 - self.axes)
        if self.learn:
            mean = nodes.add("ReduceMean", [x], nodes.outputs[1:2] or 1, axes=[0, 2, 3])
            centred = nodes.add("Sub", [x, mean])
            squared = nodes.add("Mul", [centred, centred])
            variance = nodes.add("ReduceMean", [squared], nodes.outputs[2:3] or 1, axes=[0, 2, 3])
            base = nodes.add("Add", [variance, nodes.constant(np.float32(1e-9), "eps")])
            x = nodes.add("Div", [centred, nodes.add("Sqrt", [base])])
        product = nodes.add("Mul", [x, add_axes(nodes, nodes.state("weight"), 2)])
        nodes.add("Add", [product, add_axes(nodes, nodes.state("bias"), 2)], nodes.outputs[:1])


@dataclass(frozen=True)
class RunningBN(Operation):
    """slope * (x - mean) / sqrt(variance + eps) + bias; the batch's own mean and variance in phase TRAIN."""

    channels: int
    axes: int
    eps: float
    momentum: float  # torch's: the weight of what is new
    stored: bool
    blob: Shape
    slope_filler: Fields
    bias_filler: Fields

    def params(self) -> tuple[Param, ...]:
        return (
            Param("weight", self.blob, self.slope_filler),
            Param("bias", self.blob, self.bias_filler),
            Param("running_mean", self.blob),
            Param("running_var", self.blob, 1.0),
        )

    def state(self, blobs: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        state = {name: blob.reshape(-1) for name, blob in super().state(blobs).items()}
        if self.stored:
            return {**state, "num_batches_tracked": np.zeros((), np.int64)}
        return {name: state[name] for name in ("weight", "bias")}

    def torch(self) -> Step:
        options: dict[str, Any] = {} if self.eps == 1e-5 else {"eps": self.eps}
        if not self.stored:
            options["track_running_stats"] = False
        elif self.momentum != 0.1:
            options["momentum"] = self.momentum
        return Step(module=Call(f"nn.BatchNorm{max(self.axes - 2, 1)}d", self.channels, **options))

    def onnx(self, nodes: LayerNodes) -> None:
        weight, bias = nodes.state("weight"), nodes.state("bias")
        if self.stored:
            statistics = [nodes.state("running_mean"), nodes.state("running_var")]
            nodes.add(
                "BatchNormalization", [nodes.inputs[0], weight, bias, *statistics], nodes.outputs, epsilon=self.eps
            )
            return
        axes = [0, *range(2, self.axes)]
        centred = nodes.add("Sub", [nodes.inputs[0], nodes.add("ReduceMean", nodes.inputs, axes=axes)])
        variance = nodes.add("ReduceMean", [nodes.add("Mul", [centred, centred])], axes=axes)
        base = nodes.add("Add", [variance, nodes.constant(np.float32(self.eps), "eps")])
        x = nodes.add("Div", [centred, nodes.add("Sqrt", [base])])
        product = nodes.add("Mul", [x, add_axes(nodes, weight, self.axes - 2)])
        nodes.add("Add", [product, add_axes(nodes, bias, self.axes - 2)], nodes.outputs)
