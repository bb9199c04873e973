"""The command `onnx`: one-file models out of training runs, and what they see in pictures. Never imports torch."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from caffe2torch.errors import DataError, ModelError
from caffe2torch.plugin_option import PLUGIN
from caffe2torch.terminal import Commands, note, say
from finetune.detection.cli import detect, evaluate
from finetune.output import open_stream, progress_fits, spare_inputs

if TYPE_CHECKING:
    from finetune.predict import Prediction

RUN = Path("runs/finetune")
MODEL = RUN / "model.onnx"
CALIBRATED = "calibrated"  # --unknown without a number


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="caffe2torch")
def onnx_main() -> None:
    """Export trained models to single ONNX files, and use them on pictures."""


onnx_main.add_command(detect)
onnx_main.add_command(evaluate)


@onnx_main.command()
@click.argument("run", type=click.Path(path_type=Path), default=RUN)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="File to write.  [default: RUN/model.onnx]")
@click.option("--force", is_flag=True, help="Replace the file if it is there.")
@PLUGIN
def export(run: Path, output: Path | None, force: bool) -> None:
    """Make one ONNX file of the training run RUN (default: runs/finetune).

    Weights, preprocessing and class names are inside: it takes uint8 RGB pictures and gives probabilities.
    """
    from finetune.export import export_run

    export_run(run, output, force, say=say)


class Predict(click.Command):
    """Takes --unknown with a number or without."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        end = args.index("--") if "--" in args else len(args)
        for place, word in enumerate(args[:end]):
            if word == "--unknown" and not _is_number(args[place + 1] if place + 1 < end else ""):  # nan too: no path
                args[place] = f"--unknown={CALIBRATED}"
        return super().parse_args(ctx, args)


class Threshold(click.ParamType[float]):
    """A share, or the calibrated one, which is nan."""

    name = "share"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if value == CALIBRATED:
            return math.nan
        if not _is_number(str(value)) or not 0 <= float(str(value)) <= 1:  # nan is not either
            self.fail(f"{value!r} is not a probability from 0 to 1", param, ctx)
        return float(str(value))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return "_" not in text


@onnx_main.command(cls=Predict)
@click.argument("paths", metavar="PATH...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "-m", "--model", type=click.Path(path_type=Path), default=MODEL, show_default=True, help="A file of onnx export."
)
@click.option("--top-k", type=click.IntRange(min=1), default=5, show_default=True, help="Classes told of a picture.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "json", "jsonl", "csv"]),
    default="table",
    show_default=True,
    help="jsonl and csv come line by line while the work goes on.",
)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="File to write instead of stdout.")
@click.option(
    "--unknown",
    type=Threshold(),
    metavar="[SHARE]",
    help="Answer 'unknown' where the best class's calibrated probability is below SHARE.  [default: as calibrated]",
)
@click.option(
    "--overlay",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Of a mask (recipe facemask): write the pictures there with the probability over them.",
)
@click.option("--provider", type=click.Choice(["auto", "cuda", "cpu"]), default="auto", show_default=True)
@click.option("--batch-size", type=click.IntRange(min=1), default=32, show_default=True)
@click.option("--threads", type=click.IntRange(min=1), help="For decoding and for the model.  [default: one a core]")
def predict(
    paths: tuple[Path, ...],
    model: Path,
    top_k: int,
    form: str,
    output: Path | None,
    unknown: float | None,
    overlay: Path | None,
    provider: str,
    batch_size: int,
    threads: int | None,
) -> None:
    """Classify pictures: files, and all pictures under folders.

    A model of the recipe facemask says what share of a picture is of faces; --overlay shows where.
    A picture that cannot be read is reported in its place, the others are done, and the exit code is 1.
    """
    from finetune import formats
    from finetune.predict import list_pictures, unknown_by
    from finetune.predict import predict as classify
    from finetune.runtime import open_model, read_said

    if model.is_dir():
        model = model / MODEL.name
    if not model.exists():
        raise ModelError(f"{model}: no such file; `finetune train` makes a run, `onnx export RUN` makes its model.onnx")
    pictures = list_pictures(paths)
    spare_inputs(output, [model, *(entry for entry in pictures if isinstance(entry, Path))])
    mask = read_said(model)["kind"] == "mask"
    if (overlay is not None and not mask) or (unknown is not None and mask):
        raise click.UsageError("--overlay goes with a model of the recipe facemask, --unknown with a classifier")
    with open_stream(output) as stream:
        unread: list[Prediction] = []
        if mask:
            predictions = _masks(model, provider, threads, pictures, paths, overlay)
        else:
            session = open_model(model, provider, threads)
            rule = None if unknown is None else unknown_by(session, None if math.isnan(unknown) else unknown)
            note(str(session) + (f"; unknown below {rule.threshold:.4f}" if rule else ""))
            predictions = classify(session, pictures, top_k, batch_size, threads, rule)
        predictions = _watched(predictions, len(pictures), unread, progress_fits(form, stream))
        if form == "table" and stream.isatty():
            formats.print_table(predictions)
        else:
            for text in formats.TEXT[form](predictions):
                stream.write(text.encode("utf-8", "backslashreplace"))  # a stray byte in a file's name: as \udcXX
                stream.flush()
    if unread:
        first = formats.printable(f"{unread[0].path}: {unread[0].error}")
        more = "" if len(pictures) == 1 else f" ({len(unread)} of {len(pictures)} pictures could not be read)"
        raise DataError(first + more)


def _masks(
    model: Path,
    provider: str,
    threads: int | None,
    pictures: Iterable[Path | Prediction],
    paths: tuple[Path, ...],
    overlay: Path | None,
) -> Iterator[Prediction]:
    from finetune.mask_predict import open_mask, predict_masks

    opened = open_mask(model, provider, threads)
    note(str(opened))
    return predict_masks(opened, pictures, paths, overlay)


def _watched(
    predictions: Iterable[Prediction], total: int, unread: list[Prediction], progress: bool
) -> Iterator[Prediction]:
    """The same predictions; those with an error are gathered in ``unread``."""
    if progress:
        from rich.progress import track

        from caffe2torch.terminal import console

        predictions = track(predictions, "predict", total, console=console(stderr=True), transient=True)
    for prediction in predictions:
        if prediction.error is not None:
            unread.append(prediction)
        yield prediction
