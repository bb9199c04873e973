"""The detections of YOLOv2 and YOLOv3 against transcriptions of MobileNet-YOLO's loops."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import caffe2torch
from tests.caffe2torch import nets

BIASES = [20, 37, 49, 94, 73, 201, 143, 265, 153, 121, 280, 279]
Row = tuple[float, int, float, float, float, float]


def sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


def suppressed(found: list[Row], threshold: float, items: int) -> np.ndarray:
    """What is left of (score, label, x, y, w, h), as the fork gives it."""
    found = sorted(found, key=lambda row: -row[0])
    kept: list[Row] = []
    for row in found:
        if all(overlap(row, other) < threshold for other in kept):
            kept.append(row)
    rows = [[0, label, score, x - w / 2, y - h / 2, x + w / 2, y + h / 2] for score, label, x, y, w, h in kept]
    return np.array([rows or [[item, *[-1] * 6] for item in range(items)]])[None]


def overlap(a: Row, b: Row) -> float:
    sides = [
        min(a[i] + a[i + 2] / 2, b[i] + b[i + 2] / 2) - max(a[i] - a[i + 2] / 2, b[i] - b[i + 2] / 2) for i in (2, 3)
    ]
    common = 0 if min(sides) < 0 else sides[0] * sides[1]
    return common / (a[4] * a[5] + b[4] * b[5] - common)


def yolov3(maps: list[np.ndarray], masks: list[list[int]], scales: list[int], gaussian: bool = False) -> list[Row]:
    found = []
    apart, first = (2, 8) if gaussian else (1, 5)
    for x, mask, scale in zip(maps, masks, scales, strict=True):
        items, _, height, width = x.shape
        boxes = x.reshape(items, len(mask), -1, height, width)
        for b, j, i, n in np.ndindex(items, height, width, len(mask)):
            each = boxes[b, n, :, j, i].astype(np.float64)
            seen = sigmoid(each[4 * apart])
            if gaussian:
                seen *= (4 - sigmoid(each[1:8:2]).sum()) / 4
            net = width * scale
            new = (net, height * net // width) if width > height else (width * net // height, net)
            centre = [(i + sigmoid(each[0])) / width, (j + sigmoid(each[apart])) / height]
            place = [(at - (net - size) / 2 / net) / (size / net) for at, size in zip(centre, new, strict=True)]
            anchor = BIASES[2 * mask[n] :][:2]
            extent = [np.exp(each[(2 + k) * apart]) * anchor[k] / net * net / new[k] for k in (0, 1)]
            classes = each[first : len(each) - 1 if gaussian else None]
            scores = sigmoid(classes) * seen
            found += [(score, c + 1, *place, *extent) for c, score in enumerate(scores)]
    return found


def layer3(masks: list[list[int]], scales: list[int], classes: int, more: str = "") -> str:
    fields = [f"biases: {bias}" for bias in BIASES] + [f"mask: {number}" for mask in masks for number in mask]
    fields += [f"anchors_scale: {scale}" for scale in scales] + [f"num_classes: {classes} mask_group_num: {len(masks)}"]
    parameter = f"yolov3_detection_output_param {{ {' '.join(fields)} num_box: {len(masks[0])} {more} }}"
    return f'type: "Yolov3DetectionOutput" top: "y" {parameter}'


@pytest.mark.parametrize("gaussian", [False, True])
@pytest.mark.parametrize(
    ("sizes", "items", "threshold", "allowed"),
    [
        ([(4, 4)], 1, 0.4, 0.45),
        ([(3, 3), (6, 6)], 2, 0.45, 0.3),
        ([(3, 5)], 1, 0.4, 0.5),
        ([(5, 3)], 2, 0.4, 0.5),
        ([(4, 4)], 1, 0.4, 0.0),  # only the best one
        ([(4, 4)], 1, 0.4, 1.5),  # all of them
        ([(2, 2), (4, 4)], 2, 0.999, 0.45),  # none
    ],
)
def test_yolov3(
    one_layer: Any, sizes: list[tuple[int, int]], items: int, threshold: float, allowed: float, gaussian: bool
) -> None:
    random, classes = np.random.default_rng(0), 3
    masks, scales = [[3, 4, 5], [0, 1, 2]][: len(sizes)], [32, 16][: len(sizes)]
    numbers = 3 * ((9 if gaussian else 5) + classes)
    maps = [random.normal(size=(items, numbers, *size)).astype(np.float32) for size in sizes]
    found = [row for row in yolov3(maps, masks, scales, gaussian) if row[0] > threshold]
    want = suppressed(found, allowed, items)
    more = f"confidence_threshold: {threshold} nms_threshold: {allowed} gaussian_box: {str(gaussian).lower()}"
    inputs = {f"h{index}": x for index, x in enumerate(maps)}
    module = one_layer.convert(layer3(masks, scales, classes, more), inputs)
    assert threshold > 0.9 or want.shape[2] > 0
    same(one_layer, module, inputs, want)


@pytest.mark.parametrize(("sides", "threshold", "allowed"), [([5], 0.3, 0.45), ([3, 6], 0.25, 0.3), ([4], 0.999, 0.3)])
def test_yolov2(one_layer: Any, sides: list[int], threshold: float, allowed: float) -> None:
    random, classes, boxes, items = np.random.default_rng(1), 4, 2, 2
    maps = [random.normal(size=(items, boxes * (5 + classes), side, side)).astype(np.float32) for side in sides]
    biases = [0.7, 0.9, 2.4, 2.7]
    found: list[Row] = []
    for x in maps:
        side = x.shape[2]
        cells = x.reshape(items, boxes, -1, side, side)
        for b, j, i, n in np.ndindex(items, side, side, boxes):
            each = cells[b, n, :, j, i].astype(np.float64)
            chances = np.exp(each[5:]) / np.exp(each[5:]).sum()
            score = sigmoid(each[4]) * chances.max()
            place = (i + sigmoid(each[0])) / side, (j + sigmoid(each[1])) / side
            extent = (np.exp(each[2 + k]) * biases[2 * n + k] / side for k in (0, 1))
            if score >= threshold:
                found.append((score, int(chances.argmax()) + 1, *place, *extent))
    want = suppressed(found, allowed, items)
    fields = f"num_classes: {classes} num_box: {boxes} {' '.join(f'biases: {bias}' for bias in biases)}"
    fields += f" confidence_threshold: {threshold} nms_threshold: {allowed} label_map_file: 'labels.prototxt'"
    inputs = {f"h{index}": x for index, x in enumerate(maps)}
    layer = f'type: "YoloDetectionOutput" top: "y" yolo_detection_output_param {{ {fields} }}'
    same(one_layer, one_layer.convert(layer, inputs), inputs, want)


def same(one_layer: Any, module: Any, inputs: dict[str, np.ndarray], want: np.ndarray) -> None:
    """The module, its printed source and ONNX give the rows; how many there are no shape tells."""
    path = one_layer.folder / "net.onnx"
    caffe2torch.to_onnx(module, path)
    for found in (
        nets.run(module, inputs),
        nets.run(nets.printed(module), inputs),
        nets.session(path).run(None, inputs),
    ):
        np.testing.assert_allclose(found[0], want, rtol=1e-4, atol=1e-5)


def test_yolov3_takes_any_number_of_images(one_layer: Any) -> None:
    layer = layer3([[0, 1, 2]], [32], 2, "confidence_threshold: 0.3")
    x = np.random.default_rng(0).normal(size=(3, 21, 4, 4)).astype(np.float32)
    module = one_layer.convert(layer, {"x": x[:1]})
    found = [row for row in yolov3([x], [[0, 1, 2]], [32]) if row[0] > 0.3]
    same(one_layer, module, {"x": x}, suppressed(found, 0.45, 3))


@pytest.mark.parametrize(
    ("layer", "channels", "words"),
    [
        (layer3([[0, 1, 2]], [32], 2), 20, "21 channels, not 20"),
        (layer3([[0, 1, 9]], [32], 2), 21, "box 9 has none"),
        (layer3([[0, 1, 2]], [], 2), 21, "anchors_scale"),
        (layer3([[0, 1], [0, 1]], [32, 16], 2), 14, "mask_group_num says 2"),
        (layer3([[0, 1, 2]], [32], 2).replace("num_classes: 2", ""), 21, "num_classes must be set"),
        (layer3([[0, 1]], [32], 2, "").replace("num_box: 2", "num_box: 3"), 21, "too few for 3 boxes"),
        ('type: "YoloDetectionOutput" top: "y" yolo_detection_output_param { num_classes: 2 }', 35, "box 0 has none"),
    ],
)
def test_refusals(refused: Callable[..., str], layer: str, channels: int, words: str) -> None:
    assert words in refused(layer, (1, channels, 4, 4))


def test_yolov2_wants_square_maps(refused: Callable[..., str]) -> None:
    layer = 'type: "YoloDetectionOutput" top: "y" yolo_detection_output_param { num_classes: 2 num_box: 1 }'
    assert "not square" in refused(layer, (1, 7, 4, 5))
