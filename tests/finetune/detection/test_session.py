"""Detectors are opened with their promises checked; boxes come in pixels of the picture, and nonsense is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from caffe2torch.errors import ModelError
from finetune.detection.session import fed_size, open_finder
from tests.finetune.detection.conftest import squares

WriteDetector = Callable[..., Path]


def found(path: Path, picture: Any, **change: Any) -> tuple[list[list[int]], list[float]]:
    finder = open_finder(path, "cpu", threads=1)
    boxes, scores = finder.find(np.asarray(picture), replace(finder.settings, **change))
    assert boxes.dtype == scores.dtype == np.float32
    return boxes.round().astype(int).tolist(), [round(float(score), 3) for score in scores]


def test_squares_are_found(detector_file: Path) -> None:
    picture = squares(200, 120, [(20, 40, 32), (100, 20, 64)])
    boxes, scores = found(detector_file, picture)
    assert sorted(boxes) == [[20, 40, 52, 72], [100, 20, 164, 84]]
    assert scores == [1.0, 1.0]
    assert str(open_finder(detector_file, "cpu")).startswith(f"{detector_file}: red squares, pictures of up to 256")


def test_boxes_are_in_pixels_of_the_picture_whatever_it_was_fed_at(detector_file: Path) -> None:
    picture = squares(1024, 512, [(128, 256, 128)])  # fed at 256 x 128: a square of 32
    assert found(detector_file, picture)[0] == [[128, 256, 256, 384]]
    small = squares(64, 48, [(16, 16, 8)])
    assert found(detector_file, small)[0] == []  # no square of 8 is known
    assert found(detector_file, small, enlarge=2.0)[0] == [[16, 16, 24, 24]]


def test_fed_sizes(detector_file: Path) -> None:
    settings = open_finder(detector_file, "cpu").settings
    assert fed_size(1000, 500, settings) == (256, 128)
    assert fed_size(100_000, 1, settings) == (256, 1)
    assert fed_size(100, 50, settings) == (100, 50)
    assert fed_size(100, 50, replace(settings, enlarge=2)) == (200, 100)
    assert fed_size(200, 50, replace(settings, enlarge=2)) == (256, 64)


def test_confidence_is_heeded(detector_file: Path) -> None:
    pale = squares(100, 100, [])
    pale.paste((255, 140, 140), (20, 20, 52, 52))
    assert found(detector_file, pale)[0] == []
    assert found(detector_file, pale, confidence=0.4) == ([[20, 20, 52, 52]], [0.451])


def test_nothing_in_a_picture_of_one_pixel(detector_file: Path) -> None:
    assert found(detector_file, np.zeros((1, 1, 3), np.uint8)) == ([], [])


def test_a_batch(detector_file: Path) -> None:
    pictures = np.stack([np.asarray(squares(100, 80, boxes)) for boxes in ([(8, 8, 32)], [], [(40, 20, 16)])])
    first, second, third = open_finder(detector_file, "cpu").find_in_batch(pictures, 0.5, 0.4)
    assert (len(first.boxes), len(second.boxes), len(third.boxes)) == (1, 0, 1)
    assert third.boxes.round().tolist() == [[40, 20, 56, 36]]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"kind": "classifier"}, "a 'classifier', not a detector; `onnx predict` takes it"),
        ({"classes": ["cat"]}, "finds cat; a detector of faces is wanted"),
        ({"classes": 3}, "damaged"),
        ({"conf": 2}, "damaged: conf 2"),
        ({"conf": "high"}, "damaged: conf 'high'"),
        ({"iou": None}, "damaged: iou None"),
        ({"max_size": 0}, "damaged: max_size 0"),
        ({"max_size": 10**9}, "damaged: max_size 1000000000"),
        ({"enlarge": 1e9}, "damaged: enlarge"),
        ({"resize": "nearest"}, "resized by 'nearest'"),
        ({"name": 7}, "damaged: 7 is no text"),
    ],
)
def test_metadata_that_cannot_be_trusted(write_detector: WriteDetector, change: dict[str, Any], reason: str) -> None:
    with pytest.raises(ModelError, match=rf"changed\.onnx: .*{reason}"):
        open_finder(write_detector(change), "cpu")


def fed_otherwise(model: onnx.ModelProto) -> None:
    model.graph.input.append(helper.make_tensor_value_info("extra", onnx.TensorProto.FLOAT, [1]))


def without_threshold(model: onnx.ModelProto) -> None:
    del model.graph.input[1]


def other_output(model: onnx.ModelProto) -> None:
    model.graph.output[1].name = "found"


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (fed_otherwise, r"takes \['extra', 'picture'\]"),
        (without_threshold, "'confidence' of its graph is not there"),
        (other_output, "'scores' of its graph is not there"),
    ],
)
def test_a_graph_that_is_no_detector(
    write_detector: WriteDetector, edit: Callable[[onnx.ModelProto], None], reason: str
) -> None:
    with pytest.raises(ModelError, match=reason):
        open_finder(write_detector(edit=edit), "cpu")


@pytest.mark.parametrize(
    ("factor", "reason"), [(float("nan"), None), (float("inf"), "no numbers|scores from"), (3.0, "scores from")]
)
def test_scores_that_are_none(write_detector: WriteDetector, factor: float, reason: str | None) -> None:
    finder = open_finder(write_detector(factor=factor), "cpu")
    picture = np.asarray(squares(100, 100, [(20, 20, 32)]))
    if reason is None:  # NaN is above no threshold
        assert len(finder.find(picture, finder.settings).boxes) == 0
        return
    with pytest.raises(ModelError, match=reason):
        finder.find(picture, finder.settings)


class Nonsense:
    """Gives what no detector should."""

    def __init__(self, boxes: Any, scores: Any, pictures: Any) -> None:
        self.given = [np.array(boxes, np.float32).reshape(-1, 4), np.array(scores, np.float32), np.array(pictures)]

    def run(self, outputs: object, feeds: object) -> list[np.ndarray]:
        return self.given


def of_nonsense(path: Path, *given: Any) -> list[list[float]]:
    finder = open_finder(path, "cpu")
    broken = replace(finder, opened=replace(finder.opened, handle=Nonsense(*given)))
    return broken.find(np.zeros((50, 100, 3), np.uint8), finder.settings).boxes.tolist()  # type: ignore[no-any-return]


def test_boxes_outside_are_cut_and_empty_ones_dropped(detector_file: Path) -> None:
    boxes = [[-10, -10, 20, 20], [200, 10, 300, 40], [30, 30, 30, 40], [40, 40, 20, 20]]
    assert of_nonsense(detector_file, boxes, [0.9, 0.8, 0.7, 0.6], [0] * 4) == [[0, 0, 20, 20]]


@pytest.mark.parametrize(
    ("boxes", "scores", "pictures", "reason"),
    [
        ([[0, 0, np.nan, 5]], [0.5], [0], "no numbers"),
        ([[0, 0, 5, 5]], [0.5, 0.6], [0], "do not fit"),
        ([[0, 0, 5, 5]], [0.5], [3], "not fed"),
        ([[0, 0, 5, 5]], [-7.0], [0], "scores from"),
    ],
)
def test_what_does_not_fit(
    detector_file: Path, boxes: list[list[float]], scores: list[float], pictures: list[int], reason: str
) -> None:
    with pytest.raises(ModelError, match=reason):
        of_nonsense(detector_file, boxes, scores, pictures)
