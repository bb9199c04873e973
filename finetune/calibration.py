"""Scores that mean what they say, and from which score on a picture is none of the classes; from validation data.

Temperature scaling (Guo et al., On Calibration of Modern Neural Networks, 2017): the calibrated probabilities are
softmax(logits / T), with the one T that makes the validation labels most probable. As softmax(z / T) is proportional
to softmax(z) to the power 1 / T, they follow from uncalibrated probabilities too. The order of classes never changes.

Unknown: the largest calibrated probability of a picture is compared with a threshold, which is the 5 % quantile of
that probability over the validation pictures that are recognised. 95 % of pictures that would be named rightly still
are; no picture of an unknown class is needed to choose it, and none was used.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from caffe2torch import json_file
from caffe2torch.errors import DataError, FileError, ModelError

NAME = "calibration.json"  # in a run's folder
KEPT = 0.95  # of the rightly recognised validation pictures
PRIOR = 1.0  # standard deviation of log T around 0; keeps T finite where every validation picture is right
BINS = 15  # of the expected calibration error
TINY = 1e-30  # below any probability that float32 arithmetic gives but 0


@dataclass(frozen=True)
class Calibration:
    """What was found on ``pictures`` validation pictures; the errors are expected calibration errors, 0..1."""

    temperature: float
    unknown_threshold: float  # of the largest calibrated probability; below it the answer is "unknown"
    pictures: int
    error_before: float
    error_after: float

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, said: Mapping[str, Any]) -> Calibration:
        """Raises ModelError if a figure is missing or out of range."""
        try:
            found = cls(
                float(said["temperature"]),
                float(said["unknown_threshold"]),
                int(said["pictures"]),
                float(said["error_before"]),
                float(said["error_after"]),
            )
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            what = f"{error} is missing" if isinstance(error, KeyError) else str(error)
            raise ModelError(f"calibration is damaged: {what}") from error
        if not (0 < found.temperature < np.inf and 0 <= found.unknown_threshold <= 1):
            raise ModelError(
                f"calibration is damaged: temperature {found.temperature}, threshold {found.unknown_threshold}"
            )
        return found

    def apply(self, probabilities: np.ndarray) -> np.ndarray:
        """Calibrated probabilities float64 (N, classes) of uncalibrated ones."""
        return tempered(probabilities, self.temperature)


def calibrate(logits: np.ndarray, labels: np.ndarray) -> Calibration:
    """Temperature and threshold from logits float (N, classes) and true classes int (N,) of validation pictures.

    T minimises the sum over pictures of −log softmax(logits / T)[label], plus log(T)² / 2, a weak prior that T is
    about 1, within 0.05..20. Raises DataError for no picture, or logits that are not finite.
    """
    logits, labels = np.asarray(logits, np.float64), np.asarray(labels, np.int64)
    if not len(logits) or logits.ndim != 2 or len(labels) != len(logits):
        raise DataError(f"calibration wants validation pictures: logits {logits.shape}, labels {labels.shape}")
    if not np.isfinite(logits).all():
        raise DataError("calibration: logits that are not finite")
    shifted = logits - logits.max(axis=1, keepdims=True)
    temperature = _minimum(shifted, labels)
    before, after = softmax(shifted), softmax(shifted / temperature)
    best = after.max(axis=1)
    right = after.argmax(axis=1) == labels
    # The lower quantile is the score of a picture: at least 95 % of the right ones reach it.
    threshold = float(np.quantile(best[right] if right.any() else best, 1 - KEPT, method="lower"))
    return Calibration(
        temperature, threshold, len(labels), calibration_error(before, labels), calibration_error(after, labels)
    )


def calibration_of(run: Path) -> dict[str, Any]:
    """What the metadata of a run's ONNX file says of it: {"calibration": …}, or nothing where nothing was validated.

    Raises ModelError if RUN/calibration.json is damaged.
    """
    path = run / NAME
    if not path.exists():
        return {}
    try:
        return {"calibration": Calibration.from_json(json_file.read(path)).to_json()}
    except (ValueError, FileError, ModelError) as error:
        raise ModelError(f"{path}: damaged: {error}") from error


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities (N, classes)."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def tempered(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """softmax(log(probabilities) / temperature), float64 (N, classes)."""
    return softmax(np.log(np.maximum(np.asarray(probabilities, np.float64), TINY)) / temperature)


def calibration_error(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Expected calibration error: mean over pictures of |accuracy − mean score| of their bin (see bins)."""
    return sum(count * abs(accuracy - score) for _, score, accuracy, count in bins(probabilities, labels)) / len(labels)


def bins(probabilities: np.ndarray, labels: np.ndarray, number: int = BINS) -> list[tuple[int, float, float, int]]:
    """(bin, mean score, accuracy, pictures) of the pictures by their largest probability, in ``number`` equal bins."""
    best = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    place = np.minimum((best * number).astype(int), number - 1)
    found = []
    for each in np.unique(place):
        chosen = place == each
        found.append((int(each), float(best[chosen].mean()), float(right[chosen].mean()), int(chosen.sum())))
    return found


def _minimum(shifted: np.ndarray, labels: np.ndarray) -> float:
    """The temperature of least loss: on a grid of log T, then by golden section around the best of it."""
    true = shifted[np.arange(len(labels)), labels]

    def loss(log_temperature: float) -> float:
        temperature = np.exp(log_temperature)
        total = np.log(np.exp(shifted / temperature).sum(axis=1)) - true / temperature
        return float(total.sum() + log_temperature**2 / (2 * PRIOR**2))

    grid = np.linspace(np.log(0.05), np.log(20), 25)
    best = int(np.argmin([loss(place) for place in grid]))
    low, high = float(grid[max(best - 1, 0)]), float(grid[min(best + 1, len(grid) - 1)])
    ratio = (np.sqrt(5) - 1) / 2
    for _ in range(30):
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        low, high = (low, right) if loss(left) < loss(right) else (left, high)
    return float(np.exp((low + high) / 2))
