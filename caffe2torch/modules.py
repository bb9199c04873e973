"""nn.Modules that torch lacks. Each stands alone: its source is printed into model.py where a net needs it."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Scale(nn.Module):
    """x * weight (+ bias): one number for each index of some axes; `trailing` axes follow."""

    def __init__(self, shape: int | tuple[int, ...], trailing: int = 2, bias: bool = False) -> None:
        super().__init__()
        self.trailing = trailing
        self.weight = nn.Parameter(torch.ones(shape))
        self.bias = nn.Parameter(torch.zeros(shape)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        behind = (...,) + (None,) * self.trailing
        x = x * self.weight[behind]
        return x if self.bias is None else x + self.bias[behind]


class Bias(nn.Module):
    """x + bias: one number for each index of some axes; `trailing` axes follow."""

    def __init__(self, shape: int | tuple[int, ...], trailing: int = 2) -> None:
        super().__init__()
        self.trailing = trailing
        self.bias = nn.Parameter(torch.zeros(shape))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.bias[(...,) + (None,) * self.trailing]


class ClippedAvgPool2d(nn.Module):
    """Average over windows, each divided by its size clipped to the padded input.

    `pad`: rows and columns of zeros before the input; `end`: behind it, as far as the
    last window reaches.
    """

    def __init__(
        self,
        kernel: int | tuple[int, int],
        stride: int | tuple[int, int],
        pad: tuple[int, int],
        end: tuple[int, int],
    ) -> None:
        super().__init__()
        self.kernel = (kernel, kernel) if isinstance(kernel, int) else kernel
        self.stride = (stride, stride) if isinstance(stride, int) else stride
        self.pad = pad
        self.end = end

    def forward(self, x: Tensor) -> Tensor:
        padded = F.pad(x, (self.pad[1], self.end[1], self.pad[0], self.end[0]))
        sums = F.avg_pool2d(padded, self.kernel, self.stride, divisor_override=1)
        rows, columns = (self.lengths(x, sums, axis) for axis in (0, 1))
        return sums / (rows[:, None] * columns)

    def lengths(self, x: Tensor, sums: Tensor, axis: int) -> Tensor:
        start = torch.arange(sums.shape[axis + 2], device=x.device) * self.stride[axis]
        start = start - self.pad[axis]
        last = x.shape[axis + 2] + self.pad[axis]
        return (start + self.kernel[axis]).clamp(max=last) - start


class MaxPool2dWithMask(nn.Module):
    """Maximum over windows, and where it was: row * width + column, -1 for nowhere."""

    def __init__(
        self,
        kernel: int | tuple[int, int],
        stride: int | tuple[int, int],
        pad: tuple[int, int],
        end: tuple[int, int],
    ) -> None:
        super().__init__()
        self.kernel = kernel
        self.stride = stride
        self.pad = pad
        self.end = end

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        lowest = torch.finfo(x.dtype).min
        padded = F.pad(x, (self.pad[1], self.end[1], self.pad[0], self.end[0]), value=lowest)
        top, index = F.max_pool2d(padded, self.kernel, self.stride, return_indices=True)
        row = index // padded.shape[3] - self.pad[0]
        column = index % padded.shape[3] - self.pad[1]
        mask = (row * x.shape[3] + column).to(x.dtype)
        return top, torch.where(top == lowest, -1, mask)
