"""What is looked at: files, folders, globs; each with the name that what is made of it gets."""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from caffe2torch.errors import DataError, OutputError
from caffe2torch.pictures import PICTURE_SUFFIXES, find_pictures
from caffe2torch.terminal import note

VIDEO_SUFFIXES = frozenset({".mp4", ".m4v", ".mkv", ".webm", ".avi", ".mov", ".mpg", ".mpeg", ".wmv", ".flv", ".ogv"})
KEPT_SUFFIXES = (".jpg", ".jpeg", ".png")  # of pictures with boxes


@dataclass(frozen=True)
class Source:
    """One file; no two have the same ``shown``, nor the same stem."""

    path: Path
    shown: PurePath  # what the picture or video with boxes is called, below the folder that was named
    stem: PurePath  # the file below the folder that was named, without its suffix: faces and labels are called by it
    error: str | None = None  # why there is nothing to look at

    @property
    def is_video(self) -> bool:
        """Known by the suffix."""
        return is_video(self.path)


def is_video(path: PurePath) -> bool:
    """Known by the suffix."""
    return path.suffix.lower() in VIDEO_SUFFIXES


def list_sources(paths: Sequence[Path], spared: Sequence[Path] = ()) -> list[Source]:
    """The files to look at, in the order of ``paths``: files as they are, pictures and videos below folders, globs.

    A path that is not there and has ``*``, ``?`` or ``[`` is a glob (``**``: any folders). What lies in the folders
    ``spared`` (where pictures are to be written) below one of ``paths`` is not looked at, and that is noted. A folder
    or glob with nothing in it is a Source with that ``error``. Raises DataError if there is nothing but those,
    OutputError if a folder that is looked at is one of ``spared``.
    """
    sources: list[Source] = []
    left_out: set[Path] = set()
    for path in paths:
        try:
            sources += _below(path, spared, left_out)
        except DataError as error:
            sources.append(_source(path, error=str(error).removeprefix(f"{path}: ")))
    for folder in spared:
        if folder in left_out:
            note(f"{folder}: the pictures in it are not looked at; those with boxes, or faces, are written there")
    if all(source.error for source in sources):
        raise DataError("; ".join(f"{source.path}: {source.error}" for source in sources))
    return _told_apart(sources)


def _below(path: Path, spared: Sequence[Path], left_out: set[Path]) -> list[Source]:
    if path.is_dir():
        files = _without(_found(path), path, spared, left_out)
        if not files:
            return [_source(path, error="no pictures or videos in this folder")]
        return [_source(file, file.relative_to(path)) for file in files]
    if os.path.lexists(path) or not glob.has_magic(str(path)):
        return [_source(path)]
    matches = [Path(match) for match in sorted(glob.glob(str(path), recursive=True)) if not os.path.isdir(match)]
    files = _without(matches, next(p for p in path.parents if not glob.has_magic(str(p))), spared, left_out)
    if not files:
        return [_source(path, error="nothing has such a name")]
    root = Path(os.path.commonpath([file.parent for file in files]))
    return [_source(file, file.relative_to(root)) for file in files]


def _source(path: Path, place: PurePath | None = None, error: str | None = None) -> Source:
    place = PurePath(path.name) if place is None else place
    return Source(path, shown_name(place), place.with_suffix("") if place.name else place, error)


def shown_name(place: PurePath) -> PurePath:
    """As the picture, with .png added to what is neither JPEG nor PNG; videos become MP4 files."""
    if is_video(place):
        return place.with_suffix(".mp4")
    return place.with_name(f"{place.name}.png") if place.name and place.suffix.lower() not in KEPT_SUFFIXES else place


def _found(folder: Path) -> list[Path]:
    """The pictures and videos below a folder; find_pictures' rules hold for both."""
    return find_pictures(folder, PICTURE_SUFFIXES | VIDEO_SUFFIXES)


def _without(files: list[Path], root: Path, spared: Sequence[Path], left_out: set[Path]) -> list[Path]:
    """The files that lie in none of the folders ``spared`` below ``root``; those with files go into ``left_out``."""
    real = Path(os.path.realpath(root))
    kept = files
    for folder in spared:
        place = Path(os.path.realpath(folder))
        if place == real:
            raise OutputError(f"{folder}: is what is looked at; name another folder to write pictures to")
        if real in place.parents:
            outside = [file for file in kept if place not in Path(os.path.realpath(file)).parents]
            left_out |= {folder} if len(outside) < len(kept) else set()
            kept = outside
    return kept


def _told_apart(sources: list[Source]) -> list[Source]:
    """A name that several files would have gets a number from the second on: x.png, x.png -> x, x-2."""
    shown: set[str] = set()
    stems: set[str] = set()
    return [Source(s.path, _free(s.shown, s.shown.suffix, shown), _free(s.stem, "", stems), s.error) for s in sources]


def _free(wanted: PurePath, suffix: str, taken: set[str]) -> PurePath:
    free, number = wanted, 2
    while str(free).lower() in taken:  # some file systems take A and a for the same
        free = wanted.with_name(f"{wanted.name.removesuffix(suffix)}-{number}{suffix}")
        number += 1
    taken.add(str(free).lower())
    return free
