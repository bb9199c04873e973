"""Which box is which face: matching as COCO does it, precision and recall, average precision.

The rules are those of pycocotools' COCOeval: boxes are taken best first, at most MOST a picture; each takes the free
face that it overlaps most, if by ``iou`` or more, and a face that does not count (difficult, or of another size) only
where no other is left; a box on such a face does not count either. As in VOC, a difficult face may have several boxes.
Average precision is the mean of the precision, made non-increasing, at the recalls 0, 0.01, …, 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from finetune.detection.finder import Boxes
from finetune.detection.geometry import areas, overlaps

MOST = 100  # boxes of a picture that are looked at, the best ones
RECALLS = np.linspace(0, 1, 101)
SIZES = {"small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, 1e10)}  # pixels², as COCO has them


@dataclass(frozen=True)
class Truth:
    """The faces of one picture: boxes float32 (K, 4), and which of them are difficult: do not count, bool (K,)."""

    boxes: np.ndarray
    difficult: np.ndarray


@dataclass(frozen=True)
class Matches:
    """Boxes of all pictures beside their faces, at one overlap. Arrays (D,) are of boxes, best first."""

    scores: np.ndarray
    right: np.ndarray  # bool: a face that counts
    counted: np.ndarray  # bool: neither on a face that does not count, nor of another size
    picture: np.ndarray  # int: which picture it is in
    faces: np.ndarray  # int (P,): faces that count, of each picture

    def counts(self, threshold: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Faces found, false boxes and faces of each picture, (P,), of boxes with scores from ``threshold`` on."""
        told = self.counted & (self.scores >= threshold)
        length = len(self.faces)
        found = np.bincount(self.picture[told & self.right], minlength=length)
        false = np.bincount(self.picture[told & ~self.right], minlength=length)
        return found, false, self.faces

    def curve(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Recall, precision and score after each box that counts, best first."""
        right = self.right[self.counted]
        found = right.cumsum()
        return found / max(1, self.faces.sum()), found / np.arange(1, len(found) + 1), self.scores[self.counted]


def match(boxes: np.ndarray, truth: Truth, iou: float, ignored: np.ndarray | None = None) -> np.ndarray:
    """The face that each of the boxes (best first) has, as an index, or -1; (K,). ``ignored``: see match_all."""
    ignored = truth.difficult if ignored is None else ignored
    chosen = np.full(len(boxes), -1)
    if not len(truth.boxes):
        return chosen
    pairs = overlaps(boxes.astype(np.float64), truth.boxes.astype(np.float64))
    taken = np.zeros(len(truth.boxes), bool)
    for place, row in enumerate(pairs):
        for group in (~ignored, ignored):
            free = np.where(group & (~taken | truth.difficult), row, -1.0)
            best = len(free) - 1 - int(free[::-1].argmax())  # of equals the last, as COCOeval
            if free[best] >= min(iou, 1 - 1e-10):
                chosen[place], taken[best] = best, True
                break
    return chosen


def match_all(
    found: Sequence[Boxes], truths: Sequence[Truth], iou: float, size: tuple[float, float] = (0.0, np.inf)
) -> Matches:
    """The boxes of all pictures beside their faces; only those of a ``size`` (least and most area) count."""
    parts: list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]] = []
    faces = np.zeros(len(truths), int)
    for picture, (given, truth) in enumerate(zip(found, truths, strict=True)):
        order = np.argsort(-given.scores, kind="stable")[:MOST]
        boxes, scores = given.boxes[order], given.scores[order]
        area = areas(truth.boxes.astype(np.float64))
        ignored = truth.difficult | (area < size[0]) | (area > size[1])
        chosen = match(boxes, truth, iou, ignored)
        has = chosen >= 0
        right = has.copy()
        right[has] = ~ignored[chosen[has]]
        own = areas(boxes.astype(np.float64))
        other = ~has & ((own < size[0]) | (own > size[1]))
        counted = ~other & (right | ~has)
        faces[picture] = int((~ignored).sum())
        parts.append((scores, right, counted, np.full(len(boxes), picture)))
    empty = (np.zeros(0), np.zeros(0, bool), np.zeros(0, bool), np.zeros(0, int))
    scores, right, counted, pictures = (np.concatenate(column) for column in zip(*(parts or [empty]), strict=True))
    order = np.argsort(-scores, kind="stable")
    return Matches(scores[order], right[order], counted[order], pictures[order], faces)


def average_precision(matches: Matches, weights: np.ndarray | None = None) -> float:
    """0..1; NaN without a face. ``weights`` (P,): how often each picture counts."""
    told = matches.counted
    right = matches.right[told].astype(np.float64)
    each = np.ones(len(right)) if weights is None else weights[matches.picture[told]].astype(np.float64)
    faces = float(matches.faces.sum() if weights is None else (matches.faces * weights).sum())
    if faces == 0:
        return float("nan")
    found, all_boxes = (right * each).cumsum(), each.cumsum()
    recall = found / faces
    precision = np.divide(found, all_boxes, out=np.zeros_like(found), where=all_boxes > 0)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    places = np.searchsorted(recall, RECALLS, side="left")
    return float(np.append(envelope, 0.0)[places].mean())


def rates(found: np.ndarray, false: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Precision, recall and F1 of counts (any shape); NaN where nothing was told, or there was nothing to find."""
    with np.errstate(invalid="ignore", divide="ignore"):
        precision, recall = found / (found + false), found / faces
        f1 = 2 * found / (found + false + faces)
    return precision, recall, f1
