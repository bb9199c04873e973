"""Every value on a net's way, by name, as torch, the written model.py and onnxruntime compute it."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import replace
from math import gcd, prod
from pathlib import Path
from typing import Any

import numpy as np

from caffe2torch import limits, onnx_file, onnx_model
from caffe2torch.conversion import build
from caffe2torch.errors import FileError, VerifyError
from caffe2torch.folder import Converted
from caffe2torch.graph import Graph
from caffe2torch.net import Shape

SEED = 0
COMPARED = 2  # items of a batch
Arrays = Mapping[str, np.ndarray]


def sample_inputs(converted: Converted) -> dict[str, np.ndarray]:
    """Seeded inputs by blob: for the picture noise through its preprocessing, for others 0 and 1.

    Where the batch may be of any size, it is of two items at most: a file often says how many it was trained on.
    """
    shapes = _shapes(converted.graph)
    limits.check_work(converted.graph, prod(shapes[0]) if shapes else 0)
    generator = np.random.default_rng(SEED)
    feeds = {}
    for index, (value, shape) in enumerate(zip(converted.graph.inputs, shapes, strict=True)):
        if index == 0:
            pixels = generator.uniform(0, 255, shape)
            mean = converted.preprocessing.mean
            if mean is not None and len(shape) == 4 and shape[1] == len(mean):
                pixels -= np.array(mean).reshape(1, -1, 1, 1)
            pixels *= converted.preprocessing.scale
            feeds[value.blob] = np.asarray(pixels, np.float32)
        else:
            feeds[value.blob] = generator.integers(0, 2, shape).astype(np.float32)
    return feeds


def _shapes(graph: Graph) -> list[Shape]:
    shapes = [value.shape for value in graph.inputs]
    if not graph.batch or not all(value.rows and value.rows_axis == 0 for value in graph.inputs):
        return shapes
    items = gcd(*(shape[0] for shape in shapes))
    return [(shape[0] // items * min(items, COMPARED), *shape[1:]) for shape in shapes] if items else shapes


def with_all(graph: Graph) -> Graph:
    """The same graph, giving every value on its way."""
    values = tuple(value for node in graph.nodes for value in node.outputs)
    return replace(graph, outputs=values, output_names=tuple(value.name for value in values))


def from_torch(graph: Graph, state: Arrays, feeds: Arrays) -> dict[str, np.ndarray]:
    """Of the module as it is built."""
    limits.check_work(graph, feeds[graph.inputs[0].blob].size if graph.inputs else 0)
    chosen = with_all(graph)
    try:
        results = _run(build(chosen, state), chosen, feeds)
    except (ArithmeticError, LookupError, RuntimeError, ValueError) as error:
        raise VerifyError(f"{graph.net.path}: torch cannot run it on drawn numbers: {_first_line(error)}") from error
    return {value.name: result for value, result in zip(chosen.outputs, results, strict=True)}


def _run(module: Any, graph: Graph, feeds: Arrays) -> list[np.ndarray]:
    import torch

    with torch.no_grad():
        results = module(*(torch.from_numpy(feeds[blob]) for blob in graph.input_names))
    return [result.numpy() for result in (results if isinstance(results, tuple) else (results,))]


def from_onnx(graph: Graph, state: Arrays, feeds: Arrays) -> dict[str, np.ndarray]:
    """Of the ONNX model as it is built, from onnxruntime on the CPU."""
    chosen = with_all(graph)
    model = onnx_model.build(chosen, state).SerializeToString()
    try:
        results = _session(model).run(None, dict(feeds))
    except Exception as error:  # onnxruntime's exceptions share no base but this
        raise VerifyError(f"{graph.net.path}: onnxruntime cannot run it: {_first_line(error)}") from error
    return {value.name: result for value, result in zip(chosen.outputs, results, strict=True)}


def from_source(path: Path, graph: Graph, state: Arrays, feeds: Arrays) -> dict[str, np.ndarray]:
    """Of a written model.py, which is run here, with the written weights loaded strictly.

    What each line of ``forward`` assigns is one layer's; if their number is not that of the layers, as somebody
    changed the file, only the outputs are given. FileError where it does not run.
    """
    import torch

    seen: list[Any] = []
    try:
        tree = _Watched().visit(ast.parse(path.read_text(encoding="utf-8")))
        namespace: dict[str, Any] = {"__name__": "model", "__seen__": seen.append}
        exec(compile(ast.fix_missing_locations(tree), str(path), "exec"), namespace)
        module = namespace["Model"]().eval()
        module.load_state_dict({key: torch.from_numpy(array) for key, array in state.items()}, strict=True)
        results = _run(module, graph, feeds)
    except Exception as error:  # whatever stands in the file
        raise FileError(f"{path}: cannot be run: {type(error).__name__}: {_first_line(error)}") from error
    if len(results) != len(graph.outputs):
        raise FileError(f"{path}: gives {len(results)} outputs, the net has {len(graph.outputs)}")
    found = {value.name: result for value, result in zip(graph.outputs, results, strict=True)}
    if len(seen) == len(graph.nodes):
        for node, assigned in zip(graph.nodes, seen, strict=True):
            tensors = assigned if isinstance(assigned, tuple) else (assigned,)
            found |= {value.name: tensor.numpy() for value, tensor in zip(node.outputs, tensors, strict=False)}
    return found


class _Watched(ast.NodeTransformer):
    """Tells every value that ``forward`` of class Model assigns."""

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        return self.generic_visit(node) if node.name == "Model" else node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        return self.generic_visit(node) if node.name == "forward" else node

    def visit_Assign(self, node: ast.Assign) -> list[ast.stmt] | ast.AST:
        target = node.targets[0]
        if not isinstance(target, (ast.Name, ast.Tuple)) or isinstance(node.value, (ast.Constant, ast.Tuple)):
            return node
        return [node, *ast.parse(f"__seen__({ast.unparse(target)})").body]


def from_file(path: Path, feeds: Arrays, graph: Graph | None = None) -> dict[str, np.ndarray]:
    """Of an .onnx file: its outputs, and with ``graph`` every value that it has by the same name.

    FileError where it cannot be run on these inputs, or has another number of outputs than ``graph``.
    """
    import onnx

    try:
        if graph is None:
            session = _session(onnx_file.read(path).SerializeToString())
            names = [entry.name for entry in session.get_outputs()]
            return dict(zip(names, session.run(names, dict(feeds)), strict=True))
        model = onnx_file.read(path)
        outputs = [entry.name for entry in model.graph.output]
        inner = {name for node in model.graph.node for name in node.output} & graph.values.keys() - set(outputs)
        model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in sorted(inner))
        results = _session(model.SerializeToString()).run([*outputs, *sorted(inner)], dict(feeds))
    except FileError:
        raise
    except Exception as error:  # onnx, protobuf and onnxruntime share no base but this
        raise FileError(f"{path}: cannot be run: {_first_line(error)}") from error
    if len(outputs) != len(graph.outputs):
        raise FileError(f"{path}: gives {len(outputs)} outputs, the net has {len(graph.outputs)}")
    names = [*(value.name for value in graph.outputs), *sorted(inner)]
    return dict(zip(names, results, strict=True))


def _session(model: str | bytes) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
