"""Lists of labelled pictures: lines `path label`, CSV, and Stanford Online Products' lists."""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Iterator
from pathlib import Path

from caffe2torch.errors import DataError
from finetune.data.source import BoxSource, Source

Entry = tuple[Source, str]
EDGES = ("x0", "y0", "x1", "y1")
PRODUCTS = ["image_id", "class_id", "super_class_id", "path"]  # the first line of Ebay_train.txt
LONGEST = 10_000  # bytes of a line
COLUMNS = 100  # of a CSV: every row takes time for all


def read_list(path: Path) -> list[Entry]:
    """The pictures that a list names, with their labels, in its order; paths are relative to the list's folder.

    Three forms: ``.csv`` or a first line ``path,label`` with commas: columns path and label, and x0, y0, x1, y1 where
    a picture is a box of the file; Stanford Online Products' ``image_id class_id super_class_id path``: its label is
    the super-class by the name of its folder (bicycle_final/… is bicycle), else by number; otherwise lines
    ``path label``, the label what follows the last space or tab. Empty lines and lines that begin with # are passed
    over. That the files are there is seen when they are read. Raises DataError with line and reason.
    """
    try:
        with open(path, newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
            first = file.readline(LONGEST)
            file.seek(0)
            if path.suffix.lower() == ".csv" or "path" in first.lower().strip().split(",")[:-1]:
                entries = list(_csv(path, file))
            elif first.split() == PRODUCTS:
                entries = list(_products(path, file))
            else:
                entries = list(_lines(path, file))
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
    except csv.Error as error:
        raise DataError(f"{path}: damaged: {error}") from error
    if not entries:
        raise DataError(f"{path}: names no picture")
    return entries


def _csv(path: Path, file: Iterator[str]) -> Iterator[Entry]:
    rows = csv.DictReader(file)
    names = {str(name).strip().lower(): str(name) for name in rows.fieldnames or ()}
    if len(names) > COLUMNS:
        raise DataError(f"{path}: line 1 names {len(names)} columns; {COLUMNS} are allowed")
    if "label" not in names and "name" in names:  # as `onnx detect --classify` has it
        names["label"] = names["name"]
    if missing := [name for name in ("path", "label") if name not in names]:
        raise DataError(
            f"{path}: line 1 names no column {' and no column '.join(missing)}; a header such as path,label is wanted"
        )
    boxed = [name for name in EDGES if name in names]
    if boxed and len(boxed) < 4:
        raise DataError(f"{path}: line 1 names {', '.join(boxed)}; a box takes x0, y0, x1 and y1")
    for row in rows:
        line = rows.line_num
        name, label = row[names["path"]], row[names["label"]]
        if not name and not label:
            continue
        if not name or not label:
            raise DataError(f"{path}: line {line}: {'no label' if name else 'no path'}")
        file_path = _file(path, line, name.strip())
        given = [(row[names[edge]] or "").strip() for edge in boxed]
        yield (_box(path, line, file_path, given) if any(given) else file_path), label.strip()


def _box(path: Path, line: int, file: Path, given: list[str]) -> BoxSource:
    try:
        x0, y0, x1, y1 = (float(edge) for edge in given)
    except ValueError as error:
        raise DataError(f"{path}: line {line}: the box {', '.join(given)} is not four numbers") from error
    if not all(math.isfinite(edge) for edge in (x0, y0, x1, y1)) or x0 >= x1 or y0 >= y1:
        raise DataError(f"{path}: line {line}: the box {', '.join(given)} is empty; wanted is x0 < x1, y0 < y1")
    return BoxSource(file, (x0, y0, x1, y1))


def _products(path: Path, file: Iterator[str]) -> Iterator[Entry]:
    next(file)
    for line, text in enumerate(file, start=2):
        if not text.strip():
            continue
        fields = text.split(maxsplit=3)
        if len(fields) != 4:
            raise DataError(f"{path}: line {line}: {len(fields)} fields; image_id class_id super_class_id path wanted")
        name = fields[3].strip()
        folder = name.partition("/")[0]
        label = folder.removesuffix("_final") if folder.endswith("_final") else fields[2]
        yield _file(path, line, name), label


def _lines(path: Path, file: Iterator[str]) -> Iterator[Entry]:
    for line, whole in enumerate(file, start=1):
        text = whole.strip()
        if not text or text.startswith("#"):
            continue
        if "\0" in text or len(text) > LONGEST:
            raise DataError(f"{path}: line {line} is no text: not a list of pictures")
        fields = text.rsplit(maxsplit=1)
        if len(fields) != 2:
            raise DataError(f"{path}: line {line}: {text[:80]!r} has no label; wanted is `path label`")
        yield _file(path, line, fields[0]), fields[1]


def _file(path: Path, line: int, name: str) -> Path:
    if "\0" in name:
        raise DataError(f"{path}: line {line}: a path with a zero byte in it")
    return path.parent / os.path.normpath(name)
