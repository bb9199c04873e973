"""What tests of detection share: a detector made by hand that finds red squares, and pictures with such squares."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

SIDES = (16, 32, 64)  # of the squares that it knows
STRIDE = 4
METADATA = {
    "format": 1,
    "kind": "detector",
    "classes": ["face"],
    "stride": STRIDE,
    "sizes": list(SIDES),
    "conf": 0.5,
    "iou": 0.4,
    "max_size": 256,
    "enlarge": 1,
    "margin": 0.0,
    "recipe": "none",
    "name": "red squares",
}


def square_detector(metadata: dict[str, Any] | None = None, factor: float = 1.0) -> onnx.ModelProto:
    """Squares of 16, 32 and 64 pixels: the share of red inside, times the squared share of other colours around it.

    A red square on a grid of 4 pixels is found exactly, with score 1. ``factor`` multiplies the scores.
    """
    constants: dict[str, np.ndarray] = {
        "red": np.array([1, -0.5, -0.5], np.float32)[:, None] / 255,
        "pads": np.array([0, 0, 0, 0, 0, 64, 64, 0]),
        "zero": np.zeros((), np.float32),
        "one": np.ones((), np.float32),
        "three": np.full((), 3, np.float32),
        "four": np.full((), 4, np.float32),
        "factor": np.full((), factor, np.float32),
        "most": np.array(100),
        "flat": np.array([0, 1, -1]),
        "confidence": np.array(0.5, np.float32),
        "iou": np.array(0.4, np.float32),
        "steps": np.array([0, 0, STRIDE, STRIDE], np.int64),
        "first": np.array(0),
        "last": np.array(2),
        "one_axis": np.array([-1]),
    }
    nodes: list[onnx.NodeProto] = []

    def add(kind: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    add("Cast", ["picture"], "pixels", to=TensorProto.FLOAT)
    add("Clip", [add("MatMul", ["pixels", "red"], "signed"), "zero", "one"], "redness")
    add("Transpose", [add("Pad", ["redness", "pads"], "large")], "padded", perm=[0, 3, 1, 2])
    add("AveragePool", ["padded"], "cells", kernel_shape=[STRIDE] * 2, strides=[STRIDE] * 2)
    all_scores, all_boxes = [], []
    for side in SIDES:
        of = f"_{side}"
        add("AveragePool", ["cells"], "inner" + of, kernel_shape=[side // STRIDE] * 2)
        around = {"kernel_shape": [2 * side // STRIDE] * 2, "pads": [side // 2 // STRIDE] * 4}
        add("AveragePool", ["cells"], "wide" + of, count_include_pad=1, **around)
        add("Sub", [add("Mul", ["wide" + of, "four"], "w4" + of), "inner" + of], "ring3" + of)
        add("Div", ["ring3" + of, "three"], "ring" + of)
        add("Mul", [add("Sub", ["one", "ring" + of], "free" + of), "free" + of], "apart" + of)
        add("Mul", ["inner" + of, "apart" + of], "raw" + of)
        add("Mul", ["raw" + of, "factor"], "score" + of)
        all_scores.append(add("Reshape", ["score" + of, "flat_scores"], "scores" + of))
        # corners: NonZero of ones gives (n, c, row, column) of every cell
        add("Shape", ["score" + of], "shape" + of)
        add("ConstantOfShape", ["shape" + of], "ones" + of, value=helper.make_tensor("v", TensorProto.FLOAT, [1], [1]))
        add("Transpose", [add("NonZero", ["ones" + of], "indices" + of)], "places" + of, perm=[1, 0])
        columns = [[0, 0, 0, 0], [0, 0, 0, 0], [0, STRIDE, 0, STRIDE], [STRIDE, 0, STRIDE, 0]]
        constants["pick" + of] = np.array(columns, np.float32)
        constants["shift" + of] = np.array([0, 0, side, side], np.float32)
        add("Cast", ["places" + of], "places_f" + of, to=TensorProto.FLOAT)
        add("Add", [add("MatMul", ["places_f" + of, "pick" + of], "low" + of), "shift" + of], "corners" + of)
        add("Slice", ["shape" + of, "start", "end"], "batch" + of)
        add("Concat", ["batch" + of, "by_four"], "box_shape" + of, axis=0)
        all_boxes.append(add("Reshape", ["corners" + of, "box_shape" + of], "boxes" + of))
    constants |= {"flat_scores": np.array([0, 1, -1]), "start": np.array([0]), "end": np.array([1])}
    constants |= {"by_four": np.array([-1, 4])}
    add("Concat", all_scores, "candidates", axis=2)
    add("Concat", all_boxes, "corners", axis=1)
    add("NonMaxSuppression", ["corners", "candidates", "most", "iou", "confidence"], "kept")
    constants |= {"pair": np.array([0, 2])}
    add("GatherND", ["candidates", "kept"], "found")
    add("Size", ["found"], "count_0")
    add("Reshape", ["count_0", "one_axis"], "count")
    nodes.append(helper.make_node("TopK", ["found", "count"], ["scores", "order"]))
    add("Gather", ["kept", "order"], "best")
    add("Gather", ["best", "pair"], "at", axis=1)
    add("GatherND", ["corners", "at"], "boxes")
    add("Gather", ["best", "first"], "pictures", axis=1)
    graph = helper.make_graph(
        nodes,
        "squares",
        [
            helper.make_tensor_value_info("picture", TensorProto.UINT8, ["N", "H", "W", 3]),
            helper.make_tensor_value_info("confidence", TensorProto.FLOAT, []),
            helper.make_tensor_value_info("iou", TensorProto.FLOAT, []),
        ],
        [
            helper.make_tensor_value_info("boxes", TensorProto.FLOAT, ["K", 4]),
            helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["K"]),
            helper.make_tensor_value_info("pictures", TensorProto.INT64, ["K"]),
        ],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, {"finetune": json.dumps(METADATA if metadata is None else metadata)})
    return model


def squares(width: int, height: int, boxes: Sequence[tuple[int, int, int]], colour: str = "white") -> Image.Image:
    """A picture with red squares, each given as (x0, y0, side)."""
    picture = Image.new("RGB", (width, height), colour)
    for x, y, side in boxes:
        picture.paste((255, 0, 0), (x, y, x + side, y + side))
    return picture


@pytest.fixture(scope="session")
def detector_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The detector of red squares as a file."""
    path = tmp_path_factory.mktemp("detector") / "squares.onnx"
    onnx.save(square_detector(), path)
    return path


@pytest.fixture
def write_detector(tmp_path: Path) -> Callable[..., Path]:
    """Writes the detector with other metadata, another factor, or changed by a function."""

    def write(
        change: dict[str, Any] | None = None,
        factor: float = 1.0,
        edit: Callable[[onnx.ModelProto], None] | None = None,
    ) -> Path:
        model = square_detector(METADATA | (change or {}), factor)
        if edit:
            edit(model)
        path = tmp_path / "changed.onnx"
        onnx.save(model, path)
        return path

    return write
