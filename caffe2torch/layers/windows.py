"""The windows of Convolution, Deconvolution and Im2col: their fields, one number an axis, and how many there are."""

from __future__ import annotations

from math import prod

from caffe2torch.net import Fields, Shape
from caffe2torch.readings import Reading
from caffe2torch.registry import LayerError

WINDOW_FIELDS = (
    "num_output bias_term pad kernel_size stride dilation pad_h pad_w kernel_h kernel_w stride_h stride_w "
    "group weight_filler bias_filler engine axis force_nd_im2col dilation_h dilation_w"
)

# TSN's fork has its dilation where BVLC's Caffe has axis and force_nd_im2col.
WINDOW_READING = Reading("tsn", None, "+ dilation 16 uint32*; dilation_h 17 uint32; dilation_w 18 uint32")


def spatial(p: Fields, name: str, axes: int, default: int | None) -> Shape:
    """One number an axis from ``kernel_size``/``stride``/``pad`` or their _h and _w forms, as Caffe reads them."""
    short = name.removesuffix("_size")
    given = getattr(p, name)
    pair = [f"{short}_h", f"{short}_w"]
    if any(side in p for side in pair):
        if given:
            raise LayerError(f"{name} and {short}_h/{short}_w are both set; Caffe takes one form or the other")
        if axes != 2:
            raise LayerError(f"{short}_h and {short}_w need 2 spatial axes, here are {axes}")
        return tuple(getattr(p, side) for side in pair)
    if not given and default is not None:
        return (default,) * axes
    if len(given) not in (1, axes):
        raise LayerError(f"{name} has {len(given)} values for {axes} spatial axes")
    return tuple(given) * (axes if len(given) == 1 else 1)


def dilations(p: Fields, axes: int) -> Shape:
    """One dilation an axis; TSN's fork has dilation_h and dilation_w as well."""
    if "dilation_h" in p or "dilation_w" in p:
        if axes != 2 or p.dilation or not ("dilation_h" in p and "dilation_w" in p):
            raise LayerError("dilation_h and dilation_w must be set together, without dilation, for 2 spatial axes")
        return p.dilation_h, p.dilation_w
    given = p.dilation
    if len(given) not in (0, 1, axes):
        raise LayerError(f"dilation has {len(given)} values for {axes} spatial axes")
    return tuple(given) if len(given) == axes else tuple(given or (1,)) * axes


def steps(size: int, kernel: int, stride: int, pad: int, dilation: int) -> tuple[int, int]:
    """How many windows begin along an axis, and how many zeros behind its padding the last of them reads.

    Caffe rounds towards 0: a window that is too large by less than a stride is there, and reads zeros.
    """
    extent = dilation * (kernel - 1) + 1
    room = size + 2 * pad - extent
    if room <= -stride:
        raise LayerError(f"the window of {extent} is larger than the padded input of {size + 2 * pad}")
    return int(room / stride) + 1, max(-room, 0)


def padding(size: Shape, more: Shape) -> int:
    """How many numbers padding adds to a plane, ``more`` along each axis, where that is more than three planes."""
    padded = prod(side + extra for side, extra in zip(size, more, strict=True))
    return padded if padded > 4 * prod(size) else 0
