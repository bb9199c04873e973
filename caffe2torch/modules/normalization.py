"""Normalization by mean and variance, or by a norm; noise."""

import torch
from torch import Tensor, nn


class MeanVarianceNorm(nn.Module):
    """(x - mean) / (deviation + eps) of each channel, or `across` an item's channels.

    Gives 4 axes: 1s behind those of the input.
    """

    def __init__(
        self, across: bool = False, variance: bool = True, eps: float = 1e-9
    ) -> None:
        super().__init__()
        self.axes = (1, 2, 3) if across else (2, 3)
        self.variance = variance
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        x = x[(...,) + (None,) * (4 - x.ndim)]
        centred = x - x.mean(self.axes, keepdim=True)
        if not self.variance:
            return centred
        return centred / (x.std(self.axes, correction=0, keepdim=True) + self.eps)


class BatchNormWithStatistics(nn.Module):
    """BatchNorm2d by the batch's own statistics: x normalized, the mean, the variance.

    Mean and variance have the shape (1, channels, 1, 1).
    """

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        variance, mean = torch.var_mean(x, (0, 2, 3), correction=0, keepdim=True)
        weight, bias = self.weight[:, None, None], self.bias[:, None, None]
        return (x - mean) / (variance + self.eps).sqrt() * weight + bias, mean, variance


def divided(x: Tensor, norm: Tensor) -> tuple[Tensor, Tensor]:
    """x / norm, and the norm."""
    return x / norm, norm


class Normalize(nn.Module):
    """weight * x / sqrt(sum x² + eps), over all axes but the first, or `across` none.

    `channels`: how many have a weight of their own; 0: one weight for all.
    """

    def __init__(self, channels: int, across: bool = True, eps: float = 1e-10) -> None:
        super().__init__()
        self.across = across
        self.eps = eps
        self.weight = nn.Parameter(torch.ones((channels,) if channels else ()))

    def forward(self, x: Tensor) -> Tensor:
        axes = tuple(range(1, x.ndim)) if self.across else (1,)
        norm = (x.square().sum(axes, keepdim=True) + self.eps).sqrt()
        return x / norm * self.weight.reshape((-1,) + (1,) * (x.ndim - 2))


class Noise(nn.Module):
    """Nothing at test time; in training, noise around `bias`.

    Normal noise of a standard `deviation`, or uniform noise up to `reach` on both sides.
    """

    def __init__(
        self, deviation: float = 0.0, reach: float = 0.0, bias: float = 0.0
    ) -> None:
        super().__init__()
        self.deviation = deviation
        self.reach = reach
        self.bias = bias

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        normal = self.deviation * torch.randn_like(x)
        uniform = self.reach * (2 * torch.rand_like(x) - 1)
        return x + self.bias + normal + uniform
