"""Windows as channels."""

from torch import Tensor, nn
from torch.nn import functional as F


class Unfold(nn.Module):
    """What each window over the last axes sees, as channels: F.unfold for any axes.

    `pads` as F.pad takes them, the last axis first; the rest one number an axis.
    """

    def __init__(
        self,
        kernel: tuple[int, ...],
        stride: tuple[int, ...],
        pads: tuple[int, ...],
        dilation: tuple[int, ...],
    ) -> None:
        super().__init__()
        self.kernel = kernel
        self.stride = stride
        self.pads = pads
        self.dilation = dilation

    def forward(self, x: Tensor) -> Tensor:
        axes = len(self.kernel)
        channel = x.ndim - axes - 1
        x = F.pad(x, self.pads)
        for axis in range(axes):
            dilation = self.dilation[axis]
            extent = dilation * (self.kernel[axis] - 1) + 1
            x = x.unfold(channel + 1 + axis, extent, self.stride[axis])[..., ::dilation]
        places = tuple(range(channel + 1, channel + 1 + axes))
        x = x.movedim(tuple(range(-axes, 0)), places)
        return x.flatten(channel, channel + axes)
