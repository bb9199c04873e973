"""Pooling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor, prod
from typing import TYPE_CHECKING

import numpy as np

from caffe2torch.calls import Call, Step, literal, same
from caffe2torch.layers.windows import padding
from caffe2torch.net import Fields, Layer, Shape
from caffe2torch.readings import Reading
from caffe2torch.registry import LayerError, Operation, layer

if TYPE_CHECKING:
    from caffe2torch.onnx_model import LayerNodes

Pair = tuple[int, int]
LOWEST = float(np.finfo(np.float32).min)  # what Caffe's maximum starts from


def _pair(p: Fields, name: str, default: int | None) -> Pair:
    """``kernel_size``, or ``kernel_h`` and ``kernel_w`` together; never both forms."""
    short = name.removesuffix("_size")
    sides = (f"{short}_h", f"{short}_w")
    if name == "kernel_size" and name in p and not all(side in p for side in sides):
        return (p.kernel_size,) * 2  # a single side beside it is not read
    if not any(side in p for side in sides):
        if name not in p and default is None:
            raise LayerError(f"{name} is missing; set it, or {sides[0]} and {sides[1]}")
        return (getattr(p, name),) * 2
    if name in p:
        raise LayerError(f"{name} and {sides[0]}/{sides[1]} are both set; Caffe takes one form or the other")
    if not all(side in p for side in sides):
        raise LayerError(f"{sides[0]} and {sides[1]} must be set together")
    return getattr(p, sides[0]), getattr(p, sides[1])


@layer(
    "Pooling",
    tops=(1, 2),
    pooling_param="pool pad pad_h pad_w kernel_size kernel_h kernel_w stride stride_h stride_w engine "
    "global_pooling round_mode ceil_mode",
    proto={
        "pooling_param": (
            Reading("inisis", None, "+ ceil_mode 13 bool =true"),  # BVLC has round_mode under 13
            Reading("synopsys", None, "+ ceil_mode 14 bool =true; pad_type 13 uint32 =0"),
        )
    },
)
@dataclass(frozen=True)
class Pooling(Operation):
    """Maximum or average over windows; sizes are rounded up unless ``round_mode`` or forks' ``ceil_mode`` says not."""

    method: str
    kernel: Pair
    stride: Pair
    pad: Pair
    ceil: bool
    whole: bool  # global_pooling
    mask: bool  # a second top tells where each maximum was
    size: Pair  # height and width of the bottom

    @classmethod
    def parse(cls, layer: Layer, bottoms: Sequence[Shape]) -> Pooling:
        p = layer.param("pooling_param")
        if len(bottoms[0]) != 4:
            raise LayerError(f"the bottom has {len(bottoms[0])} axes, Caffe pools over the last two of 4")
        size = (bottoms[0][2], bottoms[0][3])
        stride, pad = _pair(p, "stride", 1), _pair(p, "pad", 0)
        if p.pool == "STOCHASTIC":
            raise LayerError("pool=STOCHASTIC is not supported")
        if p.global_pooling:
            if any(name in p for name in ("kernel_size", "kernel_h", "kernel_w")):
                raise LayerError("global_pooling covers the whole input: kernel_size must not be set beside it")
            if pad != (0, 0) or stride != (1, 1):
                raise LayerError("global_pooling takes pad 0 and stride 1 only")
        kernel = size if p.global_pooling else _pair(p, "kernel_size", None)
        if min(kernel) < 1 or min(stride) < 1:
            raise LayerError("kernel and stride must be at least 1 in each axis")
        if pad[0] >= kernel[0] or pad[1] >= kernel[1]:
            raise LayerError(f"pad {pad} must be smaller than the kernel {kernel}")
        up = p.round_mode == "CEIL" if {"bvlc"}.issuperset(layer.fork) else p.ceil_mode
        return cls(p.pool, kernel, stride, pad, up, p.global_pooling, len(layer.tops) > 1, size)._checked()

    def _checked(self) -> Pooling:
        if self.mask and self.method != "MAX":
            raise LayerError(f"pool={self.method} has one top; only MAX gives a mask")
        if min(self._out()) < 1:
            raise LayerError(f"the kernel {self.kernel} leaves nothing of an input of {self.size}")
        return self

    def _out(self) -> Pair:
        """Height and width of the top, by Caffe's formula."""
        out = []
        for size, kernel, stride, pad in zip(self.size, self.kernel, self.stride, self.pad, strict=True):
            steps = (size + 2 * pad - kernel) / stride
            count = (ceil(steps) if self.ceil else floor(steps)) + 1
            if any(self.pad) and (count - 1) * stride >= size + pad:
                count -= 1
            out.append(count)
        return out[0], out[1]

    def shape(self, bottoms: Sequence[Shape]) -> list[Shape]:
        return [(*bottoms[0][:2], *self._out())] * (2 if self.mask else 1)

    def _ends(self) -> Pair:
        """How far the last window reaches beyond the input and its padding on top/left, at least 0."""
        reach = [
            (out - 1) * stride + kernel - size - pad
            for out, stride, kernel, size, pad in zip(
                self._out(), self.stride, self.kernel, self.size, self.pad, strict=True
            )
        ]
        return max(reach[0], 0), max(reach[1], 0)

    def _odd(self) -> bool:
        """Whether torch's own pooling differs: windows wholly outside the input, or padding over half the kernel."""
        over_half = any(2 * pad > kernel for pad, kernel in zip(self.pad, self.kernel, strict=True))
        return over_half or self._inside() != self._out()

    def torch(self) -> Step:
        if self.mask:
            return Step(module=Call("MaxPool2dWithMask", *self._window(), self.pad, self._ends()))
        if self.whole:
            return Step(module=Call(f"nn.Adaptive{'Max' if self.method == 'MAX' else 'Avg'}Pool2d", 1))
        if self._odd() and self.method == "MAX":
            return Step(
                f"{{self}}(F.pad({{0}}, {self._pads_text()}, value={literal(LOWEST)}))", self._plain("nn.MaxPool2d")
            )
        if self._odd():
            return Step(module=Call("ClippedAvgPool2d", *self._window(), self.pad, self._ends()))
        name = "nn.MaxPool2d" if self.method == "MAX" else "nn.AvgPool2d"
        call = self._plain(name)
        if any(self.pad):
            call.kwargs["padding"] = same(self.pad)
        if self.ceil:
            call.kwargs["ceil_mode"] = True
        return Step(module=call)

    def _window(self) -> tuple[int | tuple[int, ...], int | tuple[int, ...]]:
        return same(self.kernel), same(self.stride)

    def _plain(self, name: str) -> Call:
        kernel, stride = self._window()
        return Call(name, kernel) if kernel == stride else Call(name, kernel, stride=stride)

    def made(self, bottoms: Sequence[Shape]) -> int:
        rows, columns = (pad + end for pad, end in zip(self.pad, self._ends(), strict=True))
        return padding(self.size, (rows, columns)) * bottoms[0][1] + prod(self._out()) * (self.method == "AVE")

    def _pads_text(self) -> str:
        bottom, right = self._ends()
        return f"({self.pad[1]}, {right}, {self.pad[0]}, {bottom})"

    def onnx(self, nodes: LayerNodes) -> None:
        if self.mask:
            self._onnx_mask(nodes)
        elif self.whole:
            nodes.add(f"Global{'Max' if self.method == 'MAX' else 'Average'}Pool", nodes.inputs, nodes.outputs)
        else:
            self._onnx_plain(nodes)

    def _attributes(self) -> dict[str, list[int]]:
        return {"kernel_shape": list(self.kernel), "strides": list(self.stride)}

    def _padded(self, nodes: LayerNodes, ends: Pair, value: float) -> str:
        """The bottom with its padding made explicit, where there is any."""
        if not any(self.pad) and not any(ends):
            return nodes.inputs[0]
        pads = nodes.constant(np.array([0, 0, *self.pad, 0, 0, *ends], np.int64), "pads")
        padded: str = nodes.add("Pad", [nodes.inputs[0], pads, nodes.constant(np.float32(value), "pad_value")])
        return padded

    def _inside(self) -> Pair:
        """How many windows of each axis begin inside the padded input."""
        if any(self.pad):
            return self._out()  # Caffe itself leaves out what begins behind the padding
        rows, columns = (
            min(out, -(-size // stride)) for out, size, stride in zip(self._out(), self.size, self.stride, strict=True)
        )
        return rows, columns

    def _onnx_plain(self, nodes: LayerNodes) -> None:
        """Explicit pads instead of ceil_mode: sizes are known, and every runtime agrees on them."""
        out, inside = self._out(), self._inside()
        outside = (out[0] - inside[0], out[1] - inside[1])
        where = 1 if any(outside) else nodes.outputs
        pooled = self._onnx_inside(nodes, inside, where)
        if not any(outside):
            return
        # Windows wholly outside hold nothing: Caffe's maximum stays at its start, its average is 0 by its size.
        pads = nodes.constant(np.array([0] * 6 + list(outside), np.int64), "pads")
        if self.method == "MAX":
            nodes.add("Pad", [pooled, pads, nodes.constant(np.float32(LOWEST), "lowest")], nodes.outputs)
        else:
            padded = nodes.add("Pad", [pooled, pads])
            nodes.add("Add", [padded, nodes.constant(self._holes(), "holes")], nodes.outputs)

    def _onnx_inside(self, nodes: LayerNodes, inside: Pair, outputs: list[str] | int) -> str:
        reach = [
            max((count - 1) * stride + kernel - size - pad, 0)
            for count, stride, kernel, size, pad in zip(
                inside, self.stride, self.kernel, self.size, self.pad, strict=True
            )
        ]
        beyond = [max(end - pad, 0) for end, pad in zip(reach, self.pad, strict=True)]
        result: str
        if self.method == "MAX":
            result = nodes.add("MaxPool", nodes.inputs, outputs, pads=[*self.pad, *reach], **self._attributes())
        elif any(self.pad) and any(beyond):
            # Padding counts, what lies beyond it does not: so the padding is made real.
            x = self._padded(nodes, self.pad, 0.0)
            result = nodes.add("AveragePool", [x], outputs, pads=[0, 0, *beyond], **self._attributes())
        else:
            counted = int(any(self.pad))
            pads = [*self.pad, *(self.pad if counted else reach)]
            result = nodes.add(
                "AveragePool", nodes.inputs, outputs, pads=pads, count_include_pad=counted, **self._attributes()
            )
        return result

    def _holes(self) -> np.ndarray:
        """NaN where a window's clipped size is 0, else 0: (out_h, out_w)."""
        lengths = []
        for out, stride, kernel, size, pad in zip(
            self._out(), self.stride, self.kernel, self.size, self.pad, strict=True
        ):
            start = np.arange(out) * stride - pad
            lengths.append(np.minimum(start + kernel, size + pad) - start)
        return np.where(np.multiply.outer(*lengths) == 0, np.float32(np.nan), np.float32(0))

    def _onnx_mask(self, nodes: LayerNodes) -> None:
        height, width = (size + pad + end for size, pad, end in zip(self.size, self.pad, self._ends(), strict=True))
        x = self._padded(nodes, self._ends(), LOWEST)
        top, index = nodes.add("MaxPool", [x], [nodes.outputs[0], nodes.unique("index")], **self._attributes())

        def number(value: int) -> str:
            return nodes.constant(np.int64(value), "number")

        # The index counts through the padded batch; Caffe's mask counts within one unpadded map.
        index = nodes.add("Mod", [index, number(height * width)])
        row = nodes.add("Sub", [nodes.add("Div", [index, number(width)]), number(self.pad[0])])
        column = nodes.add("Sub", [nodes.add("Mod", [index, number(width)]), number(self.pad[1])])
        place = nodes.add("Add", [nodes.add("Mul", [row, number(self.size[1])]), column])
        place = nodes.add("Cast", [place], to=1)
        empty = nodes.add("Equal", [top, nodes.constant(np.float32(LOWEST), "lowest")])
        nodes.add("Where", [empty, nodes.constant(np.float32(-1), "nowhere"), place], [nodes.outputs[1]])
