"""Interp and BilinearInterpolate, and the nearest neighbour of Upsample: maps of another size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from caffe2torch.calls import Step
from caffe2torch.net import Fields, Layer, Shape
from caffe2torch.readings import Reading
from caffe2torch.registry import LayerError, Operation, layer

if TYPE_CHECKING:
    from caffe2torch.onnx_model import LayerNodes

Pair = tuple[int, int]


@dataclass(frozen=True)
class Nearest(Operation):
    """Each number of the last axes ``scale`` times in each of them."""

    scale: int
    axes: int  # how many axes grow

    def shape(self, bottoms: Sequence[Shape]) -> list[Shape]:
        kept = len(bottoms[0]) - self.axes
        return [(*bottoms[0][:kept], *(size * self.scale for size in bottoms[0][kept:]))]

    def torch(self) -> Step:
        return Step(f"F.interpolate({{0}}, scale_factor={self.scale})")

    def onnx(self, nodes: LayerNodes) -> None:
        scales = np.array([1, 1] + [self.scale] * self.axes, np.float32)
        nodes.add(
            "Resize",
            [nodes.inputs[0], "", nodes.constant(scales, "scales")],
            nodes.outputs,
            mode="nearest",
            coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
        )


@dataclass(frozen=True)
class Bilinear(Operation):
    """Linear in both axes, corners onto corners or edges onto edges; rows and columns may be cut off before."""

    size: Pair
    corners: bool
    cut: Pair = (0, 0)  # rows and columns: at the beginning, at the end

    def shape(self, bottoms: Sequence[Shape]) -> list[Shape]:
        return [(*bottoms[0][:2], *self.size)]

    def torch(self) -> Step:
        begin, end = self.cut
        inside = f"{begin or ''}:{-end or ''}"
        x = f"{{0}}[:, :, {inside}, {inside}]" if any(self.cut) else "{0}"
        aligned = ", align_corners=True" if self.corners else ""
        return Step(f'F.interpolate({x}, {self.size}, mode="bilinear"{aligned})')

    def onnx(self, nodes: LayerNodes) -> None:
        x = nodes.inputs[0]
        if any(self.cut):
            pads = np.array([0, 0, *[-self.cut[0]] * 2, 0, 0, *[-self.cut[1]] * 2], np.int64)
            x = nodes.add("Pad", [x, nodes.constant(pads, "pads")])
        size = nodes.constant(np.array(self.size, np.int64), "size")
        sizes = nodes.add("Concat", [nodes.add("Shape", [x], start=0, end=2), size], axis=0)
        nodes.add(
            "Resize",
            [x, "", "", sizes],
            nodes.outputs,
            mode="linear",
            coordinate_transformation_mode="align_corners" if self.corners else "half_pixel",
        )


_INTERP = (
    "height 1 int32 =0; width 2 int32 =0; zoom_factor 3 int32 =1; shrink_factor 4 int32 =1; "
    "pad_beg 5 int32 =0; pad_end 6 int32 =0"
)


@layer(
    "Interp",
    interp_param="height width zoom_factor shrink_factor pad_beg pad_end full_zoom_factor",
    proto={
        "interp_param": (
            Reading("pspnet ssd-windows", None, _INTERP),
            Reading("synopsys", None, f"{_INTERP}; full_zoom_factor 7 int32 =1"),
        )
    },
)
@dataclass(frozen=True)
class Interp(Operation):
    """DeepLab's and PSPNet's: corners onto corners. Negative pads cut off rows and columns before.

    The size: one of shrink_factor and zoom_factor; else height and width; else shrink, then zoom, in one go; else
    synopsys-caffe's full_zoom_factor.
    """

    @classmethod
    def parse(cls, layer: Layer, bottoms: Sequence[Shape]) -> Bilinear:
        p = layer.param("interp_param")
        if len(bottoms[0]) != 4:
            raise LayerError(f"the bottom has {len(bottoms[0])} axes; 4 are supported")
        if p.pad_beg > 0 or p.pad_end > 0:
            raise LayerError(f"pad_beg {p.pad_beg} and pad_end {p.pad_end}: the fork only cuts, they must be 0 or less")
        height, width = (size + p.pad_beg + p.pad_end for size in bottoms[0][2:])
        if min(height, width) < 1:
            raise LayerError(f"pad_beg {p.pad_beg} and pad_end {p.pad_end} leave nothing of the bottom {bottoms[0]}")
        size = _interp_size(p, height, width)
        if min(size) < 1:
            raise LayerError(f"height and width {size} must be at least 1")
        return Bilinear(size, True, (-p.pad_beg, -p.pad_end))


def _interp_size(p: Fields, height: int, width: int) -> Pair:
    shrink, zoom = "shrink_factor" in p, "zoom_factor" in p
    for name in ("shrink_factor", "zoom_factor", "full_zoom_factor"):
        if name in p and p[name] < 1:
            raise LayerError(f"{name} {p[name]} must be at least 1")
    if shrink == zoom and "height" in p and "width" in p:
        return p.height, p.width
    if shrink or zoom:
        sizes = [(size - 1) // p.shrink_factor + 1 for size in (height, width)]
        sizes = [size + (size - 1) * (p.zoom_factor - 1) for size in sizes]
        return sizes[0], sizes[1]
    if "full_zoom_factor" in p:
        return height * p.full_zoom_factor, width * p.full_zoom_factor
    raise LayerError("the size is missing: set height and width, or zoom_factor or shrink_factor")


@layer(
    "BilinearInterpolate",
    bilinear_interpolate_param="dst_h dst_w scale_factor align_corners",
    proto={
        "bilinear_interpolate_param": Reading(
            "inisis", None, "dst_h 1 int32; dst_w 2 int32; scale_factor 3 float =1.0; align_corners 4 bool =true"
        )
    },
)
@dataclass(frozen=True)
class BilinearInterpolate(Operation):
    """Of inisis's fork: to dst_h and dst_w (the bottom's where one is missing), or by scale_factor, rounded down."""

    @classmethod
    def parse(cls, layer: Layer, bottoms: Sequence[Shape]) -> Bilinear:
        p = layer.param("bilinear_interpolate_param")
        if len(bottoms[0]) != 4:
            raise LayerError(f"the bottom has {len(bottoms[0])} axes; 4 are supported")
        height, width = bottoms[0][2:]
        given = "dst_h" in p or "dst_w" in p
        if given == ("scale_factor" in p):
            raise LayerError("set either dst_h and dst_w, or scale_factor")
        if given:
            size = (p.dst_h if "dst_h" in p else height, p.dst_w if "dst_w" in p else width)
        else:
            size = (
                int(np.float32(height) * np.float32(p.scale_factor)),
                int(np.float32(width) * np.float32(p.scale_factor)),
            )
        if min(size) < 1:
            raise LayerError(f"the height and width {size} must be at least 1")
        if p.align_corners and 1 in size:
            raise LayerError(f"the height and width {size}: with align_corners the fork divides by 0 where one is 1")
        return Bilinear(size, p.align_corners)
