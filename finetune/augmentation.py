"""Training pictures changed at random, a batch at once: mirrored, cropped, turned, in other colours."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn

from caffe2torch.preprocess import LUMA

WAYS = ("crop", "colour", "rotation")
CROP_AREA = (0.5, 1.0)  # share of the picture that is kept
CROP_ASPECT = (3 / 4, 4 / 3)  # of the crop's width to its height, beside the picture's own
ROTATION = 15.0  # degrees, either way
COLOUR = 0.3  # brightness, contrast and saturation are multiplied by 1 - 0.3 to 1 + 0.3


def chances(count: int, random: torch.Generator) -> torch.Tensor:
    """What decides how ``count`` pictures are changed: float32 [9, count] in 0..1, drawn on the CPU.

    It is always the same number of them, so that a seed means the same whatever is changed, and wherever.
    """
    return torch.rand(9, count, generator=random)


def chosen_to_mirror(decided: torch.Tensor) -> torch.Tensor:
    """Which pictures are turned left to right: bool [N], each with probability a half."""
    return decided[0] < 0.5


def mirrored(pictures: torch.Tensor, decided: torch.Tensor) -> torch.Tensor:
    """Pictures [N, H, W, 3], each turned left to right or not, as ``chances`` decided."""
    turned = chosen_to_mirror(decided).to(pictures.device)
    return torch.where(turned[:, None, None, None], pictures.flip(2), pictures)


def augmented(pictures: torch.Tensor, names: Sequence[str], decided: torch.Tensor) -> torch.Tensor:
    """Pictures uint8 [N, H, W, 3], changed in the ways of ``names``, "crop", "rotation", "colour", as was decided.

    A crop keeps half to all of the area and is scaled to the whole size; a turn is by up to 15 degrees, what comes
    from outside mirrors the edge; colour changes brightness, contrast and saturation by up to 30 %.
    """
    decided = decided.to(pictures.device)
    planes = pictures.permute(0, 3, 1, 2).float()
    if "crop" in names or "rotation" in names:
        height, width = planes.shape[2:]
        matrix = _placement(decided[1:6], "crop" in names, "rotation" in names, width / height)
        grid = nn.functional.affine_grid(matrix, list(planes.shape), align_corners=False)
        planes = nn.functional.grid_sample(planes, grid, "bilinear", "reflection", align_corners=False)
    if "colour" in names:
        planes = _coloured(planes, 1 + COLOUR * (2 * decided[6:] - 1))
    return planes.round_().clamp_(0, 255).to(torch.uint8).permute(0, 2, 3, 1)


def _placement(decided: torch.Tensor, crop: bool, turn: bool, aspect: float) -> torch.Tensor:
    """[N, 2, 3]: from places in the result to places in the picture, both from -1 to 1."""
    area, shape, across, down, angle = decided
    scale = torch.ones_like(area)
    wide, high = scale, scale
    if crop:
        side = (CROP_AREA[0] + (CROP_AREA[1] - CROP_AREA[0]) * area).sqrt()
        stretch = torch.exp((math.log(CROP_ASPECT[0]) + math.log(CROP_ASPECT[1] / CROP_ASPECT[0]) * shape) / 2)
        wide, high = (side * stretch).clamp(max=1), (side / stretch).clamp(max=1)
    turned = (2 * angle - 1) * math.radians(ROTATION) if turn else torch.zeros_like(angle)
    cos, sin = turned.cos(), turned.sin()
    x, y = (2 * across - 1) * (1 - wide), (2 * down - 1) * (1 - high)
    rows = [wide * cos, -high * sin / aspect, x, wide * sin * aspect, high * cos, y]
    return torch.stack(rows, 1).view(-1, 2, 3)


def _coloured(planes: torch.Tensor, factors: torch.Tensor) -> torch.Tensor:
    """RGB [N, 3, H, W] times factors [3, N] of brightness, contrast (around the mean) and saturation (around grey)."""
    brightness, contrast, saturation = factors[:, :, None, None, None]
    planes = planes * brightness
    planes = (planes - (mean := planes.mean((1, 2, 3), keepdim=True))) * contrast + mean
    grey = (planes * torch.tensor(LUMA, device=planes.device).view(1, 3, 1, 1)).sum(1, keepdim=True)
    return (planes - grey) * saturation + grey
