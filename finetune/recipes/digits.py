"""Digits: a small network on grey pictures of 28 x 28 pixels, from scratch.

DATA has a folder per class, or is any other form of labelled pictures that `finetune data` knows. The defaults are
those of the Lightning tutorial's small network: batches of 256, plain SGD at .01, no weight decay, no mirroring.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from finetune.options import Options
from finetune.recipes import OF_ANY_NETWORK, Finished

if TYPE_CHECKING:
    from finetune.recipes.scratch import Network

DEFAULTS = Options(
    size=(28, 28),
    epochs=20,
    batch_size=256,
    learning_rate=0.01,
    lr_step=(),
    momentum=0.0,
    weight_decay=0.0,
    mirror=False,
)
KNOWS = ("size", *OF_ANY_NETWORK)
EXTRA = ()


def train(data: Path, run: Path, options: Options, test: Path | None, force: bool) -> Finished:
    """Train the network on labelled pictures."""
    from finetune.recipes.scratch import train_network

    return train_network(_network(options), data, run, options, test, force)


def resume(data: Path, run: Path, options: Options, test: Path | None) -> Finished:
    """Go on with such a training."""
    from finetune.recipes.scratch import train_network

    return train_network(_network(options), data, run, options, test, resume=True)


def _network(options: Options) -> Network:
    from finetune.recipes.scratch import Network

    return Network("digits", {"size": options.size}, channel_order="GRAY", scale=1 / 255, subtract_mean=False)
