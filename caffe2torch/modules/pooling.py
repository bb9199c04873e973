"""Pooling as Caffe counts windows."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


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


class ClippedAvgPool3d(nn.Module):
    """ClippedAvgPool2d over three axes, which pad and end have one number each for."""

    def __init__(
        self,
        kernel: tuple[int, int, int],
        stride: tuple[int, int, int],
        pad: tuple[int, int, int],
        end: tuple[int, int, int],
    ) -> None:
        super().__init__()
        self.kernel = kernel
        self.stride = stride
        self.pad = pad
        self.end = end

    def forward(self, x: Tensor) -> Tensor:
        sides = [
            size for axis in (2, 1, 0) for size in (self.pad[axis], self.end[axis])
        ]
        padded = F.pad(x, sides)
        sums = F.avg_pool3d(padded, self.kernel, self.stride, divisor_override=1)
        depths, rows, columns = (self.lengths(x, sums, axis) for axis in range(3))
        return sums / (depths[:, None, None] * rows[:, None] * columns)

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
        sides = (self.pad[1], self.end[1], self.pad[0], self.end[0])
        padded = F.pad(x, sides, value=lowest)
        top, index = F.max_pool2d(padded, self.kernel, self.stride, return_indices=True)
        row = index // padded.shape[3] - self.pad[0]
        column = index % padded.shape[3] - self.pad[1]
        mask = (row * x.shape[3] + column).to(x.dtype)
        return top, torch.where(top == lowest, -1, mask)


class PyramidPool(nn.Module):
    """Maxima (or averages) of 1, 2 x 2, 4 x 4, ... equal windows, side by side.

    Where the windows do not divide the input, they reach beyond it on all sides.
    """

    def __init__(self, height: int, average: bool = False) -> None:
        super().__init__()
        self.height = height
        self.average = average

    def forward(self, x: Tensor) -> Tensor:
        levels = [self.level(x, 2**level).flatten(1) for level in range(self.height)]
        return torch.cat(levels, dim=1)

    def level(self, x: Tensor, bins: int) -> Tensor:
        rows, columns = -x.shape[2] % bins, -x.shape[3] % bins
        kernel = ((x.shape[2] + rows) // bins, (x.shape[3] + columns) // bins)
        pads = ((columns + 1) // 2, columns // 2, (rows + 1) // 2, rows // 2)
        if self.average:
            return F.avg_pool2d(F.pad(x, pads), kernel)
        return F.max_pool2d(F.pad(x, pads, value=torch.finfo(x.dtype).min), kernel)
