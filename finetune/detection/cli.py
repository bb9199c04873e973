"""The commands `onnx detect` and `onnx evaluate`: faces found, and how well. No logic here; never imports torch."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from finetune.detection import METHODS

if TYPE_CHECKING:
    from finetune.detection.cropping import Margin

FILE = click.Path(path_type=Path)


class Range(click.FloatRange):
    """Numbers of a range; nan, which click lets through, is none."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number = float(super().convert(value, param, ctx))
        if math.isnan(number):
            self.fail(f"{value!r} is not in the range {self._describe_range()}.", param, ctx)
        return number


SHARE = Range(0, 1)


class Tile(click.ParamType[int | None]):
    """Pixels of a tile's side; auto (None) or none (0)."""

    name = "auto|none|pixels"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | None:
        if value is None or isinstance(value, int):
            return value
        if value in ("auto", "none"):
            return None if value == "auto" else 0
        if not (value.isascii() and value.isdigit() and int(value) >= 32):
            self.fail(f"{value!r} is none of auto, none and a number of pixels from 32", param, ctx)
        return int(value)


class Margins(click.ParamType["Margin | Path"]):
    """A number, four of them, or a folder."""

    name = "number|l,t,r,b|folder"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Margin | Path:
        from finetune.detection.cropping import Margin

        if isinstance(value, (Margin, Path)):
            return value
        if Path(value).is_dir():
            return Path(value)
        try:
            shares = [float(share) for share in value.split(",")]
        except ValueError:
            self.fail(f"{value!r} is no folder, and no number or four of them", param, ctx)
        if len(shares) not in (1, 4) or not all(0 <= share <= 4 for share in shares):
            self.fail(f"{value!r}: one number or four, left,top,right,bottom, of 0 to 4, are wanted", param, ctx)
        return Margin(*(shares * 4 if len(shares) == 1 else shares))


@click.command()
@click.argument("paths", metavar="[PATH]...", nargs=-1, type=FILE)
@click.option("-m", "--model", type=FILE, help="A detector of onnx export.  [default: the one that comes with this]")
@click.option(
    "--method",
    type=click.Choice(list(METHODS)),
    default="model",
    show_default=True,
    help="windows: a classifier of patches (-m) looks at windows of three sizes; dense: the same, convolved.",
)
@click.option("--conf", type=SHARE, help="Least score of a face.  [default: the model's]")
@click.option("--iou", type=SHARE, help="Of boxes that overlap more, one is kept.  [default: the model's]")
@click.option(
    "--max-size",
    type=click.IntRange(32, 16384),
    help="Longer side at which pictures are looked at.  [default: the model's]",
)
@click.option(
    "--tile",
    type=Tile(),
    default="auto",
    show_default=True,
    help="Look at large pictures also in overlapping tiles of so many pixels; auto: those over 4 times --max-size.",
)
@click.option("--classify", metavar="CHARACTERS.onnx", type=FILE, help="Name each face by a classifier.")
@click.option(
    "--classify-margin",
    type=Margins(),
    help="Of a face's size, added around it for the classifier: a number, left,top,right,bottom, or a folder of the "
    "classifier's pictures, on which it is measured.  [default: the classifier's]",
)
@click.option("--unknown", is_flag=True, help="Call a face that the classifier is unsure of unknown.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "json", "jsonl", "csv", "yolo", "coco"]),
    default="table",
    show_default=True,
    help="yolo: labels, without scores; -o names a folder for them, a file a picture.",
)
@click.option("-o", "--output", type=FILE, help="File to write instead of stdout; a folder with --format yolo.")
@click.option("--overlay", metavar="DIR", type=FILE, help="Write the pictures with boxes, scores and names there.")
@click.option("--font", type=FILE, help="For names in the overlay whose letters no font here has.")
@click.option("--crops", metavar="DIR", type=FILE, help="Write each face as a picture there; by name if named.")
@click.option("--margin", type=Range(0, 4), default=0.25, show_default=True, help="Of a face's size, around crops.")
@click.option(
    "--resume", is_flag=True, help="Go on where the same command was interrupted; new and changed files only."
)
@click.option("--camera", metavar="NUMBER|NAME", help="Look at a camera until Ctrl-C, instead of files.")
@click.option("--every", type=click.IntRange(1), default=1, show_default=True, help="Of a video's frames, the n-th.")
@click.option("--provider", type=click.Choice(["auto", "cuda", "cpu"]), default="auto", show_default=True)
@click.option("--threads", type=click.IntRange(1), help="Pictures looked at at once.  [default: one a core]")
def detect(paths: tuple[Path, ...], **options: Any) -> None:
    """Find faces in pictures and videos: files, all below folders, globs; or in what a camera sees.

    Boxes are x0 y0 x1 y1 in pixels of the upright picture. A file that cannot be read is reported in its place, the
    others are done, and the exit code is 1. Videos and cameras need PyAV (the extra `video`).
    """
    from finetune.detection.run import Options, run_on_camera, run_on_files

    camera = options.pop("camera")
    if (camera is None) == (not paths):
        raise click.UsageError("give pictures, folders or videos, or --camera; one of both")
    asked = Options(**options)
    if asked.unknown and asked.classify is None:
        raise click.UsageError("--unknown goes with --classify")
    if asked.resume and (camera is not None or not (asked.output or asked.overlay or asked.crops)):
        raise click.UsageError("--resume goes with files to look at, and -o, --overlay or --crops")
    if camera is None:
        run_on_files(paths, asked)
    else:
        run_on_camera(camera, asked)


@click.command()
@click.argument("model", type=FILE)
@click.argument("data", type=FILE, required=False)
@click.option("--label", metavar="NAME", multiple=True, help="Of the boxes that are faces; repeatable.  [default: all]")
@click.option("--without-faces", type=FILE, multiple=True, help="A folder of pictures that hold no face; repeatable.")
@click.option("--method", type=click.Choice(list(METHODS)), default="model", show_default=True)
@click.option("--conf", type=SHARE, help="Score from which a box is told, for precision and recall.  [the model's]")
@click.option("--iou", type=SHARE, help="Of boxes that overlap more, one is kept.  [default: the model's]")
@click.option("--overlap", type=SHARE, default=0.4, show_default=True, help="IoU from which a box is right.")
@click.option("--max-size", type=click.IntRange(32, 16384), help="Longer side to look at.  [default: the model's]")
@click.option("--tile", type=Tile(), default="auto", show_default=True, help="As of onnx detect.")
@click.option("--page", metavar="FILE.html", type=FILE, help="Write figures and the worst mistakes as pictures there.")
@click.option("--json", "as_json", is_flag=True, help="Print all figures as JSON.")
@click.option("--provider", type=click.Choice(["auto", "cuda", "cpu"]), default="auto", show_default=True)
@click.option("--threads", type=click.IntRange(1), help="Pictures looked at at once.  [default: one a core]")
def evaluate(**options: Any) -> None:
    """Measure how well the detector MODEL (a file, a run, or the word default) finds the faces marked in DATA.

    DATA is boxes.json, COCO's JSON, CSV, a folder of VOC's or YOLO's files, lines of `file x0 y0 x1 y1`, or what `onnx
    detect` wrote of pictures in any form but its table. Faces marked as difficult do not count. Shares have 95 %
    bootstrap intervals over pictures.
    """
    from finetune.detection.run_evaluation import Asked, run_evaluation

    if options["data"] is None and not options["without_faces"]:
        raise click.UsageError("give DATA, or --without-faces FOLDER, or both")
    if options["label"] and options["data"] is None:
        raise click.UsageError("--label goes with DATA")
    run_evaluation(Asked(**options))
