"""DetectionOutput of SSD: boxes from priors and what the net says of each, without those that overlap a better one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from caffe2torch.calls import Call, Step
from caffe2torch.layers.labels import FLOAT, INT64, check_legacy
from caffe2torch.layers.suppression import greedy, shrinking
from caffe2torch.net import Layer, Shape
from caffe2torch.readings import Reading
from caffe2torch.registry import LayerError, Operation, layer

if TYPE_CHECKING:
    from caffe2torch.onnx_model import LayerNodes

LOWEST = float(np.finfo(np.float32).min)  # what a score must be above where no threshold is set
FIELDS = (
    "num_classes 1 uint32; share_location 2 bool =true; background_label_id 3 int32 =0; "
    "nms_param 4 NonMaximumSuppressionParameter; save_output_param 5 SaveOutputParameter; "
    "code_type 6 CodeType =CORNER; variance_encoded_in_target 8 bool =false; keep_top_k 7 int32 =-1; "
    "confidence_threshold 9 float; visualize 10 bool =false; visualize_threshold 11 float; {more}; "
    "NonMaximumSuppressionParameter {{ nms_threshold 1 float =0.3; top_k 2 int32; eta 3 float =1.0 }}; "
    "SaveOutputParameter {{ * }} | CodeType: CORNER=1, CENTER_SIZE=2, CORNER_SIZE=3"
)
MORE = (
    "save_file 12 string; objectness_score 24 float =0.01; ratio_permute 25 bool =false; no_permute 32 bool =false; "
    "nbottom 33 int32 =6; arm_conf_no_concat 38 bool =false; arm_loc_no_concat 39 bool =false; ratio0 26 int32 =3; "
    "ratio1 27 int32 =6; ratio2 28 int32 =6; ratio3 29 int32 =6; ratio4 30 int32 =6; ratio5 31 int32 =6; "
    "tflite_detection 34 bool =false; tflite_use_regular_nms 35 bool =false; max_classes_per_detection 36 int32 =1; "
    "scale_xywh 37 float*"
)


@layer(
    "DetectionOutput",
    bottoms=(3, 4),
    detection_output_param="num_classes share_location background_label_id nms_param save_output_param code_type "
    "variance_encoded_in_target keep_top_k confidence_threshold visualize visualize_threshold save_file",
    proto={
        "detection_output_param": (
            Reading("ssd mobilenet-ssd intel nvcaffe ssd-windows", None, FIELDS.format(more="save_file 12 string")),
            Reading("mobilenet-yolo synopsys", None, FIELDS.format(more=MORE)),
            Reading("inisis", None, FIELDS.format(more="thresholds 12 float*; save_file 13 string")),
        )
    },
)
@dataclass(frozen=True)
class DetectionOutput(Operation):
    """Rows (image, label, score, x1, y1, x2, y2), by image, label, falling score; boxes are not clipped.

    Nothing in any image: one row (i, -1, ...) an image. A fourth bottom is for drawing, and saving is for evaluation:
    neither matters here.
    """

    classes: int
    background: int
    shared: bool  # one box for all classes
    code: str
    encoded: bool  # variances are in the net's output already
    threshold: float | None
    overlap: float
    eta: float
    top_k: int | None  # of a class, before suppression
    keep: int | None  # of an image, at last
    measured = (3,)
    selects = True
    rows_axis = 2

    @classmethod
    def parse(cls, layer: Layer, bottoms: Sequence[Shape]) -> DetectionOutput:
        p = layer.param("detection_output_param")
        if "num_classes" not in p:
            raise LayerError("num_classes must be set")
        nms = p.nms_param
        if nms.nms_threshold < 0 or not 0 < nms.eta <= 1:
            raise LayerError(
                f"nms_threshold {nms.nms_threshold} must be 0 or more, eta {nms.eta} above 0 and at most 1"
            )
        if p.share_location and p.background_label_id == -1:
            raise LayerError("background_label_id -1 with share_location: Caffe takes the shared boxes for background")
        _check_counts(p.num_classes, 1 if p.share_location else p.num_classes, bottoms)
        return cls(
            p.num_classes,
            p.background_label_id,
            p.share_location,
            p.code_type,
            p.variance_encoded_in_target,
            p.confidence_threshold if "confidence_threshold" in p else None,
            nms.nms_threshold,
            nms.eta if nms.nms_threshold > 0.5 else 1.0,  # it counts above a half only
            nms.top_k if "top_k" in nms and nms.top_k >= 0 else None,
            p.keep_top_k if p.keep_top_k >= 0 else None,
        )

    def shape(self, bottoms: Sequence[Shape]) -> list[Shape]:
        return [(1, 1, 1, 7)]

    def torch(self) -> Step:
        options: dict[str, tuple[Any, Any]] = {
            "code": (self.code, "CORNER"),
            "shared": (self.shared, True),
            "background": (self.background, 0),
            "encoded": (self.encoded, False),
            "threshold": (self.threshold, None),
            "overlap": (self.overlap, 0.3),
            "eta": (self.eta, 1.0),
            "top_k": (self.top_k, None),
            "keep": (self.keep, None),
        }
        given = {name: value for name, (value, default) in options.items() if value != default}
        return Step("{self}({0}, {1}, {2})", Call("DetectionOutput", self.classes, **given))

    def made(self, bottoms: Sequence[Shape]) -> int:
        return self.classes

    def _labels(self) -> list[int]:
        return [label for label in range(self.classes) if label != self.background]

    def onnx(self, nodes: LayerNodes) -> None:
        labels = self._labels()
        priors = prod(nodes.input_shapes[2][2:]) // 4
        chosen = nodes.constant(np.array(labels, np.int64), "labels")
        scores = nodes.reshape(nodes.inputs[1], nodes.batched([nodes.input_shapes[1][0], priors, self.classes]))
        images = nodes.add("Gather", [nodes.add("Shape", [scores]), nodes.constant(np.int64(0), "zero")])
        scores = nodes.add("Gather", [nodes.add("Transpose", [scores], perm=[0, 2, 1]), chosen], axis=1)
        boxes = self._boxes(nodes, priors)  # (N, priors, 4), or (N, labels, priors, 4)
        if not self.shared:
            boxes = nodes.add("Gather", [nodes.add("Transpose", [boxes], perm=[0, 2, 1, 3]), chosen], axis=1)
        rows = self._rows(nodes, boxes, scores, chosen, priors)
        with_nothing(nodes, rows, images)

    def _rows(self, nodes: LayerNodes, boxes: str, scores: str, chosen: str, priors: int) -> str:
        """(rows, 7), with none where nothing is found."""
        found = self._found(nodes, boxes, scores, priors)  # (rows, 3): image, place of the label, prior
        if self.keep is not None:
            found = self._best(nodes, scores, found, priors)
        image, place, prior = nodes.add("Split", [found], 3, axis=1)
        score = nodes.add("Unsqueeze", [nodes.add("GatherND", [scores, found]), _axis(nodes, 1)])
        where = nodes.add("Concat", [image, prior], axis=1) if self.shared else found
        box = nodes.add("GatherND", [boxes, where])
        head = [nodes.add("Cast", [each], to=FLOAT) for each in (image, nodes.add("Gather", [chosen, place]))]
        rows: str = nodes.add("Concat", [*head, score, box], axis=1)
        return rows

    def _boxes(self, nodes: LayerNodes, priors: int) -> str:
        """Corners: (N, priors, 4), or (N, priors, classes, 4) where each class has boxes of its own."""
        size = nodes.input_shapes[0][0]
        own = [] if self.shared else [self.classes]
        change = nodes.reshape(nodes.inputs[0], nodes.batched([size, priors, *own, 4]))
        both = nodes.reshape(nodes.inputs[2], [2, priors, *[1 for _ in own], 4])
        prior, variance = (nodes.add("Gather", [both, nodes.constant(np.int64(i), "place")], axis=0) for i in (0, 1))
        if not self.encoded:
            change = nodes.add("Mul", [variance, change])
        if self.code == "CORNER":
            return str(nodes.add("Add", [prior, change]))
        low, high = nodes.add("Split", [prior], 2, axis=-1)
        extent = nodes.add("Sub", [high, low])
        if self.code == "CORNER_SIZE":
            twice = nodes.add("Concat", [extent, extent], axis=-1)
            return str(nodes.add("Add", [prior, nodes.add("Mul", [change, twice])]))
        half = nodes.constant(np.float32(0.5), "half")
        shift, growth = nodes.add("Split", [change], 2, axis=-1)
        middle = nodes.add("Mul", [nodes.add("Add", [low, high]), half])
        centre = nodes.add("Add", [nodes.add("Mul", [shift, extent]), middle])
        reach = nodes.add("Mul", [nodes.add("Mul", [nodes.add("Exp", [growth]), extent]), half])
        corners = [nodes.add(operator, [centre, reach]) for operator in ("Sub", "Add")]
        return str(nodes.add("Concat", corners, axis=-1))

    def _found(self, nodes: LayerNodes, boxes: str, scores: str, priors: int) -> str:
        """What suppression leaves, as (rows, 3) of image, place of the label, and prior, best first."""
        labels = len(self._labels())
        top_k = priors if self.top_k is None else min(self.top_k, priors)
        floor = LOWEST if self.threshold is None else self.threshold
        if self.eta < 1:
            return self._found_shrinking(nodes, boxes, scores, max(top_k, 1), floor)
        if top_k < priors:
            scores = _only_best(nodes, scores, max(top_k, 1))
        if not self.shared:
            boxes = nodes.reshape(boxes, [-1, priors, 4])
            scores = nodes.reshape(scores, [-1, 1, priors])
        found = greedy(nodes, boxes, scores, self.overlap, priors, floor)
        if not self.shared:
            batch, _, prior = nodes.add("Split", [found], 3, axis=1)
            count = nodes.constant(np.int64(labels), "labels")
            image = nodes.add("Div", [batch, count])
            found = nodes.add("Concat", [image, nodes.add("Mod", [batch, count]), prior], axis=1)
        return self._unless_none(nodes, found)

    def _unless_none(self, nodes: LayerNodes, found: str) -> str:
        """Nothing where a limit of 0 lets nothing pass."""
        if 0 not in (self.top_k, self.keep):
            return found
        bounds = [nodes.constant(np.array([0], np.int64), "none")] * 3
        return str(nodes.add("Slice", [found, *bounds]))

    def _found_shrinking(self, nodes: LayerNodes, boxes: str, scores: str, top_k: int, floor: float) -> str:
        best, order = nodes.add("TopK", [scores, nodes.constant(np.array([top_k], np.int64), "top_k")], 2, axis=-1)
        if self.shared:
            boxes = nodes.add("Unsqueeze", [boxes, _axis(nodes, 1)])
        places = nodes.add("Unsqueeze", [order, _axis(nodes, 3)])
        shape = nodes.add("Concat", [nodes.add("Shape", [order]), _axis(nodes, 4)], axis=0)
        full = nodes.add("Expand", [places, shape])
        wide = nodes.add("Concat", [nodes.add("Shape", [scores]), _axis(nodes, 4)], axis=0)
        sorted_boxes = nodes.add("GatherElements", [nodes.add("Expand", [boxes, wide]), full], axis=2)
        usable = nodes.add("Greater", [best, nodes.constant(np.float32(floor), "threshold")])
        kept = shrinking(nodes, sorted_boxes, usable, self.overlap, self.eta, top_k)
        where = nodes.add("Transpose", [nodes.add("NonZero", [kept])], perm=[1, 0])
        image, place, _ = nodes.add("Split", [where], 3, axis=1)
        prior = nodes.add("Unsqueeze", [nodes.add("GatherND", [order, where]), _axis(nodes, 1)])
        return self._unless_none(nodes, nodes.add("Concat", [image, place, prior], axis=1))

    def _best(self, nodes: LayerNodes, scores: str, found: str, priors: int) -> str:
        """Of each image the ``keep`` rows of the highest scores, in the order in which they stand."""
        every = len(self._labels()) * priors
        if not self.keep or self.keep >= every:
            return found
        lowest = nodes.add("Expand", [nodes.constant(np.float32(-np.inf), "lowest"), nodes.add("Shape", [scores])])
        kept = nodes.add("ScatterND", [lowest, found, nodes.add("GatherND", [scores, found])])
        flat = nodes.reshape(kept, [-1, every])
        best, order = nodes.add("TopK", [flat, nodes.constant(np.array([self.keep], np.int64), "keep")], 2, axis=1)
        no = nodes.add("Expand", [nodes.constant(np.float32(0), "no"), nodes.add("Shape", [flat])])
        yes = nodes.add("Expand", [nodes.constant(np.float32(1), "yes"), nodes.add("Shape", [best])])
        mask = nodes.add("ScatterElements", [no, order, yes], axis=1)
        mask = nodes.add("Reshape", [mask, nodes.add("Shape", [scores])])
        chosen = nodes.add("Cast", [nodes.add("GatherND", [mask, found])], to=9)
        return str(nodes.add("Compress", [found, chosen], axis=0))


def _check_counts(classes: int, boxes: int, bottoms: Sequence[Shape]) -> None:
    """LayerError unless there are as many locations and scores as priors want."""
    check_legacy(*bottoms[:3])
    location, score, prior = ((shape + (1,) * 4)[:4] for shape in bottoms[:3])
    if location[0] != score[0]:
        raise LayerError(f"locations {bottoms[0]} and scores {bottoms[1]} are of different numbers of images")
    priors = prior[2] // 4
    if prior[1] != 2 or prior[3] != 1 or prior[2] % 4 or prior[0] != 1:
        raise LayerError(f"the priors {bottoms[2]} must be 1 x 2 x 4n")
    for name, shape, each in (("locations", bottoms[0], 4 * boxes), ("scores", bottoms[1], classes)):
        if prod(shape[1:]) != priors * each:
            raise LayerError(f"{priors} priors want {priors * each} {name} of an image; there are {prod(shape[1:])}")


def _only_best(nodes: LayerNodes, scores: str, count: int) -> str:
    """Scores with -inf for all but the best of each row."""
    lowest = nodes.add("Expand", [nodes.constant(np.float32(-np.inf), "lowest"), nodes.add("Shape", [scores])])
    best, order = nodes.add("TopK", [scores, nodes.constant(np.array([count], np.int64), "top_k")], 2, axis=-1)
    return str(nodes.add("ScatterElements", [lowest, order, best], axis=2))


def with_nothing(nodes: LayerNodes, rows: str, images: str) -> None:
    """The rows as (1, 1, rows, 7); where there are none, (i, -1, ...) for each image."""
    zero, one = (nodes.constant(np.int64(value), "bound") for value in (0, 1))
    numbers = nodes.add("Cast", [nodes.add("Range", [zero, images, one])], to=FLOAT)
    numbers = nodes.add("Unsqueeze", [numbers, _axis(nodes, 1)])
    pads = nodes.constant(np.array([0, 0, 0, 6], np.int64), "pads")
    nothing = nodes.add("Pad", [numbers, pads, nodes.constant(np.float32(-1), "nothing")])
    empty = nodes.add("Equal", [nodes.add("Gather", [nodes.add("Shape", [rows]), zero]), zero])
    count = nodes.add("Mul", [nodes.add("Cast", [empty], to=INT64), images])
    bounds = [_axis(nodes, 0), nodes.add("Unsqueeze", [count, _axis(nodes, 0)]), _axis(nodes, 0)]
    filled = nodes.add("Concat", [rows, nodes.add("Slice", [nothing, *bounds])], axis=0)
    nodes.add("Unsqueeze", [filled, nodes.constant(np.array([0, 1], np.int64), "axes")], nodes.outputs)


def _axis(nodes: LayerNodes, number: int) -> str:
    return nodes.constant(np.array([number], np.int64), "axis")
