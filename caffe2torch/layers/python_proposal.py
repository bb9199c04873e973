"""The proposal layer of py-faster-rcnn, which a net names as a layer in Python."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from caffe2torch.layers.labels import BOOL
from caffe2torch.layers.region_proposal import Box, RegionProposal, pick, with_item
from caffe2torch.net import Layer, Shape
from caffe2torch.registry import LayerError, Operation, layer

if TYPE_CHECKING:
    from caffe2torch.onnx_model import LayerNodes


@layer(
    "Python:rpn.proposal_layer.ProposalLayer",
    bottoms=(3, 3),
    tops=(1, 2),
    python_param="module layer param_str share_in_parallel",
)
@dataclass(frozen=True)
class PythonProposal(RegionProposal):
    """py-faster-rcnn's, at test time: sides of 16 pixels times im_info's scale, 6000 before suppression, 300 after it.

    These numbers are py-faster-rcnn's defaults; a net's file has none of them. Of equal scores the first comes first,
    where numpy leaves it open.
    """

    module = "PythonProposal"

    @classmethod
    def parse(cls, layer: Layer, bottoms: Sequence[Shape]) -> Operation:
        options = _options(layer.param("python_param").param_str)
        scales = options.get("scales", [8.0, 16.0, 32.0])
        stride = options.get("feat_stride")
        if not isinstance(stride, float) or not stride.is_integer() or not isinstance(scales, list) or not scales:
            raise LayerError("param_str must say feat_stride, a whole number; scales, if set, is a list")
        score = bottoms[0] + (0,) * (4 - len(bottoms[0]))
        if score[0] != 1:
            raise LayerError(f"py-faster-rcnn takes one picture at a time, the scores are {bottoms[0]}")
        return cls(
            _python_anchors(scales), int(stride), 16, 0.7, 6000, 300, (1, score[2], score[3]), len(layer.tops) == 2
        ).checked(bottoms, 3)

    def _score_shapes(self, rows: int) -> list[Shape]:
        return [(rows, 1)] if self.scores else []

    def onnx(self, nodes: LayerNodes) -> None:
        info = nodes.reshape(nodes.inputs[2], [-1])
        boxes = self._boxes(nodes, info)
        least = nodes.add("Mul", [pick(nodes, info, [2]), nodes.constant(np.float32(self.least), "least")])
        large = nodes.add("Cast", [self._large(nodes, boxes, least)], to=BOOL)
        scores = nodes.add("Where", [large, self._scores(nodes), nodes.constant(np.float32(-np.inf), "lowest")])
        top = nodes.constant(np.array([min(self.before, self._count())], np.int64), "before")
        best, order = nodes.add("TopK", [scores, top], 2, axis=1)
        box = nodes.add("Gather", [nodes.reshape(boxes, [-1, 4]), nodes.reshape(order, [-1])])
        left = self._remaining(nodes, box, nodes.reshape(best, [1, 1, -1]))
        rows = nodes.add("Gather", [box, left])
        if self.scores:
            nodes.add("Gather", [nodes.reshape(best, [-1, 1]), left], nodes.outputs[1:])
        with_item(nodes, rows, 0, nodes.outputs[:1])


def _python_anchors(scales: Sequence[float]) -> tuple[Box, ...]:
    """py-faster-rcnn's: 16 pixels in the ratios 0.5, 1 and 2, times the scales."""
    found = []
    for ratio in (0.5, 1, 2):
        width = float(np.round(np.sqrt(256 / ratio)))
        height = float(np.round(width * ratio))
        for scale in scales:
            x, y = (0.5 * (side * scale - 1) for side in (width, height))
            found.append((7.5 - x, 7.5 - y, 7.5 + x, 7.5 + y))
    return tuple(found)


def _options(text: str) -> dict[str, float | list[float]]:
    """The mapping in a ``param_str``, YAML such as ``'feat_stride': 16`` or ``{feat_stride: 16, scales: [4, 8]}``."""
    number = r"[-+]?(?:\d+\.?\d*|\.\d+)"
    several = rf"(?:!!python/tuple\s*)?(?:[\[(][\s\d.,+-]*[\])]|(?:\n\s*-\s+{number}[ \t]*)+)"
    pair = re.compile(rf"\s*(['\"]?)(\w+)\1[ \t]*:[ \t]*({number}|{several})\s*(?:[,\n]|$)")
    inner = text.strip()
    if inner.startswith("{") and inner.endswith("}"):
        inner = inner[1:-1].strip()
    options: dict[str, Any] = {}
    place = 0
    while place < len(inner):
        found = pair.match(inner, place)
        if found is None or found[2] not in ("feat_stride", "scales"):
            raise LayerError(f"param_str {text!r} says more than feat_stride and scales, which are understood")
        values = [float(value) for value in re.findall(number, found[3])]
        options[found[2]] = values[0] if re.fullmatch(number, found[3]) else values
        place = found.end()
    return options
