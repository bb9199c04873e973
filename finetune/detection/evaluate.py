"""How well faces are found in pictures with known boxes: figures with 95 % intervals, misses and false boxes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from caffe2torch.errors import DataError
from caffe2torch.pictures import find_pictures, load_picture
from finetune.data.boxes import BoxedPicture, only, read_boxes
from finetune.detection import tiles
from finetune.detection.finder import Boxes, Finder, Settings
from finetune.detection.matching import SIZES, Matches, Truth, average_precision, match_all, rates

LEAST = 0.01  # score of the boxes that average precision is taken over
STRICT = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))  # overlaps of COCO's average precision
DRAWS = 2000  # of the bootstrap
FEW = 300  # of the bootstrap of average precision, which takes its time
Interval = tuple[float, float]


@dataclass(frozen=True)
class Figure:
    """A share with its 95 % interval; None where it has no meaning (no face, or no box)."""

    value: float | None
    low: float | None
    high: float | None

    def to_json(self) -> dict[str, float | None]:
        """{"value", "low", "high"}, to four digits."""
        return {name: None if x is None else round(x, 4) for name, x in vars(self).items()}


@dataclass(frozen=True)
class Evaluation:
    """What was found beside what is there."""

    pictures: tuple[BoxedPicture, ...]
    found: tuple[Boxes, ...]
    settings: Settings  # ``confidence`` is the threshold of precision, recall and F1
    overlap: float  # from which on a box is right, of precision, recall and F1
    matches: Matches  # at that overlap

    def to_json(self) -> dict[str, Any]:
        """All figures; shares 0..1."""
        truths = truths_of(self.pictures)
        found, false, faces = self.matches.counts(self.settings.confidence)
        without = np.array([len(picture.boxes) == 0 for picture in self.pictures])
        weights = np.random.default_rng(0).multinomial(len(without), np.full(len(without), 1 / len(without)), DRAWS)
        names = ("precision", "recall", "f1")
        totals = rates(found.sum(), false.sum(), faces.sum())
        drawn = rates(weights @ found, weights @ false, weights @ faces)
        shares = {n: _figure(float(t), d).to_json() for n, t, d in zip(names, totals, drawn, strict=True)}
        count, wrong = int(without.sum()), int(false[without].sum())
        return {
            "pictures": len(self.pictures),
            "faces": int(faces.sum()),
            "difficult": int(sum(truth.difficult.sum() for truth in truths)),
            "threshold": self.settings.confidence,
            "overlap": self.overlap,
            "found": int(found.sum()),
            "false": int(false.sum()),
            **shares,
            "average_precision": self._average_precision(truths, weights[:FEW]),
            "sizes": [self._of_size(truths, name, size) for name, size in SIZES.items()],
            "without_faces": {
                "pictures": count,
                "false": wrong,
                "false_per_picture": round(wrong / count, 4) if count else None,
            },
        }

    def _average_precision(self, truths: Sequence[Truth], weights: np.ndarray) -> dict[str, Any]:
        at = {iou: match_all(self.found, truths, iou) for iou in (0.4, *STRICT)}
        of = {iou: (average_precision(m), [average_precision(m, once) for once in weights]) for iou, m in at.items()}
        strict = float(np.mean([of[iou][0] for iou in STRICT]))
        return {
            "0.4": _figure(of[0.4][0], np.array(of[0.4][1])).to_json(),
            "0.5": _figure(of[0.5][0], np.array(of[0.5][1])).to_json(),
            "0.5-0.95": _figure(strict, np.mean([of[iou][1] for iou in STRICT], axis=0)).to_json(),
        }

    def _of_size(self, truths: Sequence[Truth], name: str, size: Interval) -> dict[str, Any]:
        matches = match_all(self.found, truths, self.overlap, size)
        found, _, faces = (int(x.sum()) for x in matches.counts(self.settings.confidence))
        recall = round(found / faces, 4) if faces else None
        average = round(average_precision(matches), 4) if faces else None
        return {"size": name, "faces": faces, "recall": recall, "average_precision": average}


def read_pictures(data: Path | None, without: Sequence[Path] = (), labels: Sequence[str] = ()) -> list[BoxedPicture]:
    """The pictures to evaluate on: of ``data`` (read_boxes, only), and those in the folders ``without`` faces."""
    pictures = [] if data is None else only(read_boxes(data), labels)
    for folder in without:
        files = find_pictures(folder)
        if not files:
            raise DataError(f"{folder}: no pictures in this folder")
        pictures += [BoxedPicture(file, np.zeros((0, 4), np.float32), (), np.zeros(0, bool)) for file in files]
    return pictures


def evaluate(
    finder: Finder,
    pictures: Sequence[BoxedPicture],
    settings: Settings,
    overlap: float = 0.4,
    tile: int | None = None,
    workers: int = 1,
    advance: Callable[[int], None] = lambda done: None,
) -> Evaluation:
    """Look at every picture. ``advance`` hears how many more are done. Raises DataError for one that cannot be read."""
    wide = replace(settings, confidence=min(LEAST, settings.confidence))

    def look(picture: BoxedPicture) -> Boxes:
        return tiles.find(finder, load_picture(picture.path), wide, tile)

    found: list[Boxes] = []
    with ThreadPoolExecutor(workers, "look") as pool:
        try:
            for boxes in pool.map(look, pictures):
                found.append(boxes)
                advance(1)
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    matches = match_all(found, truths_of(pictures), overlap)
    return Evaluation(tuple(pictures), tuple(found), settings, overlap, matches)


def truths_of(pictures: Sequence[BoxedPicture]) -> list[Truth]:
    return [Truth(picture.boxes, picture.difficult) for picture in pictures]


def _figure(value: float, drawn: np.ndarray) -> Figure:
    if np.isnan(value):
        return Figure(None, None, None)
    low, high = np.nanquantile(drawn, [0.025, 0.975])
    return Figure(value, float(low), float(high))
