"""Yolov3DetectionOutput and YoloDetectionOutput of MobileNet-YOLO: boxes without those that overlap a better one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from caffe2torch.calls import Call, Step
from caffe2torch.layers.detection_output import with_nothing
from caffe2torch.layers.labels import FLOAT
from caffe2torch.layers.suppression import greedy
from caffe2torch.net import Fields, Layer, Shape
from caffe2torch.registry import LayerError, Operation, layer

if TYPE_CHECKING:
    from caffe2torch.onnx_model import LayerNodes

Anchors = tuple[tuple[float, float], ...]
MANY = float("inf")
ALL = 2**31 - 1


@dataclass(frozen=True)
class Detections(Operation):
    """Rows (0, label, score, x1, y1, x2, y2) by falling score, as 1 x 1 x rows x 7; labels begin with 1.

    Boxes that a better one overlaps by ``overlap`` or more are left out, whatever their classes and images are: all
    count as image 0. Nothing found: one row (i, -1, ...) an image. Corners are fractions of the picture, not clipped.
    """

    anchors: tuple[Anchors, ...]  # of each bottom: widths and heights
    classes: int
    threshold: float
    overlap: float
    selects = True
    rows_axis = 2

    def shape(self, bottoms: Sequence[Shape]) -> list[Shape]:
        return [(1, 1, 1, 7)]

    def made(self, bottoms: Sequence[Shape]) -> int:
        return sum(2 * prod(shape[2:]) for shape in bottoms)

    def _bottoms(self) -> str:
        return ", ".join(f"{{{index}}}" for index in range(len(self.anchors)))

    def _options(self) -> dict[str, float]:
        options = {"threshold": (self.threshold, 0.01), "overlap": (self.overlap, 0.45)}
        return {name: value for name, (value, default) in options.items() if value != default}

    def _grid(self, nodes: LayerNodes, index: int) -> str:
        """(items, height, width, boxes, numbers)."""
        items, channels, height, width = nodes.input_shapes[index]
        boxes = len(self.anchors[index])
        wanted = nodes.batched([items, boxes, channels // boxes, height, width])
        return str(nodes.add("Transpose", [nodes.reshape(nodes.inputs[index], wanted)], perm=[0, 3, 4, 1, 2]))

    def _corners(self, nodes: LayerNodes, shift: str, growth: str, index: int, scale: np.ndarray) -> str:
        """(boxes, 4) of a bottom's boxes; ``scale``: what the anchors are divided by, for width and height."""
        height, width = nodes.input_shapes[index][2:]
        cells = np.stack(np.meshgrid(np.arange(width), np.arange(height)), -1)[:, :, None].astype(np.float32)
        centre = nodes.add("Add", [nodes.add("Sigmoid", [shift]), nodes.constant(cells, "cells")])
        centre = nodes.add("Div", [centre, nodes.constant(np.array([width, height], np.float32), "size")])
        stretch = np.float32(scale.max()) / scale.astype(np.float32)
        if (stretch != 1).any():
            centre = nodes.add("Mul", [centre, nodes.constant(stretch, "stretch")])
            centre = nodes.add("Add", [centre, nodes.constant(np.float32(0.5) - stretch / 2, "middle")])
        half = (np.array(self.anchors[index]) / scale / 2).astype(np.float32)
        reach = nodes.add("Mul", [nodes.add("Exp", [growth]), nodes.constant(half, "half")])
        corners = nodes.add("Concat", [nodes.add(each, [centre, reach]) for each in ("Sub", "Add")], axis=-1)
        return nodes.reshape(corners, [-1, 4])

    def _give(self, nodes: LayerNodes, boxes: str, scores: str, labels: str) -> None:
        """The top, of (rows, 4) boxes, (rows,) scores and labels that are good enough."""
        kept = self._kept(nodes, boxes, scores)
        boxes, scores, labels = (nodes.add("Gather", [value, kept]) for value in (boxes, scores, labels))
        one = nodes.constant(np.float32(1), "one")
        label = nodes.add("Add", [nodes.add("Cast", [labels], to=FLOAT), one])
        image = nodes.add("Mul", [label, nodes.constant(np.float32(0), "zero")])
        head = [nodes.add("Unsqueeze", [value, _numbers(nodes, 1)]) for value in (image, label, scores)]
        items = nodes.add("Gather", [nodes.add("Shape", [nodes.inputs[0]]), nodes.constant(np.int64(0), "first")])
        with_nothing(nodes, nodes.add("Concat", [*head, boxes], axis=1), items)

    def _kept(self, nodes: LayerNodes, boxes: str, scores: str) -> str:
        """Which rows stay, best first."""
        if 0 < self.overlap <= 1:
            # NonMaxSuppression drops what overlaps more, the fork also what overlaps as much.
            below = float(np.nextafter(np.float32(self.overlap), np.float32(0)))
            both = nodes.add("Unsqueeze", [boxes, _numbers(nodes, 0)]), nodes.reshape(scores, [1, 1, -1])
            found = greedy(nodes, *both, below, ALL, -1.0)
            return str(nodes.add("Gather", [found, nodes.constant(np.int64(2), "place")], axis=1))
        count = nodes.add("Shape", [scores])
        if self.overlap <= 0:  # every box overlaps the best one by 0 at least
            count = nodes.add("Min", [count, _numbers(nodes, 1)])
        return str(nodes.add("TopK", [scores, count], 2, axis=0)[1])


