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
    """One file; no two have the same place, nor the same stem."""

    path: Path
    place: PurePath  # below the folder that was named
    stem: PurePath  # the same without its suffix
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
            sources.append(_source(path, error=str(error).removeprefix(f"{path}: ")))
    if all(source.error for source in sources):
        raise DataError("; ".join(f"{source.path}: {source.error}" for source in sources))
    return _told_apart(sources)


def _below(path: Path, spared: list[Path]) -> list[Source]:
    if path.is_dir():
        files = [file for file in _found(path) if not _spared(file, spared)]
        if not files:
            return [_source(path, error="no pictures or videos in this folder")]
        return [_source(file, file.relative_to(path)) for file in files]
    if os.path.lexists(path) or not glob.has_magic(str(path)):
        return [_source(path)]
    matches = sorted(glob.glob(str(path), recursive=True))
    files = [Path(match) for match in matches if not os.path.isdir(match)]
    files = [file for file in files if not _spared(file, spared)]
    if not files:
        return [_source(path, error="nothing has such a name")]
    root = Path(os.path.commonpath([file.parent for file in files]))
    return [_source(file, file.relative_to(root)) for file in files]


def _source(path: Path, place: PurePath | None = None, error: str | None = None) -> Source:
    place = PurePath(path.name) if place is None else place
    return Source(path, place, place.with_suffix("") if place.name else place, error)


def _found(folder: Path) -> list[Path]:
    """The pictures and videos below a folder; find_pictures' rules hold for both."""
    return find_pictures(folder, PICTURE_SUFFIXES | VIDEO_SUFFIXES)


def _spared(file: Path, spared: list[Path]) -> bool:
    return bool(spared) and any(folder in Path(os.path.realpath(file)).parents for folder in spared)


def _told_apart(sources: list[Source]) -> list[Source]:
    """A place or stem that several files would have gets a number from the second on: x.png, x.png -> x, x-2."""
    places: set[str] = set()
    stems: set[str] = set()
    return [
        Source(
            source.path, _free(source.place, source.place.suffix, places), _free(source.stem, "", stems), source.error
        )
        for source in sources
    ]


def _free(wanted: PurePath, suffix: str, taken: set[str]) -> PurePath:
    free, number = wanted, 2
    while str(free).lower() in taken:  # some file systems take A and a for the same
        free = wanted.with_name(f"{wanted.name.removesuffix(suffix)}-{number}{suffix}")
        number += 1
    taken.add(str(free).lower())
    return free
