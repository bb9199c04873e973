"""Where the names and scores of an overlay stand, and how large: by their boxes, off other faces where that can be."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from finetune.detection.geometry import areas, intersections

OF_BOX = 0.2  # letters' height to a box's side
LEAST, MOST = 140, 28  # a picture's longer side to the letters' least and largest height
SMALLEST = 9  # pixels: below them nobody reads
WIDEST = 1.6  # a label's width to its box's, above which letters become smaller
OWN, TAKEN = 0.3, 2.0  # what a covered pixel costs: of the face itself, of another label; of another face: 1


def letter_size(box: Sequence[float], picture: tuple[int, int], width: float) -> int:
    """Height of the letters of one label in pixels.

    ``picture``: width and height; ``width``: of the text in letters of 1 pixel.
    """
    x0, y0, x1, y1 = box
    longer = max(picture)
    side = OF_BOX * float(np.sqrt(max(1.0, (x1 - x0) * (y1 - y0))))
    fitting = WIDEST * (x1 - x0) / max(width, 1e-6)
    return round(min(max(min(side, fitting), longer / LEAST, SMALLEST), max(longer / MOST, SMALLEST)))


def place_labels(
    boxes: np.ndarray, sizes: Sequence[tuple[int, int]], picture: tuple[int, int]
) -> list[tuple[int, int]]:
    """Left and top of each label, inside the picture if it fits.

    ``boxes``: float32 (K, 4) x0 y0 x1 y1, the most important first; ``sizes``: width and height of their labels. A
    label stands above its box, below it, in it or beside it: at the first of these places that covers the least.
    """
    taken = np.zeros((0, 4))
    chosen = []
    for number, (box, (wide, high)) in enumerate(zip(boxes.astype(np.float64), sizes, strict=True)):
        size = np.array([wide, high])
        corners = np.clip(_places(box, wide, high), 0, np.maximum(0, np.array(picture) - size)).round()
        labels = np.concatenate([corners, corners + size], axis=1)
        covered = intersections(labels, boxes.astype(np.float64))
        covered[:, number] *= OWN
        cost = covered.sum(axis=1) + TAKEN * intersections(labels, taken).sum(axis=1)
        best = int(np.argmin(np.round(cost / areas(labels), 2)))
        taken = np.concatenate([taken, labels[best : best + 1]])
        chosen.append((int(corners[best, 0]), int(corners[best, 1])))
    return chosen


def _places(box: np.ndarray, wide: int, high: int) -> np.ndarray:
    """Left and top of a label at each of its places, (8, 2)."""
    x0, y0, x1, y1 = box
    above, below = y0 - high, y1
    across = (x0, x1 - wide)
    outside = [(x, y) for y in (above, below) for x in across]
    beside = [(x1, y0), (x0 - wide, y0)]
    return np.array([*outside, (x0, y0), (x0, y1 - high), *beside])
