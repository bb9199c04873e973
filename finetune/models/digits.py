"""The small network of the digits recipe."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn


def digits(classes: int = 10, size: Sequence[int] = (28, 28)) -> nn.Sequential:
    """Grey pictures float32 [N, 1, *size], 0..1 -> logits [N, classes]. Weights start as torch's layers start."""
    network = nn.Sequential()
    network.add_module("conv1", nn.Conv2d(1, 4, 3, padding=1))
    network.add_module("pool1", nn.MaxPool2d(2))
    network.add_module("flatten", nn.Flatten())
    network.add_module("fc1", nn.Linear(4 * (size[0] // 2) * (size[1] // 2), 100))
    network.add_module("relu1", nn.ReLU())
    network.add_module("fc2", nn.Linear(100, classes))
    return network
