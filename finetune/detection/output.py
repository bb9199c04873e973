"""What came of a run of `onnx detect`, to where it was asked for: a stream, a file, a folder of labels."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from caffe2torch.errors import OutputError
from finetune.detection import formats, yolo
from finetune.detection.results import Seen
from finetune.detection.sources import Source
from finetune.output import open_stream

YOLO = "yolo"


def write(
    all_seen: Iterable[tuple[Source, Seen]], form: str, output: Path | None, classes: Sequence[str], several: bool
) -> None:
    """Write what was seen as ``form`` (a key of formats.TEXT, or "yolo") to a file, or stdout where that is None.

    YOLO's labels of ``several`` pictures go into the folder ``output``, a file each, with classes.txt; on stdout they
    stand one after the other. ``classes``: the names that faces may have, or ("face",). Raises OutputError.
    """
    if form == YOLO and several and output is not None and str(output) != "-":
        _labels(all_seen, output, classes)
        return
    with open_stream(output) as stream:
        seen = (one for _, one in all_seen)
        if form == "table" and stream.isatty():
            formats.print_table(seen)
            return
        pieces = yolo.as_text(seen, classes) if form == YOLO else formats.TEXT[form](seen)
        for text in pieces:
            stream.write(text.encode("utf-8", "backslashreplace"))  # a stray byte in a file's name: as \udcXX
            stream.flush()


def _labels(all_seen: Iterable[tuple[Source, Seen]], folder: Path, classes: Sequence[str]) -> None:
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder}: is no folder; YOLO's labels of several pictures are a file each: -o FOLDER")
    for source, seen in all_seen:
        yolo.write_rows(folder, source.stem, seen, classes)
    yolo.write_classes(folder, classes)


def watched(
    all_seen: Iterable[tuple[Source, list[Seen]]], total: int, unread: list[Seen], progress: bool
) -> Iterator[tuple[Source, Seen]]:
    """One by one; those that could not be read are also put into ``unread``; with a bar on stderr if ``progress``."""
    if progress:
        from rich.progress import track

        from caffe2torch.terminal import console

        all_seen = track(all_seen, "detect", total, console=console(stderr=True), transient=True)
    for source, group in all_seen:
        for seen in group:
            if seen.error is not None:
                unread.append(seen)
            yield source, seen
