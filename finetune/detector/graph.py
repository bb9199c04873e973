"""The detector as an ONNX graph, suppression inside: standard operators only, for any runtime."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from finetune.detector.finding import MOST_FOUND
from finetune.detector.network import ALIGNED, LEAST_LOG, MOST_LOG, PADDING, SCALE, STRIDE, fused

if TYPE_CHECKING:
    from torch import nn

    from finetune.detector.network import Detector

OPSET, IR_VERSION = 17, 8
FLOAT = TensorProto.FLOAT


def detector_model(network: Detector, metadata: Mapping[str, Any]) -> onnx.ModelProto:
    """``network`` with its batch normalisation folded in and its weights as fp16.

    Input "picture" uint8 [N, H, W, 3] RGB of any size; "confidence" and "iou" are float32 scalars with the defaults
    ``metadata["conf"]`` and ``["iou"]``. Outputs: "boxes" float32 [K, 4] (x0, y0, x1, y1 in pixels, inside the
    picture), "scores" float32 [K], best first, "pictures" int64 [K], the picture of each box. The arithmetic is
    float32: a runtime casts the weights once, when it opens the file.
    """
    nodes = _Nodes()
    logits, distances = _network(nodes, _padded(nodes), fused(network))
    _found(nodes, logits, distances)
    for name, default in (("confidence", metadata["conf"]), ("iou", metadata["iou"])):
        nodes.weights.append(numpy_helper.from_array(np.array(default, np.float32), name))
    graph = helper.make_graph(
        nodes.nodes,
        "detector",
        [
            helper.make_tensor_value_info("picture", TensorProto.UINT8, ["N", "H", "W", 3]),
            helper.make_tensor_value_info("confidence", FLOAT, []),
            helper.make_tensor_value_info("iou", FLOAT, []),
        ],
        [
            helper.make_tensor_value_info("boxes", FLOAT, ["K", 4]),
            helper.make_tensor_value_info("scores", FLOAT, ["K"]),
            helper.make_tensor_value_info("pictures", TensorProto.INT64, ["K"]),
        ],
        nodes.weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    model.producer_name = "finetune"
    helper.set_model_props(model, {"finetune": json.dumps(dict(metadata), ensure_ascii=False)})
    onnx.checker.check_model(model, full_check=True)
    return model


class _Nodes:
    """Nodes and weights of a graph that grows."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def add(self, kind: str, *inputs: str, outputs: Sequence[str] = (), **attributes: Any) -> str:
        """One node; the name of its (first) output."""
        names = list(outputs) or [f"{kind.lower()}_{len(self.nodes)}"]
        self.nodes.append(helper.make_node(kind, list(inputs), names, **attributes))
        return names[0]

    def constant(self, value: Any, dtype: type = np.int64) -> str:
        name = f"constant_{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.array(value, dtype), name))
        return name

    def half(self, name: str, array: np.ndarray) -> str:
        """A weight that is kept as fp16 and computed with as float32."""
        self.weights.append(numpy_helper.from_array(array.astype(np.float16), f"{name}.half"))
        return self.add("Cast", f"{name}.half", outputs=[name], to=FLOAT)

    def side(self, shape: str, axis: int) -> str:
        """One entry of a shape, as int64 [1]."""
        return self.add("Slice", shape, self.constant([axis]), self.constant([axis + 1]))


def _padded(nodes: _Nodes) -> str:
    """Pictures as float [N, 3, H', W'], -127.5 to 127.5; H' and W' are multiples of ALIGNED, grey at the end."""
    shape = nodes.add("Shape", "picture", outputs=["shape"])
    sizes = nodes.add("Slice", shape, nodes.constant([1]), nodes.constant([3]), outputs=["height_width"])
    missing = nodes.add("Mod", nodes.add("Neg", sizes), nodes.constant([ALIGNED]))  # the sign of the divisor
    zeros = nodes.constant([0])
    pads = nodes.add("Concat", nodes.constant([0, 0, 0, 0, 0]), missing, zeros, axis=0)
    grey = nodes.constant(PADDING, np.uint8)
    padded = nodes.add("Pad", "picture", pads, grey)
    planes = nodes.add("Transpose", padded, perm=[0, 3, 1, 2])
    return nodes.add("Sub", nodes.add("Cast", planes, to=FLOAT), nodes.constant(127.5, np.float32))


