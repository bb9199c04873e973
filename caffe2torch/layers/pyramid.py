"""SPP: spatial pyramid pooling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from caffe2torch.calls import Call, Step
from caffe2torch.net import Layer, Shape
from caffe2torch.registry import LayerError, Operation, layer

if TYPE_CHECKING:
    from caffe2torch.onnx_model import LayerNodes


@layer("SPP", spp_param="pyramid_height pool engine")
@dataclass(frozen=True)
class SPP(Operation):
    """Pooling over 1, 2 x 2, 4 x 4, ... windows, flattened and laid side by side; a height of 1 keeps 4 axes."""

    height: int
    average: bool
    size: Shape  # rows and columns of the bottom

    @classmethod
    def parse(cls, layer: Layer, bottoms: Sequence[Shape]) -> SPP:
        p, shape = layer.param("spp_param"), bottoms[0]
        if len(shape) != 4:
            raise LayerError(f"the bottom has {len(shape)} axes, Caffe wants 4")
        if p.pyramid_height < 1:
            raise LayerError("pyramid_height must be set, and at least 1")
        if p.pool == "STOCHASTIC":
            raise LayerError("pool=STOCHASTIC is not supported")
        operation = cls(p.pyramid_height, p.pool == "AVE", shape[2:])
        for level in range(p.pyramid_height):
            kernel, begin, _ = operation._windows(level)
            if any(begin) and any(pad >= side for pad, side in zip(begin, kernel, strict=True)):
                raise LayerError(
                    f"level {level} lays {2**level} x {2**level} windows over {shape[2]} x {shape[3]} numbers: "
                    f"its padding {begin} would not be smaller than the windows, {kernel}"
                )
        return operation

    def _windows(self, level: int) -> tuple[Shape, Shape, Shape]:
        """The windows' size, which is their stride too, and the padding before and behind."""
        bins = 2**level
        missing = tuple(-size % bins for size in self.size)
        kernel = tuple((size + zeros) // bins for size, zeros in zip(self.size, missing, strict=True))
        return kernel, tuple((zeros + 1) // 2 for zeros in missing), tuple(zeros // 2 for zeros in missing)

    def shape(self, bottoms: Sequence[Shape]) -> list[Shape]:
        batch, channels = bottoms[0][:2]
        if self.height == 1:
            return [(batch, channels, 1, 1)]
        return [(batch, channels * sum(4**level for level in range(self.height)))]

    def torch(self) -> Step:
        if self.height == 1:
            return Step(module=Call("nn.AdaptiveAvgPool2d" if self.average else "nn.AdaptiveMaxPool2d", 1))
        return Step(module=Call("PyramidPool", self.height, **({"average": True} if self.average else {})))

    def onnx(self, nodes: LayerNodes) -> None:
        if self.height == 1:
            self._level(nodes, 0, nodes.outputs)
            return
        levels = [nodes.add("Flatten", [self._level(nodes, level, 1)]) for level in range(self.height)]
        nodes.add("Concat", levels, nodes.outputs, axis=1)

    def _level(self, nodes: LayerNodes, level: int, outputs: list[str] | int) -> str:
        name: str
        if level == 0:
            name = nodes.add(f"Global{'Average' if self.average else 'Max'}Pool", nodes.inputs, outputs)
            return name
        kernel, begin, end = self._windows(level)
        options = {"kernel_shape": list(kernel), "strides": list(kernel), "pads": [*begin, *end]}
        if self.average and any(begin):
            name = nodes.add("AveragePool", nodes.inputs, outputs, count_include_pad=1, **options)
        else:
            name = nodes.add("AveragePool" if self.average else "MaxPool", nodes.inputs, outputs, **options)
        return name
