"""Pooling3D: maxima or averages over depth (or time), height and width."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from caffe2torch.calls import Call, Step, same
from caffe2torch.layers.convolution3d import five_axes
from caffe2torch.layers.pooling import LOWEST
from caffe2torch.layers.windows import padding
from caffe2torch.net import Fields, Layer, Shape
from caffe2torch.readings import Reading
from caffe2torch.registry import LayerError, Operation, layer

if TYPE_CHECKING:
    from caffe2torch.onnx_model import LayerNodes

_SYNOPSYS = (
    "pool 1 PoolMethod =MAX; pad 2 uint32 =0; kernel_size 3 uint32; stride 4 uint32 =1; pad_h0 5 uint32 =0; "
    "pad_h1 6 uint32 =0; pad_w0 7 uint32 =0; pad_w1 8 uint32 =0; pad_d0 9 uint32 =0; pad_d1 10 uint32 =0; "
    "kernel_h 11 uint32; kernel_w 12 uint32; kernel_d 13 uint32; stride_h 14 uint32; stride_w 15 uint32; "
    "stride_d 16 uint32; global_pooling 17 bool =false; ceil_mode 18 bool =false "
    "| PoolMethod: MAX=0, AVE=1, AVE_EXC_PAD=2"
)


@layer(
    "Pooling3D",
    pooling3d_param="pool kernel_size stride pad kernel_depth temporal_stride pad_h0 pad_h1 pad_w0 pad_w1 pad_d0 "
    "pad_d1 kernel_h kernel_w kernel_d stride_h stride_w stride_d global_pooling ceil_mode",
    proto={
        "pooling3d_param": (
            Reading(
                "c3d",
                None,
                "pool 1 PoolMethod =MAX; kernel_size 2 uint32; stride 3 uint32 =1; pad 4 uint32 =0; "
                "kernel_depth 5 uint32; temporal_stride 6 uint32 =1 | PoolMethod: MAX=0, AVE=1, STOCHASTIC=2",
            ),
            Reading("synopsys", None, _SYNOPSYS),
        )
    },
)
@dataclass(frozen=True)
class Pooling3D(Operation):
    """C3D's: sizes rounded up, pads at height and width of averages only. synopsys-caffe's: maxima, pads at six sides.

    Averages divide by the window clipped to the padded input, as Pooling's do.
    """

    average: bool
    kernel: Shape
    stride: Shape
    begin: Shape  # pads before each axis
    size: Shape  # depth, height and width of the bottom
    out: Shape  # and of the top

    @classmethod
    def parse(cls, layer: Layer, bottoms: Sequence[Shape]) -> Pooling3D:
        five_axes(bottoms[0])
        p = layer.param("pooling3d_param")
        operation = _c3d(p, bottoms[0][2:]) if "c3d" in layer.fork else _synopsys(p, bottoms[0][2:])
        if min(operation.out) < 1:
            raise LayerError(f"the kernel {operation.kernel} leaves nothing of an input of {operation.size}")
        return operation

    def shape(self, bottoms: Sequence[Shape]) -> list[Shape]:
        return [(*bottoms[0][:2], *self.out)]

    def made(self, bottoms: Sequence[Shape]) -> int:
        more = tuple(map(sum, zip(self.begin, self._ends(), strict=True)))
        return padding(self.size, more) * bottoms[0][1] + prod(self.out) * self.average

    def _ends(self) -> Shape:
        """How far the last window of each axis reaches beyond the input, at least 0."""
        columns = zip(self.out, self.stride, self.kernel, self.begin, self.size, strict=True)
        return tuple(max((out - 1) * step + kernel - pad - size, 0) for out, step, kernel, pad, size in columns)

    def _lengths(self) -> np.ndarray:
        """The size of each window clipped to the padded input, as averages are divided by it: (d, h, w)."""
        lengths = np.ones((), np.float32)
        for out, step, kernel, pad, size in zip(self.out, self.stride, self.kernel, self.begin, self.size, strict=True):
            start = np.arange(out) * step - pad
            lengths = np.multiply.outer(lengths, np.minimum(start + kernel, size + pad) - start)
        return lengths.astype(np.float32)

    def _plain(self) -> bool:
        """Whether torch's own pooling with ceil_mode is the same.

        It pads both ends alike, by half the kernel at most, and has no window that begins behind the input.
        """
        columns = zip(self.out, self.stride, self.kernel, self.begin, self.size, strict=True)
        return all(
            2 * pad <= kernel and (out - 1) * step < size + pad and -((kernel - 2 * pad - size) // step) + 1 == out
            for out, step, kernel, pad, size in columns
        )

    def torch(self) -> Step:
        target = "nn.AvgPool3d" if self.average else "nn.MaxPool3d"
        window: dict[str, Any] = {} if self.stride == self.kernel else {"stride": same(self.stride)}
        if self._plain():
            padding = {"padding": same(self.begin)} if any(self.begin) else {}
            return Step(module=Call(target, same(self.kernel), **window, **padding, ceil_mode=True))
        if self.average:
            return Step(module=Call("ClippedAvgPool3d", self.kernel, self.stride, self.begin, self._ends()))
        pads = [pad for sides in zip(self.begin[::-1], self._ends()[::-1], strict=True) for pad in sides]
        padded = f"F.pad({{0}}, ({', '.join(map(str, pads))}), value={LOWEST!r})" if any(pads) else "{0}"
        return Step(f"{{self}}({padded})", Call(target, same(self.kernel), **window))

    def onnx(self, nodes: LayerNodes) -> None:
        x, ends = nodes.inputs[0], self._ends()
        windows: dict[str, Any] = {"kernel_shape": list(self.kernel), "strides": list(self.stride)}
        if any(self.begin) or any(ends):
            pads = nodes.constant(np.array([0, 0, *self.begin, 0, 0, *ends], np.int64), "pads")
            value = nodes.constant(np.float32(0 if self.average else LOWEST), "pad_value")
            x = nodes.add("Pad", [x, pads, value])
        if not self.average:
            nodes.add("MaxPool", [x], nodes.outputs, **windows)
            return
        lengths, whole = self._lengths(), np.float32(np.prod(self.kernel))
        if x == nodes.inputs[0] and (lengths == whole).all():
            nodes.add("AveragePool", [x], nodes.outputs, **windows)
            return
        # ONNX divides by the whole window. The factor stands between Pad and AveragePool, of which onnxruntime would
        # make one node, that refuses pads over the kernel.
        if whole == 1:
            last = [(out - 1) * step + 1 for out, step in zip(self.out, self.stride, strict=True)]
            places = {"starts": [0, 0, 0], "ends": last, "axes": [2, 3, 4], "steps": list(self.stride)}
            arrays = [nodes.constant(np.array(numbers, np.int64), name) for name, numbers in places.items()]
            total = nodes.add("Slice", [x, *arrays])
        else:
            total = nodes.add("AveragePool", [nodes.add("Mul", [x, nodes.constant(whole, "window")])], **windows)
        # 0 / 0 is NaN where nothing of a window is inside, as in C3D.
        nodes.add("Div", [total, nodes.constant(lengths, "lengths")], nodes.outputs)


def _c3d(p: Fields, size: Shape) -> Pooling3D:
    if p.pool == "STOCHASTIC":
        raise LayerError("pool=STOCHASTIC is not supported; C3D's own code has none for the CPU")
    if p.pad and p.pool != "AVE":
        raise LayerError(f"pad {p.pad} goes with pool=AVE only")
    kernel, stride = (p.kernel_depth, p.kernel_size, p.kernel_size), (p.temporal_stride, p.stride, p.stride)
    if min(kernel) < 1 or min(stride) < 1:
        raise LayerError("kernel_size and kernel_depth must both be set, and strides be at least 1")
    pad = (0, p.pad, p.pad)
    return Pooling3D(p.pool == "AVE", kernel, stride, pad, size, _counts(size, kernel, stride, pad, pad, True))


def _synopsys(p: Fields, size: Shape) -> Pooling3D:
    if p.pool != "MAX":
        raise LayerError(f"pool={p.pool}: synopsys-caffe has no code for it on the CPU; only MAX is supported")
    if p.global_pooling:
        kernel = size
    else:
        kernel = (p.kernel_size,) * 3 if "kernel_size" in p else (p.kernel_d, p.kernel_h, p.kernel_w)
    stride = (p.stride,) * 3 if "stride" in p else (p.stride_d, p.stride_h, p.stride_w)
    if min(kernel) < 1 or min(stride) < 1:
        raise LayerError("kernel_size and stride, or all of their _d, _h and _w forms, must be set, to at least 1")
    begin, end = (
        (p.pad,) * 3 if "pad" in p else tuple(getattr(p, f"pad_{axis}{side}") for axis in "dhw") for side in (0, 1)
    )
    if any(pad >= side for pad, side in zip(begin, kernel, strict=True)):
        raise LayerError(f"pads {begin} must be smaller than the kernel {kernel}")
    counts = _counts(size, kernel, stride, begin, end, p.ceil_mode)
    if any(begin) or any(end):  # the last window begins inside the input or the padding before it
        rows = zip(counts, stride, size, begin, strict=True)
        counts = tuple(n - ((n - 1) * step >= whole + pad) for n, step, whole, pad in rows)
    return Pooling3D(False, kernel, stride, begin, size, counts)


def _counts(size: Shape, kernel: Shape, stride: Shape, begin: Shape, end: Shape, up: bool) -> Shape:
    """How many windows begin along each axis."""
    counts = []
    for whole, side, step, before, behind in zip(size, kernel, stride, begin, end, strict=True):
        room = whole + before + behind - side
        counts.append((-(-room // step) if up else room // step) + 1)
    return tuple(counts)
