"""How well boxes are found: matching by overlap, precision and recall at every threshold, average precision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

Found = Sequence[tuple[np.ndarray, np.ndarray]]  # boxes [K, 4] and scores [K], best first, of each picture


@dataclass(frozen=True)
class Score:
    """At ``threshold``: precision, recall, F1; over all thresholds: average precision (area under the envelope)."""

    precision: float
    recall: float
    f1: float
    average_precision: float
    threshold: float
    found: int
    false: int
    faces: int

    def __str__(self) -> str:
        return (
            f"F1 {self.f1:.3f} precision {self.precision:.3f} recall {self.recall:.3f} at {self.threshold:.2f}, "
            f"AP {self.average_precision:.3f}, {self.found} of {self.faces} faces, {self.false} false"
        )


def overlaps(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """IoU of every pair: [K, 4] and [M, 4] to [K, M]."""
    near = np.maximum(boxes[:, None, :2], others[None, :, :2])
    far = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    shared = np.clip(far - near, 0, None).prod(2)
    area = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    other = (others[:, 2:] - others[:, :2]).prod(1)
    return shared / np.maximum(area[:, None] + other[None] - shared, 1e-9)


def suppressed(boxes: np.ndarray, scores: np.ndarray, iou: float) -> np.ndarray:
    """Indices that greedy suppression keeps, best first: none overlaps a better one by more than ``iou``."""
    order = np.argsort(-scores, kind="stable")
    kept: list[int] = []
    while len(order):
        best, rest = order[0], order[1:]
        kept.append(int(best))
        order = rest[overlaps(boxes[best : best + 1], boxes[rest])[0] <= iou]
    return np.array(kept, np.int64)


def marks(found: Found, truth: Sequence[tuple[np.ndarray, np.ndarray]], iou: float) -> tuple[np.ndarray, np.ndarray]:
    """Of all boxes that count, best first: scores [B], and whether each is right, bool [B].

    A box is right if it overlaps a face that no better box has taken by ``iou``; one on a difficult face does not
    count.
    """
    marked: list[tuple[float, bool]] = []
    for (boxes, scores), (wanted, difficult) in zip(found, truth, strict=True):
        pairs = overlaps(boxes, wanted)
        taken = difficult.copy()
        for k in range(len(boxes) if len(wanted) else 0):
            left = np.where(taken, 0.0, pairs[k])
            if left.max() >= iou:
                taken[left.argmax()] = True
                marked.append((float(scores[k]), True))
            elif (pairs[k] * difficult).max() < iou:
                marked.append((float(scores[k]), False))
        if not len(wanted):
            marked += [(float(value), False) for value in scores]
    marked.sort(key=lambda mark: -mark[0])
    return np.array([mark[0] for mark in marked]), np.array([mark[1] for mark in marked], bool)


def score(
    found: Found,
    truth: Sequence[tuple[np.ndarray, np.ndarray]],
    threshold: float | None = None,
    iou: float = 0.4,
    beta: float = 1.0,
) -> Score:
    """Of pictures: boxes [K, 4] and scores [K], best first; boxes [M, 4] and difficult [M].

    ``threshold`` None: the one of the best F-beta, F1 where ``beta`` is 1 (van Rijsbergen 1979: below 1 precision
    counts more than recall). See ``marks`` for what is right.
    """
    faces = sum(int((~difficult).sum()) for _, difficult in truth)
    values, right = marks(found, truth, iou)
    hits = right.cumsum()
    precision, recall = hits / np.arange(1, len(hits) + 1), hits / max(faces, 1)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-9)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    average = float((np.diff(recall, prepend=0.0) * envelope).sum()) if len(hits) else 0.0
    if threshold is None:
        weighed = (1 + beta**2) * precision * recall / np.maximum(beta**2 * precision + recall, 1e-9)
        threshold = float(values[weighed.argmax()]) if len(f1) else 1.0
    last = int((values >= threshold).sum()) - 1
    if last < 0:
        return Score(0.0, 0.0, 0.0, average, threshold, 0, 0, faces)
    count = int(hits[last])
    return Score(
        float(precision[last]), float(recall[last]), float(f1[last]), average, threshold, count, last + 1 - count, faces
    )


def chances(values: np.ndarray, right: np.ndarray) -> tuple[float, float]:
    """Slope and offset that make sigmoid(slope * logit(score) + offset) the chance that a box is right.

    Logistic regression by Newton's method with Platt's (1999) targets, which keep it from 0 and 1. (1, 0), no change,
    where all are right or all are wrong.
    """
    ups, downs = int(right.sum()), int((~right).sum())
    if not ups or not downs:
        return 1.0, 0.0
    clipped = np.clip(values, 1e-6, 1 - 1e-6)
    features = np.stack([np.log(clipped / (1 - clipped)), np.ones(len(values))], axis=1)
    wanted = np.where(right, (ups + 1) / (ups + 2), 1 / (downs + 2))
    weights = np.array([1.0, 0.0])
    for _ in range(100):
        given = 1 / (1 + np.exp(-features @ weights))
        curvature = features.T @ (features * (given * (1 - given))[:, None]) + 1e-6 * np.eye(2)
        step = np.linalg.solve(curvature, features.T @ (given - wanted))
        weights -= np.clip(step, -1, 1)
        if np.abs(step).max() < 1e-9:
            break
    return (float(weights[0]), float(weights[1])) if weights[0] > 0 else (1.0, 0.0)
