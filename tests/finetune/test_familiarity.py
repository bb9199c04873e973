"""How much a picture is like those of training: what is far from every class is refused, whatever its probability."""

from __future__ import annotations

import json

import numpy as np
import pytest

from caffe2torch.errors import ModelError
from finetune.calibration import Calibration, calibrate, softmax
from finetune.familiarity import MOST_CLASSES, classes_of, distances

CLASSES = 5


def gathered(pictures: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Logits of pictures that lie around their classes' means; each class has a second one that it is a little like."""
    random = np.random.default_rng(seed)
    labels = np.arange(pictures) % CLASSES
    means = 6 * np.eye(CLASSES) + 3 * np.roll(np.eye(CLASSES), 1, axis=1)
    return means[labels] + random.normal(0, 0.7, (pictures, CLASSES)), labels


def found() -> Calibration:
    logits, labels = gathered(1000, 0)
    held, truth = gathered(400, 1)
    return calibrate(held, truth, classes_of(softmax(logits), labels))


def test_95_percent_of_right_answers_are_kept_and_the_unlike_refused() -> None:
    calibration = found()
    logits, labels = gathered(2000, 2)
    assert calibration.known(softmax(logits))[logits.argmax(1) == labels].mean() == pytest.approx(0.95, abs=0.02)
    # as sure of one class as any picture of training, but never with that second class beside it
    strange = 6 * np.eye(CLASSES) + 4.5 * np.roll(np.eye(CLASSES), 2, axis=1)
    assert not calibration.known(softmax(strange)).any()
    by_probability = Calibration(*(getattr(calibration, name) for name in list(calibration.to_json())[:5]))
    assert by_probability.familiarity is None and by_probability.known(softmax(strange)).all()


def test_distances_are_those_of_mahalanobis() -> None:
    logits, labels = gathered(200, 3)
    means, precision = classes_of(softmax(logits), labels) or (np.empty(0), np.empty(0))
    centred = logits - logits.mean(axis=1, keepdims=True)
    expected = [min((row - mean) @ precision @ (row - mean) for mean in means) for row in centred]
    np.testing.assert_allclose(distances(softmax(logits), means, precision), expected, rtol=1e-6)


def test_it_reads_back_as_it_was() -> None:
    calibration = found()
    again = Calibration.from_json(json.loads(json.dumps(calibration.to_json())))
    logits, _ = gathered(500, 4)
    assert (again.known(softmax(logits)) == calibration.known(softmax(logits))).all()
    with pytest.raises(ModelError, match=f"of {CLASSES} classes, not 3"):
        again.fits(3)
    said = calibration.to_json()
    for damage in ({"means": "AAAA"}, {"scales": [1, 0, 1, 1]}, {"threshold": None}, {"precision": 7}):
        with pytest.raises(ModelError, match="calibration is damaged"):
            Calibration.from_json({**said, "familiarity": {**said["familiarity"], **damage}})


def test_where_it_cannot_be_known_the_probability_decides() -> None:
    logits, labels = gathered(50, 5)
    assert classes_of(softmax(logits), np.zeros(50, int)) is None  # classes without a picture
    many = np.eye(MOST_CLASSES + 1)
    assert classes_of(many, np.arange(MOST_CLASSES + 1)) is None
    assert calibrate(logits, labels, None).familiarity is None


def test_one_picture_a_class_and_probabilities_of_nought() -> None:
    sure = np.eye(3, dtype=np.float32)[[0, 1, 2]]
    calibration = calibrate(np.log(sure + 1e-9), np.array([0, 1, 2]), classes_of(sure, np.array([0, 1, 2])))
    assert calibration.known(sure).all()
