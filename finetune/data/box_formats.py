"""Readers of the formats in which boxes are kept; each gives entries: a picture's path and the marks in it."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from xml.parsers import expat

from caffe2torch import whole_file
from caffe2torch.errors import DataError
from caffe2torch.pictures import picture_size
from finetune.data.found import csv_rows, json_content, note_unread, was_unread

LARGEST = 1e6  # no picture is larger, in pixels of a side
MOST_XML = 1 << 22  # bytes of one picture's annotation
MOST_TEXT = 1 << 24  # bytes of lines of boxes
MOST_JSON = 1 << 29  # COCO's own, with the outline of everything in 118,000 pictures, have 470 MB
NUMBER = r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?"
LINE = re.compile(rf"([^\s,;](?:.*?[^\s,;])?)[\s,;]+({NUMBER}(?:[\s,;]+{NUMBER}){{3}})(?:[\s,;]+(\S.*))?")
NAMES = ("file", "path", "file_name", "filename", "image")
MARKS = ("faces", "boxes", "objects", "bboxes", "annotations")
BOXES = ("box", "bbox")
EDGES = ("x0", "y0", "x1", "y1")
CLASSES = "classes.txt"


class Mark(NamedTuple):
    """One box: x0, y0, x1, y1 in pixels."""

    box: tuple[float, float, float, float]
    label: str = ""
    difficult: bool = False


class Entry(NamedTuple):
    """A picture, and some or all of its marks."""

    picture: Path
    marks: tuple[Mark, ...]


def read_json(path: Path) -> Iterator[Entry]:
    """COCO's ``images`` and ``annotations``; or pictures, each with its boxes x0, y0, x1, y1.

    Pictures are a list under ``images`` or a list by itself, of objects with the picture's name (NAMES) and its boxes
    (MARKS); or such objects as JSON lines; or a mapping from name to boxes. A box is a list of four numbers, or an
    object with it (BOXES), ``label`` and ``difficult``. What `onnx detect` writes as json, jsonl and coco is read.
    """
    try:
        content = json_content(whole_file.read(path, MOST_JSON))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not JSON, or damaged: {error}") from error
    if isinstance(content, dict) and isinstance(content.get("annotations"), list):
        note_unread(path, len(content["errors"]) if isinstance(content.get("errors"), list) else 0)
        yield from _coco(path, content)
        return
    if isinstance(content, dict) and not isinstance(content.get("images"), list):
        content = [{"file": name, "boxes": marks} for name, marks in content.items()]
    elif isinstance(content, dict):
        content = content["images"]
    if not isinstance(content, list):
        raise DataError(f"{path}: neither a list nor a mapping of pictures")
    note_unread(path, sum(was_unread(picture) for picture in content))
    for number, picture in enumerate(content):
        where = f"{path}: picture {number}"
        if not isinstance(picture, dict):
            raise DataError(f"{where}: not an object with a file and its boxes")
        if was_unread(picture):
            continue
        name, marks = _first(picture, NAMES), _first(picture, MARKS)
        if not isinstance(name, str) or not isinstance(marks, list):
            raise DataError(f"{where}: has no file name, or no list of boxes")
        where += f" ({name})"
        yield Entry(
            _picture(path, name, where), tuple(_mark(mark, f"{where}: box {i}") for i, mark in enumerate(marks))
        )


def read_lines(path: Path) -> Iterator[Entry]:
    """``file x0 y0 x1 y1 [label]`` a line, by blanks or commas; a file alone has no box; ``#`` begins a remark.

    Or CSV with a header: one of NAMES, x0, y0, x1, y1, label or name; as `onnx detect --format csv` writes it.
    """
    try:
        text = whole_file.read(path, MOST_TEXT).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not a text file of boxes ({error})") from error
    if (rows := csv_rows(text)) is not None:
        note_unread(path, sum(was_unread(row) for row in rows))
        for number, row in enumerate(rows, 1):
            where = f"{path}: row {number}"
            if was_unread(row):
                continue
            picture = _picture(path, str(_first(row, NAMES)), where)
            edges = [row[edge] or "" for edge in EDGES]
            label = row.get("label") or row.get("name") or ""
            yield Entry(picture, (Mark(_box(edges, where), label),) if any(edges) else ())
        return
    lines = text.splitlines()
    for number, line in enumerate((line.strip() for line in lines), 1):
        where = f"{path}: line {number}"
        if not line or line.startswith("#"):
            continue
        if match := LINE.fullmatch(line):
            name, corners, label = match.groups()
            box = _box(re.split(r"[\s,;]+", corners), where)
            yield Entry(_picture(path, name, where), (Mark(box, (label or "").strip()),))
        else:
            yield Entry(_picture(path, line, f"{where}: 'file x0 y0 x1 y1' is wanted"), ())


def read_voc(paths: Sequence[Path]) -> Iterator[Entry]:
    """VOC's XML, one file a picture; its corners count from 1 and include the last pixel."""
    for path in paths:
        root = _safe_xml(path)
        name = root.findtext("filename") or ""
        marks = []
        for number, thing in enumerate(root.iter("object")):
            where = f"{path}: object {number}"
            x0, y0, x1, y1 = (thing.findtext(f"bndbox/{edge}") for edge in ("xmin", "ymin", "xmax", "ymax"))
            left, top, right, bottom = (_number(value, where) for value in (x0, y0, x1, y1))
            difficult = (thing.findtext("difficult") or "0").strip() == "1"
            box = _box([left - 1, top - 1, right, bottom], where)
            marks.append(Mark(box, (thing.findtext("name") or "").strip(), difficult))
        yield Entry(_picture(path, name.strip(), str(path)), tuple(marks))


