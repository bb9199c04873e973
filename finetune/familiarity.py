"""How much a picture is like those that were trained on: by its probabilities alone, so that an ONNX file can tell.

The logits of a classifier, less their mean, are log(probability) less its mean. In training each class gathers them
around a mean of its own; how far a picture is from the nearest one, in the Mahalanobis distance that all classes
share, tells strangers apart better together with its best calibrated probability than either does alone
(benchmarks/unknown.py). Both are put to mean 0 and deviation 1 over the validation pictures, and their difference is
the score.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

MOST_CLASSES = 300  # two matrices of them lie in the ONNX file's metadata
SHRINKAGE = 0.1  # of the covariance, towards equal variances
TINY = 1e-30  # below any probability that float32 arithmetic gives but 0


@dataclass(frozen=True)
class Familiarity:
    """``means`` (classes, classes) of the centred logits of each class, ``precision`` the inverse of their covariance.

    ``scales``: mean and deviation of the best calibrated probability and of the distance, over validation pictures;
    a picture with a score below ``threshold`` is taken for none of the classes.
    """

    means: np.ndarray
    precision: np.ndarray
    scales: tuple[float, float, float, float]
    threshold: float

    def score(self, probabilities: np.ndarray, best: np.ndarray) -> np.ndarray:
        """float64 (N,) of probabilities (N, classes) as the network gives them, and their best, calibrated."""
        mean, deviation, far, spread = self.scales
        apart = distances(probabilities, self.means, self.precision)
        return np.asarray((best - mean) / deviation - (apart - far) / spread)

    def to_json(self) -> dict[str, Any]:
        """The matrices as base64 of little-endian float32, row by row."""
        matrices = {"means": _text(self.means), "precision": _text(self.precision)}
        return {**matrices, "scales": list(self.scales), "threshold": self.threshold}

    @classmethod
    def from_json(cls, said: Mapping[str, Any]) -> Familiarity:
        """Raises ValueError, TypeError, KeyError for what it did not write."""
        means, precision = _matrix(said["means"]), _matrix(said["precision"])
        scales = tuple(float(number) for number in said["scales"])
        threshold = float(said["threshold"])
        if means.shape != precision.shape or len(scales) != 4 or min(scales[1], scales[3]) <= 0:
            raise ValueError(f"familiarity of {means.shape} and {precision.shape}, scales {scales}")
        if not np.isfinite([*scales, threshold]).all():
            raise ValueError("familiarity that is not finite")
        return cls(means, precision, (scales[0], scales[1], scales[2], scales[3]), threshold)


def centred(probabilities: np.ndarray) -> np.ndarray:
    """The logits less their mean, float64 (N, classes)."""
    logs = np.log(np.maximum(np.asarray(probabilities, np.float64), TINY))
    return np.asarray(logs - logs.mean(axis=1, keepdims=True))


def distances(probabilities: np.ndarray, means: np.ndarray, precision: np.ndarray) -> np.ndarray:
    """Squared Mahalanobis distance to the nearest class, float64 (N,)."""
    logits = centred(probabilities)
    # (x - m)' P (x - m) for all pairs
    moved, weighed = logits @ precision, means @ precision
    apart = (moved * logits).sum(axis=1)[:, None] - 2 * moved @ means.T + (weighed * means).sum(axis=1)[None]
    return np.asarray(np.maximum(apart, 0).min(axis=1))


def classes_of(probabilities: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Means and precision from training pictures; None where a class has none, or there are too many classes."""
    classes = probabilities.shape[1]
    counts = np.bincount(labels, minlength=classes)
    if classes > MOST_CLASSES or classes < 2 or counts.min() == 0:
        return None
    logits = centred(probabilities)
    means = np.zeros((classes, classes))
    np.add.at(means, labels, logits)
    means /= counts[:, None]
    apart = logits - means[labels]
    covariance = apart.T @ apart / len(labels)
    even = max(np.trace(covariance) / classes, 1e-6)
    covariance = (1 - SHRINKAGE) * covariance + SHRINKAGE * even * np.eye(classes)
    precision = np.linalg.inv(covariance)
    return means.astype(np.float32).astype(np.float64), precision.astype(np.float32).astype(np.float64)


def familiarity(
    trained: tuple[np.ndarray, np.ndarray], probabilities: np.ndarray, best: np.ndarray, right: np.ndarray, kept: float
) -> Familiarity:
    """From what classes_of gave and the validation pictures: ``kept`` of those that are ``right`` reach the threshold.

    ``best`` are the best calibrated probabilities.
    """
    apart = distances(probabilities, *trained)
    scales = (float(best.mean()), float(best.std()) + 1e-9, float(apart.mean()), float(apart.std()) + 1e-9)
    found = Familiarity(*trained, scales, 0.0)
    scores = found.score(probabilities, best)
    # The lower quantile is the score of a picture: at least that share of the right ones reaches it.
    threshold = np.quantile(scores[right] if right.any() else scores, 1 - kept, method="lower")
    return Familiarity(*trained, scales, float(threshold))


def _text(matrix: np.ndarray) -> str:
    return base64.b64encode(matrix.astype("<f4").tobytes()).decode("ascii")


def _matrix(text: str) -> np.ndarray:
    values = np.frombuffer(base64.b64decode(text, validate=True), "<f4").astype(np.float64)
    side = int(len(values) ** 0.5)
    if side < 2 or side * side != len(values) or not np.isfinite(values).all():
        raise ValueError(f"familiarity: a matrix of {len(values)} numbers")
    return values.reshape(side, side)
