"""Graph + weights -> ONNX, node by node, in standard operators of one fixed opset."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from caffe2torch import onnx_pieces, plugins
from caffe2torch.errors import OutputError
from caffe2torch.files import beside
from caffe2torch.graph import Graph, Node, Value
from caffe2torch.net import Shape

if TYPE_CHECKING:
    import onnx

OPSET = 17  # onnxruntime 1.13 and later, and every runtime of today, read it
IR_VERSION = 8
SMALL = 4096  # numbers of a constant that may be copied, and is stored once
VECTORS = 1 << 20  # numbers of all vectors, up to which their values are followed to infer shapes
LIMIT = (1 << 31) - 1  # protobuf's: one file, no external data


class Nodes:
    """Builds one ONNX graph: values by name, constants stored once."""

    def __init__(self, name: str = "net") -> None:
        self.name = name
        self._nodes: list[onnx.NodeProto] = []
        self._initializers: dict[str, np.ndarray] = {}
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []
        self._names: set[str] = set()
        self._counts: dict[str, int] = {}
        self._constants: dict[tuple[Any, ...], str] = {}

    def reserve(self, names: Sequence[str]) -> None:
        """Keep names free for values that come later."""
        self._names.update(names)

    def unique(self, name: str) -> str:
        """``name``, or the same with a number behind if it is taken."""
        candidate = name
        while candidate in self._names:
            self._counts[name] = self._counts.get(name, 0) + 1
            candidate = f"{name}_{self._counts[name]}"
        self._names.add(candidate)
        return candidate

    def add(
        self,
        op_type: str,
        inputs: Sequence[str],
        outputs: Sequence[str] | int = 1,
        name: str = "",
        **attributes: Any,
    ) -> Any:
        """Add a node. ``outputs`` are names, or how many to make up from ``name``. Gives the name, or the names."""
        from onnx import helper

        stem = name or op_type.lower()
        names = [self.unique(stem) for _ in range(outputs)] if isinstance(outputs, int) else list(outputs)
        node = helper.make_node(op_type, list(inputs), names, name=names[0], **attributes)
        self._nodes.append(node)
        return names[0] if len(names) == 1 else names

    def constant(self, array: np.ndarray | np.generic, name: str = "constant") -> str:
        """An initializer; equal small ones are stored once."""
        array = np.asarray(array)
        key = (array.dtype.str, array.shape, array.tobytes()) if array.size <= SMALL else (id(array),)
        if key not in self._constants or array.size > SMALL:
            self._constants[key] = self.initializer(self.unique(name), array)
        return self._constants[key]

    def initializer(self, name: str, array: np.ndarray) -> str:
        """A named weight."""
        self._names.add(name)
        self._initializers[name] = array
        return name

    def has_initializer(self, name: str) -> bool:
        """Whether a weight of that name is stored already."""
        return name in self._initializers

    def operators(self) -> set[str]:
        """The operator types that were added."""
        return {node.op_type for node in self._nodes}

    def add_input(self, name: str, dtype: Any, shape: Sequence[int | str]) -> str:
        """Declare an input of a numpy dtype; a string is a symbolic size."""
        self._names.add(name)
        self._inputs.append(_value_info(name, dtype, shape))
        return name

    def add_output(self, name: str, dtype: Any, shape: Sequence[int | str | None]) -> str:
        """Declare an output; it must be the name of a value."""
        self._outputs.append(_value_info(name, dtype, shape))
        return name

    def model(self, metadata: Mapping[str, str] | None = None) -> onnx.ModelProto:
        """The finished model with inferred shapes; OutputError if it would be over 2 GB."""
        return self._model(self._initializers, metadata)

    def _model(self, weights: Mapping[str, np.ndarray], metadata: Mapping[str, str] | None) -> onnx.ModelProto:
        from onnx import helper, numpy_helper

        size = sum(array.nbytes for array in self._initializers.values())
        if size > LIMIT - (1 << 20):
            raise OutputError(f"the ONNX file would hold {size / 1e9:.1f} GB; one file holds 2 GB at most")
        graph = helper.make_graph(self._nodes, self.name, self._inputs, self._outputs, value_info=self._inferred())
        graph.initializer.extend(numpy_helper.from_array(_plain(a), n) for n, a in weights.items())
        model: onnx.ModelProto = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
            producer_name="caffe2torch",
        )
        helper.set_model_props(model, dict(metadata or {}))
        return model

    def save(self, path: str | os.PathLike[str], metadata: Mapping[str, str] | None = None) -> None:
        """Write the model, whole or not at all; the large weights are copied nowhere."""
        large = self._large()
        model = self._model({n: a for n, a in self._initializers.items() if n not in large}, metadata)
        with beside(Path(path)) as temporary:
            onnx_pieces.write(temporary, model, large)

    def _large(self) -> dict[str, np.ndarray]:
        return {name: array for name, array in self._initializers.items() if array.size > SMALL}

    def _inferred(self) -> list[onnx.ValueInfoProto]:
        """Shapes of all inner values. Large weights stand in as inputs, so that they are not copied.

        With data_prop, onnx takes every vector for a shape and keeps 70 bytes for each of its numbers: where there are
        long ones, what is reshaped to a shape that is computed stays without one.
        """
        from onnx import helper, numpy_helper, shape_inference

        large = self._large()
        small = [numpy_helper.from_array(_plain(a), n) for n, a in self._initializers.items() if n not in large]
        stand_ins = [_value_info(name, array.dtype, array.shape) for name, array in large.items()]
        graph = helper.make_graph(self._nodes, self.name, [*self._inputs, *stand_ins], self._outputs, initializer=small)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
        found = shape_inference.infer_shapes(model, strict_mode=True).graph
        shapes = [value.type.tensor_type.shape.dim for value in (*found.input, *found.value_info, *found.output)]
        if sum(shape[0].dim_value for shape in shapes if len(shape) == 1) <= VECTORS:
            found = shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph
        return list(found.value_info)


def _plain(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array).reshape(array.shape)


def _value_info(name: str, dtype: Any, shape: Sequence[int | str | None]) -> onnx.ValueInfoProto:
    from onnx import helper

    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), list(shape))


class LayerNodes:
    """What one layer's ``onnx`` method sees: its values and weights, and the nodes to add to."""

    def __init__(
        self,
        nodes: Nodes,
        node: Node,
        names: Mapping[str, str],
        weights: Mapping[str, str],
        state: Mapping[str, np.ndarray],
        prefix: str,
    ) -> None:
        self._nodes, self._node, self._prefix = nodes, node, prefix
        self._weights, self._state = weights, state
        self.inputs = [names[value.name] for value in node.inputs]
        self.outputs = [names[value.name] for value in node.outputs]
        self.input_shapes: list[Shape] = [value.shape for value in node.inputs]
        self.output_shapes: list[Shape] = [value.shape for value in node.outputs]

    def add(self, op_type: str, inputs: Sequence[str], outputs: Sequence[str] | int = 1, **attributes: Any) -> Any:
        """As Nodes.add; made-up names begin with the layer's."""
        if isinstance(outputs, int):
            outputs = [self.unique(op_type.lower()) for _ in range(outputs)]
        return self._nodes.add(op_type, inputs, outputs, **attributes)

    def unique(self, word: str) -> str:
        """A new value name that begins with the layer's."""
        return self._nodes.unique(f"{self._prefix}{self._node.layer.name}/{word}")

    def constant(self, array: np.ndarray | np.generic, name: str) -> str:
        """As Nodes.constant."""
        return self._nodes.constant(array, name)

    def state(self, name: str) -> str:
        """The layer's weight, under its key in the state_dict."""
        key = self._node.shared.get(name) or f"{self._node.name}.{name}"
        stored = self._weights[key]
        return stored if self._nodes.has_initializer(stored) else self._nodes.initializer(stored, self._state[key])

    def batched(self, shape: Sequence[int]) -> list[int]:
        """A shape to Reshape to, with -1 for axis 0 where the number of items may be any."""
        return [-1, *shape[1:]] if shape and self._any_batch() else list(shape)

    def _any_batch(self) -> bool:
        return any(value.rows and not value.rows_axis for value in self._node.inputs)

    def reshape(self, value: str, shape: Sequence[int], output: str | None = None) -> str:
        """A Reshape node to a constant shape."""
        wanted = self.constant(np.array(shape, np.int64), "shape")
        name: str = self.add("Reshape", [value, wanted], [output] if output else 1)
        return name