def read_yolo(folder: Path, pictures: Sequence[Path]) -> Iterator[Entry]:
    """YOLO's text beside each picture (or under labels/ for images/): class, middle and size as parts of the picture.

    Names of classes are the lines of classes.txt, where there is one, here or in labels/. A picture without a text file
    has no box.
    """
    listed = next((place for place in (folder, folder / "labels") if (place / CLASSES).is_file()), folder) / CLASSES
    classes = _text(listed).split("\n") if listed.is_file() else []
    for picture in pictures:
        text = picture.with_suffix(".txt")
        if not text.is_file() and picture.is_relative_to(folder / "images"):
            text = (folder / "labels" / picture.relative_to(folder / "images")).with_suffix(".txt")
        if not text.is_file():
            yield Entry(picture, ())
            continue
        width, height = picture_size(picture)
        marks = []
        for number, line in enumerate(_text(text).splitlines(), 1):
            where = f"{text}: line {number}"
            if not (parts := line.split()):
                continue
            if len(parts) not in (5, 6):
                raise DataError(f"{where}: {len(parts)} values; 'class x y width height' are wanted")
            x, y, across, down = (_number(part, where) for part in parts[1:5])
            if max(x, y, across, down) > 1.5:
                raise DataError(f"{where}: {line.strip()[:60]!r} are not parts of the picture, 0 to 1")
            edges = [(x - across / 2) * width, (y - down / 2) * height]
            edges += [(x + across / 2) * width, (y + down / 2) * height]
            marks.append(Mark(_box(edges, where), _class(parts[0], classes)))
        yield Entry(picture, tuple(marks))


def _text(path: Path) -> str:
    return whole_file.read(path, MOST_TEXT).decode("utf-8-sig", "replace")


def _class(said: str, classes: Sequence[str]) -> str:
    """The name of a class that is told by its number, where that is known."""
    number = int(said) if said.isdecimal() and len(said) < 10 else len(classes)
    return classes[number].strip() if number < len(classes) else said


