"""Faces cut out of pictures: with a margin for the classifier, and as files of their own."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from caffe2torch.files import beside
from finetune.detection.results import Face, Seen
from finetune.detection.sources import Source


def window(
    box: tuple[float, float, float, float], margin: float, size: tuple[int, int], aspect: float | None = None
) -> tuple[int, int, int, int]:
    """What is cut out around a box: left, top, right, bottom in whole pixels, at least one wide and high.

    On every side ``margin`` times the box's longer side is added; ``aspect`` (width / height) widens the shorter way
    to that form. What leaves the picture, ``size`` = (width, height), is moved back into it; what is larger is cut.
    """
    x0, y0, x1, y1 = box
    added = 2 * margin * max(x1 - x0, y1 - y0)
    wide, high = x1 - x0 + added, y1 - y0 + added
    if aspect is not None:
        wide, high = max(wide, high * aspect), max(high, wide / aspect)
    left, right = _within((x0 + x1) / 2, wide, size[0])
    top, bottom = _within((y0 + y1) / 2, high, size[1])
    return left, top, right, bottom


def _within(centre: float, length: float, limit: int) -> tuple[int, int]:
    whole = min(max(1, round(length)), limit)
    start = min(max(0, round(centre - whole / 2)), limit - whole)
    return start, start + whole


def cut(picture: np.ndarray, face: Face, margin: float, aspect: float | None = None) -> np.ndarray:
    """The face out of its picture, uint8 (H, W, 3); see window."""
    height, width = picture.shape[:2]
    left, top, right, bottom = window(face.box, margin, (width, height), aspect)
    return picture[top:bottom, left:right]


def write_crops(folder: Path, picture: np.ndarray, seen: Seen, source: Source, margin: float) -> None:
    """A PNG file a face: FOLDER/picture-1.png, …; with names FOLDER/NAME/picture-1.png: a folder per class."""
    from PIL import Image

    moment = "" if seen.frame is None else f"-{seen.frame:06}"
    for number, face in enumerate(seen.faces, 1):
        file = f"{source.stem.name}{moment}-{number}.png"
        below = source.stem.parent if face.name is None else Path(as_file_name(face.name)) / source.stem.parent
        with beside(folder / below / file) as place:
            Image.fromarray(cut(picture, face, margin)).save(place, "PNG")


def as_file_name(name: str) -> str:
    """A class's name as the name of a folder, on any system: what no file name may have becomes ``_``."""
    kept = "".join("_" if c in '/\\:*?"<>|' or not c.isprintable() else c for c in name).strip(" ")
    return kept if kept.strip(".") else f"_{kept}"
