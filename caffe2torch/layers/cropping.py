"""CropCenter and Flip: a part of a blob, or its mirror image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from caffe2torch.calls import Step
from caffe2torch.net import Layer, Shape
from caffe2torch.readings import Reading
from caffe2torch.registry import LayerError, Operation, layer, refuse_in_place

if TYPE_CHECKING:
    from caffe2torch.onnx_model import LayerNodes

_FAR = np.iinfo(np.int64)


@layer(
    "CropCenter",
    crop_center_param="crop_size",
    proto={"crop_center_param": Reading("waifu2x", None, "crop_size 2 uint32*")},
)
@dataclass(frozen=True)
class CropCenter(Operation):
    """Of waifu2x's fork: as many numbers cut off at both ends of each axis as crop_size says for it.

    In the prototxt of waifu2x's upresnet10 it is missing; its caffemodel has it.
    """

    sizes: tuple[int, ...]
    completed = ("crop_center_param",)

    @classmethod
    def parse(cls, layer: Layer, bottoms: Sequence[Shape]) -> CropCenter:
        refuse_in_place(layer)
        sizes, shape = tuple(layer.param("crop_center_param").crop_size), bottoms[0]
        if not sizes:
            raise LayerError(
                "crop_center_param { crop_size } is missing, one number an axis; where the prototxt lacks it, the "
                "caffemodel may have it"
            )
        if len(sizes) != len(shape):
            raise LayerError(f"crop_size {sizes} has {len(sizes)} numbers for {len(shape)} axes")
        if any(2 * size >= whole for size, whole in zip(sizes, shape, strict=True)):
            raise LayerError(f"crop_size {sizes} leaves nothing of the bottom {shape}")
        return cls(sizes)

    def shape(self, bottoms: Sequence[Shape]) -> list[Shape]:
        return [tuple(whole - 2 * size for size, whole in zip(self.sizes, bottoms[0], strict=True))]

    def torch(self) -> Step:
        if not any(self.sizes):
            return Step("{0}.clone()")
        last = max(axis for axis, size in enumerate(self.sizes) if size)
        slices = [f"{size}:-{size}" if size else ":" for size in self.sizes[: last + 1]]
        return Step(f"{{0}}[{', '.join(slices)}]")

    def onnx(self, nodes: LayerNodes) -> None:
        axes = [axis for axis, size in enumerate(self.sizes) if size]
        if not axes:
            nodes.add("Identity", nodes.inputs, nodes.outputs)
            return
        cut = np.array([self.sizes[axis] for axis in axes], np.int64)
        places = (("starts", cut), ("ends", -cut), ("axes", np.array(axes, np.int64)))
        nodes.add("Slice", [nodes.inputs[0], *(nodes.constant(array, name) for name, array in places)], nodes.outputs)


@layer(
    "Flip",
    flip_param="flip_width flip_height",
    proto={"flip_param": Reading("caffe-windows", None, "flip_width 1 bool =true; flip_height 2 bool =false")},
)
@dataclass(frozen=True)
class Flip(Operation):
    """Of caffe-windows: from right to left by default, from bottom to top if asked for."""

    axes: tuple[int, ...]

    @classmethod
    def parse(cls, layer: Layer, bottoms: Sequence[Shape]) -> Flip:
        refuse_in_place(layer)
        p, count = layer.param("flip_param"), len(bottoms[0])
        if count > 4:
            raise LayerError(f"the bottom has {count} axes, the fork takes 4 at most")
        wanted = ((2, p.flip_height), (3, p.flip_width))  # an axis that is not there has a length of 1
        return cls(tuple(axis for axis, flipped in wanted if flipped and axis < count))

    def torch(self) -> Step:
        return Step(f"{{0}}.flip({', '.join(map(str, self.axes))})" if self.axes else "{0}.clone()")

    def onnx(self, nodes: LayerNodes) -> None:
        if not self.axes:
            nodes.add("Identity", nodes.inputs, nodes.outputs)
            return
        backward = np.full(len(self.axes), -1, np.int64)
        places = (
            ("starts", backward),
            ("ends", np.full(len(self.axes), _FAR.min)),
            ("axes", np.array(self.axes, np.int64)),
            ("steps", backward),
        )
        nodes.add("Slice", [nodes.inputs[0], *(nodes.constant(array, name) for name, array in places)], nodes.outputs)
