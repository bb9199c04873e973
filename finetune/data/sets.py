"""The pictures of one training run: to train, to validate and to test on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from caffe2torch.errors import DataError
from caffe2torch.terminal import note
from finetune.data.batches import Reader
from finetune.data.folders import LabelledPictures, check_trainable, read_folders
from finetune.data.source import Source, name_of
from finetune.data.split import random_split, split
from finetune.data.survey import Survey, mean_pixel, survey
from finetune.table import progress


@dataclass(frozen=True)
class Sets:
    """Pictures that can all be read; ``mean`` is the mean R, G, B of the training pictures at the run's size."""

    train: LabelledPictures
    validation: LabelledPictures
    test: LabelledPictures | None
    mean: tuple[float, float, float]
    unreadable: tuple[Source, ...]

    def to_json(self) -> dict[str, Any]:
        """split.json: names of the pictures, as name_of gives them."""
        root = self.train.root
        return {
            "data": str(root),
            "classes": list(self.train.classes),
            "train": [name_of(source, root) for source in self.train.paths],
            "validation": [name_of(source, root) for source in self.validation.paths],
            "unreadable": [name_of(source, root) for source in self.unreadable],
        }


def read_sets(
    data: Path, test: Path | None, validation: float, seed: int, reader: Reader, careful: bool = True
) -> Sets:
    """Find, look at and split the pictures under ``data``, and find those under ``test``; says what it leaves out.

    Not ``careful``: split as the tutorial does (random_split). Raises DataError: no classes, a class with fewer than 2
    readable pictures, test folders that are no class.
    """
    pictures, remarks = read_folders(data)
    check_trainable(pictures)
    tested = None
    if test is not None:
        tested, more = read_folders(test, pictures.classes)
        remarks += more
    for remark in remarks:
        note(remark)
    pictures, found, unreadable = read_once(pictures, reader)
    check_trainable(pictures)
    if tested is not None:
        tested, _, _ = read_once(tested, reader)
    chosen, held = (split if careful else random_split)(pictures.labels, validation, seed)
    sets = Sets(pictures.subset(chosen), pictures.subset(held), tested, mean_pixel(found, chosen), tuple(unreadable))
    _tell(sets)
    return sets


def read_once(pictures: LabelledPictures, reader: Reader) -> tuple[LabelledPictures, Survey, list[Source]]:
    """The pictures that can be read, their survey, and the sources of the others, each named on stderr.

    Raises DataError if none can be read.
    """
    with progress(f"looking at {pictures.root}", len(pictures)) as advance:
        found = survey(pictures, reader, advance)
    for _, reason in found.unreadable:
        note(f"left out: {reason}")
    if not found.readable:
        raise DataError(f"{pictures.root}: none of its {len(pictures)} pictures can be read")
    return pictures.subset(found.readable), found, [path for path, _ in found.unreadable]


def _tell(sets: Sets) -> None:
    counts = [a + b for a, b in zip(sets.train.counts(), sets.validation.counts(), strict=True)]
    least, most = min(counts), max(counts)
    each = f"{least} to {most}" if least < most else str(most)
    tested = f", {len(sets.test)} to test" if sets.test else ""
    note(
        f"data: {len(counts)} classes of {each} pictures; "
        f"{len(sets.train)} pictures to train, {len(sets.validation)} to validate{tested}"
    )
