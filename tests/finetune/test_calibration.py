"""Temperature and threshold: a known temperature is found again, and the threshold keeps what it says."""

from __future__ import annotations

import numpy as np
import pytest

from caffe2torch.errors import DataError, ModelError
from finetune.calibration import Calibration, bins, calibrate, calibration_error, softmax, tempered


def overconfident(factor: float, pictures: int = 20000, classes: int = 6) -> tuple[np.ndarray, np.ndarray]:
    """Logits ``factor`` times too large for labels drawn by the softmax of the right ones."""
    random = np.random.default_rng(0)
    logits = random.normal(0, 2, (pictures, classes))
    drawn = (softmax(logits).cumsum(axis=1) < random.random((pictures, 1))).sum(axis=1)
    return logits * factor, np.minimum(drawn, classes - 1)


@pytest.mark.parametrize("factor", [0.5, 1.0, 3.0])
def test_the_temperature_is_found_again(factor: float) -> None:
    logits, labels = overconfident(factor)
    found = calibrate(logits.astype(np.float32), labels)
    assert found.temperature == pytest.approx(factor, rel=0.05)
    assert found.error_after < 0.02
    assert (found.error_before > 0.05) == (factor != 1)
    assert found.pictures == len(labels)


def test_95_percent_of_the_right_answers_reach_the_threshold() -> None:
    logits, labels = overconfident(2)
    found = calibrate(logits, labels)
    probabilities = found.apply(softmax(logits))
    best, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    assert np.mean(best[right] >= found.unknown_threshold - 1e-9) == pytest.approx(0.95, abs=1e-3)
    assert np.mean(best[~right] < found.unknown_threshold) > 0.1  # of the wrong ones, more fall


def test_probabilities_are_as_good_as_logits() -> None:
    logits = np.random.default_rng(1).normal(0, 5, (50, 4))
    np.testing.assert_allclose(tempered(softmax(logits), 2.5), softmax(logits / 2.5), atol=1e-12)
    assert tempered(np.array([[1.0, 0.0]], np.float32), 3).tolist() == [pytest.approx([1, 1e-10], rel=1e-6)]


def test_where_all_is_right_the_temperature_stays_reasonable() -> None:
    labels = np.arange(60) % 3
    found = calibrate(np.eye(3)[labels] * 8, labels)
    assert 0.3 < found.temperature <= 1.1
    assert found.unknown_threshold > 0.9


def test_nothing_right_and_nothing_at_all() -> None:
    found = calibrate(np.eye(2)[[0, 1]] * 4, np.array([1, 0]))
    assert 0 <= found.unknown_threshold <= 1 and found.temperature > 1
    with pytest.raises(DataError, match="validation pictures"):
        calibrate(np.empty((0, 3)), np.empty(0))
    with pytest.raises(DataError, match="not finite"):
        calibrate(np.array([[np.nan, 0]]), np.array([0]))


def test_bins_and_their_error() -> None:
    probabilities = np.array([[0.9, 0.1]] * 4 + [[0.4, 0.6]] * 2)
    labels = np.array([0, 0, 0, 1, 1, 0])
    assert bins(probabilities, labels, 10) == [(6, pytest.approx(0.6), 0.5, 2), (9, pytest.approx(0.9), 0.75, 4)]
    assert calibration_error(probabilities, labels) == pytest.approx((2 * 0.1 + 4 * 0.15) / 6)


def test_json_and_back_and_damage() -> None:
    found = Calibration(1.5, 0.7, 100, 0.1, 0.02)
    assert Calibration.from_json(found.to_json()) == found
    for damage in ({"temperature": 0}, {"temperature": "hot"}, {"unknown_threshold": 2}, {"temperature": float("nan")}):
        with pytest.raises(ModelError, match="calibration is damaged"):
            Calibration.from_json({**found.to_json(), **damage})
    with pytest.raises(ModelError, match="'temperature' is missing"):
        Calibration.from_json({})
