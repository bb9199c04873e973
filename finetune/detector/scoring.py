"""How well boxes are found: matching by overlap, precision and recall at every threshold, average precision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


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


def score(
    found: Sequence[tuple[np.ndarray, np.ndarray]],
    truth: Sequence[tuple[np.ndarray, np.ndarray]],
    threshold: float | None = None,
    iou: float = 0.4,
) -> Score:
    """Of pictures: boxes [K, 4] and scores [K], best first; boxes [M, 4] and difficult [M].

    A box is right if it overlaps a face that no better box has taken by ``iou``; one on a difficult face does not
    count. ``threshold`` None: the one of the best F1.
    """
    marks: list[tuple[float, bool]] = []
    faces = 0
    for (boxes, scores), (wanted, difficult) in zip(found, truth, strict=True):
        faces += int((~difficult).sum())
        pairs = overlaps(boxes, wanted)
        taken = np.zeros(len(wanted), bool)
        for k in range(len(boxes)):
            open_pairs = np.where(taken | difficult, 0.0, pairs[k]) if len(wanted) else np.zeros(0)
            if len(wanted) and open_pairs.max() >= iou:
                taken[open_pairs.argmax()] = True
                marks.append((float(scores[k]), True))
            elif not (len(wanted) and (pairs[k] * difficult).max() >= iou):
                marks.append((float(scores[k]), False))
    marks.sort(key=lambda mark: -mark[0])
    right = np.array([mark[1] for mark in marks], float)
    scores_sorted = np.array([mark[0] for mark in marks])
    hits = right.cumsum()
    precision, recall = hits / np.arange(1, len(hits) + 1), hits / max(faces, 1)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-9)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    average = float((np.diff(recall, prepend=0.0) * envelope).sum()) if len(hits) else 0.0
    if threshold is None:
        threshold = float(scores_sorted[f1.argmax()]) if len(f1) else 1.0
    last = int((scores_sorted >= threshold).sum()) - 1
    if last < 0:
        return Score(0.0, 0.0, 0.0, average, threshold, 0, 0, faces)
    count = int(hits[last])
    return Score(
        float(precision[last]), float(recall[last]), float(f1[last]), average, threshold, count, last + 1 - count, faces
    )
