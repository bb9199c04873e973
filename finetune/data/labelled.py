"""A labelled data set in any of the forms people keep them: a folder per class, lists, CSV, idx files, boxes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from caffe2torch.errors import DataError
from caffe2torch.pictures import find_pictures
from finetune.data.boxes import read_boxes
from finetune.data.folders import LabelledPictures, named, read_folders
from finetune.data.found import looks_like_json
from finetune.data.idx import OnDisk, is_idx, read_idx
from finetune.data.lists import read_list
from finetune.data.source import BoxSource, IdxSource, Source

Entry = tuple[Source, str]
FORMS = (
    "a folder per class; a list of lines 'path label'; a .csv file with the columns path and label; Stanford Online "
    "Products' list; MNIST's idx files; boxes with labels as JSON, COCO, VOC or YOLO"
)


def read_labelled(data: Path, classes: Sequence[str] | None = None) -> tuple[LabelledPictures, list[str]]:
    """The pictures of ``data`` with their classes, and remarks on what was left out, one line each.

    ``data`` is a folder with a folder per class (read_folders); a list or CSV file (read_list); an idx file of
    pictures beside its file of labels, or a folder with one such pair; or pictures with labelled boxes (read_boxes),
    of which every box is a picture of its label. Classes are sorted, numbers by value; or are ``classes`` in that
    order (of a trained run): any other class is then an error. Raises DataError with file, entry and reason.
    """
    data = Path(data)
    if data.is_dir():
        if pair := _idx_pair(data):
            return _gather(data, _read_idx_pair(*pair), classes, [])
        if _holds_boxes(data):
            return _gather(data, *_boxed(data, classes))
        return read_folders(data, classes)
    if not data.exists():
        raise DataError(f"{data}: no such file or folder; wanted is {FORMS}")
    if not data.is_file():
        raise DataError(f"{data}: not a regular file")
    if is_idx(data):
        return _gather(data.parent, _read_idx_pair(data, _labels_beside(data)), classes, [])
    if data.suffix.lower() in (".json", ".xml") or looks_like_json(data):
        return _gather(data.parent, *_boxed(data, classes))
    return _gather(data.parent, read_list(data), classes, [])


def _gather(
    root: Path, entries: Sequence[Entry], classes: Sequence[str] | None, remarks: list[str]
) -> tuple[LabelledPictures, list[str]]:
    found = {label for _, label in entries}
    if not found:
        raise DataError(f"{root}: holds no labelled picture")
    names = tuple(sorted(found, key=_order)) if classes is None else tuple(classes)
    place = {name: index for index, name in enumerate(names)}
    if unknown := sorted(found - set(names), key=_order):
        raise DataError(f"{root}: {named(unknown)}: not among the {len(names)} classes that were trained")
    if missing := [name for name in names if name not in found]:
        remarks.append(f"{root}: no picture of {len(missing)} of {len(names)} classes: {named(missing)}")
    labels = tuple(place[label] for _, label in entries)
    return LabelledPictures(root, names, tuple(source for source, _ in entries), labels), remarks


def _order(name: str) -> tuple[int, int, str]:
    """Whole numbers first, by value."""
    return (0, int(name), name) if name.isascii() and name.isdigit() and len(name) < 19 else (1, 0, name)


def _boxed(data: Path, classes: Sequence[str] | None) -> tuple[list[Entry], Sequence[str] | None, list[str]]:
    entries: list[Entry] = []
    difficult = nameless = 0
    for picture in read_boxes(data):
        for box, label, hard in zip(picture.boxes.tolist(), picture.labels, picture.difficult, strict=True):
            if hard:
                difficult += 1
            elif not label:
                nameless += 1
            else:
                entries.append((BoxSource(picture.path, (box[0], box[1], box[2], box[3])), label))
    if not entries:
        raise DataError(f"{data}: none of its {difficult + nameless} boxes has a label to be learnt")
    counts = {"that are marked as difficult": difficult, "without a label": nameless}
    return entries, classes, [f"{data}: {count} boxes {what} left out" for what, count in counts.items() if count]


def _holds_boxes(folder: Path) -> bool:
    """Whether a folder is a data set of boxes rather than of a folder per class."""
    if (folder / "boxes.json").is_file() or (folder / "Annotations").is_dir():
        return True
    files = [path for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")]
    if any(path.suffix.lower() == ".xml" for path in files):
        return True
    if sum(path.suffix.lower() == ".json" for path in files) == 1 and not _has_class_folders(folder):
        return True
    if (folder / "labels").is_dir() and (folder / "images").is_dir():
        return any((folder / "labels").rglob("*.txt"))
    pictures = {path.stem for path in find_pictures(folder) if path.parent == folder}
    texts = [path for path in files if path.suffix.lower() == ".txt"]
    return bool(pictures) and any(path.stem in pictures for path in texts)


def _has_class_folders(folder: Path) -> bool:
    return any(entry.is_dir() and entry.name not in ("images", "JPEGImages") for entry in folder.iterdir())


def _idx_pair(folder: Path) -> tuple[Path, Path] | None:
    """The idx files of pictures and of labels in a folder; None if it has no idx files."""
    found = sorted(path for path in folder.iterdir() if path.is_file() and _named_idx(path) and is_idx(path))
    pictures = [path for path in found if len(read_idx(path).shape) > 1]
    if not pictures:
        return None
    if len(pictures) > 1:
        raise DataError(
            f"{folder}: {len(pictures)} idx files of pictures ({named(p.name for p in pictures)}): name one"
        )
    return pictures[0], _labels_beside(pictures[0])


def _named_idx(path: Path) -> bool:
    return "idx" in path.name or "ubyte" in path.name


def _labels_beside(pictures: Path) -> Path:
    """train-images-idx3-ubyte -> train-labels-idx1-ubyte, as MNIST names them; with .gz or without."""
    if "images" not in pictures.name:
        raise DataError(f"{pictures}: an idx file whose name does not say 'images': its file of labels is not known")
    name = pictures.name.replace("images", "labels").replace("idx3", "idx1").replace("idx4", "idx1")
    for other in (name, name.removesuffix(".gz"), name + ".gz"):
        if (pictures.parent / other).is_file():
            return pictures.parent / other
    raise DataError(f"{pictures}: there is no {name} beside it, with the labels")


def _read_idx_pair(pictures: Path, labels: Path) -> list[Entry]:
    found, count = read_idx(labels), len(read_idx(pictures))
    values = found.whole() if isinstance(found, OnDisk) else found
    if values.ndim != 1 or len(values) != count:
        raise DataError(f"{labels}: labels {values.shape} for {count} pictures in {pictures.name}")
    return [(IdxSource(pictures, place), str(label)) for place, label in enumerate(values.tolist())]
