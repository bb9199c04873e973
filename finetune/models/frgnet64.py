"""FrgNet64: is a picture of 64 x 64 pixels a face or not."""

from __future__ import annotations

from torch import nn

SIZE = 64
SLOPE = 0.2  # of the leaky ReLUs


def frgnet64(classes: int = 2, dropout: float = 0.5) -> nn.Sequential:
    """Pictures float32 [N, 3, 64, 64], mean subtracted -> logits [N, classes].

    Pools round up, as Caffe's and Chainer's do: 64 -> 31 -> 14 -> 7, so that fc1 takes 384 · 7 · 7 = 18816 values.
    Weights start normal with deviation √(1 / inputs), biases at 0: Chainer's default (LeCunNormal).
    """
    network = nn.Sequential()
    network.add_module("conv1", nn.Conv2d(3, 96, 5, padding=2))
    network.add_module("bn1", nn.BatchNorm2d(96))
    network.add_module("relu1", nn.ReLU())
    network.add_module("pool1", nn.MaxPool2d(5, 2, ceil_mode=True))
    network.add_module("conv2", nn.Conv2d(96, 128, 5, padding=2))
    network.add_module("bn2", nn.BatchNorm2d(128))
    network.add_module("relu2", nn.ReLU())
    network.add_module("pool2", nn.MaxPool2d(5, 2, ceil_mode=True))
    network.add_module("conv3", nn.Conv2d(128, 256, 3, padding=1))
    network.add_module("relu3", nn.ReLU())
    network.add_module("pool3", nn.MaxPool2d(3, 2, ceil_mode=True))
    network.add_module("conv4", nn.Conv2d(256, 384, 3, padding=1))
    network.add_module("relu4", nn.LeakyReLU(SLOPE))
    network.add_module("flatten", nn.Flatten())
    network.add_module("fc1", nn.Linear(384 * 7 * 7, 2048))
    network.add_module("relu5", nn.LeakyReLU(SLOPE))
    network.add_module("dropout", nn.Dropout(dropout))
    network.add_module("fc2", nn.Linear(2048, classes))
    start_as_chainer(network)
    return network


def start_as_chainer(network: nn.Module) -> None:
    """Weights of convolutions and inner products normal with deviation √(1 / inputs), biases 0."""
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(module.weight, nonlinearity="linear")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
