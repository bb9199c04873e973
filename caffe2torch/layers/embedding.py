"""Embed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from caffe2torch.calls import Call, Step
from caffe2torch.net import Fields, Layer, Shape
from caffe2torch.registry import LayerError, Operation, Param, layer

if TYPE_CHECKING:
    from caffe2torch.onnx_model import LayerNodes


@layer("Embed", embed_param="num_output input_dim bias_term weight_filler bias_filler")
@dataclass(frozen=True)
class Embed(Operation):
    """A row of the weights for each number of the bottom, on a new last axis, and a bias for all rows."""

    rows: int
    num_output: int
    bias: bool
    weight_filler: Fields
    bias_filler: Fields

    @classmethod
    def parse(cls, layer: Layer, bottoms: Sequence[Shape]) -> Embed:
        p = layer.param("embed_param")
        if p.num_output < 1 or p.input_dim < 1:
            raise LayerError("num_output and input_dim must both be set, and at least 1")
        return cls(p.input_dim, p.num_output, p.bias_term, p.weight_filler, p.bias_filler)

    def shape(self, bottoms: Sequence[Shape]) -> list[Shape]:
        return [(*bottoms[0], self.num_output)]

    def params(self) -> tuple[Param, ...]:
        bias = (Param("bias", (self.num_output,), self.bias_filler),) if self.bias else ()
        return (Param("weight", (self.rows, self.num_output), self.weight_filler), *bias)

    def torch(self) -> Step:
        target = "BiasedEmbedding" if self.bias else "nn.Embedding"
        return Step("{self}({0}.long())", Call(target, self.rows, self.num_output))

    def onnx(self, nodes: LayerNodes) -> None:
        index = nodes.add("Cast", nodes.inputs, to=7)
        rows = nodes.add("Gather", [nodes.state("weight"), index], 1 if self.bias else nodes.outputs)
        if self.bias:
            nodes.add("Add", [rows, nodes.state("bias")], nodes.outputs)
