"""LRN, BatchNorm and MVN."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from caffe2torch.calls import Call, Step, literal
from caffe2torch.layers.scale import add_axes
from caffe2torch.net import Fields, Layer, Shape
from caffe2torch.readings import Reading
from caffe2torch.registry import LayerError, Operation, Param, layer

if TYPE_CHECKING:
    from caffe2torch.onnx_model import LayerNodes


@layer("LRN", lrn_param="local_size alpha beta norm_region k engine")
@dataclass(frozen=True)
class LRN(Operation):
    """Across channels x / (k + alpha/n * sum x^2)^beta; within a channel alpha / n^2 and k = 1."""

    size: int
    alpha: float
    beta: float
    k: float
    within: bool

    @classmethod
    def parse(cls, layer: Layer, bottoms: Sequence[Shape]) -> LRN:
        p = layer.param("lrn_param")
        if p.local_size % 2 == 0:
            raise LayerError(f"local_size {p.local_size} is even; Caffe takes odd sizes only")
        if len(bottoms[0]) != 4:
            raise LayerError(f"the bottom has {len(bottoms[0])} axes, Caffe wants 4")
        return cls(p.local_size, p.alpha, p.beta, p.k, p.norm_region == "WITHIN_CHANNEL")

    def torch(self) -> Step:
        if self.within:
            window = f"F.avg_pool2d({{0}}.square(), {self.size}, stride=1, padding={self.size // 2})"
            return Step(f"{{0}} / (1 + {literal(self.alpha)} * {window}) ** {literal(self.beta)}")
        options = {"alpha": (self.alpha, 1e-4), "beta": (self.beta, 0.75), "k": (self.k, 1.0)}
        given = {name: value for name, (value, default) in options.items() if value != default}
        return Step(module=Call("nn.LocalResponseNorm", self.size, **given))

    def onnx(self, nodes: LayerNodes) -> None:
        x = nodes.inputs[0]
        if not self.within:
            nodes.add("LRN", [x], nodes.outputs, size=self.size, alpha=self.alpha, beta=self.beta, bias=self.k)
            return
        window = nodes.add(
            "AveragePool",
            [nodes.add("Mul", [x, x])],
            kernel_shape=[self.size] * 2,
            pads=[self.size // 2] * 4,
            count_include_pad=1,
        )
        scaled = nodes.add("Mul", [window, nodes.constant(np.float32(self.alpha), "alpha")])
        base = nodes.add("Add", [scaled, nodes.constant(np.float32(1), "one")])
        power = nodes.add("Pow", [base, nodes.constant(np.float32(self.beta), "beta")])
        nodes.add("Div", [x, power], nodes.outputs)


@layer(
    "BatchNorm",
    batch_norm_param="use_global_stats moving_average_fraction eps scale_filler bias_filler scale_bias engine",
    proto={
        "batch_norm_param": Reading(
            "nvcaffe",
            None,
            "+ scale_filler 5 FillerParameter; bias_filler 6 FillerParameter; scale_bias 7 bool =false; "
            "engine 15 Engine =DEFAULT | Engine: DEFAULT=0, CAFFE=1, CUDNN=2",
        )
    },
)
@dataclass(frozen=True)
class BatchNorm(Operation):
    """(x - mean) / sqrt(variance + eps) by channel, with stored or the batch's own statistics; no scale, no shift.

    A bottom of one axis is one channel. NVIDIA's Caffe has a scale and a shift in it, as fourth and fifth blob, if
    scale_bias is set.
    """

    channels: int
    axes: int
    eps: float
    momentum: float  # torch's: the weight of what is new
    stored: bool
    single: bool  # the batch's statistics, and an item has one value a channel
    affine: tuple[Fields | float, Fields] | None = None  # fillers of the scale and the shift

    @classmethod
    def parse(cls, layer: Layer, bottoms: Sequence[Shape]) -> BatchNorm:
        p = layer.param("batch_norm_param")
        axes = len(bottoms[0])
        if not axes:
            raise LayerError("the bottom has no axis, Caffe wants one or more")
        if layer.specs and any(spec.lr_mult for spec in layer.specs):
            raise LayerError("its param { lr_mult } must be 0: statistics are not learned by the solver")
        stored = p.use_global_stats if "use_global_stats" in p else layer.phase != "TRAIN"
        channels = bottoms[0][1] if axes > 1 else 1
        momentum = round(1 - p.moving_average_fraction, 9)
        single = not stored and prod(bottoms[0][2:]) == 1
        if not getattr(p, "scale_bias", False):
            return cls(channels, axes, p.eps, momentum, stored, single)
        if single or not 1 < axes <= 5:
            raise LayerError("scale_bias is supported with 2 to 5 axes, and stored statistics or several values each")
        scale = p.scale_filler if "scale_filler" in p else 1.0
        return cls(channels, axes, p.eps, momentum, stored, single, (scale, p.bias_filler))

    def params(self) -> tuple[Param, ...]:
        each = (self.channels,)
        statistics = Param("running_mean", each), Param("running_var", each), Param("factor", (1,))
        if self.affine is None:
            return statistics
        scale, shift = self.affine
        return (*statistics, Param("weight", each, scale), Param("bias", each, shift))

    def state(self, blobs: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        """Mean and variance are stored as sums: the third blob says of how many. 0 means there are none yet."""
        affine = dict(zip(("weight", "bias"), blobs[3:], strict=False))
        if not self.stored:
            return affine
        mean, variance, factor = blobs[:3]
        scale = np.float32(0) if factor[0] == 0 else np.float32(1) / factor[0]
        return {
            **affine,
            "running_mean": mean * scale,
            "running_var": variance * scale,
            "num_batches_tracked": np.zeros((), np.int64),
        }

    def torch(self) -> Step:
        if self.single:
            # nn.BatchNorm refuses a batch of one here.
            over = literal(self._over())
            mean, variance = f"{{0}}.mean({over}, keepdim=True)", f"{{0}}.var({over}, correction=0, keepdim=True)"
            return Step(f"({{0}} - {mean}) / ({variance} + {literal(self.eps)}).sqrt()")
        options: dict[str, Any] = {} if self.eps == 1e-5 else {"eps": self.eps}
        if self.stored:
            options["momentum"] = self.momentum
        else:
            options["track_running_stats"] = False
        dimensions = max(self.axes - 2, 1) if self.axes <= 5 else 1
        if self.affine is None:
            options["affine"] = False
        module = Call(f"nn.BatchNorm{dimensions}d", self.channels, **options)
        if self.axes == 1:
            return Step("{self}({0}[:, None])[:, 0]", module)
        if self.axes > 5:
            return Step("{self}({0}.flatten(2)).reshape({0}.shape)", module)
        return Step(module=module)

    def _over(self) -> tuple[int, ...]:
        """The axes that statistics are taken over."""
        return (0, *range(2, self.axes))

    def onnx(self, nodes: LayerNodes) -> None:
        x = nodes.inputs[0]
        if self.stored:
            ones, zeros = self._affine(nodes)
            statistics = [nodes.state("running_mean"), nodes.state("running_var")]
            if self.axes > 1:
                nodes.add("BatchNormalization", [x, ones, zeros, *statistics], nodes.outputs, epsilon=self.eps)
                return
            column = nodes.reshape(x, [-1, 1])
            y = nodes.add("BatchNormalization", [column, ones, zeros, *statistics], epsilon=self.eps)
            nodes.reshape(y, [-1], nodes.outputs[0])
            return
        axes = list(self._over())
        centred = nodes.add("Sub", [x, nodes.add("ReduceMean", [x], axes=axes)])
        variance = nodes.add("ReduceMean", [nodes.add("Mul", [centred, centred])], axes=axes)
        base = nodes.add("Add", [variance, nodes.constant(np.float32(self.eps), "eps")])
        y = nodes.add("Div", [centred, nodes.add("Sqrt", [base])], nodes.outputs if self.affine is None else 1)
        if self.affine is not None:
            weight, bias = (add_axes(nodes, value, self.axes - 2) for value in self._affine(nodes))
            nodes.add("Add", [nodes.add("Mul", [y, weight]), bias], nodes.outputs)

    def _affine(self, nodes: LayerNodes) -> tuple[str, str]:
        """Scale and shift; ones and zeros where there are none."""
        if self.affine is not None:
            return nodes.state("weight"), nodes.state("bias")
        ones, zeros = (np.full(self.channels, value, np.float32) for value in (1, 0))
        return nodes.constant(ones, "ones"), nodes.constant(zeros, "zeros")


@layer("MVN", mvn_param="normalize_variance across_channels eps")
@dataclass(frozen=True)
class MVN(Operation):
    """(x - mean) / (deviation + eps) by channel or by item; axes of length 1 behind where there are fewer than 4."""

    axes: int
    variance: bool
    across: bool
    eps: float

    @classmethod
    def parse(cls, layer: Layer, bottoms: Sequence[Shape]) -> MVN:
        p = layer.param("mvn_param")
        if len(bottoms[0]) > 4:
            raise LayerError(f"the bottom has {len(bottoms[0])} axes, Caffe takes 4 at most")
        return cls(len(bottoms[0]), p.normalize_variance, p.across_channels, p.eps)

    def shape(self, bottoms: Sequence[Shape]) -> list[Shape]:
        return [bottoms[0] + (1,) * (4 - self.axes)]

    def _over(self) -> tuple[int, ...]:
        """The axes that mean and deviation are taken over."""
        return tuple(range(1 if self.across else 2, self.axes))

    def torch(self) -> Step:
        options = {"across": (self.across, False), "variance": (self.variance, True), "eps": (self.eps, 1e-9)}
        given = {name: value for name, (value, default) in options.items() if value != default}
        return Step(module=Call("MeanVarianceNorm", **given))

    def onnx(self, nodes: LayerNodes) -> None:
        # MeanVarianceNormalization is defined by E(x^2) - E(x)^2, which cancels, and is NaN where that is below 0.
        x, over = nodes.inputs[0], list(self._over())
        divided, behind = self.variance and bool(over), 4 - self.axes
        last = nodes.outputs if not behind else 1
        mean = nodes.add("ReduceMean", [x], axes=over) if over else x
        y = nodes.add("Sub", [x, mean], 1 if divided else last)
        if divided:
            variance = nodes.add("ReduceMean", [nodes.add("Mul", [y, y])], axes=over)
            deviation = nodes.add("Add", [nodes.add("Sqrt", [variance]), nodes.constant(np.float32(self.eps), "eps")])
            y = nodes.add("Div", [y, deviation], last)
        if behind:
            add_axes(nodes, y, behind, nodes.outputs)
