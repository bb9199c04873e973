"""Face or not: FrgNet64 on pictures of 64 x 64 pixels, from scratch.

DATA has a folder of faces and one of what is none (or any other classes). The defaults are those of the network's
author: batches of 10, every training picture in its four quarter turns, learning rate and weight decay times .97 an
epoch, and the epoch of least validation loss is kept. `onnx detect --method windows` finds faces with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from finetune.options import Options
from finetune.recipes import OF_ANY_NETWORK, Finished

if TYPE_CHECKING:
    from finetune.recipes.scratch import Network

EPOCHS = 30


@dataclass(frozen=True)
class FrgNet64Options(Options):
    """``turns``: every training picture is seen in its four quarter turns in an epoch."""

    turns: bool = True


DEFAULTS = FrgNet64Options(
    size=(64, 64),
    epochs=EPOCHS,
    batch_size=10,
    learning_rate=0.001,
    lr_step=tuple(range(1, 1000)),
    lr_gamma=0.97,
    keep="loss",
    momentum=0.9,
    weight_decay=1e-4,
    dropout=0.5,
    mirror=False,
)
KNOWS = ("dropout", *OF_ANY_NETWORK)
EXTRA = (click.Option(["--turns/--no-turns"], help="Every training picture in its four quarter turns."),)


def train(data: Path, run: Path, options: FrgNet64Options, test: Path | None, force: bool) -> Finished:
    """Train FrgNet64 on labelled pictures."""
    from finetune.recipes.scratch import train_network

    return train_network(_network(options), data, run, options, test, force)


def resume(data: Path, run: Path, options: FrgNet64Options, test: Path | None) -> Finished:
    """Go on with such a training."""
    from finetune.recipes.scratch import train_network

    return train_network(_network(options), data, run, options, test, resume=True)


def _network(options: FrgNet64Options) -> Network:
    from finetune.recipes.scratch import Network

    return Network("frgnet64", {"dropout": options.dropout}, decay_with_rate=True, turns=options.turns)
