"""What is trained: the head on a frozen trunk's map."""

from __future__ import annotations

import torch
from torch import nn

LARGEST_MAP = 7  # a larger map is pooled to 7 x 7: fc7 would grow with every place


class TutorialHead(nn.Module):
    """The head of the Chainer tutorial on animeface-character-dataset.

    Map [N, C, h, w] float32 -> logits [N, classes]: average pooling to 7 × 7 where the map is larger, then
    fc7 (``hidden``) -> batch normalisation -> ReLU -> dropout -> fc8. Both weights start He normal
    (deviation √(2 / inputs), chainer.initializers.HeNormal), both biases at 0.
    """

    def __init__(self, features: tuple[int, int, int], classes: int, hidden: int = 4096, dropout: float = 0.5) -> None:
        super().__init__()
        channels, height, width = features
        self.pool = pooled_size(height, width)
        if self.pool is not None:
            height, width = self.pool
        self.fc7 = nn.Linear(channels * height * width, hidden)
        self.bn = nn.BatchNorm1d(hidden)
        self.dropout = nn.Dropout(dropout)
        self.fc8 = nn.Linear(hidden, classes)
        for layer in (self.fc7, self.fc8):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        if self.pool is not None:
            maps = nn.functional.adaptive_avg_pool2d(maps, self.pool)
        hidden = self.bn(self.fc7(maps.flatten(1)))
        logits: torch.Tensor = self.fc8(self.dropout(torch.relu(hidden)))
        return logits


def pooled_size(height: int, width: int) -> tuple[int, int] | None:
    """The size a map of ``height`` × ``width`` is pooled to: at most 7 a side; None where it is no larger."""
    if height <= LARGEST_MAP and width <= LARGEST_MAP:
        return None
    return min(height, LARGEST_MAP), min(width, LARGEST_MAP)


def parameters(module: nn.Module) -> int:
    """How many numbers are trained."""
    return sum(parameter.numel() for parameter in module.parameters())
