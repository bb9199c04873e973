"""Faces by their places: a small detector trained on pictures with boxes.

DATA holds pictures and boxes: boxes.json, COCO's JSON, VOC's XML, YOLO's text files, or a text file of lines
'file x0 y0 x1 y1'. Training pictures are put together from them: at any scale, turned, mirrored, in other colours, with
the faces of --faces and drawn ones laid on. Training starts from the packaged detector unless --start says otherwise.
`onnx export` makes the file that `onnx detect` takes; the threshold in it is that of the best F1 in validation.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import click

from finetune.recipes import Finished


@dataclass(frozen=True)
class DetectorOptions:
    """Choices of a run.

    ``label``: of the boxes that are faces, (): all; ``faces``: folders of pictures of one face each; ``without``:
    folders of pictures without a face.
    """

    steps: int = 1500
    batch_size: int = 16
    side: int = 256
    learning_rate: float = 5e-4
    weight_decay: float = 0.02
    validation: float = 0.2
    seed: int = 0
    device: str = "auto"
    precision: str = "bf16"
    start: str = "packaged"
    drawn: int = 60
    every: int = 100
    label: tuple[str, ...] = field(default=())
    faces: tuple[Path, ...] = field(default=())
    without: tuple[Path, ...] = field(default=())


DEFAULTS = DetectorOptions()
KNOWS = ("batch_size", "learning_rate", "weight_decay", "validation", "seed", "device", "precision")
FOLDER = click.Path(path_type=Path, exists=True, file_okay=False)
EXTRA = (
    click.Option(["--steps"], type=click.IntRange(1), help="Batches to train on."),
    click.Option(["--every"], type=click.IntRange(1), help="Steps between validations."),
    click.Option(["--side"], type=click.IntRange(64, 640), help="Pixels of a training picture's side, multiple of 32."),
    click.Option(["--start"], type=click.Choice(["packaged", "scratch"]), help="Weights to begin with."),
    click.Option(["--drawn"], type=click.IntRange(1, 10_000), help="Scenes of drawn people to add."),
    click.Option(["--label"], multiple=True, help="Of the boxes that are faces; without it all are."),
    click.Option(["--faces"], type=FOLDER, multiple=True, help="Pictures of one face each, to lay on others."),
    click.Option(["--without"], type=FOLDER, multiple=True, help="Pictures without any face."),
)


def train(data: Path, run: Path, options: DetectorOptions, test: Path | None, force: bool) -> Finished:
    """Train a detector on the pictures and boxes of DATA."""
    from finetune.detector.command import train_detector

    return train_detector(data, run, options, test, force)
