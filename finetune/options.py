"""Every figure of a training run; the defaults are those of the Chainer tutorial on animeface-character-dataset."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Options:
    """How to train. ``at`` None: the trunk's last map; ``size`` None: what suits the trunk; ``workers`` None: by cores.

    Ranges: shares in [0, 1), rates and counts above 0, ``batch_size`` at least 2 (batch normalisation).
    """

    at: str | None = None
    size: tuple[int, int] | None = None  # (height, width) of the network's input
    epochs: int = 20
    batch_size: int = 64
    learning_rate: float = 0.01
    lr_step: tuple[int, ...] = (10,)  # after these epochs the rate is multiplied by lr_gamma
    lr_gamma: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 1e-4
    hidden: int = 4096
    dropout: float = 0.5
    mirror: bool = True
    validation: float = 0.2
    seed: int = 0
    device: str = "auto"
    precision: str = "32"
    workers: int | None = None

    def rate(self, epoch: int) -> float:
        """The learning rate of an epoch, counted from 1."""
        passed = sum(epoch > step for step in self.lr_step)
        return float(self.learning_rate * self.lr_gamma**passed)
