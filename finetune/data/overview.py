"""What is in a data set: classes, counts, sizes, files that cannot be read, the same and nearly the same pictures."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from caffe2torch.errors import DataError
from caffe2torch.terminal import note
from finetune.data.descriptions import LENGTH, PARTS, describe, describe_parts
from finetune.data.duplicates import MOST, groups_of, near_duplicates
from finetune.data.folders import LabelledPictures
from finetune.data.labelled import read_labelled
from finetune.data.source import Source, digest, file_of, glance_at, name_of
from finetune.table import progress

SIDE = 64  # pixels at which pictures are described
AT_ONCE = 256  # pictures that are waited for


class Look(NamedTuple):
    """One picture: its size, what describe and digest say of it; or why it cannot be read."""

    width: int = 0
    height: int = 0
    description: np.ndarray | None = None
    parts: np.ndarray | None = None
    digest: bytes = b""
    reason: str | None = None


@dataclass(frozen=True)
class Overview:
    """What was found. Names are those of name_of; ``sizes`` is int (N, 2), width and height of what can be read."""

    data: Path
    pictures: LabelledPictures  # those that can be read
    remarks: tuple[str, ...]
    unreadable: tuple[tuple[str, str], ...]  # name, reason
    sizes: np.ndarray
    bytes: int
    same: tuple[tuple[str, ...], ...]  # of the same bytes
    conflicts: tuple[tuple[str, ...], ...]  # groups of the same bytes with different labels
    near: tuple[tuple[str, ...], ...]  # near-duplicates, the same bytes among them

    def rows(self) -> list[dict[str, Any]]:
        """A mapping a class: label, pictures, and their smallest, median and largest size as [width, height]."""
        labels, found = np.array(self.pictures.labels), []
        for index, name in enumerate(self.pictures.classes):
            found.append({"label": name, **_sizes(self.sizes[labels == index])})
        return found

    def to_json(self) -> dict[str, Any]:
        return {
            "data": str(self.data),
            "pictures": len(self.pictures),
            "bytes": self.bytes,
            "sizes": _sizes(self.sizes),
            "classes": self.rows(),
            "remarks": list(self.remarks),
            "unreadable": [{"name": name, "reason": reason} for name, reason in self.unreadable],
            "same": [list(group) for group in self.same],
            "conflicts": [list(group) for group in self.conflicts],
            "near_duplicates": [list(group) for group in self.near],
        }


def overview(data: Path, threads: int | None = None) -> Overview:
    """Look at every picture of ``data`` (read_labelled) once, in threads.

    About 1 kB is kept of a picture, of up to 20,000 pictures 4 kB. Raises DataError if there is no labelled picture.
    """
    pictures, remarks = read_labelled(data)
    readable: list[int] = []
    unreadable: list[tuple[str, str]] = []
    sizes: list[tuple[int, int]] = []
    digests: list[bytes] = []
    descriptions = np.empty((len(pictures), LENGTH), np.float16)
    cut = len(pictures) <= MOST
    if not cut:
        note("near-duplicates: of so many pictures those that were cropped are not looked for")
    parts = np.empty((len(pictures) if cut else 0, len(PARTS), LENGTH), np.float16)
    with progress(f"looking at {data}", len(pictures)) as advance:
        for index, look in enumerate(_looks(pictures.paths, threads)):
            if look.reason is not None:
                unreadable.append((name_of(pictures.paths[index], pictures.root), look.reason))
            else:
                descriptions[len(readable)] = look.description
                if cut:
                    parts[len(readable)] = look.parts
                readable.append(index)
                sizes.append((look.width, look.height))
                digests.append(look.digest)
            advance(1)
    total = _bytes({file_of(source) for source in pictures.paths})
    pictures = pictures.subset(readable)

    def named(groups: list[list[int]]) -> tuple[tuple[str, ...], ...]:
        return tuple(tuple(name_of(pictures.paths[i], pictures.root) for i in group) for group in groups)

    first: dict[bytes, int] = {}
    same = groups_of([first.setdefault(each, index) for index, each in enumerate(digests)])
    conflicts = [group for group in same if len({pictures.labels[i] for i in group}) > 1]
    count = len(readable)
    found = (
        near_duplicates(descriptions[:count], pictures.labels, parts[:count] if cut else None).tolist() if count else []
    )
    near = groups_of(found)
    kept = np.array(sizes, np.int64).reshape(-1, 2)
    return Overview(
        data, pictures, tuple(remarks), tuple(unreadable), kept, total, named(same), named(conflicts), named(near)
    )


def _looks(sources: Sequence[Source], threads: int | None) -> Iterator[Look]:
    """Of each source, in order; a few hundred at once, so that not all results wait in memory."""
    with ThreadPoolExecutor(threads or os.cpu_count() or 1, "look") as pool:
        left = iter(sources)
        while some := list(itertools.islice(left, AT_ONCE)):
            yield from pool.map(_look, some)


def _look(source: Source) -> Look:
    try:
        (width, height), small = glance_at(source, SIDE)
        return Look(width, height, describe(small[None])[0], describe_parts(small[None])[0], digest(source))
    except DataError as error:
        return Look(reason=str(error).removeprefix(f"{file_of(source)}: "))


def _sizes(sizes: np.ndarray) -> dict[str, Any]:
    if not len(sizes):
        return {"pictures": 0, "smallest": None, "median": None, "largest": None}
    order = np.argsort(sizes[:, 0] * sizes[:, 1], kind="stable")
    smallest, largest = sizes[order[0]].tolist(), sizes[order[-1]].tolist()
    median = np.median(sizes, axis=0).round().astype(int).tolist()
    return {"pictures": len(sizes), "smallest": smallest, "median": median, "largest": largest}


def _bytes(files: set[Path]) -> int:
    total = 0
    for file in files:
        try:
            total += file.stat().st_size
        except OSError:  # told among the unreadable
            continue
    return total
