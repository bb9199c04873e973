"""Upsample, which has two meanings: unpooling by a mask, and nearest neighbour."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from caffe2torch.layers.resizing import Nearest
from caffe2torch.layers.unpooling import Unpool, check_mask
from caffe2torch.net import Fields, Layer, Shape
from caffe2torch.readings import Reading
from caffe2torch.registry import LayerError, Operation, layer

MASKED = ("segnet", "synopsys")  # forks that take the data and a mask


@layer(
    "Upsample",
    bottoms=(1, 2),
    upsample_param="scale scale_h scale_w pad_out_h pad_out_w upsample_h upsample_w dims_num",
    proto={
        "upsample_param": (
            Reading(
                MASKED,
                None,
                "scale 1 uint32 =2; scale_h 2 uint32; scale_w 3 uint32; pad_out_h 4 bool =false; "
                "pad_out_w 5 bool =false; upsample_h 6 uint32; upsample_w 7 uint32",
            ),
            Reading("mobilenet-yolo", None, "scale 1 int32 =1"),
            Reading("inisis", None, "scale 1 int32 =1; dims_num 2 int32 =4"),
        )
    },
)
@dataclass(frozen=True)
class Upsample(Operation):
    """SegNet's, with a mask: unpooling, of scale 2 by default. MobileNet-YOLO's and inisis's: nearest, of scale 1."""

    @classmethod
    def parse(cls, layer: Layer, bottoms: Sequence[Shape]) -> Operation:
        p = layer.param("upsample_param")
        if set(layer.fork) & set(MASKED):
            if len(bottoms) != 2:
                raise LayerError("it has 1 bottom; SegNet's Upsample wants two: the data, and the mask of a pooling")
            check_mask(bottoms)
            return Unpool(_unpooled(p, bottoms[0]))
        if len(bottoms) != 1:
            raise LayerError(f"it has {len(bottoms)} bottoms; an Upsample to the nearest neighbour wants 1")
        return _nearest(p, len(bottoms[0]), p.dims_num if "inisis" in layer.fork else 4)


def _unpooled(p: Fields, shape: Shape) -> tuple[int, int]:
    """upsample_h and upsample_w together go before any scale."""
    if "upsample_h" in p and "upsample_w" in p:
        if min(p.upsample_h, p.upsample_w) < 2:
            raise LayerError(f"upsample_h {p.upsample_h} and upsample_w {p.upsample_w} must be larger than 1")
        return p.upsample_h, p.upsample_w
    if ("scale_h" in p) != ("scale_w" in p) or ("scale" in p and "scale_h" in p):
        raise LayerError("set upsample_h and upsample_w, or scale, or scale_h and scale_w")
    scales = (p.scale_h, p.scale_w) if "scale_h" in p else (p.scale, p.scale)
    if min(scales) < 2:
        raise LayerError(f"the scale {scales} must be larger than 1 in each axis")
    for name, scale in zip(("pad_out_h", "pad_out_w"), scales, strict=True):
        if getattr(p, name) and scale != 2:
            raise LayerError(f"{name} goes with a scale of 2 only, not {scale}")
    return shape[2] * scales[0] - p.pad_out_h, shape[3] * scales[1] - p.pad_out_w


def _nearest(p: Fields, axes: int, wanted: int) -> Nearest:
    if wanted not in (3, 4):
        raise LayerError(f"dims_num {wanted} must be 3 or 4")
    if axes != wanted:
        raise LayerError(f"the bottom has {axes} axes, the fork wants {wanted}; 3 or 4 are set by inisis's dims_num")
    if p.scale < 1:
        raise LayerError(f"scale {p.scale} must be at least 1")
    return Nearest(p.scale, wanted - 2)
