"""ShuffleChannel, PixelShuffle and DepthToSpace: channels in another order, or as pixels."""

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


def _four_axes(shape: Shape) -> None:
    if len(shape) != 4:
        raise LayerError(f"the bottom has {len(shape)} axes; 4 are supported")


@layer(
    "ShuffleChannel",
    shuffle_channel_param="group",
    proto={"shuffle_channel_param": Reading("ssd-windows synopsys shufflenet", None, "group 1 uint32 =1")},
)
@dataclass(frozen=True)
class ShuffleChannel(Operation):
    """The first channel of each group, then the second of each, and so on."""

    group: int
    channels: int

    @classmethod
    def parse(cls, layer: Layer, bottoms: Sequence[Shape]) -> ShuffleChannel:
        refuse_in_place(layer)
        _four_axes(bottoms[0])
        group = layer.param("shuffle_channel_param").group
        if group < 1 or bottoms[0][1] % group:
            raise LayerError(f"{bottoms[0][1]} channels do not divide into group={group}")
        return cls(group, bottoms[0][1])

    def torch(self) -> Step:
        return Step(f"F.channel_shuffle({{0}}, {self.group})")

    def onnx(self, nodes: LayerNodes) -> None:
        height, width = nodes.input_shapes[0][2:]
        x = nodes.reshape(nodes.inputs[0], [0, self.group, self.channels // self.group, height * width])
        x = nodes.add("Transpose", [x], perm=[0, 2, 1, 3])
        nodes.reshape(x, [0, self.channels, height, width], nodes.outputs[0])


@layer(
    "PixelShuffle",
    pixelshuffle_param="upscale_factor",
    proto={"pixelshuffle_param": Reading("inisis", None, "upscale_factor 1 int32!")},
)
@dataclass(frozen=True)
class PixelShuffle(Operation):
    """Of inisis's fork: factor² channels to factor x factor pixels. What is left over of the channels is dropped."""

    factor: int
    channels: int
    left: int  # channels that make no whole factor²

    @classmethod
    def parse(cls, layer: Layer, bottoms: Sequence[Shape]) -> PixelShuffle:
        _four_axes(bottoms[0])
        refuse_in_place(layer)
        channels, factor = bottoms[0][1], layer.param("pixelshuffle_param").upscale_factor
        if factor < 1 or channels % factor or channels < factor**2:
            raise LayerError(f"{channels} channels do not divide by upscale_factor {factor} squared")
        return cls(factor, channels // factor**2, channels % factor**2)

    def shape(self, bottoms: Sequence[Shape]) -> list[Shape]:
        items, _, height, width = bottoms[0]
        return [(items, self.channels, height * self.factor, width * self.factor)]

    def torch(self) -> Step:
        x = f"{{0}}[:, :-{self.left}]" if self.left else "{0}"
        return Step(f"F.pixel_shuffle({x}, {self.factor})")

    def onnx(self, nodes: LayerNodes) -> None:
        x = nodes.inputs[0]
        if self.left:
            pads = np.array([0] * 5 + [-self.left, 0, 0], np.int64)
            x = nodes.add("Pad", [x, nodes.constant(pads, "pads")])
        nodes.add("DepthToSpace", [x], nodes.outputs, blocksize=self.factor, mode="CRD")


@layer(
    "DepthToSpace",
    depth_to_space_param="block_size data_format",
    proto={"depth_to_space_param": Reading("synopsys", None, 'block_size 1 int32!; data_format 2 string ="NHWC"')},
)
@dataclass(frozen=True)
class DepthToSpace(Operation):
    """Of synopsys-caffe: block² channels to block x block pixels.

    data_format is NHWC by default: the last axis holds the channels. NCHW is the same as DCR, whose channels come in
    block² runs; in CRD, which is PixelShuffle's order, the block² of a channel stand together.
    """

    block: int
    channels: int
    order: str  # NHWC, DCR or CRD

    @classmethod
    def parse(cls, layer: Layer, bottoms: Sequence[Shape]) -> DepthToSpace:
        refuse_in_place(layer)
        _four_axes(bottoms[0])
        p = layer.param("depth_to_space_param")
        if p.data_format not in ("NHWC", "NCHW", "DCR", "CRD"):
            raise LayerError(f"data_format {p.data_format!r} is none of NHWC, NCHW, DCR and CRD")
        channels = bottoms[0][3 if p.data_format == "NHWC" else 1]
        if p.block_size < 1 or channels % p.block_size**2:
            raise LayerError(
                f"{channels} channels (data_format {p.data_format}) do not divide by block_size {p.block_size} squared"
            )
        order = "DCR" if p.data_format == "NCHW" else p.data_format
        return cls(p.block_size, channels // p.block_size**2, order)

    def shape(self, bottoms: Sequence[Shape]) -> list[Shape]:
        items, rows, columns = bottoms[0][0], *(bottoms[0][1:3] if self.order == "NHWC" else bottoms[0][2:])
        rows, columns = rows * self.block, columns * self.block
        return [
            (items, rows, columns, self.channels) if self.order == "NHWC" else (items, self.channels, rows, columns)
        ]

    def torch(self) -> Step:
        x = "{0}.permute(0, 3, 1, 2)" if self.order == "NHWC" else "{0}"
        if self.order != "CRD" and self.channels > 1:
            x = f"{x}.unflatten(1, (-1, {self.channels})).transpose(1, 2).flatten(1, 2)"
        shuffled = f"F.pixel_shuffle({x}, {self.block})"
        return Step(f"{shuffled}.permute(0, 2, 3, 1)" if self.order == "NHWC" else shuffled)

    def onnx(self, nodes: LayerNodes) -> None:
        last = self.order == "NHWC"
        x = nodes.add("Transpose", nodes.inputs, perm=[0, 3, 1, 2]) if last else nodes.inputs[0]
        mode = "CRD" if self.order == "CRD" else "DCR"
        x = nodes.add("DepthToSpace", [x], 1 if last else nodes.outputs, blocksize=self.block, mode=mode)
        if last:
            nodes.add("Transpose", [x], nodes.outputs, perm=[0, 2, 3, 1])
