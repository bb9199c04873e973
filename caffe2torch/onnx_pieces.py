"""An ONNX file written piece by piece: the large weights follow the rest of the graph and are in no message.

A message may be written in parts: fields of one message that stand after one another are one message, in any order.
So the weights, which are a repeated field of the graph, are appended to it as they lie in memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from io import FileIO
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from caffe2torch.digest import AHEAD, Sums, sha256
from caffe2torch.errors import OutputError
from caffe2torch.headers import BYTES
from caffe2torch.tensors import PIECE
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
    written, found = sha256(), sha256()
    with path.open("wb+", buffering=0) as file, Sums() as summing:
        _put(file, rest.SerializeToString() + _field(GRAPH, size), summing, written)
        _put(file, graph, summing, written)
        for name, array in weights.items():
            _put(file, heads[name], summing, written)
            data = np.ascontiguousarray(array.astype(array.dtype.newbyteorder("<"), copy=False))
            _put(file, data.reshape(-1).view(np.uint8).data, summing, written)
        file.seek(0)
        ring = cycle([memoryview(bytearray(PIECE)) for _ in range(AHEAD + 1)])
        while got := file.readinto(buffer := next(ring)):
            summing.add(buffer[:got], found)
        summing.wait()
    if written.digest() != found.digest():
        raise OutputError(f"{path.name} was not read back as it was written; is the disk sound?")


def _head(name: str, array: np.ndarray) -> bytes:
    """A TensorProto up to its bytes, as a field of the graph."""
    import onnx

    dtype = onnx.helper.np_dtype_to_tensor_dtype(array.dtype)
    tensor = onnx.TensorProto(name=name, dims=array.shape, data_type=dtype).SerializeToString()
    tensor += _field(RAW_DATA, array.nbytes)
    return _field(INITIALIZER, len(tensor) + array.nbytes) + tensor


def _field(number: int, size: int) -> bytes:
    return varint(number << 3 | BYTES) + varint(size)


def _put(file: FileIO, data: Any, summing: Sums, written: Any) -> None:
    left = memoryview(data)
    while left:
        piece = left[:PIECE]
        summing.add(piece, written)
        while piece:
            piece = piece[file.write(piece) :]
        left = left[PIECE:]
