"""What is looked at: files, folders, globs; each with the name that what is made of it gets."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from caffe2torch.errors import DataError
from caffe2torch.pictures import PICTURE_SUFFIXES, find_pictures

VIDEO_SUFFIXES = frozenset({".mp4", ".m4v", ".mkv", ".webm", ".avi", ".mov", ".mpg", ".mpeg", ".wmv", ".flv", ".ogv"})


@dataclass(frozen=True)
class Source:
    """One file. ``place`` is its path below the folder that was named; no two sources have the same place."""

    path: Path
    place: PurePath
    error: str | None = None  # why there is nothing to look at

    @property
    def is_video(self) -> bool:
        """Known by the suffix."""
        return self.path.suffix.lower() in VIDEO_SUFFIXES


def list_sources(paths: Sequence[Path], spared: Iterable[Path] = ()) -> list[Source]:
    """The files to look at, in the order of ``paths``: files as they are, pictures and videos below folders, globs.

    A path that is not there and has ``*``, ``?`` or ``[`` is a glob (``**``: any folders). What lies in the folders
    ``spared`` (where pictures with boxes go) is not looked at. A folder or glob with nothing in it is a Source with
    that ``error``. Raises DataError if there is nothing but those.
    """
    spared = [Path(os.path.realpath(folder)) for folder in spared]
    sources: list[Source] = []
    for path in paths:
        try:
            sources += _below(path, spared)
        except DataError as error:
            sources.append(Source(path, PurePath(path.name), str(error).removeprefix(f"{path}: ")))
    if all(source.error for source in sources):
        raise DataError("; ".join(f"{source.path}: {source.error}" for source in sources))
    return _told_apart(sources)


def _below(path: Path, spared: list[Path]) -> list[Source]:
    if path.is_dir():
        files = [file for file in _found(path) if not _spared(file, spared)]
        if not files:
            return [Source(path, PurePath(path.name), "no pictures or videos in this folder")]
        return [Source(file, file.relative_to(path)) for file in files]
    if os.path.lexists(path) or not glob.has_magic(str(path)):
        return [Source(path, PurePath(path.name))]
    matches = sorted(glob.glob(str(path), recursive=True))
    files = [Path(match) for match in matches if not os.path.isdir(match)]
    files = [file for file in files if not _spared(file, spared)]
    if not files:
        return [Source(path, PurePath(path.name), "nothing has such a name")]
    root = Path(os.path.commonpath([file.parent for file in files]))
    return [Source(file, file.relative_to(root)) for file in files]


def _found(folder: Path) -> list[Path]:
    """The pictures and videos below a folder; find_pictures' rules hold for both."""
    return find_pictures(folder, PICTURE_SUFFIXES | VIDEO_SUFFIXES)


def _spared(file: Path, spared: list[Path]) -> bool:
    return bool(spared) and any(folder in Path(os.path.realpath(file)).parents for folder in spared)


def _told_apart(sources: list[Source]) -> list[Source]:
    """A place that several files would have gets a number from the second on: a/x.png, b/x.png -> x.png, x-2.png."""
    taken: set[str] = set()
    apart = []
    for source in sources:
        place, number = source.place, 2
        while str(place).lower() in taken:  # some file systems take A and a for the same
            place = source.place.with_name(f"{source.place.stem}-{number}{source.place.suffix}")
            number += 1
        taken.add(str(place).lower())
        apart.append(Source(source.path, place, source.error))
    return apart
