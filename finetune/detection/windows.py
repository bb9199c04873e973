"""Faces by a classifier on sliding windows of three sizes: the recipe of FrgNet64's author, every window for itself.

It wants a classifier of `finetune train --recipe frgnet64` (any of `onnx export` does that tells faces from other
things, one of its classes named "face" or like it). A picture is scaled to a width of 512 pixels, also a smaller one;
windows are cut out, resized to the classifier's size and classified in batches; of windows that overlap by more than
0.3 the best is kept. A window is no tighter round a face than the pictures that the classifier was trained on.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from caffe2torch.errors import ModelError
from finetune.detection.finder import Boxes, Settings
from finetune.detection.geometry import clip, suppress
from finetune.runtime import Session, open_model

WIDTH = 512
WINDOWS = ((48, 16), (72, 24), (144, 48))  # size and stride in pixels of the picture at WIDTH
DEFAULTS = Settings(confidence=0.5, iou=0.3, max_size=WIDTH)
TALLEST = 3  # height to width
BATCH = 32  # windows a call


@dataclass(frozen=True)
class Windows:
    """An open classifier that looks at windows; a Finder. ``settings.max_size`` is the width of the picture."""

    session: Session
    face: int  # the class that is a face
    settings: Settings = DEFAULTS
    batch: int = BATCH

    @property
    def path(self) -> Path:
        """The classifier's file."""
        return self.session.path

    def find(self, picture: np.ndarray, settings: Settings) -> Boxes:
        """The faces in one picture, uint8 (H, W, 3) RGB: windows at least ``settings.confidence`` probable."""
        scaled, factor = to_width(picture, settings.max_size)
        boxes, scores = [], []
        for corners, windows in all_windows(scaled, self.session.info.size):
            starts = range(0, len(windows), self.batch)
            scores += [self.session.probabilities(windows[i : i + self.batch])[:, self.face] for i in starts]
            boxes.append(corners)
        return best_of(np.concatenate(boxes) / factor, np.concatenate(scores), picture.shape[:2], settings)

    def __str__(self) -> str:
        width = self.settings.max_size
        return f"{self.path}: windows of {_sizes()} pixels at a width of {width}, {self.session.opened.place()}"


def open_finder(path: Path, provider: str = "auto", threads: int | None = None) -> Windows:
    """Open a classifier to look at windows with; arguments and errors as in finetune.runtime.open_model.

    Raises ModelError also where not exactly one of its classes has "face" in its name.
    """
    session = open_model(Path(path), provider, threads)
    return Windows(session, face_class(session))


def face_class(session: Session) -> int:
    """Which class is a face. Raises ModelError where that cannot be told by the names."""
    found = [place for place, name in enumerate(session.info.classes) if "face" in name.lower()]
    if len(found) != 1:
        names = ", ".join(session.info.classes[:10])
        raise ModelError(
            f"{session.path}: {len(found)} of its classes have 'face' in their names ({names}); windows want a "
            "classifier with one such class, as `finetune train --recipe frgnet64` makes it of folders face and other"
        )
    return found[0]


def to_width(picture: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
    """The picture scaled to ``width``, and by what x0, y0, x1, y1 were multiplied, float32 (4,).

    A strip is made no narrower than the largest window, it would hold none, and no higher than TALLEST times ``width``.
    """
    old_height, old_width = picture.shape[:2]
    largest = WINDOWS[-1][0]
    factor = min(width / old_width, TALLEST * width / old_height)
    height, width = (max(largest, round(length * factor)) for length in (old_height, old_width))
    scaled = Image.fromarray(picture).resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(scaled), np.array([width / old_width, height / old_height] * 2, np.float32)


def all_windows(picture: np.ndarray, size: tuple[int, int]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """For each size of WINDOWS: corners float32 (K, 4) of all windows, and their pixels, uint8 (K, *size, 3)."""
    for side, stride in WINDOWS:
        rows = np.arange(0, picture.shape[0] - side + 1, stride)
        columns = np.arange(0, picture.shape[1] - side + 1, stride)
        y, x = (grid.ravel() for grid in np.meshgrid(rows, columns, indexing="ij"))
        view = np.lib.stride_tricks.sliding_window_view(picture, (side, side), axis=(0, 1))
        windows = view[::stride, ::stride].reshape(-1, 3, side, side)
        yield np.stack([x, y, x + side, y + side], axis=1).astype(np.float32), resized(windows, size)


def resized(windows: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """uint8 (K, 3, S, S) -> uint8 (K, *size, 3), each as Pillow's bicubic resizes it, within a level or two.

    Bicubic is linear: a matrix from the left for the rows and one from the right for the columns, all windows at once.
    """
    rows, columns = bicubic(windows.shape[2], size[0]), bicubic(windows.shape[3], size[1])
    pixels = rows @ (windows.astype(np.float32) @ columns.T)
    return np.ascontiguousarray(np.clip(np.rint(pixels), 0, 255).astype(np.uint8).transpose(0, 2, 3, 1))


@cache
def bicubic(length: int, wanted: int) -> np.ndarray:
    """float32 (wanted, length): the weights with which Pillow resizes ``length`` pixels to ``wanted``."""
    unit = [Image.fromarray(row[None]) for row in np.eye(length, dtype=np.float32)]
    answers = [np.asarray(row.resize((wanted, 1), Image.Resampling.BICUBIC))[0] for row in unit]
    return np.stack(answers, axis=1)


def best_of(boxes: np.ndarray, scores: np.ndarray, shape: tuple[int, ...], settings: Settings) -> Boxes:
    """The boxes that are sure enough, inside the picture, none overlapping a better one by more than allowed."""
    sure = scores >= settings.confidence
    boxes, scores = clip(boxes[sure], shape[1], shape[0]), scores[sure]
    kept = suppress(boxes, scores, settings.iou)
    return Boxes(boxes[kept], scores[kept].astype(np.float32))


def _sizes() -> str:
    return ", ".join(str(side) for side, _ in WINDOWS)