def add_graph(
    nodes: Nodes,
    graph: Graph,
    state: Mapping[str, np.ndarray],
    feeds: Mapping[str, str],
    prefix: str = "",
) -> list[str]:
    """Emit a graph into ``nodes``; ``feeds`` names the value for each input blob. Gives the outputs' value names."""
    # Values and weights get their names before any helper value is made up. A blob's name goes before a weight's.
    weights = {key: nodes.unique(prefix + key) for key in state}
    names = {value.name: feeds[value.blob] for value in graph.inputs}
    taken, outputs = set(names.values()), set() if prefix else set(graph.output_names)
    for node in graph.nodes:
        for value in node.outputs:
            free = value.name in outputs and value.name not in taken
            names[value.name] = value.name if free else nodes.unique(prefix + value.name)
            taken.add(names[value.name])
    for node in graph.nodes:
        with plugins.blamed([type(node.operation)], f"layer {node.layer.name!r} ({node.layer.type}) in ONNX"):
            node.operation.onnx(LayerNodes(nodes, node, names, weights, state, prefix))
    return [names[value.name] for value in graph.outputs]


def build(graph: Graph, state: Mapping[str, np.ndarray], metadata: Mapping[str, str] | None = None) -> onnx.ModelProto:
    """The ONNX model of a graph: float32, inputs and outputs named as Caffe's blobs, batch N where it may vary."""
    with plugins.blamed(_classes(graph), "the ONNX model"):
        return _nodes(graph, state).model(metadata)


def save(
    graph: Graph,
    state: Mapping[str, np.ndarray],
    path: str | os.PathLike[str],
    metadata: Mapping[str, str] | None = None,
) -> None:
    """``build``, written whole or not at all."""
    with plugins.blamed(_classes(graph), "the ONNX model"):
        _nodes(graph, state).save(path, metadata)


def _classes(graph: Graph) -> list[type]:
    return [type(node.operation) for node in graph.nodes]


def _nodes(graph: Graph, state: Mapping[str, np.ndarray]) -> Nodes:
    nodes = Nodes(graph.name or "net")
    for value in graph.inputs:
        nodes.add_input(value.blob, np.float32, _dims(value))
    nodes.reserve(graph.output_names)
    results = add_graph(nodes, graph, state, {value.blob: value.blob for value in graph.inputs})
    declared: set[str] = set()
    for blob, value, result in zip(graph.output_names, graph.outputs, results, strict=True):
        name = result
        if result in declared or result in graph.input_names or result != blob:
            # An input given back, or one value under two names, is a tensor of its own.
            name = blob if blob not in declared and blob not in graph.input_names else nodes.unique(f"{blob}:output")
            nodes.add("Identity", [result], [name])
        declared.add(name)
        nodes.add_output(name, np.float32, _dims(value))
    return nodes


def _dims(value: Value) -> list[int | str]:
    dims: list[int | str] = list(value.shape)
    if value.rows:
        dims[value.rows_axis] = value.rows
    return dims
