"""Pooling turned round."""

import torch
from torch import Tensor
from torch.nn import functional as F


def unpool(x: Tensor, places: Tensor, size: tuple[int, int]) -> Tensor:
    """Each number of x at its place, row * width + column, in a map of `size`.

    0 elsewhere; of numbers with one place the last stays.
    """
    zeros = x.new_zeros(*x.shape[:2], size[0] * size[1])
    places = places.long().flatten(2)
    return zeros.scatter(2, places, x.flatten(2)).unflatten(2, size)


def unpool_corners(x: Tensor, stride: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """Each number of x in the first place of its window in a map of `size`."""
    rows, columns = (
        (torch.arange(count, device=x.device) * step).clamp(max=most - 1)
        for count, step, most in zip(x.shape[2:], stride, size, strict=True)
    )
    return unpool(x, (rows[:, None] * size[1] + columns).expand(x.shape), size)


def spread(
    x: Tensor,
    kernel: int | tuple[int, int],
    stride: int | tuple[int, int],
    size: tuple[int, int],
    average: bool = False,
) -> Tensor:
    """Each number of x, or its share if `average`, added to its window of the result.

    The result is cut, or filled with zeros, to `size`.
    """
    channels = x.shape[1]
    kernel = (kernel, kernel) if isinstance(kernel, int) else kernel
    stride = (stride, stride) if isinstance(stride, int) else stride
    if average:
        counts = [torch.arange(count, device=x.device) for count in x.shape[2:]]
        rows = (size[0] - counts[0] * stride[0]).clamp(1, kernel[0])
        columns = (size[1] - counts[1] * stride[1]).clamp(1, kernel[1])
        x = x / (rows[:, None] * columns)
    windows = x.new_ones(channels, 1, *kernel)
    y = F.conv_transpose2d(x, windows, stride=stride, groups=channels)
    return F.pad(y, (0, size[1] - y.shape[3], 0, size[0] - y.shape[2]))