def _coco(path: Path, content: dict[str, Any]) -> Iterator[Entry]:
    """``bbox`` is x, y, width, height; ``iscrowd`` marks what is not counted."""
    pictures: dict[Any, list[Mark]] = {}
    names: dict[Any, str] = {}
    listed = content.get("images")
    for number, picture in enumerate(listed if isinstance(listed, list) else []):
        if not isinstance(picture, dict) or not isinstance(picture.get("file_name"), str):
            raise DataError(f"{path}: images: entry {number} has no file_name")
        key = _key(picture.get("id"), f"{path}: images: entry {number}")
        pictures[key], names[key] = [], picture["file_name"]
    categories = {
        str(c.get("id")): str(c.get("name", "")) for c in content.get("categories", []) if isinstance(c, dict)
    }
    for number, annotation in enumerate(content["annotations"]):
        where = f"{path}: annotations: entry {number}"
        if not isinstance(annotation, dict):
            raise DataError(f"{where}: not an object")
        key = _key(annotation.get("image_id"), where)
        if key not in pictures:
            raise DataError(f"{where}: image_id {key!r} is no picture's")
        corner = annotation.get("bbox")
        if not isinstance(corner, list) or len(corner) != 4:
            raise DataError(f"{where}: bbox is not [x, y, width, height]")
        x, y, width, height = (_number(value, where) for value in corner)
        label = categories.get(str(annotation.get("category_id")), "")
        pictures[key].append(Mark(_box([x, y, x + width, y + height], where), label, bool(annotation.get("iscrowd"))))
    for key, marks in pictures.items():
        yield Entry(_picture(path, names[key], f"{path}: image {key!r}"), tuple(marks))


def _key(value: object, where: str) -> int | str:
    if not isinstance(value, (int, str)):
        raise DataError(f"{where}: has no id of a picture")
    return value


def _first(entry: dict[str, Any], keys: Sequence[str]) -> Any:
    return next((entry[key] for key in keys if key in entry), None)


def _mark(mark: object, where: str) -> Mark:
    if isinstance(mark, dict):
        label = mark.get("label", mark.get("name", ""))
        return Mark(_box(_first(mark, BOXES), where), str(label or ""), bool(mark.get("difficult")))
    return Mark(_box(mark, where))


def _box(values: object, where: str) -> tuple[float, float, float, float]:
    if not isinstance(values, list) or len(values) != 4:
        raise DataError(f"{where}: {values!r:.60} is not x0, y0, x1, y1")
    x0, y0, x1, y1 = (_number(value, where) for value in values)
    if x1 <= x0 or y1 <= y0:
        raise DataError(f"{where}: {x0:g} {y0:g} {x1:g} {y1:g} is empty: x0 < x1 and y0 < y1 are wanted")
    return x0, y0, x1, y1


def _number(value: object, where: str) -> float:
    try:
        number = float(value) if isinstance(value, (int, float, str)) and not isinstance(value, bool) else math.nan
    except (ValueError, OverflowError):
        number = math.nan
    if not abs(number) <= LARGEST:
        raise DataError(f"{where}: {value!r:.60} is no number of pixels")
    return number


def _picture(annotation: Path, name: str, where: str) -> Path:
    """Where the named picture lies: beside its annotation, in images, or in JPEGImages beside or above it; or, as
    `onnx detect` tells it, as seen from the working folder. DataError where that is another one than beside it."""
    folder = annotation.parent
    places = (folder, folder / "images", folder / "JPEGImages", folder.parent / "JPEGImages")
    try:
        for file in dict.fromkeys((name, name.replace("\\", "/"))):  # Windows writes paths so; elsewhere it is a letter
            here = [place / file for place in (*places, Path()) if file and (place / file).is_file()]
            if here and here[-1] == Path(file) and not here[-1].samefile(here[0]):
                raise DataError(
                    f"{where}: the picture {name!r:.200} may be {here[0]} or {here[-1]}; "
                    "move one of them, or name it by its whole path"
                )
            if here:
                return here[0]
    except (OSError, ValueError):  # a name too long, or with a zero byte
        pass
    raise DataError(
        f"{where}: the picture {name!r:.200} is not in {folder}, nor in images or JPEGImages there, nor in this folder"
    )


def _safe_xml(path: Path) -> ElementTree.Element:
    """The root of an XML file; one that declares a document type (and so could declare entities) is refused."""
    content = whole_file.read(path, MOST_XML)

    def refuse(*declaration: object) -> None:
        raise DataError(f"{path}: declares a DOCTYPE, which VOC's files do not; entities are not expanded here")

    checker = expat.ParserCreate()
    checker.StartDoctypeDeclHandler = refuse
    try:
        checker.Parse(content, True)
        return ElementTree.fromstring(content)
    except (expat.ExpatError, ElementTree.ParseError, ValueError, LookupError, RecursionError) as error:
        raise DataError(f"{path}: not XML, or damaged: {error}") from error
