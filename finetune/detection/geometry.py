"""Boxes as arrays float32 (K, 4) of x0 y0 x1 y1: how much they overlap, which of them are the same face."""

from __future__ import annotations

import numpy as np


def areas(boxes: np.ndarray) -> np.ndarray:
    """The area of each box, (K,)."""
    return np.asarray((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]))


def intersections(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """The area that box i of ``left`` and box j of ``right`` share, (len(left), len(right))."""
    low = np.maximum(left[:, None, :2], right[None, :, :2])
    high = np.minimum(left[:, None, 2:], right[None, :, 2:])
    return np.asarray(np.clip(high - low, 0, None).prod(axis=2))


def overlaps(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Intersection over union of every pair, (len(left), len(right)), 0..1; 0 where both boxes are empty."""
    shared = intersections(left, right)
    union = areas(left)[:, None] + areas(right)[None, :] - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def suppress(boxes: np.ndarray, scores: np.ndarray, iou: float, inside: float = 1.0) -> np.ndarray:
    """Indices of the boxes that are kept, best first: none overlaps a better one by more than ``iou``.

    ``inside`` below 1 also drops a box of which more than that share lies inside a better one: the part of a face
    that was seen at the edge of a tile. Of equal scores the first box wins.
    """
    order = np.argsort(-scores, kind="stable")
    boxes = boxes[order].astype(np.float64)
    size = areas(boxes)
    dropped = np.zeros(len(boxes), bool)
    kept = []
    for i in range(len(boxes)):
        if dropped[i]:
            continue
        kept.append(i)
        rest = slice(i + 1, None)
        shared = intersections(boxes[i : i + 1], boxes[rest])[0]
        union = size[i] + size[rest] - shared
        dropped[rest] |= shared > iou * union
        if inside < 1:
            dropped[rest] |= shared > inside * size[rest]
    return order[kept]


def clip(boxes: np.ndarray, width: int, height: int) -> np.ndarray:
    """The boxes inside a picture of that size, float32 (K, 4)."""
    return np.clip(boxes, 0, np.array([width, height, width, height])).astype(np.float32)
