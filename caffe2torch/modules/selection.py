"""The largest numbers along an axis."""

from torch import Tensor, nn


class Largest(nn.Module):
    """Where the k largest numbers along an axis are, and the numbers themselves.

    Of equal numbers the last comes first.
    """

    def __init__(self, k: int = 1, dim: int = 1) -> None:
        super().__init__()
        self.k = k
        self.dim = dim

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        backward = x.flip(self.dim)
        if self.k == 1:
            values, index = backward.max(self.dim, keepdim=True)
        else:
            values, index = backward.sort(stable=True, dim=self.dim, descending=True)
            values = values.narrow(self.dim, 0, self.k)
            index = index.narrow(self.dim, 0, self.k)
        return (x.shape[self.dim] - 1 - index).to(x.dtype), values
