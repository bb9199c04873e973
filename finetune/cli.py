"""The command `finetune`: train a head on a converted trunk, evaluate it, draw sample data. No logic here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from caffe2torch.plugin_option import PLUGIN
from caffe2torch.terminal import Commands, note, say
from finetune.onnx_cli import onnx_main
from finetune.options import Options
from finetune.recipes.command import TrainCommand
from finetune.train_options import COUNT, DEFAULTS, FOLDER, device_options, train_options
from finetune.wording import json_text

__all__ = ["main", "onnx_main"]

RUN = Path("runs/finetune")


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.version_option(package_name="caffe2torch")
def main() -> None:
    """Teach a converted Caffe net new classes, from folders of pictures."""


@main.command(cls=TrainCommand)
@click.argument("data", type=FOLDER)
@click.option("--trunk", required=True, type=FOLDER, help="Folder of `caffe2torch convert`, or a .caffemodel.")
@click.option("--prototxt", type=FOLDER, help="Of the .caffemodel, where it has one.")
@click.option("-o", "--output", "run", type=FOLDER, default=RUN, help="Folder of the run.")
@click.option("--test", type=FOLDER, help="Folder of classes to test the best checkpoint on at the end.")
@click.option("--force", is_flag=True, help="Replace the run that is there.")
@train_options
@PLUGIN
@click.option("--resume", is_flag=True, help="Go on with the run that was killed or interrupted.")
def train(
    data: Path,
    trunk: Path,
    prototxt: Path | None,
    run: Path,
    test: Path | None,
    force: bool,
    resume: bool,
    **options: Any,
) -> None:
    """Train a classifier on DATA, a folder of pictures per class.

    A new head on the trunk is trained, from features that the trunk gives once and that are kept. Pictures lie
    anywhere below their class's folder; a class folder that holds a file named `ignore` is left out. The defaults are
    those of the Chainer tutorial on animeface-character-dataset.
    """
    from caffe2torch.folder import open_trunk
    from finetune.checkpoint import check_free
    from finetune.table import kept_line
    from finetune.train import train as train_run

    if not resume:
        check_free(run, force)  # before anything is read
    trained = train_run(open_trunk(trunk, prototxt), data, run, Options(**options), test, force, resume)
    click.echo(kept_line(trained.best))
    if trained.test is not None:
        right, count = sum(trained.test.right), sum(trained.test.pictures)
        low, high = trained.test.interval
        click.echo(
            f"test: accuracy {trained.test.accuracy:.4f} ({right} of {count}), 95 % interval {low:.4f} to {high:.4f}"
        )
    say(str(run))
    if trained.interrupted:
        click.get_current_context().exit(130)


@main.command()
def recipes() -> None:
    """List what `finetune train --recipe NAME` trains."""
    from finetune.recipes.command import listed

    for name, about in listed():
        click.echo(f"{name:10} {about}")


@main.command()
@click.argument("run", type=FOLDER)
@click.argument("data", type=FOLDER)
@click.option("--checkpoint", type=click.Choice(["best", "last"]), default="best")
@click.option("--batch-size", type=COUNT, default=DEFAULTS.batch_size)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@device_options
@PLUGIN
def evaluate(
    run: Path,
    data: Path,
    checkpoint: str,
    batch_size: int,
    as_json: bool,
    device: str,
    precision: str,
    workers: int | None,
) -> None:
    """Measure RUN's accuracy on DATA, labelled pictures as `finetune train` takes them, overall and a class."""
    from finetune.evaluate import evaluate_run
    from finetune.table import print_scores

    scores = evaluate_run(run, data, checkpoint, batch_size, device, precision, workers)
    if as_json:
        say(json_text(scores, 2))
    else:
        print_scores(scores)


@main.command(name="data")
@click.argument("data", type=FOLDER)
@click.option("--sheet", type=FOLDER, metavar="FILE.png", help="Draw some pictures of every class on one picture.")
@click.option("--font", type=FOLDER, help="For names on the sheet.  [default: what the system has]")
@click.option("--force", is_flag=True, help="Replace the sheet that is there.")
@click.option("--json", "as_json", is_flag=True, help="Print all that was found as JSON.")
@click.option("--workers", type=COUNT, help="Threads that decode.  [default: one a core]")
def look_at_data(
    data: Path, sheet: Path | None, font: Path | None, force: bool, as_json: bool, workers: int | None
) -> None:
    """Look at the labelled pictures of DATA before training on them.

    Tells classes, counts and sizes, and which pictures cannot be read, are the same, or nearly the same (also mirrored
    or turned). DATA is what `finetune train` takes: a folder per class; a list of lines `path label`; a .csv file with
    the columns path and label; Stanford Online Products' lists; MNIST's idx files; boxes as JSON, COCO, VOC or YOLO.
    """
    from caffe2torch.files import refuse
    from finetune.data.overview import overview
    from finetune.data.overview_text import lines
    from finetune.data.sheet import write_sheet

    if sheet is not None:
        refuse(sheet, force, [data])
    found = overview(data, workers)
    if as_json:
        say(json_text(found.to_json(), 1))
    else:
        for line in lines(found):
            say(line)
    if sheet is not None:
        left = write_sheet(sheet, found.pictures, font=font)
        note(f"{sheet}: a contact sheet" + (f"; {left} classes found no room on it" if left else ""))


@main.command()
@click.argument("run", type=FOLDER, default=RUN)
def report(run: Path) -> None:
    """Write RUN/report.html anew (default: runs/finetune): one page of results and pictures, for any browser."""
    from finetune.report import write_report

    say(str(write_report(run)))


@main.command()
@click.argument("folder", metavar="DIR", type=FOLDER)
@click.option("--characters", type=click.IntRange(2, 12), default=10)
@click.option("--pictures", type=COUNT, default=40, help="Of each character, to train on.")
@click.option("--test", type=COUNT, default=10, help="Of each character, to test on.")
@click.option("--scenes", type=click.IntRange(0), default=12, help="Pictures of several people.")
@click.option("--size", type=click.IntRange(32, 1024), default=160, help="Side of a face's picture in pixels.")
@click.option("--seed", type=click.IntRange(0), default=0)
@click.option("--force", is_flag=True, help="Replace the data set that is there.")
def sample(
    folder: Path, characters: int, pictures: int, test: int, scenes: int, size: int, seed: int, force: bool
) -> None:
    """Draw a small data set into DIR: anime-style faces by character, and scenes with the boxes of their faces."""
    from finetune.sample import write_sample
    from finetune.table import progress

    with progress("drawing", characters * (pictures + test) + scenes) as advance:
        write_sample(
            folder, characters, pictures, size, scenes, seed, force, test, progress=lambda done, total: advance(1)
        )
    say(str(folder))
