"""The body of a Loop in ONNX: a graph in a graph, which sees the values around it by their names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import onnx

    from caffe2torch.onnx_model import LayerNodes

Sizes = Sequence[int | None]


class Body:
    """Builds a Loop's body; its values get names that are nowhere else in the model."""

    def __init__(self, nodes: LayerNodes, word: str) -> None:
        self._outer, self._word = nodes, word
        self._nodes: list[onnx.NodeProto] = []
        self._inputs: list[onnx.ValueInfoProto] = []

    def inputs(self, *values: tuple[str, Sizes]) -> list[str]:
        """The names of the inputs, of numpy types and shapes: the turn, whether to go on, then what is carried."""
        names = [self._outer.unique(f"{self._word}_in") for _ in values]
        self._inputs = [_info(name, kind, shape) for name, (kind, shape) in zip(names, values, strict=True)]
        return names

    def add(self, op_type: str, inputs: Sequence[str], **attributes: Any) -> str:
        """A node of one output; gives its name."""
        from onnx import helper

        name = self._outer.unique(f"{self._word}_{op_type.lower()}")
        self._nodes.append(helper.make_node(op_type, list(inputs), [name], name=name, **attributes))
        return name

    def graph(self, *outputs: tuple[str, str, Sizes]) -> onnx.GraphProto:
        """The finished body; outputs as type, name and shape: whether to go on, what is carried, what is gathered."""
        from onnx import helper

        infos = [_info(name, kind, shape) for kind, name, shape in outputs]
        return helper.make_graph(self._nodes, self._outer.unique(self._word), self._inputs, infos)


def _info(name: str, kind: str, shape: Sizes) -> onnx.ValueInfoProto:
    from onnx import helper

    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(kind)), list(shape))
