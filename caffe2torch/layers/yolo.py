"""Darknet's Reorg, UpsampleDarknet and Region, as YOLO's ports to Caffe have them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from caffe2torch.calls import Call, Step
from caffe2torch.layers.resizing import Nearest
from caffe2torch.net import Layer, Shape
from caffe2torch.readings import Reading
from caffe2torch.registry import LayerError, Operation, layer, refuse_in_place

if TYPE_CHECKING:
    from caffe2torch.onnx_model import LayerNodes

_REORG = "stride 1 uint32; reverse 2 bool =false"


@layer(
    "Reorg",
    reorg_param="stride reverse",
    proto={
        "reorg_param": (
            Reading("mobilenet-yolo intel", None, _REORG),
            Reading("synopsys", None, _REORG, asked=True),  # the same on square maps
        )
    },
)
@dataclass(frozen=True)
class Reorg(Operation):
    """Each item's memory, read as C / stride² maps of stride times its height and width, in blocks to the channels.

    That is no regrouping of the bottom's own pixels: Darknet takes the sizes of what is read for those of the bottom.
    ``reverse`` is the other way round, and does regroup pixels. synopsys-caffe changes height for width (``turned``).
    """

    stride: int
    reverse: bool
    turned: bool

    @classmethod
    def parse(cls, layer: Layer, bottoms: Sequence[Shape]) -> Reorg:
        p, shape = layer.param("reorg_param"), bottoms[0]
        refuse_in_place(layer)
        if len(shape) != 4:
            raise LayerError(f"the bottom has {len(shape)} axes; 4 are supported")
        if "stride" not in p or p.stride < 1:
            raise LayerError("stride must be set, and at least 1")
        if shape[1] % p.stride**2:
            raise LayerError(f"{shape[1]} channels are no multiple of stride² = {p.stride**2}: Caffe reads beyond them")
        if not p.reverse and (shape[2] % p.stride or shape[3] % p.stride):
            raise LayerError(f"a map of {shape[2]} x {shape[3]} is no multiple of stride {p.stride}")
        turned = "synopsys" in layer.fork
        if turned and (p.reverse or p.stride != 2):
            raise LayerError("synopsys-caffe gives the top half the bottom's size: it works with stride 2, not reverse")
        return cls(p.stride, p.reverse, turned and shape[2] != shape[3])

    def shape(self, bottoms: Sequence[Shape]) -> list[Shape]:
        items, channels, height, width = bottoms[0]
        if self.reverse:
            return [(items, channels // self.stride**2, height * self.stride, width * self.stride)]
        return [(items, channels * self.stride**2, height // self.stride, width // self.stride)]

    def torch(self) -> Step:
        if self.reverse:
            return Step(f"reorg_reverse({{0}}, {self.stride})")
        return Step(f"reorg({{0}}, {self.stride}{', turned=True' if self.turned else ''})")

    def onnx(self, nodes: LayerNodes) -> None:
        if self.reverse:
            nodes.add("DepthToSpace", nodes.inputs, nodes.outputs, blocksize=self.stride, mode="DCR")
            return
        items, channels, *size = nodes.input_shapes[0]
        rows, columns = (side * self.stride for side in (reversed(size) if self.turned else size))
        wide = nodes.reshape(nodes.inputs[0], nodes.batched([items, channels // self.stride**2, rows, columns]))
        blocks = nodes.add("SpaceToDepth", [wide], blocksize=self.stride)
        nodes.reshape(blocks, nodes.batched(nodes.output_shapes[0]), nodes.outputs[0])


@layer(
    "UpsampleDarknet",
    upsample_darknet_param="stride",
    proto={"upsample_darknet_param": Reading("synopsys", None, "stride 1 int32 =1")},
)
@dataclass(frozen=True)
class UpsampleDarknet(Operation):
    """Of synopsys-caffe: each pixel ``stride`` times in both axes."""

    @classmethod
    def parse(cls, layer: Layer, bottoms: Sequence[Shape]) -> Nearest:
        stride = layer.param("upsample_darknet_param").stride
        if len(bottoms[0]) != 4:
            raise LayerError(f"the bottom has {len(bottoms[0])} axes, the fork wants 4")
        if stride < 1:
            raise LayerError(f"stride {stride} must be at least 1")
        return Nearest(stride, 2)


@layer(
    "Region",
    region_param="classes coords num",
    proto={"region_param": "classes 1 int32 =20; coords 2 int32 =4; num 3 int32 =1"},
)
@dataclass(frozen=True)
class Region(Operation):
    """YOLOv2's last layer as Darknet has it: of each of ``num`` boxes the sigmoid of x, y and of the objectness, which
    stands behind the ``coords``, and the softmax of the classes; width and height as they are.
    """

    classes: int
    coords: int
    boxes: int

    @classmethod
    def parse(cls, layer: Layer, bottoms: Sequence[Shape]) -> Region:
        p, shape = layer.param("region_param"), bottoms[0]
        if len(shape) != 4:
            raise LayerError(f"the bottom has {len(shape)} axes; 4 are supported")
        if p.coords < 2 or p.classes < 1 or p.num < 1:
            raise LayerError(f"classes {p.classes} and num {p.num} must be at least 1, coords {p.coords} at least 2")
        if shape[1] != p.num * (p.classes + p.coords + 1):
            raise LayerError(
                f"{p.num} boxes of {p.coords} coordinates, objectness and {p.classes} classes want "
                f"{p.num * (p.classes + p.coords + 1)} channels; the bottom has {shape[1]}"
            )
        return cls(p.classes, p.coords, p.num)

    def torch(self) -> Step:
        return Step(module=Call("Region", self.boxes, self.coords))

    def onnx(self, nodes: LayerNodes) -> None:
        items, channels, height, width = nodes.input_shapes[0]
        shape = nodes.batched([items, self.boxes, channels // self.boxes, height, width])
        sizes = np.array([2, self.coords - 2, 1, self.classes], np.int64)
        boxes = nodes.reshape(nodes.inputs[0], shape)
        place, size, seen, classes = nodes.add("Split", [boxes, nodes.constant(sizes, "sizes")], 4, axis=2)
        place, seen = (nodes.add("Sigmoid", [value]) for value in (place, seen))
        parts = [place, size, seen, nodes.add("Softmax", [classes], axis=2)]
        joined = nodes.add("Concat", parts, axis=2)
        nodes.reshape(joined, nodes.batched([items, channels, height, width]), nodes.outputs[0])
