"""Tensors that need no input, and layers whose weights are held otherwise than torch's."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Learned(nn.Module):
    """A learned tensor that needs no input; each call gives a copy."""

    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(shape))

    def forward(self) -> Tensor:
        return self.weight.clone()


class Constant(nn.Module):
    """Tensors that need no input and do not learn; each call gives copies."""

    def __init__(self, *shapes: tuple[int, ...]) -> None:
        super().__init__()
        for index, shape in enumerate(shapes):
            self.register_buffer(f"value{index}", torch.zeros(shape))

    def forward(self) -> Tensor | tuple[Tensor, ...]:
        values = tuple(value.clone() for value in self.buffers())
        return values if len(values) > 1 else values[0]


class BiasedEmbedding(nn.Embedding):
    """A row of the weights for each index, plus a bias."""

    def __init__(self, num_embeddings: int, embedding_dim: int) -> None:
        super().__init__(num_embeddings, embedding_dim)
        self.bias = nn.Parameter(torch.zeros(embedding_dim))

    def forward(self, index: Tensor) -> Tensor:
        return super().forward(index) + self.bias


class TiedLinear(nn.Module):
    """x Wᵀ + b with the weights of another layer, which holds them in `shape`.

    Read row by row they are (out, in), or (in, out) if `transposed`.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        shape: tuple[int, ...],
        transposed: bool = False,
        bias: bool = True,
    ) -> None:
        super().__init__()
        sizes = (out_features, in_features)
        self.sizes = sizes[::-1] if transposed else sizes
        self.transposed = transposed
        self.weight = nn.Parameter(torch.zeros(shape))
        self.bias = nn.Parameter(torch.zeros(out_features)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight.view(self.sizes)
        return F.linear(x, weight.T if self.transposed else weight, self.bias)
