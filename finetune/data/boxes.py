"""Pictures with boxes, as people keep them: bbox JSON, COCO, VOC, YOLO, or lines of file and corners."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from caffe2torch.errors import DataError, FileError
from caffe2torch.pictures import find_pictures
from caffe2torch.terminal import note
from finetune.data.box_formats import Entry, read_json, read_lines, read_voc, read_yolo
from finetune.data.found import looks_like_json

NOT_BOXES = {"classes.txt", "readme.txt", "license.txt", "requirements.txt"}
FORMATS = (
    "boxes.json, COCO's JSON, CSV, VOC's XML files, YOLO's text files (beside the pictures, or in labels beside "
    "images), or a text file of lines 'file x0 y0 x1 y1'"
)


@dataclass(frozen=True, eq=False)
class BoxedPicture:
    """A picture and what is marked in it.

    ``boxes`` is float32 [K, 4]: x0, y0, x1, y1 in pixels of the upright picture, x0 < x1, y0 < y1 (they may leave the
    picture); ``labels`` has a name a box ("" where the file gives none); ``difficult``, bool [K], marks boxes that
    count neither as found nor as missed (VOC's difficult, COCO's iscrowd).
    """

    path: Path
    boxes: np.ndarray
    labels: tuple[str, ...]
    difficult: np.ndarray


def read_boxes(path: Path) -> list[BoxedPicture]:
    """All pictures of a set with their boxes, sorted by path; a picture without a box has K = 0.

    ``path`` is a file: bbox JSON (a list or mapping of pictures, or JSON lines; see box_formats.read_json), COCO JSON,
    one VOC XML, CSV with the columns path, x0, y0, x1, y1, or lines ``file x0 y0 x1 y1 [label]``; or a folder: with
    ``boxes.json``, one JSON or one CSV file, with VOC's XML files (here or in Annotations), with YOLO's text files
    beside the pictures or in ``labels`` beside ``images``, or with one text file of lines. Pictures are looked for
    beside the file, then in ``images`` and ``JPEGImages``, then in the working folder: what `onnx detect` writes of
    pictures is read (as CSV only where their names are UTF-8). What it could not read is left out, which is noted.

    Raises DataError, with file, entry and reason, for what is none of these, is damaged, has a box that is none, or
    names a picture that is not there, or may be two.
    """
    path = Path(path)
    if not path.exists():
        raise DataError(f"{path}: no such file or folder")
    if not path.is_dir() and not path.is_file():
        raise DataError(f"{path}: not a regular file")
    try:
        entries = list(_from_folder(path) if path.is_dir() else _from_file(path))
    except OSError as error:
        raise DataError(f"{error.filename or path}: cannot be read: {error.strerror or error}") from error
    except FileError as error:
        raise DataError(str(error)) from error
    except RecursionError as error:
        raise DataError(f"{path}: damaged: nested too deeply") from error
    if not entries:
        raise DataError(f"{path}: names no picture")
    return _gathered(entries)


def only(pictures: Sequence[BoxedPicture], labels: Sequence[str] = ()) -> list[BoxedPicture]:
    """The pictures with those of their boxes that have one of ``labels``; with all where there are none.

    In that case, where boxes have several labels, what these are is noted. Raises DataError for a label of no box.
    """
    counts = Counter(label for picture in pictures for label in picture.labels)
    said = ", ".join(f"{label or '(none)'} {count}" for label, count in counts.most_common(20))
    said += f" and {len(counts) - 20} more" if len(counts) > 20 else ""
    if not labels:
        if len(counts) > 1:
            note(
                f"the boxes have {len(counts)} labels ({said}), and all count as faces; --label NAME takes those of it"
            )
        return list(pictures)
    for label in labels:
        if label not in counts:
            raise DataError(f"no box has the label {label!r}; their labels: {said or 'none'}")
    return [_only_of(picture, np.array([label in labels for label in picture.labels], bool)) for picture in pictures]


def _only_of(picture: BoxedPicture, kept: np.ndarray) -> BoxedPicture:
    labels = tuple(label for label, has in zip(picture.labels, kept, strict=True) if has)
    return BoxedPicture(picture.path, picture.boxes[kept], labels, picture.difficult[kept])


def _from_file(path: Path) -> Iterable[Entry]:
    if path.suffix.lower() == ".json" or looks_like_json(path):
        return read_json(path)
    return read_voc([path]) if path.suffix.lower() == ".xml" else read_lines(path)


def _from_folder(folder: Path) -> Iterable[Entry]:
    """The one annotation that the folder holds."""
    if (folder / "boxes.json").is_file():
        return read_json(folder / "boxes.json")
    if found := _files(folder, ".json") or _files(folder, ".jsonl"):
        return read_json(_only(folder, found))
    if found := _files(folder, ".xml") or _files(folder / "Annotations", ".xml"):
        return read_voc(found)
    texts = [path for path in _files(folder, ".txt") if path.name.lower() not in NOT_BOXES]
    pictures = find_pictures(folder)
    stems = {path.stem for path in pictures if path.parent == folder}
    if (folder / "labels").is_dir() or (texts and all(text.stem in stems for text in texts)):
        return read_yolo(folder, pictures)
    if texts and not pictures and (folder / "classes.txt").is_file():
        raise DataError(
            f"{folder}: YOLO's labels without pictures; they are read beside them, or in a folder labels beside images"
        )
    if texts := texts or _files(folder, ".csv"):
        return read_lines(_only(folder, texts))
    raise DataError(f"{folder}: no boxes found: {FORMATS} are wanted")


def _files(folder: Path, suffix: str) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.suffix.lower() == suffix and path.name[0] != ".")


def _only(folder: Path, found: list[Path]) -> Path:
    if len(found) > 1:
        names = ", ".join(path.name for path in found[:10])
        raise DataError(f"{folder}: {len(found)} files could hold the boxes ({names}): give one of them")
    return found[0]


def _gathered(entries: list[Entry]) -> list[BoxedPicture]:
    """Entries of one picture together, by its path."""
    by_path: dict[Path, list[Entry]] = {}
    for entry in entries:
        by_path.setdefault(entry.picture, []).append(entry)
    pictures = []
    for path, several in sorted(by_path.items()):
        marks = [mark for entry in several for mark in entry.marks]
        boxes = np.array([mark.box for mark in marks], np.float32).reshape(-1, 4)
        difficult = np.array([mark.difficult for mark in marks], bool)
        pictures.append(BoxedPicture(path, boxes, tuple(mark.label for mark in marks), difficult))
    return pictures
