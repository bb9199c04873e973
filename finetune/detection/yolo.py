"""What was seen as YOLO's labels: a text file a picture, a line a face: class, centre, width and height, 0..1."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from caffe2torch.files import write_whole
from finetune.detection.places import CLASSES, label_place
from finetune.detection.results import Seen
from finetune.detection.sources import Source
from finetune.formats import printable


def rows(seen: Seen, classes: Sequence[str]) -> str:
    """The label file of one picture; empty where no face was seen. ``classes``: names, or ("face",)."""
    lines = []
    for face in seen.faces:
        x0, y0, x1, y1 = face.box
        middle = [(x0 + x1) / 2 / seen.width, (y0 + y1) / 2 / seen.height]
        numbers = [*middle, (x1 - x0) / seen.width, (y1 - y0) / seen.height]
        lines.append(" ".join([str(classes.index(face.name or "face")), *(f"{number:.6f}" for number in numbers)]))
    return "".join(f"{line}\n" for line in lines)


def as_text(all_seen: Iterable[Seen], classes: Sequence[str]) -> Iterator[str]:
    """For a stream: the rows of one picture as they are; of several, each picture's below a line ``# path``."""
    waiting: Seen | None = None
    several = False
    for seen in all_seen:
        if waiting is not None:
            several = True
            yield _headed(waiting, classes)
        waiting = seen
    if waiting is not None:
        yield _headed(waiting, classes) if several else rows(waiting, classes)


def write_rows(folder: Path, source: Source, seen: Seen, classes: Sequence[str]) -> None:
    """The label file of one picture, at places.label_place; none for a picture that could not be read."""
    if seen.error is None:
        write_whole(label_place(folder, source, seen), rows(seen, classes))


def write_classes(folder: Path, classes: Sequence[str]) -> None:
    """FOLDER/classes.txt: the names, one a line."""
    write_whole(folder / CLASSES, "".join(f"{name}\n" for name in classes))


def _headed(seen: Seen, classes: Sequence[str]) -> str:
    head = printable(f"# {seen.where()}" if seen.error is None else f"# {seen.where()}: error: {seen.error}")
    return f"{head}\n{rows(seen, classes)}"
