"""Ways to show a picture with boxes: mirrored, turned, each face close up. A detector is judged on all of them."""

from __future__ import annotations

import numpy as np
from PIL import Image

from finetune.detector.network import PADDING

AROUND = 0.15  # of a face's longer side, left around it close up
# uint8 (H, W, 3); boxes [K, 4], x0 y0 x1 y1 in its pixels; which of them do not count, bool [K].
Shown = tuple[np.ndarray, np.ndarray, np.ndarray]


def upright(picture: np.ndarray, boxes: np.ndarray, difficult: np.ndarray) -> list[Shown]:
    """As it is."""
    return [(picture, boxes, difficult)]


def mirrored(picture: np.ndarray, boxes: np.ndarray, difficult: np.ndarray) -> list[Shown]:
    """Left and right changed."""
    x0, y0, x1, y1 = boxes.T
    width = picture.shape[1]
    return [(np.ascontiguousarray(picture[:, ::-1]), np.stack([width - x1, y0, width - x0, y1], axis=1), difficult)]


def turned(picture: np.ndarray, boxes: np.ndarray, difficult: np.ndarray, degrees: float) -> list[Shown]:
    """Turned counter-clockwise about the middle, the whole picture kept, on grey; boxes keep size and middle."""
    old = Image.fromarray(picture)
    new = old.rotate(degrees, Image.Resampling.BICUBIC, expand=True, fillcolor=(PADDING,) * 3)
    angle = np.deg2rad(degrees)
    matrix = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])  # y points down
    middles = ((boxes[:, :2] + boxes[:, 2:]) / 2 - np.array(old.size) / 2) @ matrix.T + np.array(new.size) / 2
    half = (boxes[:, 2:] - boxes[:, :2]) / 2
    return [(np.asarray(new), np.concatenate([middles - half, middles + half], axis=1).astype(np.float32), difficult)]


def close_up(picture: np.ndarray, boxes: np.ndarray, difficult: np.ndarray) -> list[Shown]:
    """Each face in the picture that counts, cut out by itself; other faces that reach into it do not count."""
    height, width = picture.shape[:2]
    cuts: list[Shown] = []
    for number in np.flatnonzero(~difficult):
        x0, y0, x1, y1 = (float(edge) for edge in boxes[number])
        margin = AROUND * max(x1 - x0, y1 - y0)
        left, top = max(0, round(x0 - margin)), max(0, round(y0 - margin))
        right, bottom = min(width, round(x1 + margin)), min(height, round(y1 + margin))
        if right <= left or bottom <= top:
            continue  # the face lies outside the picture
        inside = np.clip(boxes - np.array([left, top, left, top], np.float32), 0, [right - left, bottom - top] * 2)
        seen = (inside[:, 2] > inside[:, 0]) & (inside[:, 3] > inside[:, 1])
        other = np.arange(len(boxes)) != number
        cuts.append((picture[top:bottom, left:right], inside[seen].astype(np.float32), other[seen]))
    return cuts
