"""Pooling of regions of a map."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def rounded(x: Tensor) -> Tensor:
    """The nearest whole numbers; halves go away from zero."""
    whole = x.trunc()
    return whole + x.sign() * ((x - whole).abs() >= 0.5)


class RegionMaxPool(nn.Module):
    """The maximum of each of `size` bins of regions (item, x1, y1, x2, y2).

    Corners times `scale` are rounded to places in the map, all of which count. An empty
    bin gives 0.
    """

    def __init__(self, size: tuple[int, int], scale: float) -> None:
        super().__init__()
        self.size = size
        self.scale = scale

    def forward(self, x: Tensor, regions: Tensor) -> Tensor:
        regions = regions.reshape(-1, 5)
        left, top, right, bottom = rounded(regions[:, 1:] * self.scale).unbind(1)
        rows = self.edges(top, bottom, self.size[0], x.shape[2])
        columns = self.edges(left, right, self.size[1], x.shape[3])
        items = regions[:, 0].long().tolist()
        pooled = [
            self.pool(x[item], *edges)
            for item, *edges in zip(items, rows, columns, strict=True)
        ]
        return torch.stack(pooled) if pooled else x.new_zeros(0, x.shape[1], *self.size)

    def edges(self, low: Tensor, high: Tensor, bins: int, size: int) -> list:
        extent = ((high - low + 1).clamp(min=1) / bins)[:, None]
        steps = torch.arange(bins + 1, device=low.device, dtype=low.dtype)
        starts = (steps[:-1] * extent).floor() + low[:, None]
        ends = (steps[1:] * extent).ceil() + low[:, None]
        return torch.stack((starts, ends), -1).clamp(0, size).long().tolist()

    def pool(self, x: Tensor, rows: list, columns: list) -> Tensor:
        bins = [x[:, slice(*row), slice(*column)] for row in rows for column in columns]
        most = [b.amax((1, 2)) if b.numel() else x.new_zeros(len(x)) for b in bins]
        return torch.stack(most, 1).unflatten(1, self.size)


class RegionAvgPool(nn.Module):
    """The average of each bin of regions (item, x1, y1, x2, y2), in channels of its own.

    Gives `channels` of `bins` rows and columns of x's channels * bins * bins. An empty
    bin gives 0.
    """

    def __init__(self, channels: int, bins: int, scale: float) -> None:
        super().__init__()
        self.channels = channels
        self.bins = bins
        self.scale = scale

    def forward(self, x: Tensor, regions: Tensor) -> Tensor:
        regions = regions.reshape(-1, 5)
        item = regions[:, 0].long()[:, None, None, None]
        left, top, right, bottom = rounded(regions[:, 1:]).unbind(1)
        top, bottom = self.edges(top, bottom, x.shape[2])
        left, right = self.edges(left, right, x.shape[3])
        rows, columns = (bottom - top)[:, None, :, None], (right - left)[:, None, None]
        sums = F.pad(x.double().cumsum(2).cumsum(3), (1, 0, 1, 0))
        sums = sums.unflatten(1, (self.channels, self.bins, self.bins))
        steps = torch.arange(self.bins, device=x.device)
        channel = torch.arange(self.channels, device=x.device)[:, None, None]

        def total(y: Tensor, x: Tensor) -> Tensor:
            y, x = y[:, None, :, None], x[:, None, None]
            return sums[item, channel, steps[:, None], steps, y, x]

        added = total(bottom, right) - total(top, right)
        added = added - total(bottom, left) + total(top, left)
        mean = (added / (rows * columns).clamp(min=1)).to(x.dtype)
        return mean.where((rows > 0) & (columns > 0), 0)

    def edges(self, low: Tensor, high: Tensor, size: int) -> tuple[Tensor, Tensor]:
        start = (low * self.scale)[:, None]
        end = ((high + 1) * self.scale)[:, None]
        extent = (end - start).clamp(min=0.1) / self.bins
        steps = torch.arange(self.bins + 1, device=low.device, dtype=low.dtype)
        starts = (steps[:-1] * extent + start).floor()
        ends = (steps[1:] * extent + start).ceil()
        return starts.clamp(0, size).long(), ends.clamp(0, size).long()
