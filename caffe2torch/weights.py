"""A graph's weights: read from the file where it has them, else filled as Caffe fills them; never read twice."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from math import prod

import numpy as np

from caffe2torch import limits
from caffe2torch.errors import NetError, Problem
from caffe2torch.fillers import fill
from caffe2torch.graph import Graph, Node
from caffe2torch.net import Blob
from caffe2torch.registry import Param

SEED = 1  # of fillers


def state_dict(graph: Graph) -> dict[str, np.ndarray]:
    """The module's state_dict as float32 arrays (num_batches_tracked int64), each a C-contiguous array of its own.

    A tensor that layers share is there under each of its keys, but is one array. Raises WireError where the file cannot
    be read, and NetError for a filler that does not exist.
    """
    source = Source(graph)
    state: dict[str, np.ndarray] = {}
    done: set[str] = set()
    for node in graph.nodes:
        if node.name in done:
            continue
        done.add(node.name)
        arrays = [source.array(node, index, param) for index, param in enumerate(node.operation.params())]
        for name, array in node.operation.state(arrays).items():
            state[f"{node.name}.{name}"] = (
                state[node.shared[name]] if name in node.shared else np.require(array, requirements="C")
            )
    return state


def missing(graph: Graph) -> list[str]:
    """Layers with weights that the caffemodel says nothing about: they are filled, as Caffe does."""
    return [
        node.layer.name
        for node in graph.nodes
        if any(blob_of(node, index) is None for index in range(len(node.operation.params())))
    ]


def blob_of(node: Node, index: int) -> Blob | None:
    """What the file has of a layer's blob, or of that of another layer that shares it; None: it is filled."""
    if index in node.layer.shared:
        return node.layer.shared[index].blob
    return node.layer.blobs[index] if node.layer.blobs else None


def _refuse_much(graph: Graph) -> None:
    """NetError, before anything is filled, where more is to be filled than a file of weights would lack."""
    held = sum(blob.count for layer in graph.net.layers for blob in layer.blobs or ())
    beside = max(limits.FILLED, limits.TIMES * held)
    left = limits.FILLED_ALONE if graph.net.weights_path is None else beside
    for node in graph.nodes:
        for index, param in enumerate(node.operation.params()):
            left -= prod(param.shape) if blob_of(node, index) is None else 0
            if left < 0:
                reason = (
                    f"its {param.name} of shape {param.shape} is in no file, and too large to be made up; give a file "
                    "of weights that has it, or drop the layer"
                )
                raise NetError.of([Problem(node.layer.name, node.layer.type, reason)], len(graph.nodes), graph.net.path)


class Source:
    """Gives a layer's blobs; those that several layers share are read, or filled, once."""

    def __init__(self, graph: Graph, read: Callable[[Blob], np.ndarray] = lambda blob: blob.read()) -> None:
        self._path = graph.net.path
        self._read = read
        _refuse_much(graph)
        self._shared: dict[str, np.ndarray] = {}

    @cached_property
    def _generator(self) -> np.random.Generator:
        return np.random.default_rng(SEED)

    def array(self, node: Node, index: int, param: Param) -> np.ndarray:
        """float32, in the shape of ``param``."""
        shared = node.layer.shared.get(index)
        if shared is not None and shared.name in self._shared:
            return self._shared[shared.name].reshape(param.shape)
        blob = blob_of(node, index)
        if blob is None and shared is not None and not shared.owned:
            reason = (
                f"its param {shared.name!r} is filled by layer {shared.owner!r}, which the outputs do not need; "
                "give a caffemodel, or ask for an output of that layer too"
            )
            raise NetError.of([Problem(node.layer.name, node.layer.type, reason)], 1, self._path)
        array = self._fill(node, param) if blob is None else self._read(blob).reshape(param.shape)
        if shared is not None:
            self._shared[shared.name] = array
        return array

    def _fill(self, node: Node, param: Param) -> np.ndarray:
        try:
            return fill(param.filler, param.shape, self._generator)
        except ValueError as error:
            raise NetError.of([Problem(node.layer.name, node.layer.type, str(error))], 1, self._path) from error
