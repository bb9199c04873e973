"""What `onnx detect` writes, told from other files of boxes: JSON lines, CSV, pictures that could not be read."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

from caffe2torch.terminal import note

NAMED = {"file", "path", "file_name", "filename", "image"}  # columns with the name of a picture
CORNERS = {"x0", "y0", "x1", "y1"}
COLUMNS = 100  # of a CSV: every row takes room for all


def looks_like_json(path: Path) -> bool:
    """Whether a file, whatever it is called, begins as JSON does. Of one that cannot be opened its reader says why."""
    try:
        with open(path, "rb") as file:
            return file.read(64).lstrip(b"\xef\xbb\xbf \t\r\n")[:1] in (b"{", b"[")
    except OSError:
        return False


def json_content(text: bytes) -> Any:
    """JSON in one piece, or JSON lines, which become a list. Raises ValueError or RecursionError for anything else."""
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        if not error.msg.startswith("Extra data"):
            raise
        return [json.loads(line) for line in text.splitlines() if line.strip()]
    alone = isinstance(content, dict) and any(isinstance(content.get(name), str) for name in NAMED)
    return [content] if alone else content  # lines of which there is but one


def csv_rows(text: str) -> list[dict[str, str | None]] | None:
    """The rows of CSV whose header names a picture and corners; None for another text."""
    reader = csv.DictReader(io.StringIO(text, newline=""))
    try:
        columns = set(reader.fieldnames or ())
        return list(reader) if len(columns) < COLUMNS and columns >= CORNERS and columns & NAMED else None
    except csv.Error:  # a zero byte, or a field too long
        return None


def was_unread(entry: object) -> bool:
    """Whether that is told of a picture that could not be read."""
    return isinstance(entry, dict) and isinstance(entry.get("error"), str) and bool(entry["error"])


def note_unread(path: Path, count: int) -> None:
    """Say that so many are left out."""
    if count:
        note(f"{path}: {count} of the pictures in it could not be read when it was written: they are left out")
