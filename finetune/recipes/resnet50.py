"""Pictures of products, or of anything: ResNet-50 on random crops of 224 x 224 pixels, from scratch.

DATA is a list file of pictures and classes, as Stanford Online Products has them, or a folder per class. The defaults
are those of the recipe on its 12 super-classes: random parts of the pictures at 224 x 224, mirrored at random, less the
mean; validated on the centres of pictures whose shorter side is scaled to 256; the last batch normalisation of every
residual block starts at gamma 0; learning rate .1. Batch size, momentum, decay and epochs are usual ones: its authors
tell none.
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


@dataclass(frozen=True)
class ResNet50Options(Options):
    """``width``: maps of the first convolution; ``scale``: pixels of the shorter side that a centre is cut from."""

    width: int = 64
    scale: int = 256


DEFAULTS = ResNet50Options(
    size=(224, 224),
    epochs=30,
    batch_size=32,
    learning_rate=0.1,
    lr_step=(10, 20),
    lr_gamma=0.1,
    momentum=0.9,
    weight_decay=1e-4,
    mirror=True,
)
KNOWS = ("size", *OF_ANY_NETWORK)
EXTRA = (
    click.Option(["--width"], type=click.IntRange(1), help="Maps of the first convolution; fewer make it smaller."),
    click.Option(["--scale"], type=click.IntRange(1), help="Shorter side of a picture whose centre is validated."),
)


def train(data: Path, run: Path, options: ResNet50Options, test: Path | None, force: bool) -> Finished:
    """Train ResNet-50 on labelled pictures."""
    from finetune.recipes.scratch import train_network

    return train_network(_network(options), data, run, options, test, force)


def resume(data: Path, run: Path, options: ResNet50Options, test: Path | None) -> Finished:
    """Go on with such a training."""
    from finetune.recipes.scratch import train_network

    return train_network(_network(options), data, run, options, test, resume=True)


def _network(options: ResNet50Options) -> Network:
    from finetune.recipes.scratch import Network

    return Network("resnet50", {"width": options.width}, crop=options.scale)
