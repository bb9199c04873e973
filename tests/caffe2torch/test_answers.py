"""Outputs as classes, boxes, masks and pictures."""

from __future__ import annotations

import numpy as np
import pytest

from caffe2torch.answers import Boxes, Classes, FeatureMap, Mask, Numbers, Picture, interpret
from caffe2torch.preprocess import Preprocessing

PLAIN = Preprocessing("BGR", (104.0, 117.0, 123.0))


def test_classes_best_first() -> None:
    (answer,) = interpret({"prob": np.array([[0.1, 0.7, 0.2]], np.float32)}, {}, (10, 20), (8, 8), PLAIN, top_k=2)
    assert isinstance(answer, Classes)
    assert [index for index, _ in answer.best] == [1, 2]


def test_a_map_of_one_place_is_classes() -> None:
    (answer,) = interpret({"prob": np.zeros((1, 5, 1, 1), np.float32)}, {}, (10, 20), (8, 8), PLAIN)
    assert isinstance(answer, Classes)


def test_boxes_are_in_pixels_best_first_and_confident() -> None:
    rows = [
        [0, 1, 0.6, 0, 0, 0.5, 0.5],
        [0, 2, 0.9, 0.1, 0.2, 0.3, 0.4],
        [0, 1, 0.4, 0, 0, 1, 1],
        [0, -1, 0, 0, 0, 0, 0],
    ]
    array = np.array(rows, np.float32)[None, None]
    for kind in ("DetectionOutput", "Yolov3DetectionOutput", "YoloDetectionOutput"):
        (answer,) = interpret({"out": array}, {"out": kind}, (100, 200), (8, 8), PLAIN, confidence=0.5)
        assert isinstance(answer, Boxes)
        assert [label for label, _, _ in answer.found] == [2, 1]
        assert answer.found[0][2] == pytest.approx((20, 20, 60, 40), abs=1e-4)


def test_numbers_beside_classes_are_no_classes() -> None:
    outputs = {"box": np.array([[0.5, -1]], np.float32), "prob": np.array([[0.25, 0.75]], np.float32)}
    box, prob = interpret(outputs, {"box": "InnerProduct", "prob": "Softmax"}, (8, 8), (8, 8), PLAIN)
    assert box == Numbers("box", (0.5, -1.0))
    assert prob == Classes("prob", ((1, 0.75), (0, 0.25)))
    assert box.to_json() == {"blob": "box", "numbers": [0.5, -1.0]}
    (alone,) = interpret({"box": outputs["box"]}, {"box": "InnerProduct"}, (8, 8), (8, 8), PLAIN)
    assert isinstance(alone, Classes)


def test_a_mask_is_the_best_class_of_each_place() -> None:
    maps = np.zeros((1, 4, 3, 5), np.float32)
    maps[0, 2, 1, 1] = 1
    (answer,) = interpret({"score": maps}, {"score": "Deconvolution"}, (30, 50), (12, 20), PLAIN)
    assert isinstance(answer, Mask)
    assert answer.labels.shape == (3, 5)
    assert answer.labels[1, 1] == 2


def test_the_labels_of_an_argmax_are_a_mask() -> None:
    maps = np.array([[[[0, 2], [7, 1]]]], np.float32)
    (answer,) = interpret({"label": maps}, {"label": "ArgMax"}, (2, 2), (2, 2), PLAIN)
    assert isinstance(answer, Mask)
    assert answer.labels.tolist() == [[0, 2], [7, 1]]


@pytest.mark.parametrize(("kind", "taken"), [("Convolution", (3, 5)), ("Pooling", (12, 20)), ("Softmax", (13, 20))])
def test_features_are_no_mask(kind: str, taken: tuple[int, int]) -> None:
    (answer,) = interpret({"pool": np.zeros((1, 4, 3, 5), np.float32)}, {"pool": kind}, (30, 50), taken, PLAIN)
    assert isinstance(answer, FeatureMap)
    assert answer.to_json() == {"blob": "pool", "feature_map": [4, 3, 5]}


def test_a_picture_gets_its_mean_and_its_order_back() -> None:
    maps = np.zeros((1, 3, 2, 2), np.float32)
    (answer,) = interpret({"image": maps}, {}, (2, 2), (2, 2), PLAIN)
    assert isinstance(answer, Picture)
    assert answer.pixels[0, 0].tolist() == [123, 117, 104]
