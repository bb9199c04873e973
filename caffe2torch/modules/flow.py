"""Maps read elsewhere: FlowNet2's correlation and warping, and the spatial transformer."""

import torch
from torch import Tensor
from torch.nn import functional as F


def correlation(
    a: Tensor,
    b: Tensor,
    reach: int,
    step: int = 1,
    kernel: int = 1,
    stride: int = 1,
    pad: int = 0,
    subtract: bool = False,
) -> Tensor:
    """Mean products of windows of a with those of b, displaced by -reach ... reach.

    There is a channel for each displacement, a multiple of `step`, rows before columns.
    `subtract`: absolute differences instead of products.
    """
    a, b = F.pad(a, [pad] * 4), F.pad(b, [pad] * 4)
    height, width = (size - 2 * reach for size in a.shape[2:])
    a = a[:, :, reach : reach + height, reach : reach + width]
    shifts = range(reach % step, 2 * reach + 1, step)
    maps = []
    for row in shifts:
        for column in shifts:
            moved = b[:, :, row : row + height, column : column + width]
            maps.append(((a - moved).abs() if subtract else a * moved).mean(1))
    return F.avg_pool2d(torch.stack(maps, 1), kernel, stride)


def warp(image: Tensor, flow: Tensor, fill: float = 0.0) -> Tensor:
    """The image, read where the flow (x and y, in pixels) points; outside of it `fill`."""
    height, width = image.shape[2:]
    y = torch.arange(height, device=flow.device)[:, None]
    x = torch.arange(width, device=flow.device)
    place = torch.stack((flow[:, 0] + x, flow[:, 1] + y), -1)
    size = place.new_tensor([width, height])
    grid = (2 * place + 1) / size - 1
    read = F.grid_sample(image, grid, padding_mode="border", align_corners=False)
    inside = ((place >= 0) & (place < size)).all(-1)
    return read.where(inside[:, None], fill)


def spatial_transform(
    x: Tensor,
    theta: Tensor,
    size: tuple[int, int],
    given: tuple[float | None, ...] = (None,) * 6,
) -> Tensor:
    """x, read where theta takes each (row, column, 1) of a map of `size`; 0 outside.

    theta: of each item the numbers of 2 x 3 that are not `given`; rows and columns count
    from -1, up to but not including 1.
    """
    free = iter(theta.unbind(1))
    full = [
        next(free) if one is None else torch.full_like(theta[:, 0], one)
        for one in given
    ]
    rows, columns = (
        torch.arange(side, device=x.device) / side * 2 - 1 for side in size
    )
    places = torch.stack(torch.meshgrid(rows, columns, indexing="ij"))
    places = torch.cat((places, torch.ones_like(places[:1]))).flatten(1).to(x.dtype)
    found = torch.stack(full, 1).view(-1, 2, 3) @ places
    half = found.new_tensor([1 / x.shape[3], 1 / x.shape[2]])
    grid = (found.flip(1).transpose(1, 2) + half).unflatten(1, size)
    return F.grid_sample(x, grid, align_corners=False)
