"""What is trained: the head on a trunk's map. ``HEADS`` names them; finetune/head_graph.py has them in ONNX."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn

from caffe2torch.errors import ModelError

LARGEST_MAP = 7  # a larger map is pooled to 7 x 7: the first layer would grow with every place
SHARPNESS = 16.0  # of nearest-mean's softmax; calibration finds a better one


class Head(nn.Module):
    """Map [N, C, h, w] float32 -> logits [N, classes]. ``describe`` is what config.json keeps of it."""

    name = ""

    def __init__(self, features: tuple[int, int, int], classes: int) -> None:
        super().__init__()
        self.features = features
        self.classes = classes

    def describe(self) -> dict[str, Any]:
        """All that ``head_of`` needs to make it again, beside its tensors."""
        return {"name": self.name, "features": list(self.features), "classes": self.classes}


class TutorialHead(Head):
    """The head of the Chainer tutorial on animeface-character-dataset.

    Average pooling to 7 × 7 where the map is larger, then fc7 (``hidden``) -> batch normalisation -> ReLU -> dropout
    -> fc8. Both weights start He normal (deviation √(2 / inputs), chainer.initializers.HeNormal), both biases at 0.
    """

    name = "tutorial"

    def __init__(self, features: tuple[int, int, int], classes: int, hidden: int = 4096, dropout: float = 0.5) -> None:
        super().__init__(features, classes)
        self.pool = pooled_size(*features[1:])
        self.fc7 = nn.Linear(_inputs(features, self.pool), hidden)
        self.bn = nn.BatchNorm1d(hidden)
        self.dropout = nn.Dropout(dropout)
        self.fc8 = nn.Linear(hidden, classes)
        for layer in (self.fc7, self.fc8):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        hidden = self.bn(self.fc7(_pooled(maps, self.pool)))
        logits: torch.Tensor = self.fc8(self.dropout(torch.relu(hidden)))
        return logits

    def describe(self) -> dict[str, Any]:
        pool = list(self.pool) if self.pool else None
        return {**super().describe(), "pool": pool, "hidden": self.fc7.out_features, "dropout": self.dropout.p}


class LinearHead(Head):
    """One layer on every place of the map, average-pooled to 7 × 7 where it is larger: dropout -> fc.

    With ``normalised`` every feature is first put to mean 0 and deviation 1 over the training pictures: one learning
    rate then suits every trunk, whatever the size of its features.
    """

    name = "linear"

    def __init__(
        self,
        features: tuple[int, int, int],
        classes: int,
        hidden: int = 0,
        dropout: float = 0.5,
        normalised: bool = True,
    ) -> None:
        super().__init__(features, classes)
        self.pool = self.pool_of(*features[1:])
        self.bn = nn.BatchNorm1d(_inputs(features, self.pool), affine=False, momentum=None) if normalised else None
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(_inputs(features, self.pool), classes)
        if normalised:
            nn.init.zeros_(self.fc.weight)  # a feature that is 0 in every training picture never counts
        else:
            nn.init.normal_(self.fc.weight, std=0.01)
        nn.init.zeros_(self.fc.bias)

    @staticmethod
    def pool_of(height: int, width: int) -> tuple[int, int] | None:
        """The size that a map is pooled to."""
        return pooled_size(height, width)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        flat = _pooled(maps, self.pool)
        logits: torch.Tensor = self.fc(self.dropout(flat if self.bn is None else self.bn(flat)))
        return logits

    def describe(self) -> dict[str, Any]:
        pool = list(self.pool) if self.pool else None
        return {**super().describe(), "pool": pool, "dropout": self.dropout.p, "normalised": self.bn is not None}


class GapHead(LinearHead):
    """One layer on the mean over all places of the map: global average pooling -> dropout -> fc."""

    name = "gap"

    @staticmethod
    def pool_of(height: int, width: int) -> tuple[int, int] | None:
        return None if height == width == 1 else (1, 1)


class NearestMeanHead(Head):
    """Nothing is trained: the class whose mean is nearest in angle, of features averaged over all places.

    logits = 16 · cos(feature − centre, mean of the class − centre), where ``centre`` is the mean of the classes' means
    and every feature counts with length 1. ``fit`` makes both, in one pass.
    """

    name = "nearest-mean"
    centre: torch.Tensor
    means: torch.Tensor

    def __init__(self, features: tuple[int, int, int], classes: int, hidden: int = 0, dropout: float = 0.0) -> None:
        super().__init__(features, classes)
        self.register_buffer("centre", torch.zeros(features[0]))
        self.register_buffer("means", torch.zeros(classes, features[0]))  # of length 1

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        unit = nn.functional.normalize(maps.mean((2, 3)) - self.centre, eps=1e-12)
        return SHARPNESS * unit @ self.means.T

    def fit(self, sums: torch.Tensor, counts: torch.Tensor) -> None:
        """From sums [classes, C] over pictures of their features averaged over places, and pictures of each class."""
        means = sums / counts.clamp(min=1)[:, None]
        centre = means[counts > 0].mean(0)
        self.centre.copy_(centre)
        self.means.copy_(nn.functional.normalize(means - centre, eps=1e-12) * (counts > 0)[:, None])


HEADS: Mapping[str, type[Head]] = {head.name: head for head in (TutorialHead, GapHead, LinearHead, NearestMeanHead)}


def make_head(
    name: str, features: tuple[int, int, int], classes: int, hidden: int, dropout: float, normalised: bool = True
) -> Head:
    """A new head of ``HEADS`` on a map of (C, h, w); what follows ``classes`` is for those that have it."""
    if issubclass(HEADS[name], LinearHead):
        return HEADS[name](features, classes, hidden, dropout, normalised)  # type: ignore[call-arg]
    return HEADS[name](features, classes, hidden, dropout)  # type: ignore[call-arg]


def head_of(description: Mapping[str, Any]) -> Head:
    """The head that config.json describes; its tensors are still to be loaded. Raises ModelError, KeyError."""
    name = description["name"]
    if name not in HEADS:
        raise ModelError(f"head {name!r} is not one of {', '.join(HEADS)}")
    channels, height, width = description["features"]
    hidden = int(description["hidden"]) if name == TutorialHead.name else 0
    dropout = 0.0 if name == NearestMeanHead.name else float(description["dropout"])
    normalised = bool(description.get("normalised", False))  # older runs were not
    return make_head(name, (channels, height, width), int(description["classes"]), hidden, dropout, normalised)


def pooled_size(height: int, width: int) -> tuple[int, int] | None:
    """The size a map of ``height`` × ``width`` is pooled to: at most 7 a side; None where it is no larger."""
    if height <= LARGEST_MAP and width <= LARGEST_MAP:
        return None
    return min(height, LARGEST_MAP), min(width, LARGEST_MAP)


def parameters(module: nn.Module) -> int:
    """How many numbers are trained."""
    return count(parameter for parameter in module.parameters() if parameter.requires_grad)


def count(tensors: Iterable[torch.Tensor]) -> int:
    """How many numbers the tensors hold."""
    return sum(tensor.numel() for tensor in tensors)


def _inputs(features: tuple[int, int, int], pool: tuple[int, int] | None) -> int:
    height, width = pool or features[1:]
    return features[0] * height * width


def _pooled(maps: torch.Tensor, pool: tuple[int, int] | None) -> torch.Tensor:
    if pool is not None:
        maps = nn.functional.adaptive_avg_pool2d(maps, pool)
    return maps.flatten(1)
