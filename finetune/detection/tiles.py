"""Pictures too large to be looked at in one go: overlapping tiles, and the whole; what both find is merged."""

from __future__ import annotations

import numpy as np

from finetune.detection.finder import Boxes, Finder, Settings
from finetune.detection.geometry import suppress

OVERLAP = 0.25  # of a tile's side that it shares with the next: a face of that size lies whole in one of them
LARGE = 4  # times max_size: a longer side that is cut into tiles where the user does not say
SIDE = 2  # times max_size: the side of such a tile
EDGE = 0.02  # of a tile's side: what is found nearer to an inner edge may be a face that was cut
INSIDE = 0.7  # of a box inside a better one: it is a part of the same face


def tile_side(width: int, height: int, settings: Settings, wanted: int | None) -> int | None:
    """The side of the tiles for a picture of that size, or None: it is looked at whole, and only so.

    ``wanted``: pixels; 0: never in tiles; None: tiles of SIDE · max_size where a side is longer than LARGE · max_size.
    """
    if wanted is None:
        wanted = SIDE * settings.max_size if max(width, height) > LARGE * settings.max_size else 0
    return wanted if 0 < wanted < max(width, height) else None


def starts(length: int, side: int) -> list[int]:
    """Where tiles begin along a picture's edge: evenly, the first at 0, the last ending with the picture."""
    if length <= side:
        return [0]
    count = 1 + int(np.ceil((length - side) / (side * (1 - OVERLAP))))
    return [int(start) for start in np.linspace(0, length - side, count).round()]


def find(finder: Finder, picture: np.ndarray, settings: Settings, tile: int | None = None) -> Boxes:
    """The faces in a picture uint8 (H, W, 3), in tiles where it is large (``tile`` as in tile_side)."""
    height, width = picture.shape[:2]
    side = tile_side(width, height, settings, tile)
    if side is None:
        return finder.find(picture, settings)
    whole = finder.find(picture, settings)
    boxes, scores = [whole.boxes], [whole.scores]
    for top in starts(height, side):
        for left in starts(width, side):
            piece = np.ascontiguousarray(picture[top : top + side, left : left + side])
            found = finder.find(piece, settings)
            moved = found.boxes + np.array([left, top, left, top], np.float32)
            kept = ~_cut(moved, (left, top, left + piece.shape[1], top + piece.shape[0]), width, height, EDGE * side)
            boxes.append(moved[kept])
            scores.append(found.scores[kept])
    all_boxes, all_scores = np.concatenate(boxes), np.concatenate(scores)
    kept = suppress(all_boxes, all_scores, settings.iou, INSIDE)
    return Boxes(all_boxes[kept], all_scores[kept])


def _cut(boxes: np.ndarray, tile: tuple[int, int, int, int], width: int, height: int, near: float) -> np.ndarray:
    """Which boxes lie at an edge of the tile that is no edge of the picture."""
    left, top, right, bottom = tile
    cut = np.zeros(len(boxes), bool)
    if left > 0:
        cut |= boxes[:, 0] < left + near
    if top > 0:
        cut |= boxes[:, 1] < top + near
    if right < width:
        cut |= boxes[:, 2] > right - near
    if bottom < height:
        cut |= boxes[:, 3] > bottom - near
    return cut
