"""nn.Modules that torch lacks. Each stands alone: its source is printed into model.py where a net needs it."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Scale(nn.Module):
    """x * weight (+ bias): one number for each index of some axes; `trailing` axes follow."""

    def __init__(
        self, shape: int | tuple[int, ...], trailing: int = 2, bias: bool = False
    ) -> None:
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
        padded = F.pad(
            x, (self.pad[1], self.end[1], self.pad[0], self.end[0]), value=lowest
        )
        top, index = F.max_pool2d(padded, self.kernel, self.stride, return_indices=True)
        row = index // padded.shape[3] - self.pad[0]
        column = index % padded.shape[3] - self.pad[1]
        mask = (row * x.shape[3] + column).to(x.dtype)
        return top, torch.where(top == lowest, -1, mask)


def lstm_unit(c: Tensor, gates: Tensor, keep: Tensor) -> tuple[Tensor, Tensor]:
    """One step of an LSTM: the next c and h. Gates: i, f, o, g; `keep` scales c."""
    i, f, o, g = gates.chunk(4, dim=-1)
    c = torch.sigmoid(f) * keep.unsqueeze(-1) * c + torch.sigmoid(i) * torch.tanh(g)
    return c, torch.sigmoid(o) * torch.tanh(c)


class LSTM(nn.Module):
    """Caffe's LSTM: (time, streams, ...) -> (time, streams, size), and the last h and c.

    `cont` (time, streams) scales the state that a step takes over: 0 starts afresh.
    `static` (streams, ...) goes into every step. h and c: (1, streams, size).
    """

    def __init__(self, features: int, size: int, static: int = 0) -> None:
        super().__init__()
        self.input = nn.Linear(features, 4 * size)
        self.static = nn.Linear(static, 4 * size, bias=False) if static else None
        self.hidden = nn.Linear(size, 4 * size, bias=False)

    def forward(
        self,
        x: Tensor,
        cont: Tensor,
        static: Tensor | None = None,
        h: Tensor | None = None,
        c: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        gates = self.input(x.flatten(2))
        if self.static is not None and static is not None:
            gates = gates + self.static(static.flatten(1))
        if h is None or c is None:
            h = c = gates.new_zeros(1, x.shape[1], self.hidden.in_features)
        outputs = []
        for gate, keep in zip(gates.split(1), cont.split(1), strict=True):
            c, h = lstm_unit(c, gate + self.hidden(keep.unsqueeze(-1) * h), keep)
            outputs.append(h)
        return torch.cat(outputs), h, c


class RNN(nn.Module):
    """Caffe's RNN: (time, streams, ...) -> (time, streams, size), and the last h.

    `cont` (time, streams) scales the h that a step takes over: 0 starts afresh.
    `static` (streams, ...) goes into every step. h: (1, streams, size).
    """

    def __init__(self, features: int, size: int, static: int = 0) -> None:
        super().__init__()
        self.input = nn.Linear(features, size)
        self.static = nn.Linear(static, size, bias=False) if static else None
        self.hidden = nn.Linear(size, size, bias=False)
        self.output = nn.Linear(size, size)

    def forward(
        self,
        x: Tensor,
        cont: Tensor,
        static: Tensor | None = None,
        h: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        steps = self.input(x.flatten(2))
        if self.static is not None and static is not None:
            steps = steps + self.static(static.flatten(1))
        if h is None:
            h = steps.new_zeros(1, x.shape[1], self.hidden.in_features)
        states = []
        for step, keep in zip(steps.split(1), cont.split(1), strict=True):
            h = torch.tanh(step + self.hidden(keep.unsqueeze(-1) * h))
            states.append(h)
        return torch.tanh(self.output(torch.cat(states))), h
