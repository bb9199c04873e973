"""What was seen as text: what `onnx detect` prints. Each function gives its text in pieces, as the work goes on."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from finetune.detection.results import Face, Seen
from finetune.formats import printable

COLUMNS = (
    "path", "frame", "time", "width", "height", "x0", "y0", "x1", "y1", "score", "name", "name_score", "error"
)  # fmt: skip


def json_list(all_seen: Iterable[Seen]) -> Iterator[str]:
    """One JSON list, one picture a line."""
    before = "[\n"
    for seen in all_seen:
        yield before + json.dumps(seen.to_json(), ensure_ascii=False)
        before = ",\n"
    yield "\n]\n" if before == ",\n" else "[]\n"


def json_lines(all_seen: Iterable[Seen]) -> Iterator[str]:
    """One JSON object a line."""
    for seen in all_seen:
        yield json.dumps(seen.to_json(), ensure_ascii=False) + "\n"


def csv_rows(all_seen: Iterable[Seen]) -> Iterator[str]:
    """A header, then a row for each face; a picture without faces, or that cannot be read, is a row without a box."""
    yield _csv([dict(zip(COLUMNS, COLUMNS, strict=True))])
    for seen in all_seen:
        said = seen.to_json()
        picture = {name: said.get(name, "") for name in ("path", "frame", "time", "width", "height", "error")}
        rows = [picture | _flat(face) for face in seen.faces] or [picture]
        yield _csv(rows)


def plain_rows(all_seen: Iterable[Seen]) -> Iterator[str]:
    """A row for each face: path, box, score, name, with tabs between; for a table off a terminal."""
    for seen in all_seen:
        where = printable(seen.where())
        if seen.error is not None:
            yield f"{where}\terror: {printable(seen.error)}\n"
        elif not seen.faces:
            yield f"{where}\tno faces\n"
        for face in seen.faces:
            yield "\t".join([where, _box(face), f"{face.score:.4f}", *_name(face)]) + "\n"


def print_table(all_seen: Iterable[Seen]) -> None:
    """A table for people on stdout; shown when the last picture is done."""
    from rich.table import Table
    from rich.text import Text

    from caffe2torch.terminal import console

    table = Table("picture", "size", "box")
    table.add_column("score", justify="right")
    entries = list(all_seen)
    if named := any(face.name is not None for seen in entries for face in seen.faces):
        table.add_column("who")
    for seen in entries:
        where, empty = Text(printable(seen.where())), [""] * (2 if named else 1)
        if seen.error is not None:
            table.add_row(where, "", Text(f"error: {printable(seen.error)}", style="red"), *empty)
            continue
        size = f"{seen.width} x {seen.height}"
        if not seen.faces:
            table.add_row(where, size, Text("no faces", style="dim"), *empty)
        for number, face in enumerate(seen.faces):
            who = [Text(" ".join(_name(face)))] if named else []
            first, second = (where, size) if number == 0 else (Text(""), "")
            table.add_row(first, second, _box(face), f"{face.score:.4f}", *who)
    console().print(table)


def coco(all_seen: Iterable[Seen]) -> Iterator[str]:
    """COCO's JSON: images, annotations (bbox x y width height; with "score"), categories; errors under "errors".

    Frames of a video are images named video.mp4#frame. Faces that are named have the name as category.
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    errors: list[dict[str, Any]] = []
    categories: dict[str, int] = {}
    for seen in all_seen:
        if seen.error is not None:
            errors.append(seen.to_json())
            continue
        images.append({"id": len(images) + 1, "file_name": seen.where(), "width": seen.width, "height": seen.height})
        for face in seen.faces:
            x0, y0, x1, y1 = (round(edge, 2) for edge in face.box)
            wide, high = round(x1 - x0, 2), round(y1 - y0, 2)
            category = categories.setdefault(face.name or "face", len(categories) + 1)
            annotation: dict[str, Any] = {"id": len(annotations) + 1, "image_id": len(images), "category_id": category}
            annotation |= {"bbox": [x0, y0, wide, high], "area": round(wide * high, 2), "iscrowd": 0}
            scores = {key: value for key, value in face.to_json().items() if key in ("score", "name_score")}
            annotations.append(annotation | scores)
    named = [{"id": number, "name": name} for name, number in (categories or {"face": 1}).items()]
    said = {"images": images, "annotations": annotations, "categories": named}
    yield json.dumps(said | ({"errors": errors} if errors else {}), ensure_ascii=False) + "\n"


TEXT: dict[str, Callable[[Iterable[Seen]], Iterator[str]]] = {
    "table": plain_rows,
    "json": json_list,
    "jsonl": json_lines,
    "csv": csv_rows,
    "coco": coco,
}


def _flat(face: Face) -> dict[str, Any]:
    said = face.to_json()
    x0, y0, x1, y1 = said.pop("box")
    return {"x0": x0, "y0": y0, "x1": x1, "y1": y1} | said


def _box(face: Face) -> str:
    return " ".join(f"{edge:.1f}" for edge in face.box)


def _name(face: Face) -> list[str]:
    return [] if face.name is None else [printable(face.name), f"{face.name_score or 0:.4f}"]


def _csv(rows: Iterable[dict[str, Any]]) -> str:
    text = io.StringIO()
    csv.DictWriter(text, COLUMNS, restval="", lineterminator="\n").writerows(rows)
    return text.getvalue()
