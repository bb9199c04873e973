"""FlowNet2's Resample and Downsample."""

import torch
from torch import Tensor


def resample_places(x: Tensor, size: tuple[int, int]) -> list[Tensor]:
    """The rows and columns of x that those of FlowNet2's Resample lie on.

    Each axis is shifted by half the step of the other one, as there.
    """
    steps = [old / new for old, new in zip(x.shape[2:], size, strict=True)]
    return [
        torch.arange(size[axis], dtype=x.dtype, device=x.device) * steps[axis]
        + steps[1 - axis] / 2
        - 0.5
        for axis in (0, 1)
    ]


def resample_weights(
    places: Tensor, size: int, width: float = 1.0, cubic: bool = False
) -> Tensor:
    """How much each of `size` numbers counts at each place, by a filter of a width."""
    numbers = torch.arange(size, dtype=places.dtype, device=places.device)
    distance = (places[:, None] - numbers).abs() * (1 / width)
    if cubic:
        near = distance * distance * (1.5 * distance - 2.5) + 1
        far = distance * (distance * (-0.5 * distance + 2.5) - 4) + 2
        weights = near.where(distance <= 1, far.where(distance < 2, 0))
    else:
        weights = (1 - distance).clamp(min=0)
    total = weights.sum(1, keepdim=True)
    return weights / total.where(total != 0, 1)


def resample(
    x: Tensor, size: tuple[int, int], cubic: bool = False, antialias: bool = True
) -> Tensor:
    """FlowNet2's Resample: x in another size by a linear or cubic filter.

    `antialias`: where a side becomes smaller, the filter is as wide as the new pixels.
    """
    steps = [old / new for old, new in zip(x.shape[2:], size, strict=True)]
    widths = steps if antialias and max(steps) > 1 else [1.0, 1.0]
    rows, columns = (
        resample_weights(places, old, width, cubic)
        for places, old, width in zip(
            resample_places(x, size), x.shape[2:], widths, strict=True
        )
    )
    return rows @ (x @ columns.T)


def resample_nearest(x: Tensor, size: tuple[int, int]) -> Tensor:
    """FlowNet2's Resample by nearest neighbour; beyond a row's end the next one begins."""
    rows, columns = ((each + 0.5).floor().long() for each in resample_places(x, size))
    return x.flatten(2)[:, :, rows[:, None] * x.shape[3] + columns]


def downsample(x: Tensor, size: tuple[int, int]) -> Tensor:
    """FlowNet2's Downsample: weighted means around each place, corners onto corners.

    NaN do not count; where they weigh more than half of what counts, there is NaN.
    """
    weights = []
    for old, new in zip(x.shape[2:], size, strict=True):
        places = torch.arange(new, dtype=x.dtype, device=x.device)
        places = places / (new - 1) * (old - 1)
        numbers = torch.arange(old, dtype=x.dtype, device=x.device)
        distance = (places[:, None] - numbers).abs() / ((old - 1) / (new - 1))
        weights.append((1 - distance).clamp(min=0))
    rows, columns = weights
    missing = x.isnan()
    counted = rows @ (~missing).to(x.dtype) @ columns.T
    lost = rows @ missing.to(x.dtype) @ columns.T
    mean = rows @ x.where(~missing, 0) @ columns.T / counted
    return mean.where(~(lost / counted > 0.5), float("nan"))
