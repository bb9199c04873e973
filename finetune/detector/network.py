"""The detector's network: plain convolutions to stride 32 and back to stride 8, where every cell may be a face."""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import nn

STRIDE = 8
ALIGNED = 32  # height and width of what is fed are multiples of this
WIDTHS = (16, 32, 48, 80, 128)  # channels at strides 2, 4, 8, 16, 32
DILATIONS = ((1,), (1, 1), (1, 1), (1, 1, 2, 2))  # of the residual convolutions at strides 4, 8, 16, 32
MERGED = 48  # channels on the way back
SCALE = 4.0  # edges are predicted as exp(output) times this many cells
LEAST_LOG, MOST_LOG = -6.0, 4.5  # of that output
PADDING = 128  # grey that fills a picture up to ALIGNED
PRIOR = 0.01  # of a face at a cell before training


def convolution(inputs: int, outputs: int, kernel: int = 3, stride: int = 1, dilation: int = 1) -> nn.Sequential:
    """Convolution, batch normalisation, ReLU."""
    padding = kernel // 2 * dilation
    conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, dilation, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU())


class Residual(nn.Module):
    """x + convolution(x)."""

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        self.conv = convolution(channels, channels, dilation=dilation)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.conv(x)


class Detector(nn.Module):
    """Pictures to one logit and four distances a cell of 8 x 8 pixels.

    The way down halves the picture five times; the way back adds the maps of strides 16 and 8 to the enlarged ones
    behind them, so that a cell sees both its own pixels and a face that fills the picture: some 600 pixels around it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = convolution(3, WIDTHS[0], stride=2)
        self.stages = nn.ModuleList(
            nn.Sequential(convolution(inputs, outputs, stride=2), *(Residual(outputs, d) for d in dilations))
            for inputs, outputs, dilations in zip(WIDTHS[:-1], WIDTHS[1:], DILATIONS, strict=True)
        )
        self.laterals = nn.ModuleList(convolution(inputs, MERGED, 1) for inputs in WIDTHS[2:])
        self.merges = nn.ModuleList(convolution(MERGED, MERGED) for _ in WIDTHS[3:])
        self.head = convolution(MERGED, MERGED)
        self.face = nn.Conv2d(MERGED, 1, 1)
        self.box = nn.Conv2d(MERGED, 4, 1)
        self._start()

    def _start(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        for last in (self.face, self.box):
            nn.init.normal_(last.weight, std=0.01)
        assert self.face.bias is not None
        nn.init.constant_(self.face.bias, float(torch.logit(torch.tensor(PRIOR))))

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Pixels float [N, 3, H, W] from -1 to 1 (multiples of 32): logits [N, h, w] and boxes [N, h, w, 4].

        h = H / 8, w = W / 8; boxes are distances from the cell's middle to the left, top, right and bottom edges, in
        pixels, above 0.
        """
        x = self.stem(pixels)
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        eighth, sixteenth, last = (lateral(x) for lateral, x in zip(self.laterals, maps[1:], strict=True))
        x = self.merges[1](sixteenth + F.interpolate(last, scale_factor=2.0))
        x = self.merges[0](eighth + F.interpolate(x, scale_factor=2.0))
        x = self.head(x)
        distances = self.box(x).permute(0, 2, 3, 1).clamp(LEAST_LOG, MOST_LOG).exp() * (SCALE * STRIDE)
        return self.face(x)[:, 0], distances


def prepared(pictures: torch.Tensor) -> torch.Tensor:
    """Pictures uint8 [N, H, W, 3] as the network takes them: float [N, 3, H, W], -1 to 1."""
    return pictures.permute(0, 3, 1, 2).float().div(127.5).sub(1.0)


def with_scores(network: Detector, slope: float, offset: float) -> Detector:
    """The same network with ``slope`` * logit + ``offset`` for every logit."""
    network = copy.deepcopy(network)
    with torch.no_grad():
        network.face.weight *= slope
        assert network.face.bias is not None
        network.face.bias.mul_(slope).add_(offset)
    return network


def fused(network: Detector) -> Detector:
    """The same network for use: batch normalisation folded into convolutions with a bias, weights rounded to fp16."""
    network = copy.deepcopy(network).eval()
    for block in list(network.modules()):
        if isinstance(block, nn.Sequential) and len(block) > 1 and isinstance(block[1], nn.BatchNorm2d):
            conv = block[0]
            assert isinstance(conv, nn.Conv2d)
            block[0], block[1] = _folded(conv, block[1]), nn.Identity()
    with torch.no_grad():
        for weight in network.parameters():
            weight.copy_(weight.half().float())
    return network.requires_grad_(False)


def _folded(conv: nn.Conv2d, norm: nn.Module) -> nn.Conv2d:
    assert isinstance(norm, nn.BatchNorm2d) and norm.running_mean is not None and norm.running_var is not None
    factor = norm.weight / (norm.running_var + norm.eps).sqrt()
    new = copy.deepcopy(conv)
    new.weight = nn.Parameter(conv.weight * factor[:, None, None, None])
    new.bias = nn.Parameter(norm.bias - norm.running_mean * factor)
    return new
