"""The pictures of one training run: to train, to validate and to test on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from caffe2torch.errors import DataError
from caffe2torch.terminal import note
from finetune.data.batches import Reader
from finetune.data.duplicates import groups_of, near_duplicates
from finetune.data.folders import LabelledPictures, check_trainable
from finetune.data.labelled import read_labelled
from finetune.data.source import Source, name_of
from finetune.data.split import random_split, split
from finetune.data.survey import Survey, mean_pixel, survey
from finetune.table import progress
from finetune.wording import printable

EXAMPLES = 3  # groups of near-duplicates in a line


@dataclass(frozen=True)
class Sets:
    """Pictures that can all be read; ``mean`` is the mean R, G, B of the training pictures at the run's size."""

    train: LabelledPictures
    validation: LabelledPictures
    test: LabelledPictures | None
    mean: tuple[float, float, float]
    unreadable: tuple[Source, ...]
    near_duplicates: tuple[tuple[Source, ...], ...] = ()  # groups among the pictures to train and to validate on
    in_test: tuple[tuple[Source, Source], ...] = ()  # a test picture, and a picture to train on that it is much like

    def to_json(self) -> dict[str, Any]:
        """split.json: names of the pictures, as name_of gives them."""
        root = self.train.root
        return {
            "data": str(root),
            "classes": list(self.train.classes),
            "train": [name_of(source, root) for source in self.train.paths],
            "validation": [name_of(source, root) for source in self.validation.paths],
            "train_labels": list(self.train.labels),
            "unreadable": [name_of(source, root) for source in self.unreadable],
            "near_duplicates": [[name_of(source, root) for source in group] for group in self.near_duplicates],
            "in_test": [[name_of(one, self._test_root), name_of(other, root)] for one, other in self.in_test],
        }

    @property
    def _test_root(self) -> Path:
        return self.test.root if self.test else self.train.root


def read_sets(
    data: Path, test: Path | None, validation: float, seed: int, reader: Reader, careful: bool = True
) -> Sets:
    """Find, look at and split the pictures of ``data`` (read_labelled), and find those of ``test``; says what it
    leaves out.

    Near-duplicates are never parted by the split, and told; so are test pictures of which the other pictures have a
    near-duplicate. Not ``careful``: split as the tutorial does (random_split). Raises DataError: no classes, a class
    with fewer than 2 readable pictures, a test class that is not trained.
    """
    pictures, remarks = read_labelled(data)
    check_trainable(pictures)
    tested = None
    if test is not None:
        tested, more = read_labelled(test, pictures.classes)
        remarks += more
    for remark in remarks:
        note(remark)
    pictures, found, unreadable = read_once(pictures, reader)
    check_trainable(pictures)
    descriptions, parts, labels = found.descriptions, found.parts, pictures.labels
    if tested is not None:
        tested, looked, _ = read_once(tested, reader)
        descriptions = np.concatenate([descriptions, looked.descriptions])
        parts, labels = np.concatenate([parts, looked.parts]), labels + tested.labels
    if len(parts) < len(labels):
        note("near-duplicates: of so many pictures those that were cropped are not looked for")
    groups = near_duplicates(descriptions, labels, parts if len(parts) == len(labels) else None).tolist()
    pictures = replace(pictures, groups=tuple(groups[: len(pictures)]))
    if careful:
        chosen, held = split(pictures.labels, validation, seed, pictures.groups)
    else:
        chosen, held = random_split(pictures.labels, validation, seed)
    alike = tuple(tuple(pictures.paths[i] for i in group) for group in groups_of(groups[: len(pictures)]))
    # The first of a group is its name, and the test pictures come last.
    leaks = [(place, name) for place, name in enumerate(groups[len(pictures) :]) if name < len(pictures)]
    in_test = tuple((tested.paths[place], pictures.paths[name]) for place, name in leaks) if tested else ()
    mean = mean_pixel(found, chosen)
    sets = Sets(pictures.subset(chosen), pictures.subset(held), tested, mean, tuple(unreadable), alike, in_test)
    _tell(sets, careful)
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


def _tell(sets: Sets, careful: bool) -> None:
    counts = [a + b for a, b in zip(sets.train.counts(), sets.validation.counts(), strict=True)]
    least, most = min(counts), max(counts)
    each = f"{least} to {most}" if least < most else str(most)
    tested = f", {len(sets.test)} to test" if sets.test else ""
    note(
        f"data: {len(counts)} classes of {each} pictures; "
        f"{len(sets.train)} pictures to train, {len(sets.validation)} to validate{tested}"
    )
    root = sets.train.root
    if sets.near_duplicates:
        kept = "each on one side of the split" if careful else "the split pays no heed to them"
        note(
            f"near-duplicates: {sum(map(len, sets.near_duplicates))} pictures in {len(sets.near_duplicates)} groups, "
            f"{kept}: {_examples([[name_of(source, root) for source in group] for group in sets.near_duplicates])}"
        )
    if sets.in_test and sets.test:
        pairs = [[name_of(one, sets.test.root), name_of(other, root)] for one, other in sets.in_test]
        note(
            f"near-duplicates: {len(pairs)} of {len(sets.test)} test pictures are much like one to train or validate "
            f"on, which flatters the test: {_examples(pairs)}"
        )


def _examples(groups: list[list[str]]) -> str:
    shown = "; ".join(
        " = ".join(map(printable, group[:3])) + (" = …" if len(group) > 3 else "") for group in groups[:EXAMPLES]
    )
    return shown + (f"; and {len(groups) - EXAMPLES} more" if len(groups) > EXAMPLES else "")
