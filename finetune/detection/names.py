"""Who is where: faces cut out as the classifier's training pictures were, and named by it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from caffe2torch.errors import ModelError
from finetune.calibration import Calibration
from finetune.detection.cropping import Margin, cut
from finetune.detection.finder import Finder
from finetune.detection.margins import margin_of
from finetune.detection.results import Face
from finetune.runtime import Session, open_model

UNKNOWN = "unknown"
AT_ONCE = 32  # faces in one batch


@dataclass(frozen=True)
class Namer:
    """An open classifier and how faces are cut for it."""

    session: Session
    margin: Margin
    calibration: Calibration | None
    unknown: bool  # whether a face below the calibration's threshold is called UNKNOWN

    def name(self, picture: np.ndarray, faces: Sequence[Face]) -> tuple[Face, ...]:
        """The faces with name and name_score; ``picture`` uint8 (H, W, 3) RGB. Raises ModelError if the model fails."""
        named: list[Face] = []
        for start in range(0, len(faces), AT_ONCE):
            some = faces[start : start + AT_ONCE]
            probabilities = self._probabilities(np.stack([self._fed(picture, face) for face in some]))
            best = probabilities.argmax(axis=1)
            for face, index, row in zip(some, best, probabilities, strict=True):
                score = float(np.clip(row[index], 0, 1))
                unsure = self.unknown and self.calibration and score < self.calibration.unknown_threshold
                name = UNKNOWN if unsure else self.session.info.classes[index]
                named.append(replace(face, name=name, name_score=score))
        return tuple(named)

    def _fed(self, picture: np.ndarray, face: Face) -> np.ndarray:
        from PIL import Image

        height, width = self.session.info.size
        crop = Image.fromarray(cut(picture, face, self.margin))
        return np.asarray(crop.resize((width, height), Image.Resampling.BICUBIC))  # as load_picture does it

    def _probabilities(self, pictures: np.ndarray) -> np.ndarray:
        given = self.session.probabilities(pictures)
        return given if self.calibration is None else self.calibration.apply(given)


def open_namer(
    path: Path, provider: str, threads: int | None, finder: Finder, margin: Margin | Path | None, unknown: bool
) -> Namer:
    """Open a classifier to name faces with that ``finder`` finds; ``margin`` as in margins.margin_of.

    Raises ModelError for what is no classifier, and for ``unknown`` with one that was not calibrated, or has a class
    of that name.
    """
    session = open_model(path, provider, threads)
    calibration = session.info.calibration
    if unknown and calibration is None:
        raise ModelError(f"{path}: does not say below which score a face is unknown; export it anew from its run")
    if unknown and UNKNOWN in session.info.classes:
        raise ModelError(
            f"{path}: one of its classes is called {UNKNOWN!r}, and a face of it could not be told from one that is "
            "unknown; leave --unknown out, or train with another name"
        )
    return Namer(session, margin_of(path, session.opened.said, margin, finder), calibration, unknown)
