"""Where what is made of each file goes; before any work it is seen that nothing takes the place of anything else."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path, PurePath

from caffe2torch.errors import OutputError
from finetune.detection.results import Seen
from finetune.detection.sources import Source

CLASSES = "classes.txt"  # beside YOLO's labels: the names of classes, one a line
OF_FRAME = re.compile(r"(.+)-\d{6,}")  # what a video's frame is called
OF_FACE = re.compile(r"(.+?)(-\d{6,})?-\d+\.png")  # what a face is called, of a picture or of a frame


def shown_place(folder: Path, source: Source) -> Path:
    """The picture or video with boxes."""
    return folder / source.shown


def face_places(folder: Path, source: Source, seen: Seen) -> list[Path]:
    """A PNG file a face: FOLDER/picture-1.png, …; with names FOLDER/NAME/picture-1.png: a folder per class."""
    places = []
    for number, face in enumerate(seen.faces, 1):
        below = source.stem.parent if face.name is None else PurePath(as_file_name(face.name)) / source.stem.parent
        places.append(folder / below / f"{_moment(source, seen)}-{number}.png")
    return places


def label_place(folder: Path, source: Source, seen: Seen) -> Path:
    """YOLO's text file of a picture: FOLDER/picture.txt."""
    return folder / source.stem.with_name(f"{_moment(source, seen)}.txt")


def _moment(source: Source, seen: Seen) -> str:
    """What a picture, or a frame of a video, is called."""
    return source.stem.name if seen.frame is None else f"{source.stem.name}-{seen.frame:06}"


def as_file_name(name: str) -> str:
    """A class's name as the name of a folder, on any system: what no file name may have becomes ``_``."""
    kept = "".join("_" if c in '/\\:*?"<>|' or not c.isprintable() else c for c in name).strip(" ")
    return kept if kept.strip(".") else f"_{kept}"


def check_places(
    sources: Sequence[Source], shown: Path | None, faces: Path | None, labels: Path | None, names: Sequence[str] = ()
) -> None:
    """Look before any work whether all that is made of ``sources`` has a place of its own.

    ``shown``, ``faces``, ``labels``: the folders of pictures with boxes, faces cut out and YOLO's labels; ``names``:
    those that faces may get. Raises OutputError that names two files of which one would be lost.
    """
    there = [source for source in sources if source.error is None]
    for folder in (shown, faces, labels):
        if folder is not None and os.path.lexists(folder) and not folder.is_dir():
            raise OutputError(f"{folder}: is a file; the name of a folder is wanted, for a file of each picture")
    if faces is not None or labels is not None:
        _frames_apart(there)
    if shown is not None:
        _shown_apart(there, shown, faces)
    if faces is not None:
        _faces_apart(there, faces, names)
    if labels is not None:
        _labels_apart(sources, labels)


def _frames_apart(sources: Sequence[Source]) -> None:
    films = {_key(source.stem): source for source in sources if source.is_video}
    for source in sources if films else ():
        film = next((films[_key(base)] for base in _bases(source.stem, OF_FRAME) if _key(base) in films), None)
        if film is not None:
            raise OutputError(
                f"{source.path}: is called as a frame of {film.path}, and what is made of it would be; rename one, or "
                "look at them one after the other"
            )


def _shown_apart(sources: Sequence[Source], folder: Path, faces: Path | None) -> None:
    read = {_identity(source.path) for source in sources}
    stems = {_key(source.stem): source for source in sources} if _same_folder(folder, faces) else {}
    for source in sources:
        target = shown_place(folder, source)
        if target.exists() and _identity(target) in read:
            raise OutputError(f"{target}: is what is read; --overlay names another folder")
        other = next((stems[_key(base)] for base in _bases(source.shown, OF_FACE) if _key(base) in stems), None)
        if other is not None:
            raise OutputError(
                f"{target}: would be {source.path} with boxes, and could be a face out of {other.path}; "
                "--overlay and --crops name two folders"
            )


def _faces_apart(sources: Sequence[Source], folder: Path, names: Sequence[str]) -> None:
    """No face takes the place of a picture that is looked at."""
    stems = {source.stem for source in sources}
    below = {PurePath(as_file_name(name)) for name in names} or {PurePath()}
    top = Path(os.path.realpath(folder))
    inside: dict[Path, PurePath | None] = {}  # a folder that is read from -> where it lies below ``folder``
    for source in sources:
        parent = source.path.parent
        if parent not in inside:
            real = Path(os.path.realpath(parent))
            inside[parent] = real.relative_to(top) if real.is_relative_to(top) else None
        if (where := inside[parent]) is None:
            continue
        place = where / source.path.name
        for named in below:
            if place.is_relative_to(named) and not stems.isdisjoint(_bases(place.relative_to(named), OF_FACE)):
                raise OutputError(f"{source.path}: is what is read, and called as a face; --crops names another folder")


def _labels_apart(sources: Sequence[Source], folder: Path) -> None:
    """Labels are found by the picture's name alone: a number behind it would part them."""
    first = {_key(source.stem): source for source in sources}
    for source in sources:
        if source.error is not None:
            continue
        if _key(source.stem) == CLASSES.removesuffix(".txt") and not source.is_video:
            raise OutputError(
                f"{source.path}: its labels would take the place of {folder / CLASSES}, the names of the classes; "
                "rename the picture"
            )
        own = source.stem.with_name(source.path.stem)
        if source.stem != own:
            other = first[_key(own)]
            raise OutputError(
                f"{source.path}: its labels would take the place of those of {other.path}: YOLO's are called as the "
                "picture, without its suffix and folder; rename one, or give a folder that both lie below"
            )


def _bases(place: PurePath, form: re.Pattern[str]) -> set[PurePath]:
    """What a name of that form was made of: the whole name in front, and where it may be a frame's, that with it."""
    match = form.fullmatch(place.name)
    if match is None:
        return set()
    names = {match[1]} | ({match[1] + match[2]} if form is OF_FACE and match[2] else set())
    return {place.with_name(name) for name in names}


def _key(place: PurePath) -> str:
    return str(place).lower()  # some file systems take A and a for the same


def _identity(path: Path) -> tuple[int, int] | str:
    """The same for one file by any of its names."""
    try:
        status = os.stat(path)
    except OSError:
        return str(path)
    return status.st_dev, status.st_ino


def _same_folder(folder: Path, other: Path | None) -> bool:
    return other is not None and os.path.realpath(folder) == os.path.realpath(other)
