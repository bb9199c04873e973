"""What a step of training does: the loss, the optimizer and its learning rates, chances that depend on the epoch."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from finetune.data.folders import LabelledPictures
from finetune.models.top import Top
from finetune.options import UNFREEZE_SHARE, Options

FACTOR = "factor"  # of a parameter group: its learning rate to that of the options


def sgd(top: Top, options: Options) -> torch.optim.SGD:
    """SGD of the head and, at its own rate, of the trunk's trained layers; a head without parameters has it too."""
    groups: list[dict[str, Any]] = [{"params": list(top.head.parameters()), FACTOR: 1.0}]
    if top.live is not None:
        rate = options.learning_rate * UNFREEZE_SHARE if options.unfreeze_lr is None else options.unfreeze_lr
        tuned = [parameter for parameter in top.live.parameters() if parameter.requires_grad]
        groups.append({"params": tuned, FACTOR: rate / options.learning_rate})
    groups = [group for group in groups if group["params"]]
    # Fused SGD on a CPU is wrong, silently, where weights and gradients lie differently in memory (torch 2.13):
    # a convolution's may. The head's are all plain.
    fused = top.live is None or not top.trained
    if not groups:
        groups = [{"params": [nn.Parameter(torch.zeros(()))], FACTOR: 1.0}]  # an optimizer wants one
    return torch.optim.SGD(
        groups, options.learning_rate, options.momentum, weight_decay=options.weight_decay, fused=fused
    )


def set_rate(optimizer: Any, rate: float) -> None:
    """The learning rate of all parameter groups, each by its factor."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get(FACTOR, 1.0)


def class_weights(pictures: LabelledPictures) -> torch.Tensor:
    """float32 [classes]: inverse to the pictures of each class, 1 in the mean over pictures."""
    counts = torch.tensor(pictures.counts(), dtype=torch.float64)
    present = int((counts > 0).sum())
    return torch.where(counts > 0, len(pictures) / (present * counts.clamp(min=1)), 0.0).float()


def summed_loss(
    logits: torch.Tensor, labels: torch.Tensor, smoothing: float, weights: torch.Tensor | None
) -> torch.Tensor:
    """Cross-entropy, summed over the pictures, each counting as much as its class's weight.

    Of masks, logits [N, classes, H, W] and labels [N, H, W], a picture's is the mean over its pixels.
    """
    losses = nn.functional.cross_entropy(logits, labels, label_smoothing=smoothing, reduction="none")
    losses = losses if weights is None else losses * weights[labels]
    return (losses.flatten(1).mean(1) if labels.dim() > 1 else losses).sum()


def right_answers(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """How many pictures are classified rightly; of masks, the sum over the pictures of their share of right pixels."""
    right = (logits.argmax(1) == labels).double()
    return (right.flatten(1).mean(1) if labels.dim() > 1 else right).sum()


def grouped(plan: Sequence[Sequence[int]], size: int) -> list[tuple[int, int]]:
    """For each batch of a plan of steps of ``size`` batches: pictures in its step, batches after it in its step."""
    found = []
    for first in range(0, len(plan), size):
        step = plan[first : first + size]
        total = sum(map(len, step))
        found += [(total, len(step) - 1 - place) for place in range(len(step))]
    return found


def epoch_seed(seed: int, epoch: int, use: str, process: int = 0) -> int:
    """A seed for one use in one epoch: a run that is resumed draws the same chances without having kept any state."""
    digest = hashlib.sha256(f"{seed} {epoch} {use} {process}".encode()).digest()
    return int.from_bytes(digest[:7], "little")
