"""Parameter and DummyData, which take nothing, and Silence, which gives nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from caffe2torch import limits
from caffe2torch.calls import Call, Step
from caffe2torch.fillers import fill
from caffe2torch.net import Fields, Layer, Shape
from caffe2torch.registry import LayerError, Operation, Param, layer

if TYPE_CHECKING:
    from caffe2torch.onnx_model import LayerNodes


def _declared(shape: Shape, largest: int) -> Shape:
    if any(size < 0 for size in shape) or prod(shape) > largest:
        raise LayerError(f"shape {shape} has a negative size, or more than {largest:,} numbers")
    return shape


@layer("Parameter", bottoms=(0, 0), parameter_param="shape")
@dataclass(frozen=True)
class Parameter(Operation):
    """A learned blob of its own; zeros where no file holds it."""

    size: Shape

    @classmethod
    def parse(cls, layer: Layer, bottoms: Sequence[Shape]) -> Parameter:
        return cls(_declared(tuple(layer.param("parameter_param").shape.dim), limits.FILLED_ALONE))

    def shape(self, bottoms: Sequence[Shape]) -> list[Shape]:
        return [self.size]

    def params(self) -> tuple[Param, ...]:
        return (Param("weight", self.size),)

    def torch(self) -> Step:
        return Step("{self}()", Call("Learned", *self.size))

    def onnx(self, nodes: LayerNodes) -> None:
        nodes.add("Identity", [nodes.state("weight")], nodes.outputs)


@layer(
    "DummyData", bottoms=(0, 0), tops=(1, float("inf")), dummy_data_param="data_filler shape num channels height width"
)
@dataclass(frozen=True)
class DummyData(Operation):
    """Blobs that fillers fill. Caffe draws random ones anew in each pass; here they are drawn once, seeded."""

    shapes: tuple[Shape, ...]
    fillers: tuple[Fields | float, ...]

    @classmethod
    def parse(cls, layer: Layer, bottoms: Sequence[Shape]) -> DummyData:
        p, tops = layer.param("dummy_data_param"), len(layer.tops)
        sizes = ("num", "channels", "height", "width")
        if any(name in p for name in sizes):
            if p.shape:
                raise LayerError(
                    "shape and num, channels, height, width are both set; Caffe takes one form or the other"
                )
            shapes = list(zip(*(_each(name, getattr(p, name), tops) for name in sizes), strict=True))
        else:
            shapes = [tuple(shape.dim) for shape in _each("shape", p.shape, tops)]
        fillers = _each("data_filler", p.data_filler, tops) if p.data_filler else (0.0,) * tops
        operation = cls(tuple(_declared(shape, limits.MADE // tops) for shape in shapes), tuple(fillers))
        try:
            operation.state(())
        except ValueError as error:
            raise LayerError(str(error)) from error
        return operation

    def shape(self, bottoms: Sequence[Shape]) -> list[Shape]:
        return list(self.shapes)

    def made(self, bottoms: Sequence[Shape]) -> int:
        return sum(map(prod, self.shapes))

    def state(self, blobs: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        generator = np.random.default_rng(1)
        filled = zip(self.fillers, self.shapes, strict=True)
        return {f"value{index}": fill(filler, shape, generator) for index, (filler, shape) in enumerate(filled)}

    def torch(self) -> Step:
        return Step("{self}()", Call("Constant", *self.shapes))

    def onnx(self, nodes: LayerNodes) -> None:
        for index, top in enumerate(nodes.outputs):
            nodes.add("Identity", [nodes.state(f"value{index}")], [top])


def _each(name: str, values: Sequence[Any], tops: int) -> Sequence[Any]:
    """One value for each top."""
    if len(values) not in (1, tops):
        raise LayerError(f"{name} is set {len(values)} times for {tops} tops; Caffe wants it once, or once for each")
    return values if len(values) == tops else list(values) * tops


@layer("Silence", bottoms=(1, float("inf")), tops=(0, 0))
@dataclass(frozen=True)
class Silence(Operation):
    """Swallows its bottoms. No output needs it, so it is never kept."""

    @classmethod
    def parse(cls, layer: Layer, bottoms: Sequence[Shape]) -> Silence:
        return cls()

    def shape(self, bottoms: Sequence[Shape]) -> list[Shape]:
        return []