def _network(nodes: _Nodes, pixels: str, network: Detector) -> tuple[str, str]:
    """Logits [N, 1, h, w] and logarithms of distances [N, 4, h, w]."""

    def convolve(x: str, conv: nn.Conv2d, factor: float = 1.0) -> str:
        name = names[conv]
        weight = nodes.half(f"{name}.weight", conv.weight.detach().numpy())
        if factor != 1.0:
            weight = nodes.add("Mul", weight, nodes.constant(factor, np.float32))
        assert conv.bias is not None
        bias = nodes.half(f"{name}.bias", conv.bias.detach().numpy())
        kernel, strides, pads = list(conv.kernel_size), list(conv.stride), [int(conv.padding[0])] * 4
        dilations = list(conv.dilation)
        return nodes.add("Conv", x, weight, bias, kernel_shape=kernel, strides=strides, pads=pads, dilations=dilations)

    def active(x: str, block: Any, factor: float = 1.0) -> str:
        return nodes.add("Relu", convolve(x, block[0], factor))

    def enlarged(x: str) -> str:
        return nodes.add(
            "Resize", x, "", twice, mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor"
        )

    names = {module: name for name, module in network.named_modules()}
    twice = nodes.constant([1, 1, 2, 2], np.float32)
    x = active(pixels, network.stem, 1 / 127.5)
    maps = []
    for stage in network.stages:
        first, *residuals = stage.children()
        x = active(x, first)
        for residual in residuals:
            x = nodes.add("Add", x, active(x, residual.conv))
        maps.append(x)
    eighth, sixteenth, last = (active(x, lateral) for x, lateral in zip(maps[1:], network.laterals, strict=True))
    x = active(nodes.add("Add", sixteenth, enlarged(last)), network.merges[1])
    x = active(nodes.add("Add", eighth, enlarged(x)), network.merges[0])
    x = active(x, network.head)
    return convolve(x, network.face), convolve(x, network.box)


def _found(nodes: _Nodes, logits: str, logarithms: str) -> None:
    """Boxes, scores and pictures, from logits [N, 1, h, w] and logarithms of distances [N, 4, h, w]."""
    shape = nodes.add("Shape", logits)
    scores = nodes.add("Sigmoid", nodes.add("Reshape", logits, nodes.constant([0, 1, -1])))
    logarithms = nodes.add(
        "Clip", logarithms, nodes.constant(LEAST_LOG, np.float32), nodes.constant(MOST_LOG, np.float32)
    )
    distances = nodes.add("Mul", nodes.add("Exp", logarithms), nodes.constant(SCALE * STRIDE, np.float32))
    near, far = nodes.add("Split", distances, outputs=["near", "far"], axis=1), "far"
    middles = _middles(nodes, shape)
    ends = nodes.add("Cast", nodes.add("Gather", "height_width", nodes.constant([1, 0])), to=FLOAT)
    ends = nodes.add("Reshape", ends, nodes.constant([1, 2, 1, 1]))
    zero = nodes.constant(0, np.float32)
    corners = [
        nodes.add("Max", nodes.add("Min", corner, ends), zero)
        for corner in (nodes.add("Sub", middles, near), nodes.add("Add", middles, far))
    ]
    together = nodes.add("Reshape", nodes.add("Concat", *corners, axis=1), nodes.constant([0, 4, -1]))
    boxes = nodes.add("Transpose", together, perm=[0, 2, 1])
    kept = nodes.add("NonMaxSuppression", boxes, scores, nodes.constant([MOST_FOUND]), "iou", "confidence")
    picture, cell = (nodes.add("Gather", kept, nodes.constant(column), axis=1) for column in (0, 2))
    values = nodes.add("GatherND", scores, kept)
    count = nodes.add("Shape", values)
    nodes.add("TopK", values, count, outputs=["scores", "order"], axis=0)
    nodes.add("Gather", picture, "order", outputs=["pictures"])
    place = nodes.add("Concat", *(nodes.add("Unsqueeze", x, nodes.constant([1])) for x in (picture, cell)), axis=1)
    nodes.add("Gather", nodes.add("GatherND", boxes, place), "order", outputs=["boxes"])


def _middles(nodes: _Nodes, shape: str) -> str:
    """x and y of the cells' middles in pixels: float [1, 2, h, w]."""
    lines = []
    for axis, form in ((3, [1, 1, 1, -1]), (2, [1, 1, -1, 1])):
        count = nodes.add("Squeeze", nodes.side(shape, axis))
        steps = nodes.add("Cast", nodes.add("Range", nodes.constant(0), count, nodes.constant(1)), to=FLOAT)
        middles = nodes.add("Mul", steps, nodes.constant(STRIDE, np.float32))
        middles = nodes.add("Add", middles, nodes.constant(STRIDE / 2, np.float32))
        lines.append(nodes.add("Reshape", middles, nodes.constant(form)))
    area = nodes.add(
        "Concat", nodes.constant([1, 1]), nodes.add("Slice", shape, nodes.constant([2]), nodes.constant([4])), axis=0
    )
    return nodes.add("Concat", *(nodes.add("Expand", line, area) for line in lines), axis=1)
