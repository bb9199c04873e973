"""Faces cut out of pictures: with a margin for the classifier, and as files of their own."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from caffe2torch.files import beside
from finetune.detection.places import face_places
from finetune.detection.results import Face, Seen
from finetune.detection.sources import Source


class Margin(NamedTuple):
    """What is added around a face's box, each as a share of the box's longer side."""

    left: float
    top: float
    right: float
    bottom: float

    def __str__(self) -> str:
        return ", ".join(f"{share:g}" for share in self)


def even(share: float) -> Margin:
    """The same on every side."""
    return Margin(share, share, share, share)


QUARTER = even(0.25)


def window(box: tuple[float, float, float, float], margin: Margin, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """What is cut out around a box: left, top, right, bottom in whole pixels, at least one wide and high.

    What would leave the picture, of ``size`` (width, height), is cut off.
    """
    x0, y0, x1, y1 = box
    longer = max(x1 - x0, y1 - y0)
    left, right = _within(x0 - margin.left * longer, x1 + margin.right * longer, size[0])
    top, bottom = _within(y0 - margin.top * longer, y1 + margin.bottom * longer, size[1])
    return left, top, right, bottom


def _within(start: float, end: float, limit: int) -> tuple[int, int]:
    first = min(max(0, round(start)), limit - 1)
    return first, min(max(first + 1, round(end)), limit)


def cut(picture: np.ndarray, face: Face, margin: Margin) -> np.ndarray:
    """The face out of its picture, uint8 (H, W, 3); see window."""
    height, width = picture.shape[:2]
    left, top, right, bottom = window(face.box, margin, (width, height))
    return picture[top:bottom, left:right]


def write_crops(folder: Path, picture: np.ndarray, seen: Seen, source: Source, margin: Margin) -> None:
    """A PNG file a face, at places.face_places."""
    from PIL import Image

    for target, face in zip(face_places(folder, source, seen), seen.faces, strict=True):
        with beside(target) as place:
            Image.fromarray(cut(picture, face, margin)).save(place, "PNG")
