"""Every figure of a training run; the defaults are those of the Chainer tutorial on animeface-character-dataset."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

AUTO = "auto"  # --at: the cut is found by cross-validation
PROTOCOLS = ("careful", "tutorial", "tutorial-fixed")
UNFREEZE_SHARE = 0.1  # of the learning rate, for the trunk, where --unfreeze-lr is not given


@dataclass(frozen=True)
class Options:
    """How to train. ``at`` None: the trunk's last map; ``size`` None: what suits the trunk; ``workers`` None: by cores.

    Ranges: shares in [0, 1), rates and counts above 0, ``batch_size`` at least 2 (batch normalisation).
    """

    at: str | None = None  # a blob, or AUTO
    size: tuple[int, int] | None = None  # (height, width) of the network's input
    head: str = "tutorial"  # finetune.models.head.HEADS
    epochs: int = 20
    batch_size: int = 64
    accumulate: int = 1  # batches to a step
    learning_rate: float = 0.01
    schedule: str = "step"  # or "cosine"
    lr_step: tuple[int, ...] = (10,)  # after these epochs the rate is multiplied by lr_gamma
    lr_gamma: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 1e-4
    label_smoothing: float = 0.0
    class_weights: bool = False  # classes count alike, however many pictures they have
    keep: str = "accuracy"  # the best epoch: of most validation accuracy, or "loss", of least loss
    early_stop: int | None = None  # epochs without a better one
    hidden: int = 4096
    dropout: float = 0.5
    unfreeze: str | None = None  # the layers behind this blob are trained too
    unfreeze_lr: float | None = None  # their learning rate
    batch_norm: bool = False  # their batch normalisation follows the batches
    mirror: bool = True
    augment: tuple[str, ...] = ()  # finetune.augmentation.WAYS
    protocol: str = "careful"  # PROTOCOLS
    validation: float = 0.2
    folds: int | None = None  # of a cross-validation before the run
    seed: int = 0
    device: str = "auto"
    devices: int = 1
    nodes: int = 1
    precision: str = "32"
    workers: int | None = None
    cache: bool = True
    cache_folder: Path | None = None  # None: finetune.features.default_cache()
    features: str = "half"  # or "full" precision, of what is kept
    checkpoint_every: float = 30.0  # seconds between two savings of what --resume needs
    tensorboard: bool = False

    @property
    def half(self) -> bool:
        """Whether features are kept in half precision."""
        return self.features == "half"

    @property
    def mirrors_validation(self) -> bool:
        """A flaw of the tutorial's."""
        return self.protocol == "tutorial" and self.mirror

    def rate(self, epoch: int) -> float:
        """The learning rate of an epoch, counted from 1."""
        if self.schedule == "cosine":
            return self.learning_rate * 0.5 * (1 + math.cos(math.pi * (epoch - 1) / self.epochs))
        passed = sum(epoch > step for step in self.lr_step)
        return float(self.learning_rate * self.lr_gamma**passed)
