"""Predictions as text: what `onnx predict` prints. Each function gives its text in pieces, one a picture."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator

from finetune.predict import Prediction
from finetune.wording import json_text, printable


def json_list(predictions: Iterable[Prediction]) -> Iterator[str]:
    """One JSON list, one picture a line."""
    before = "[\n"
    for prediction in predictions:
        yield before + _json(prediction)
        before = ",\n"
    yield "\n]\n" if before == ",\n" else "[]\n"


def json_lines(predictions: Iterable[Prediction]) -> Iterator[str]:
    """One JSON object a line."""
    for prediction in predictions:
        yield _json(prediction) + "\n"


def csv_rows(predictions: Iterable[Prediction]) -> Iterator[str]:
    """A header, then a row for each picture and rank; a picture that cannot be read is a row with its error."""
    yield _csv([["path", "rank", "label", "score", "error"]])
    for prediction in predictions:
        if prediction.error is None:
            classes = enumerate(prediction.classes, 1)
            yield _csv([[prediction.path, rank, label, score, ""] for rank, (label, score) in classes])
        else:
            yield _csv([[prediction.path, "", "", "", prediction.error]])


def plain_rows(predictions: Iterable[Prediction]) -> Iterator[str]:
    """A row for each picture: path, class, score, class, score, … with tabs between; for a table off a terminal."""
    for prediction in predictions:
        cells = [printable(str(prediction.path))]
        if prediction.error is None:
            for label, score in prediction.classes:
                cells += [printable(label), f"{score:.6f}"]
        else:
            cells += [f"error: {printable(prediction.error)}"]
        yield "\t".join(cells) + "\n"


def print_table(predictions: Iterable[Prediction]) -> None:
    """A table for people on stdout; shown when the last picture is done."""
    from rich.table import Table
    from rich.text import Text

    from caffe2torch.terminal import console

    table = Table("picture", "class")
    table.add_column("score", justify="right")
    for prediction in predictions:
        path = Text(printable(str(prediction.path)))
        if prediction.error is None:
            labels = Text("\n".join(printable(label) for label, _ in prediction.classes))
            table.add_row(path, labels, "\n".join(f"{score:.4f}" for _, score in prediction.classes))
        else:
            table.add_row(path, Text(f"error: {printable(prediction.error)}", style="red"), "")
    console().print(table)


TEXT: dict[str, Callable[[Iterable[Prediction]], Iterator[str]]] = {
    "table": plain_rows,
    "json": json_list,
    "jsonl": json_lines,
    "csv": csv_rows,
}


def _json(prediction: Prediction) -> str:
    said: dict[str, object] = {"path": str(prediction.path)}
    if prediction.error is None:
        if prediction.unknown is not None:
            said["unknown"] = prediction.unknown
        said["predictions"] = [{"label": label, "score": score} for label, score in prediction.classes]
    else:
        said["error"] = prediction.error
    return json_text(said)


def _csv(rows: Iterable[Iterable[object]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
