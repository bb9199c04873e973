"""Face or not: FrgNet64 on pictures of 64 x 64 pixels, from scratch.

DATA has a folder of faces and one of what is none (or any other classes). The defaults are those of the network's
author: batches of 10, every training picture in its four quarter turns, learning rate and weight decay times .97 an
epoch, and the epoch of least validation loss is kept. `onnx detect --method windows` finds faces with it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from finetune.options import Options
from finetune.recipes import Finished

if TYPE_CHECKING:
    from finetune.data.folders import LabelledPictures

EPOCHS = 30


@dataclass(frozen=True)
class FrgNet64Options(Options):
    """``turns``: every training picture is seen in its four quarter turns in an epoch."""

    turns: bool = True


def turned(pictures: LabelledPictures) -> LabelledPictures:
    """Every picture four times: upright, and turned by one, two and three quarters."""
    from finetune.data.views import Turned

    views = tuple(Turned(source, quarters) for source in pictures.paths for quarters in range(4))
    labels = tuple(label for label in pictures.labels for _ in range(4))
    return replace(pictures, paths=views, labels=labels)  # type: ignore[arg-type]  # the reader takes views


DEFAULTS = FrgNet64Options(
    size=(64, 64),
    epochs=EPOCHS,
    batch_size=10,
    learning_rate=0.001,
    lr_step=tuple(range(1, 1000)),
    lr_gamma=0.97,
    momentum=0.9,
    weight_decay=1e-4,
    dropout=0.5,
    mirror=False,
)
KNOWS = (
    *("epochs", "batch_size", "learning_rate", "lr_gamma", "momentum", "weight_decay", "dropout", "mirror"),
    *("validation", "seed", "device", "precision", "workers"),
)
EXTRA = (click.Option(["--turns/--no-turns"], help="Every training picture in its four quarter turns."),)


def train(data: Path, run: Path, options: FrgNet64Options, test: Path | None, force: bool) -> Finished:
    """Train FrgNet64 on folders of pictures."""
    from finetune.models.frgnet64 import frgnet64
    from finetune.recipes.scratch import Network, train_network

    network = Network(
        "frgnet64",
        lambda classes: frgnet64(classes, options.dropout),
        decay_with_rate=True,
        views=turned if options.turns else lambda pictures: pictures,
    )
    return train_network(network, data, run, options, test, force)
