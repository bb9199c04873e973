"""What every way of finding faces offers: a Finder. The ways: a detector (session.py), windows.py, dense.py."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np


class Boxes(NamedTuple):
    """What was found in one picture, best first."""

    boxes: np.ndarray  # float32 (K, 4): x0 y0 x1 y1 in pixels of the picture, inside it
    scores: np.ndarray  # float32 (K,), 0..1


@dataclass(frozen=True)
class Settings:
    """How faces are looked for; a Finder's own are its model's defaults."""

    confidence: float  # the least score of a face, 0..1
    iou: float  # of two boxes that overlap more, the better one is kept, 0..1
    max_size: int  # pixels: the longer side at which pictures are looked at
    enlarge: float = 1.0  # a smaller picture is enlarged to it, but at most so many times


class Finder(Protocol):
    """A model that was opened to find faces. ``str(finder)`` is the line that says what it is and where it runs.

    Each module of finetune.detection.METHODS has ``open_finder(path, provider="auto", threads=None) -> Finder``,
    arguments and errors as in finetune.runtime.open_session.
    """

    @property
    def path(self) -> Path:
        """The model's file."""
        ...

    @property
    def settings(self) -> Settings:
        """The settings that are used where the user gives none."""
        ...

    def find(self, picture: np.ndarray, settings: Settings) -> Boxes:
        """The faces in one picture, uint8 (H, W, 3) RGB of any size. Raises ModelError if the model fails."""
        ...
