"""An ONNX file written piece by piece: the large weights follow the rest of the graph and are in no message.

A message may be written in parts: fields of one message that stand after one another are one message, in any order.
So the weights, which are a repeated field of the graph, are appended to it as they lie in memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from caffe2torch.checked_file import CheckedFile
from caffe2torch.headers import BYTES
from caffe2torch.wire import varint

if TYPE_CHECKING:
    import onnx

GRAPH, INITIALIZER, RAW_DATA = 7, 5, 9  # fields of ModelProto, GraphProto and TensorProto


def write(path: Path, model: onnx.ModelProto, weights: Mapping[str, np.ndarray]) -> None:
    """Write a model with more weights than are in it, and read it back; OutputError if that is not the same."""
    heads = {name: _head(name, array) for name, array in weights.items()}
    graph = model.graph.SerializeToString()
    size = len(graph) + sum(len(head) + weights[name].nbytes for name, head in heads.items())
    rest = type(model)()
    rest.CopyFrom(model)
    rest.ClearField("graph")
    with CheckedFile(path) as file:
        position = file.put(rest.SerializeToString() + _field(GRAPH, size), 0)
        position = file.put(graph, position)
        for name, array in weights.items():
            position = file.put(heads[name], position)
            data = np.ascontiguousarray(array.astype(array.dtype.newbyteorder("<"), copy=False))
            position = file.put(data.reshape(-1).view(np.uint8).data, position)


def _head(name: str, array: np.ndarray) -> bytes:
    """A TensorProto up to its bytes, as a field of the graph."""
    import onnx

    dtype = onnx.helper.np_dtype_to_tensor_dtype(array.dtype)
    tensor = onnx.TensorProto(name=name, dims=array.shape, data_type=dtype).SerializeToString()
    tensor += _field(RAW_DATA, array.nbytes)
    return _field(INITIALIZER, len(tensor) + array.nbytes) + tensor


def _field(number: int, size: int) -> bytes:
    return varint(number << 3 | BYTES) + varint(size)