@layer(
    "Yolov3DetectionOutput",
    bottoms=(1, MANY),
    yolov3_detection_output_param="num_classes num_box confidence_threshold nms_threshold biases anchors_scale "
    "mask_group_num mask gaussian_box",
    proto={
        "yolov3_detection_output_param": "num_classes 1 uint32 =20; num_box 2 uint32 =3; "
        "confidence_threshold 3 float =0.01; nms_threshold 4 float =0.45; biases 5 float*; anchors_scale 6 uint32*; "
        "mask_group_num 7 uint32 =2; mask 8 uint32*; gaussian_box 9 bool =false"
    },
)
@dataclass(frozen=True)
class Yolov3DetectionOutput(Detections):
    """A row for each box and class with sigmoid(objectness) * sigmoid(class) above the threshold.

    On maps that are not square the fork takes width * scale for the net's width and height, and stretches the boxes
    as if the map were the middle of it. ``gaussian``: every coordinate is followed by its uncertainty, by the mean of
    which the objectness is lowered; the scores of the classes begin one channel early, with the objectness itself.
    Both are so in the fork's code for the CPU; on GPUs it does otherwise.
    """

    scales: tuple[int, ...]  # pixels of the picture to a pixel of each bottom
    gaussian: bool

    @classmethod
    def parse(cls, layer: Layer, bottoms: Sequence[Shape]) -> Yolov3DetectionOutput:
        p = layer.param("yolov3_detection_output_param")
        _check(p, bottoms)
        if len(bottoms) != p.mask_group_num:
            raise LayerError(f"it has {len(bottoms)} bottoms, mask_group_num says {p.mask_group_num}")
        if len(p.anchors_scale) < len(bottoms) or min(p.anchors_scale) < 1:
            raise LayerError(f"anchors_scale {list(p.anchors_scale)} must have a number above 0 for every bottom")
        group = len(p.mask) // len(bottoms)
        if (len(bottoms) - 1) * group + p.num_box > len(p.mask):
            raise LayerError(f"mask has {len(p.mask)} numbers, too few for {p.num_box} boxes of {len(bottoms)} bottoms")
        chosen = [p.mask[start * group :][: p.num_box] for start in range(len(bottoms))]
        anchors = tuple(tuple(_anchor(p, number) for number in numbers) for numbers in chosen)
        wanted = p.num_box * ((9 if p.gaussian_box else 5) + p.num_classes)
        for shape in bottoms:
            if shape[1] != wanted:
                raise LayerError(f"{p.num_box} boxes of {p.num_classes} classes want {wanted} channels, not {shape[1]}")
        return cls(
            anchors,
            p.num_classes,
            p.confidence_threshold,
            p.nms_threshold,
            tuple(p.anchors_scale[: len(bottoms)]),
            p.gaussian_box,
        )

    def torch(self) -> Step:
        options = {**self._options(), **({"gaussian": True} if self.gaussian else {})}
        return Step(
            f"{{self}}({self._bottoms()})",
            Call("Yolov3Detections", self.anchors, self.scales, self.classes, **options),
        )

    def onnx(self, nodes: LayerNodes) -> None:
        found = [self._head(nodes, index) for index in range(len(self.anchors))]
        boxes, scores = found[0]
        if len(found) > 1:
            boxes, scores = (nodes.add("Concat", list(each), axis=0) for each in zip(*found, strict=True))
        above = nodes.add("Greater", [scores, nodes.constant(np.float32(self.threshold), "threshold")])
        where = nodes.add("Transpose", [nodes.add("NonZero", [above])], perm=[1, 0])
        place, label = (
            nodes.add("Gather", [where, nodes.constant(np.int64(column), "column")], axis=1) for column in (0, 1)
        )
        self._give(nodes, nodes.add("Gather", [boxes, place]), nodes.add("GatherND", [scores, where]), label)

    def _head(self, nodes: LayerNodes, index: int) -> tuple[str, str]:
        """(boxes, 4) corners and (boxes, classes) scores of a bottom."""
        grid = self._grid(nodes, index)
        apart = 2 if self.gaussian else 1
        first = 8 if self.gaussian else 5
        columns = ([0, apart], [2 * apart, 3 * apart], [4 * apart], range(first, first + self.classes))
        shift, growth, seen, classes = (nodes.add("Gather", [grid, _numbers(nodes, *each)], axis=4) for each in columns)
        seen, classes = (nodes.add("Sigmoid", [value]) for value in (seen, classes))
        if self.gaussian:
            spread = nodes.add("Sigmoid", [nodes.add("Gather", [grid, _numbers(nodes, 1, 3, 5, 7)], axis=4)])
            sure = nodes.add("Sub", [nodes.constant(np.float32(1), "one"), nodes.add("ReduceMean", [spread], axes=[4])])
            seen = nodes.add("Mul", [seen, sure])
        scores = nodes.reshape(nodes.add("Mul", [classes, seen]), [-1, self.classes])
        height, width = nodes.input_shapes[index][2:]
        side = width * self.scales[index]
        scale = np.array([min(side, width * side // height), min(side, height * side // width)])
        return self._corners(nodes, shift, growth, index, scale), scores


@layer(
    "YoloDetectionOutput",
    bottoms=(1, 2),
    # the side is the bottom's; coords are always 4; labels are for saving
    yolo_detection_output_param="side num_classes num_box coords confidence_threshold nms_threshold biases "
    "label_map_file",
    proto={
        "yolo_detection_output_param": "side 1 uint32 =13; num_classes 2 uint32 =20; num_box 3 uint32 =5; "
        "coords 4 uint32 =4; confidence_threshold 5 float =0.01; nms_threshold 6 float =0.45; biases 7 float*; "
        "label_map_file 8 string"
    },
)
@dataclass(frozen=True)
class YoloDetectionOutput(Detections):
    """YOLOv2's: a row for each box with sigmoid(objectness) * softmax of its best class at the threshold or above.

    Anchors are in pixels of the map, the same for both bottoms.
    """

    @classmethod
    def parse(cls, layer: Layer, bottoms: Sequence[Shape]) -> YoloDetectionOutput:
        p = layer.param("yolo_detection_output_param")
        _check(p, bottoms)
        for shape in bottoms:
            if shape[2] != shape[3]:
                raise LayerError(f"a map of {shape[2]} x {shape[3]} is not square, as the fork takes it to be")
            if shape[1] % p.num_box or shape[1] // p.num_box < 5 + p.num_classes:
                raise LayerError(
                    f"{p.num_box} boxes of {p.num_classes} classes want {p.num_box * (5 + p.num_classes)} channels; "
                    f"the bottom has {shape[1]}"
                )
        anchors = tuple(_anchor(p, number) for number in range(p.num_box))
        return cls((anchors,) * len(bottoms), p.num_classes, p.confidence_threshold, p.nms_threshold)

    def torch(self) -> Step:
        call = Call("Yolov2Detections", self.anchors[0], self.classes, **self._options())
        return Step(f"{{self}}({self._bottoms()})", call)

    def onnx(self, nodes: LayerNodes) -> None:
        found = [self._head(nodes, index) for index in range(len(self.anchors))]
        boxes, scores, labels = found[0]
        if len(found) > 1:
            boxes, scores, labels = (nodes.add("Concat", list(each), axis=0) for each in zip(*found, strict=True))
        enough = nodes.add("GreaterOrEqual", [scores, nodes.constant(np.float32(self.threshold), "threshold")])
        self._give(nodes, *(nodes.add("Compress", [value, enough], axis=0) for value in (boxes, scores, labels)))

    def _head(self, nodes: LayerNodes, index: int) -> tuple[str, str, str]:
        """(boxes, 4) corners, (boxes,) scores and labels of a bottom."""
        grid = self._grid(nodes, index)
        columns = ([0, 1], [2, 3], [4], range(5, 5 + self.classes))
        shift, growth, seen, classes = (nodes.add("Gather", [grid, _numbers(nodes, *each)], axis=4) for each in columns)
        chance = nodes.add("Softmax", [classes], axis=4)
        best = nodes.add("Mul", [nodes.add("Sigmoid", [seen]), nodes.add("ReduceMax", [chance], axes=[4])])
        label = nodes.add("ArgMax", [chance], axis=4)
        corners = self._corners(nodes, shift, growth, index, np.array(nodes.input_shapes[index][2:]))
        return corners, nodes.reshape(best, [-1]), nodes.reshape(label, [-1])


def _check(p: Fields, bottoms: Sequence[Shape]) -> None:
    if "num_classes" not in p or min(p.num_classes, p.num_box) < 1:
        raise LayerError("num_classes must be set, and be at least 1 as num_box must")
    if any(len(shape) != 4 or shape[0] != bottoms[0][0] for shape in bottoms):
        raise LayerError(f"its bottoms {', '.join(map(str, bottoms))} must have 4 axes and the same number of items")


def _anchor(p: Fields, number: int) -> tuple[float, float]:
    if 2 * number + 1 >= len(p.biases):
        raise LayerError(f"biases has {len(p.biases)} numbers; box {number} has none")
    return p.biases[2 * number], p.biases[2 * number + 1]


def _numbers(nodes: LayerNodes, *numbers: int) -> str:
    return nodes.constant(np.array(numbers, np.int64), "numbers")
