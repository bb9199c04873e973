"""An .onnx file that may be a stranger's, read whole; what would lead to other files is refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from caffe2torch.errors import FileError

if TYPE_CHECKING:
    import onnx


def read(path: Path) -> onnx.ModelProto:
    """The model in a file, whole. FileError for a file that is none, or that leads to other files for its weights."""
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load(path, load_external_data=False)
    except (DecodeError, OSError, ValueError) as error:
        raise FileError(f"{path}: cannot be run: {(str(error).splitlines() or ['not ONNX'])[0]}") from error
    if any(tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data for tensor in _tensors(model)):
        raise FileError(f"{path}: cannot be run: keeps weights in other files, which are not read; make it one file")
    return model


def _tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Every tensor of a model, in whatever graph within a node it lies."""
    graphs, nodes = [model.graph], [node for function in model.functions for node in function.node]
    while graphs or nodes:
        if graphs:
            graph = graphs.pop()
            yield from graph.initializer
            yield from (part for each in graph.sparse_initializer for part in (each.values, each.indices))
            nodes += graph.node
            continue
        for attribute in nodes.pop().attribute:
            sparse = [attribute.sparse_tensor, *attribute.sparse_tensors]
            yield from (
                attribute.t,
                *attribute.tensors,
                *(part for each in sparse for part in (each.values, each.indices)),
            )
            graphs += [attribute.g, *attribute.graphs]
