"""Each channel times a number, or plus one."""

import torch
from torch import Tensor, nn


class Scale(nn.Module):
    """x * weight (+ bias): one number for each index of some axes; `trailing` axes follow."""

    def __init__(
        self,
        shape: int | tuple[int, ...],
        trailing: int = 2,
        bias: bool = False,
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
