"""Matching and average precision are those of pycocotools, over many random pictures and by size."""

from __future__ import annotations

import contextlib
import io
from typing import Any

import numpy as np
import pytest

from finetune.detection.finder import Boxes
from finetune.detection.matching import SIZES, Truth, average_precision, match, match_all, rates


def random_boxes(random: np.random.Generator, count: int) -> np.ndarray:
    corner = random.uniform(0, 300, (count, 2))
    size = random.choice([20, 50, 150], (count, 1)) * random.uniform(0.7, 1.4, (count, 2))
    return np.concatenate([corner, corner + size], axis=1).round(1)


def pictures(seed: int, count: int = 12) -> tuple[list[Boxes], list[Truth]]:
    """Found boxes near the true ones, some twice, some nowhere, with scores of which many are equal."""
    random = np.random.default_rng(seed)
    found, truths = [], []
    for _ in range(count):
        true = random_boxes(random, random.integers(0, 6))
        near = true[random.random(len(true)) < 0.8]
        near = np.repeat(near, random.integers(1, 3, len(near)), axis=0)
        near = near + random.normal(0, 6, near.shape)
        boxes = np.concatenate([near, random_boxes(random, random.integers(0, 4))])
        boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2] + 1)
        scores = random.integers(1, 20, len(boxes)) / 20
        order = np.argsort(-scores, kind="stable")
        found.append(Boxes(boxes[order], scores[order]))
        truths.append(Truth(true, np.zeros(len(true), bool)))
    return found, truths


def as_coco(box: np.ndarray) -> dict[str, Any]:
    x0, y0, x1, y1 = (float(edge) for edge in box)
    return {"bbox": [x0, y0, x1 - x0, y1 - y0], "area": (x1 - x0) * (y1 - y0), "iscrowd": 0, "category_id": 1}


def by_pycocotools(found: list[Boxes], truths: list[Truth], ious: list[float]) -> np.ndarray:
    """Average precisions (overlaps, sizes: all, small, medium, large)."""
    coco = pytest.importorskip("pycocotools.coco").COCO
    evaluator = pytest.importorskip("pycocotools.cocoeval").COCOeval
    images = [{"id": number + 1} for number in range(len(found))]
    marked = [as_coco(box) | {"image_id": i + 1} for i, truth in enumerate(truths) for box in truth.boxes]
    marked = [entry | {"id": number + 1} for number, entry in enumerate(marked)]
    told = [
        as_coco(box) | {"image_id": i + 1, "score": float(score)}
        for i, given in enumerate(found)
        for box, score in zip(given.boxes, given.scores, strict=True)
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        truth = coco()
        truth.dataset = {"images": images, "annotations": marked, "categories": [{"id": 1, "name": "face"}]}
        truth.createIndex()
        evaluation = evaluator(truth, truth.loadRes(told), "bbox")
        evaluation.params.iouThrs = np.array(ious)
        evaluation.evaluate()
        evaluation.accumulate()
    return np.asarray(evaluation.eval["precision"][:, :, 0, :, 2].mean(axis=1))


@pytest.mark.parametrize("seed", range(6))
def test_average_precision_is_that_of_pycocotools(seed: int) -> None:
    found, truths = pictures(seed)
    ious = [0.4, *np.linspace(0.5, 0.95, 10)]
    expected = by_pycocotools(found, truths, ious)
    for place, iou in enumerate(ious):
        of_all = average_precision(match_all(found, truths, iou))
        of_sizes = [average_precision(match_all(found, truths, iou, size)) for size in SIZES.values()]
        np.testing.assert_allclose([of_all, *of_sizes], expected[place], atol=1e-9)


def test_weights_repeat_pictures() -> None:
    found, truths = pictures(7)
    weights = np.random.default_rng(0).integers(0, 4, len(found))
    places = np.repeat(np.arange(len(found)), weights)
    repeated = match_all([found[i] for i in places], [truths[i] for i in places], 0.5)
    weighted = average_precision(match_all(found, truths, 0.5), weights)
    # equal scores of one picture's copies stand together when weighted; the order of equals is arbitrary
    assert weighted == pytest.approx(average_precision(repeated), abs=0.03)


def test_each_face_is_found_once_and_by_the_best_box() -> None:
    face = np.array([[10.0, 10, 50, 50]])
    boxes = np.array([[12.0, 10, 52, 50], [10.0, 10, 50, 50], [200.0, 200, 240, 240]])
    assert match(boxes, Truth(face, np.array([False])), 0.5).tolist() == [0, -1, -1]


def test_difficult_faces_neither_help_nor_harm() -> None:
    truth = Truth(np.array([[10.0, 10, 50, 50], [100, 10, 140, 50]]), np.array([False, True]))
    boxes = np.array([[100.0, 10, 140, 50], [102.0, 10, 142, 50], [10.0, 10, 50, 50]])
    matches = match_all([Boxes(boxes, np.array([0.9, 0.8, 0.7]))], [truth], 0.5)
    assert [int(x.sum()) for x in matches.counts(0.5)] == [1, 0, 1]
    assert average_precision(matches) == pytest.approx(1)


def test_counts_by_picture_and_threshold() -> None:
    found, truths = pictures(3)
    matches = match_all(found, truths, 0.4)
    for threshold in (0.0, 0.5, 1.1):
        right, false, faces = matches.counts(threshold)
        told = [int((boxes.scores >= threshold).sum()) for boxes in found]
        assert (right + false).tolist() == told
        assert faces.tolist() == [len(truth.boxes) for truth in truths]
        assert (right <= faces).all()


def test_nothing_found_and_nothing_there() -> None:
    nothing = Boxes(np.zeros((0, 4)), np.zeros(0))
    empty = Truth(np.zeros((0, 4)), np.zeros(0, bool))
    face = Truth(np.array([[0.0, 0, 9, 9]]), np.array([False]))
    assert np.isnan(average_precision(match_all([nothing], [empty], 0.5)))
    assert average_precision(match_all([nothing], [face], 0.5)) == 0
    precision, recall, f1 = rates(np.array(0), np.array(0), np.array(1))
    assert np.isnan(precision) and recall == 0 and f1 == 0
