"""The network of the facemask recipe: how probable it is, at every pixel, that it lies in a face's box."""

from __future__ import annotations

import torch
from torch import nn

WIDTHS = (16, 32, 64, 96, 128)  # maps at strides 2, 4, 8, 16 and 32
SHARED = 48  # maps of the way back up


class FaceMask(nn.Module):
    """Pictures float32 [N, 3, H, W] of any size, mean subtracted -> logits [N, 2, H, W] of other and face.

    Convolutions of stride 2 down to a 32nd of the size, and back up to a quarter, each map resized to the one it is
    added to; the last one is resized to the picture's size. The logit of "other" is 0.
    """

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.ModuleList()
        self.across = nn.ModuleList()
        maps = 3
        for width in WIDTHS:
            self.down.append(nn.Sequential(*_convolution(maps, width, 2), *_convolution(width, width, 1)))
            maps = width
        for width in WIDTHS[1:]:
            self.across.append(nn.Conv2d(width, SHARED, 1))
        self.out = nn.Sequential(*_convolution(SHARED, SHARED, 1), nn.Conv2d(SHARED, 1, 1))

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        size = pictures.shape[2:]
        levels = []
        for step in self.down:
            pictures = step(pictures)
            levels.append(pictures)
        top: torch.Tensor | None = None
        for maps, across in zip(reversed(levels[1:]), reversed(self.across), strict=True):
            same = across(maps)
            top = same if top is None else same + _resized(top, same.shape[2:])
        assert top is not None
        face = _resized(self.out(top), size)
        return torch.cat([torch.zeros_like(face), face], 1)


def _convolution(inputs: int, outputs: int, stride: int) -> tuple[nn.Module, ...]:
    return nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()


def _resized(maps: torch.Tensor, size: torch.Size) -> torch.Tensor:
    return nn.functional.interpolate(maps, size=(size[0], size[1]), mode="bilinear", align_corners=False)


def facemask(classes: int = 2) -> FaceMask:
    """The network; it tells two classes of pixels, other and face."""
    if classes != 2:
        raise ValueError(f"{classes} classes of pixels")
    return FaceMask()
