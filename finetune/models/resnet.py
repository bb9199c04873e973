"""ResNet-50 (He et al. 2015, arXiv:1512.03385), its residual blocks beginning as the identity."""

from __future__ import annotations

import torch
from torch import nn

BLOCKS = (3, 4, 6, 3)
WIDTH = 64  # maps of the first convolution; a bottleneck's output has four times as many as its middle


class Bottleneck(nn.Module):
    """relu(body(x) + shortcut(x)): 1 x 1, 3 x 3, 1 x 1; a stride is the first one's, as in the paper's network.

    The last batch normalisation starts at gamma 0 (Goyal et al. 2017, arXiv:1706.02677, section 5.1).
    """

    def __init__(self, inputs: int, middle: int, stride: int) -> None:
        super().__init__()
        outputs = 4 * middle
        last = nn.BatchNorm2d(outputs)
        nn.init.zeros_(last.weight)
        self.body = nn.Sequential(
            nn.Conv2d(inputs, middle, 1, stride, bias=False),
            nn.BatchNorm2d(middle),
            nn.ReLU(),
            nn.Conv2d(middle, middle, 3, padding=1, bias=False),
            nn.BatchNorm2d(middle),
            nn.ReLU(),
            nn.Conv2d(middle, outputs, 1, bias=False),
            last,
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.body(maps) + self.shortcut(maps))


def resnet50(classes: int, width: int = WIDTH) -> nn.Sequential:
    """Pictures float32 [N, 3, H, W], mean subtracted, H and W 32 or more -> logits [N, classes].

    Convolutions start normal with deviation √(2 / outputs' connections) (He et al. 2015, arXiv:1502.01852).
    """
    network = nn.Sequential()
    network.add_module("conv1", nn.Conv2d(3, width, 7, 2, 3, bias=False))
    network.add_module("bn1", nn.BatchNorm2d(width))
    network.add_module("relu1", nn.ReLU())
    network.add_module("pool1", nn.MaxPool2d(3, 2, 1))
    maps = width
    for stage, blocks in enumerate(BLOCKS):
        middle = width * 2**stage
        for place in range(blocks):
            stride = 2 if stage > 0 and place == 0 else 1
            network.add_module(f"block{stage + 2}_{place + 1}", Bottleneck(maps, middle, stride))
            maps = 4 * middle
    network.add_module("pool5", nn.AdaptiveAvgPool2d(1))
    network.add_module("flatten", nn.Flatten())
    network.add_module("fc", nn.Linear(maps, classes))
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return network
