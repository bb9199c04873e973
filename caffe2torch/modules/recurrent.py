"""Caffe's recurrent layers."""

import torch
from torch import Tensor, nn


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
