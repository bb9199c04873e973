"""What the layers have in common that turn the output of a region proposal network into regions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from caffe2torch.calls import Call, Step
from caffe2torch.layers.labels import FLOAT
from caffe2torch.layers.suppression import greedy
from caffe2torch.limits import NODE
from caffe2torch.net import Shape
from caffe2torch.registry import LayerError, Operation

if TYPE_CHECKING:
    from caffe2torch.onnx_model import LayerNodes

Box = tuple[float, float, float, float]
LOWEST = float(np.finfo(np.float32).min)


@dataclass(frozen=True)
class RegionProposal(Operation):
    """Rows (item, x1, y1, x2, y2), best first, and as a second top their scores."""

    anchors: tuple[Box, ...]
    stride: int
    least: int  # a side must have as many pixels
    overlap: float
    before: int  # how many take part in suppression
    after: int  # how many remain, at most, of an item
    map: tuple[int, int, int]  # items, height and width
    scores: bool  # a second top
    selects = True
    module: ClassVar[str]

    def checked(self, bottoms: Sequence[Shape], numbers: int) -> RegionProposal:
        """Itself; LayerError unless the bottoms fit the anchors. ``numbers``: of im_info that are looked at."""
        score, change, info = bottoms
        wanted, places = 2 * len(self.anchors), score[2:]
        if len(score) != 4 or len(change) != 4 or score[:1] + places != change[:1] + change[2:]:
            raise LayerError(f"scores {score} and boxes {change} must have 4 axes, and one size but for the channels")
        if (score[1], change[1]) != (wanted, 2 * wanted):
            raise LayerError(
                f"{len(self.anchors)} anchors want {wanted} channels of scores and {2 * wanted} of boxes; "
                f"there are {score[1]} and {change[1]}"
            )
        if prod(info) < numbers:
            raise LayerError(f"im_info {info} must have {numbers} numbers: height, width and scale")
        if min(self.before, self.after) < 1:
            raise LayerError("the numbers of regions before and after suppression must be above 0")
        return self

    def shape(self, bottoms: Sequence[Shape]) -> list[Shape]:
        rows = self.map[0] * self.after
        return [(rows, 5), *self._score_shapes(rows)]

    def made(self, bottoms: Sequence[Shape]) -> int:
        return 16 * self._count() + NODE * self.map[0]

    def _score_shapes(self, rows: int) -> list[Shape]:
        return [(rows,)] if self.scores else []

    def torch(self) -> Step:
        call = Call(self.module, self.anchors, self.stride, self.least, self.overlap, self.before, self.after)
        return Step("{self}({0}, {1}, {2})" + ("" if self.scores else "[0]"), call)

    def _count(self) -> int:
        return len(self.anchors) * self.map[1] * self.map[2]

    def _boxes(self, nodes: LayerNodes, info: str) -> str:
        """(items, count, 4): the anchors of every place, moved and grown, cut to the picture."""
        items, height, width = self.map
        y, x = np.mgrid[:height, :width].astype(np.float32) * np.float32(self.stride)
        boxes = np.stack([x, y, x, y], -1)[:, :, None] + np.array(self.anchors, np.float32)
        boxes = boxes.reshape(-1, 4)
        sizes = boxes[:, 2:] - boxes[:, :2] + np.float32(1)
        centres = boxes[:, :2] + np.float32(0.5) * sizes
        size, centre = nodes.constant(sizes, "size"), nodes.constant(centres, "centre")
        change = nodes.reshape(nodes.inputs[1], [items, len(self.anchors), 4, height, width])
        change = nodes.reshape(nodes.add("Transpose", [change], perm=[0, 3, 4, 1, 2]), [items, -1, 4])
        shift, growth = nodes.add("Split", [change], 2, axis=2)
        centre = nodes.add("Add", [nodes.add("Mul", [shift, size]), centre])
        reach = nodes.add("Mul", [nodes.add("Exp", [growth]), size])
        reach = nodes.add("Mul", [reach, nodes.constant(np.float32(0.5), "half")])
        corners = nodes.add("Concat", [nodes.add(each, [centre, reach]) for each in ("Sub", "Add")], axis=2)
        one = nodes.constant(np.float32(1), "one")
        limit = nodes.add("Sub", [pick(nodes, info, [1, 0, 1, 0]), one])
        return str(nodes.add("Max", [nodes.add("Min", [corners, limit]), nodes.constant(np.float32(0), "zero")]))

    def _large(self, nodes: LayerNodes, boxes: str, least: str) -> str:
        """(items, count): 1 where both sides are long enough, else 0."""
        low, high = nodes.add("Split", [boxes], 2, axis=2)
        sides = nodes.add("Add", [nodes.add("Sub", [high, low]), nodes.constant(np.float32(1), "one")])
        enough = nodes.add("Cast", [nodes.add("GreaterOrEqual", [sides, least])], to=FLOAT)
        return str(nodes.add("ReduceMin", [enough], axes=[2], keepdims=0))

    def _scores(self, nodes: LayerNodes) -> str:
        """(items, count), of foreground."""
        _, score = nodes.add("Split", [nodes.inputs[0]], 2, axis=1)
        return nodes.reshape(nodes.add("Transpose", [score], perm=[0, 2, 3, 1]), [self.map[0], -1])

    def _remaining(self, nodes: LayerNodes, boxes: str, ranking: str) -> str:
        """The places of those of (rows, 4) that suppression leaves; ``ranking`` (1, 1, rows) falls."""
        found = greedy(
            nodes, nodes.add("Unsqueeze", [boxes, _axis(nodes, 0)]), ranking, self.overlap, self.after, LOWEST, pixel=1
        )
        return str(nodes.add("Gather", [found, nodes.constant(np.int64(2), "place")], axis=1))


def pick(nodes: LayerNodes, info: str, places: list[int]) -> str:
    return str(nodes.add("Gather", [info, nodes.constant(np.array(places, np.int64), "places")]))


def with_item(nodes: LayerNodes, boxes: str, item: int, outputs: list[str] | int = 1) -> str:
    """A column with the item's number before (rows, 4)."""
    pads = nodes.constant(np.array([0, 1, 0, 0], np.int64), "pads")
    return str(nodes.add("Pad", [boxes, pads, nodes.constant(np.float32(item), "item")], outputs))


def _axis(nodes: LayerNodes, number: int) -> str:
    return nodes.constant(np.array([number], np.int64), "axis")
