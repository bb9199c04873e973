"""The tensors that a graph keeps, one after another as the file has them: each is read once, in pieces.

A tensor that is a blob as it stands goes through in pieces. One that is made of blobs (BatchNorm's statistics, a
transposed weight) is made of its layer's blobs, which are in memory while it is written, and no others.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np

from caffe2torch.digest import AHEAD, Sum, of_source, sha256
from caffe2torch.graph import Graph, Node
from caffe2torch.net import Blob, Shape
from caffe2torch.registry import Operation
from caffe2torch.safetensors_file import Tensor, of_array
from caffe2torch.tensors import PIECE, Piece
from caffe2torch.weights import Source, blob_of

_LAST = float("inf")


class Kept:
    """The tensors to write, in order; when all of their pieces were read, the digest of what they came from."""

    def __init__(self, graph: Graph) -> None:
        self._headers = graph.net.headers
        self._sums: dict[tuple[int, int], Sum] = {}  # by the blob's place in the file
        self._source = Source(graph, self._whole)
        self.tensors = [tensor for node in _in_order_of_the_file(graph) for tensor in self._of(node)]

    def digest(self) -> str:
        """SHA-256 of the headers of the file of weights and of the kept tensors; "" without such a file.

        It is right when all pieces were read, and has that length before.
        """
        sums = (self._sums[place].digest() for place in sorted(self._sums))
        return of_source(self._headers, sums) if self._headers else ""

    def _of(self, node: Node) -> list[Tensor]:
        state, blobs = _probed(node.operation)
        own = {name: array for name, array in state.items() if name not in node.shared}
        if all(name in blobs and blob_of(node, blobs[name]) is not None for name in own):
            return [self._as_it_stands(node, name, array, blobs[name]) for name, array in own.items()]
        made = _Made(node, self._source)
        return [
            Tensor(f"{node.name}.{name}", array.dtype, array.shape, partial(made.pieces, name))
            for name, array in own.items()
        ]

    def _as_it_stands(self, node: Node, name: str, array: np.ndarray, index: int) -> Tensor:
        blob = blob_of(node, index)
        assert blob is not None
        return Tensor(
            f"{node.name}.{name}",
            array.dtype,
            array.shape,
            lambda: blob.pieces(AHEAD),
            lambda found: self._take(blob, found),
        )

    def _take(self, blob: Blob, found: Sum) -> None:
        if blob.order >= 0:
            self._sums[blob.order, blob.index] = found

    def _whole(self, blob: Blob) -> np.ndarray:
        numbers, found, done = np.empty(blob.count, np.float32), sha256(), 0
        for piece in blob.pieces():
            found.update(piece.numbers.data.cast("B") if piece.raw is None else piece.raw)
            numbers[done : done + len(piece.numbers)] = piece.numbers
            done += len(piece.numbers)
        self._take(blob, found)
        return numbers


class Held:
    """The same, of tensors that are in memory already."""

    def __init__(self, state: Mapping[str, np.ndarray], graph: Graph, digest: str) -> None:
        lent = shared(graph)
        self._digest = digest
        self.tensors = [of_array(key, array) for key, array in state.items() if key not in lent]

    def digest(self) -> str:
        """That of the file from which the tensors were read when they were converted."""
        return self._digest


def shared(graph: Graph) -> dict[str, str]:
    """Keys of tensors that another key holds as well, and that key: such a tensor is stored once."""
    return {f"{node.name}.{key}": owner for node in graph.nodes for key, owner in node.shared.items()}


def expected(graph: Graph) -> dict[str, tuple[Shape, np.dtype[Any]]]:
    """Shape and dtype of every tensor in the module's state_dict."""
    found = {}
    for node in graph.nodes:
        blobs = [np.broadcast_to(np.float32(0), param.shape) for param in node.operation.params()]
        for name, array in node.operation.state(blobs).items():
            found[f"{node.name}.{name}"] = (array.shape, array.dtype)
    return found


class _Made:
    """A layer's tensors that are made of its blobs: all at once, when the first is asked for; each given once."""

    def __init__(self, node: Node, source: Source) -> None:
        self._node, self._source = node, source
        self._state: dict[str, np.ndarray] | None = None

    def pieces(self, name: str) -> Iterator[Piece]:
        """The tensor ``name``; in pieces where it lies otherwise in memory, so that there is no second copy of it."""
        if self._state is None:
            operation = self._node.operation
            self._state = operation.state(
                [self._source.array(self._node, index, param) for index, param in enumerate(operation.params())]
            )
        array = self._state.pop(name)
        if array.flags.c_contiguous:
            yield Piece(array.reshape(-1))
            return
        rows = max(1, PIECE * len(array) // array.nbytes)
        for start in range(0, len(array), rows):
            yield Piece(np.ascontiguousarray(array[start : start + rows]).reshape(-1))


def _in_order_of_the_file(graph: Graph) -> list[Node]:
    """The layers that have tensors, each once; those that are filled, in part or whole, are the last.

    These stay in the order of the net, in which the filler's random numbers are drawn.
    """
    nodes = list({node.name: node for node in reversed(graph.nodes)}.values())[::-1]
    order = {node.name: _order(node) for node in nodes}
    return sorted(nodes, key=lambda node: order[node.name])


def _order(node: Node) -> float:
    blobs = [blob_of(node, index) for index in range(len(node.operation.params()))]
    orders = [_LAST if blob is None else blob.order for blob in blobs]
    return _LAST if _LAST in orders else min(orders, default=_LAST)


def _probed(operation: Operation) -> tuple[dict[str, np.ndarray], dict[str, int]]:
    """What a layer's state looks like; and of tensors that are a blob as it stands, row by row, which one that is.

    The state is made of untouched zeros, which take no memory; what lies where one of them lies, is that one.
    """
    blobs = [np.zeros(param.shape, np.float32) for param in operation.params()]
    with np.errstate(all="ignore"):
        try:
            for blob in blobs:
                blob.flags.writeable = False
            state = operation.state(blobs)
        except ValueError:  # it writes to them
            return operation.state([np.zeros(blob.shape, np.float32) for blob in blobs]), {}
    starts = {_start(blob): index for index, blob in enumerate(blobs) if blob.size}
    found = {}
    for name, array in state.items():
        index = starts.get(_start(array))
        whole = array.flags.c_contiguous and array.dtype == np.float32
        if index is not None and whole and array.size == blobs[index].size:
            found[name] = index
    return state, found


def _start(array: np.ndarray) -> int:
    return int(array.__array_interface__["data"][0])
