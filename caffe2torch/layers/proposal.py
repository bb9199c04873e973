"""Proposal of PVANet: regions out of a region proposal network, in C++."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from typing import TYPE_CHECKING

import numpy as np

from caffe2torch.calls import Step
from caffe2torch.layers.region_proposal import Box, RegionProposal, pick, with_item
from caffe2torch.layers.sorting import quicksorted
from caffe2torch.net import Fields, Layer, Shape
from caffe2torch.readings import Reading
from caffe2torch.registry import LayerError, Operation, layer

if TYPE_CHECKING:
    from caffe2torch.onnx_model import LayerNodes


@layer(
    "Proposal",
    bottoms=(3, 3),
    tops=(1, 2),
    proposal_param="feat_stride base_size min_size ratio scale pre_nms_topn post_nms_topn nms_thresh "
    "anchor_base_size anchor_scale anchor_ratio max_rois rpn_min_size rpn_nms_thresh",
    proto={
        "proposal_param": (
            Reading(
                "inisis caffe-windows",
                None,
                "feat_stride 1 uint32 =16; base_size 2 uint32 =16; min_size 3 uint32 =16; ratio 4 float*; "
                "scale 5 float*; pre_nms_topn 6 uint32 =6000; post_nms_topn 7 uint32 =300; nms_thresh 8 float =0.7",
            ),
            Reading(
                "synopsys",
                None,
                "feat_stride 1 int32 =16; anchor_base_size 2 int32 =16; anchor_scale 3 int32 =3; "
                "anchor_ratio 4 int32 =3; max_rois 5 int32 =300; pre_nms_topn 6 int32 =6000; "
                "rpn_min_size 7 float =16; rpn_nms_thresh 8 float =0.7",
            ),
        )
    },
)
@dataclass(frozen=True)
class Proposal(RegionProposal):
    """PVANet's, in C++: a box with a side below min_size has score 0; sorted by a quicksort that is not stable.

    caffe-windows multiplies min_size by the scales in im_info, inisis/caffe does not, and no field tells one from the
    other: it is inisis/caffe's unless the fork is named, or the field's number in a caffemodel tells it.
    """

    scaled: bool
    module = "Proposal"

    @classmethod
    def parse(cls, layer: Layer, bottoms: Sequence[Shape]) -> Operation:
        if "synopsys" in layer.fork:
            raise LayerError("Proposal as Synopsys has it (anchor_scale and the like) is not supported")
        p = layer.param("proposal_param")
        if not p.ratio or not p.scale or min(*p.ratio, *p.scale) <= 0 or p.base_size < 1:
            raise LayerError("ratio and scale must be set, and above 0 like base_size")
        score = bottoms[0] + (0,) * (4 - len(bottoms[0]))
        scaled = layer.fork == ("caffe-windows",)
        return cls(
            _anchors(p),
            p.feat_stride,
            p.min_size,
            p.nms_thresh,
            p.pre_nms_topn,
            p.post_nms_topn,
            (score[0], score[2], score[3]),
            len(layer.tops) == 2,
            scaled,
        ).checked(bottoms, 4 if scaled else 2)

    def torch(self) -> Step:
        step = super().torch()
        if self.scaled and step.module:
            step.module.kwargs["scaled"] = True
        return step

    def onnx(self, nodes: LayerNodes) -> None:
        info = nodes.reshape(nodes.inputs[2], [-1])
        boxes = self._boxes(nodes, info)
        least = nodes.constant(np.float32(self.least), "least")
        if self.scaled:
            least = nodes.add("Mul", [pick(nodes, info, [3, 2]), least])
        scores = nodes.add("Mul", [self._scores(nodes), self._large(nodes, boxes, least)])
        parts = [self._item(nodes, boxes, scores, item) for item in range(self.map[0])]
        for values, top in zip(zip(*parts, strict=True), nodes.outputs, strict=False):
            nodes.add("Concat", values, [top], axis=0)

    def _item(self, nodes: LayerNodes, boxes: str, scores: str, item: int) -> tuple[str, str]:
        at = nodes.constant(np.int64(item), "item")
        box, score = (nodes.add("Gather", [value, at]) for value in (boxes, scores))
        count = min(self.before, self._count())
        order = quicksorted(nodes, score, self._count())
        if count < self._count():
            bounds = [nodes.constant(np.array([bound], np.int64), "bound") for bound in (0, count)]
            order = nodes.add("Slice", [order, *bounds])
        box, score = (nodes.add("Gather", [value, order]) for value in (box, score))
        falling = nodes.constant(np.arange(count, 0, -1, dtype=np.float32).reshape(1, 1, -1), "falling")
        left = self._remaining(nodes, box, falling)
        return with_item(nodes, nodes.add("Gather", [box, left]), item), nodes.add("Gather", [score, left])


def _anchors(p: Fields) -> tuple[Box, ...]:
    """Boxes around the middle of the base, by ratio (height to width), then by scale, rounded as float32 is."""
    number = np.float32
    middle = number(0.5) * number(p.base_size - 1)
    found = []
    for ratio in map(number, p.ratio):
        width = number(sqrt(number(p.base_size**2) / ratio))
        for scale in map(number, p.scale):
            sides = (float(side * scale) / p.base_size - 1 for side in (width, number(width * ratio)))
            x, y = (number(0.5) * number(int(side + 0.5)) for side in sides)
            found.append(tuple(float(value) for value in (middle - x, middle - y, middle + x, middle + y)))
    return tuple(found)  # type: ignore[arg-type]
