"""What came of a run of `onnx detect`, to where it was asked for: a stream, a file, a folder of labels."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from caffe2torch.errors import OutputError
from finetune.detection import formats, yolo
from finetune.detection.results import Seen
from finetune.detection.sources import Source
from finetune.formats import printable
from finetune.output import open_stream

YOLO = "yolo"


def write(all_seen: Iterable[tuple[Source, Seen]], form: str, output: Path | None, classes: Sequence[str]) -> None:
    """Write what was seen as ``form`` (a key of formats.TEXT, or "yolo") to a file, or stdout where that is None.

    YOLO's labels go into the folder ``output``, a file a picture, with classes.txt; on stdout they stand one after the
    other. ``classes``: the names that faces may have, or ("face",). Raises OutputError.
    """
    if (folder := labels_folder(form, output)) is not None:
        for source, one in all_seen:
            yolo.write_rows(folder, source, one, classes)
        yolo.write_classes(folder, classes)
        return
    with open_stream(output) as stream:
        seen = (one for _, one in all_seen)
        if form == "table" and stream.isatty():
            formats.print_table(seen)
            return
        pieces = yolo.as_text(seen, classes) if form == YOLO else formats.TEXT[form](seen)
        shown = stream.isatty()  # where a file's name could move the cursor, or worse
        for text in (_harmless(text) for text in pieces) if shown else pieces:
            stream.write(text.encode("utf-8", "backslashreplace"))  # a stray byte in a file's name: as \udcXX
            stream.flush()


def _harmless(text: str) -> str:
    """The same lines, with control characters and stray bytes as Python escapes."""
    return "\n".join(line if line.isprintable() else printable(line) for line in text.split("\n"))


def labels_folder(form: str, output: Path | None) -> Path | None:
    """The folder that YOLO's labels go to; None for another form, and for stdout.

    Raises OutputError for what can be none.
    """
    if form != YOLO or output is None or str(output) == "-":
        return None
    if (output.exists() and not output.is_dir()) or (output.suffix == ".txt" and not output.exists()):
        raise OutputError(
            f"{output}: is no folder; with --format yolo, -o names one: it gets a file of labels for each picture, and "
            "classes.txt; without -o labels go to stdout"
        )
    return output


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
