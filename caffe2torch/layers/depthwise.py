"""DepthwiseConvolution and ConvolutionDepthwise: convolution of each channel by itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from caffe2torch.layers.convolution import Convolution
from caffe2torch.layers.windows import WINDOW_FIELDS
from caffe2torch.net import Fields, Layer, Shape
from caffe2torch.registry import LayerError, layer


@layer("DepthwiseConvolution", bottoms=(1, float("inf")), tops=(1, float("inf")), convolution_param=WINDOW_FIELDS)
@dataclass(frozen=True)
class DepthwiseConvolution(Convolution):
    """Convolution, group and all, which yonghenglh6's fork computes faster on a GPU."""


@layer("ConvolutionDepthwise", convolution_param=WINDOW_FIELDS)
@dataclass(frozen=True)
class ConvolutionDepthwise(Convolution):
    """Of sp2823's fork: one filter for each channel, whatever num_output and group say.

    kernel_h and kernel_w together go before kernel_size; likewise stride and pad. Where stride or pad is missing that
    fork reads past an empty list; here it is 1 or 0, as in Convolution.
    """

    @classmethod
    def parse(cls, layer: Layer, bottoms: Sequence[Shape]) -> ConvolutionDepthwise:
        p = layer.param("convolution_param")
        if len(bottoms[0]) != 4 or p.axis not in (1, -3):
            raise LayerError(
                f"axis {p.axis} of {len(bottoms[0])} axes: the fork takes 4 axes, of which 1 is the channels"
            )
        channels = bottoms[0][1]
        operation = cls(
            channels=channels,
            num_output=channels,
            kernel=_pair(p, "kernel_size", None),
            stride=_pair(p, "stride", 1),
            pad=_pair(p, "pad", 0),
            dilation=_pair(p, "dilation", 1),
            group=channels,
            bias=p.bias_term,
            axis=1,
            count=1,
            weight_filler=p.weight_filler,
            bias_filler=p.bias_filler,
        )
        operation._check(2)
        beyond = tuple(zeros for _, zeros in operation._steps(bottoms[0]))
        return replace(operation, beyond=beyond if any(beyond) else ())


def _pair(p: Fields, name: str, default: int | None) -> Shape:
    """The _h and _w forms if both are set, else the first one or two numbers of the list."""
    short = name.removesuffix("_size")
    if short != "dilation" and f"{short}_h" in p and f"{short}_w" in p:
        return getattr(p, f"{short}_h"), getattr(p, f"{short}_w")
    given = getattr(p, name)
    if not given and default is None:
        raise LayerError(f"{name} is missing; set it, or {short}_h and {short}_w")
    return (tuple(given) * 2 if len(given) == 1 else tuple(given[:2])) or (default or 0,) * 2
