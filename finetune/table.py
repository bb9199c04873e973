"""The table that grows by a line an epoch, on the terminal and in metrics.csv, and progress bars."""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import click

from caffe2torch.terminal import console, is_terminal
from finetune.wording import printable


@dataclass(frozen=True)
class Epoch:
    """One line. Losses are means a picture, accuracies shares in 0..1; None where nothing was validated."""

    epoch: int
    train_loss: float
    train_accuracy: float
    validation_loss: float | None
    validation_accuracy: float | None
    learning_rate: float
    pictures_per_second: float
    seconds: float


# title, format, of the columns of Epoch in order
COLUMNS = (
    ("epoch", "{:5d}"),
    ("train loss", "{:10.4f}"),
    ("train accuracy", "{:14.4f}"),
    ("validation loss", "{:15.4f}"),
    ("validation accuracy", "{:19.4f}"),
    ("lr", "{:8.2g}"),
    ("pictures/s", "{:10.1f}"),
    ("seconds", "{:7.1f}"),
)


def print_header() -> None:
    """The titles, on stdout; bold on a terminal."""
    titles = (title.rjust(_width(form)) for title, form in COLUMNS)
    click.secho("  ".join(titles), bold=True)


def print_epoch(line: Epoch, best: bool) -> None:
    """One line on stdout; the best epoch so far is green on a terminal."""
    cells = []
    for (_, form), value in zip(COLUMNS, asdict(line).values(), strict=True):
        cells.append("-".rjust(_width(form)) if value is None else form.format(value))
    click.secho("  ".join(cells), fg="green" if best else None)


def kept_line(best: Epoch) -> str:
    """Which epoch is kept as the best, and why that one."""
    if best.validation_accuracy is None:
        return f"kept: epoch {best.epoch}, the last one: no picture was held out to choose the best by"
    return f"best: epoch {best.epoch}, validation accuracy {best.validation_accuracy:.4f}"


def append_csv(path: Path, line: Epoch) -> None:
    """Append one line to metrics.csv; the first writes the header."""
    new = not path.exists()
    with open(path, "a", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        if new:
            writer.writerow([field.name for field in fields(Epoch)])
        writer.writerow(["" if value is None else _short(value) for value in asdict(line).values()])


@contextmanager
def progress(title: str, total: int) -> Iterator[Callable[[int], None]]:
    """A bar on stderr that goes away when done, if that is a terminal; gives the function that moves it on.

    It shows how many a second are done, and the time that is left.
    """
    if not is_terminal(sys.stderr):
        yield lambda done: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn
    from rich.progress import TimeRemainingColumn as TimeLeft
    from rich.text import Text

    class Speed(ProgressColumn):
        """Done a second."""

        def render(self, task: Task) -> Text:
            return Text("" if task.speed is None else f"{task.speed:,.{0 if task.speed >= 10 else 1}f}/s")

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), Speed(), TimeLeft(compact=True))
    with Progress(*columns, console=console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=total)
        yield lambda done: bar.advance(task, done)


def _width(form: str) -> int:
    return len(form.format(0))


def _short(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.6g}"


def print_scores(scores: Mapping[str, Any]) -> None:
    """What evaluate_run gives, on stdout: a line a class, and one for all."""
    rows = [*scores["classes"], {**scores, "label": "all", "right": sum(row["right"] for row in scores["classes"])}]
    labels = [printable(row["label"]) for row in rows]
    width = max(map(len, labels))
    click.secho(f"{'class':{width}}  pictures  right  accuracy  95 % interval", bold=True)
    for row, label in zip(rows, labels, strict=True):
        share = "-" if row["accuracy"] is None else f"{row['accuracy']:.4f}"
        interval = "" if row["interval"] is None else "  {:.4f}-{:.4f}".format(*row["interval"])
        click.echo(f"{label:{width}}  {row['pictures']:8d}  {row['right']:5d}  {share:>8}{interval}")
    click.echo(f"loss {scores['loss']:.4f}")
