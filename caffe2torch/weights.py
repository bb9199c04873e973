"""A graph's weights: read from the file where it has them, else filled as Caffe fills them; never read twice."""

from __future__ import annotations

from collections.abc import Callable
from math import prod

import numpy as np

from caffe2torch.errors import NetError, Problem
from caffe2torch.fillers import fill
from caffe2torch.graph import Graph, Node

SEED = 1  # of fillers
LARGEST = 1 << 29  # numbers that are filled without a file at most


def state_dict(graph: Graph, progress: Callable[[int], None] | None = None) -> dict[str, np.ndarray]:
    """The module's state_dict as float32 arrays (num_batches_tracked int64), each a C-contiguous array of its own.

    ``progress`` is called with the bytes read after each layer. Raises WireError where the file cannot be read, and
    NetError for a filler that does not exist.
    """
    generator = np.random.default_rng(SEED)
    state: dict[str, np.ndarray] = {}
    for node in graph.nodes:
        arrays = _read(node) if node.layer.blobs else _fill(node, generator, graph.net.path)
        for name, array in node.operation.state(arrays).items():
            state[f"{node.name}.{name}"] = array
        if progress is not None:
            progress(sum(array.nbytes for array in arrays))
    return state


def missing(graph: Graph) -> list[str]:
    """Layers with weights that the caffemodel says nothing about: they are filled, as Caffe does."""
    return [node.layer.name for node in graph.nodes if node.operation.params() and not node.layer.blobs]


def _read(node: Node) -> list[np.ndarray]:
    assert node.layer.blobs is not None
    params = node.operation.params()
    return [blob.read().reshape(param.shape) for blob, param in zip(node.layer.blobs, params, strict=False)]


def _fill(node: Node, generator: np.random.Generator, path: str) -> list[np.ndarray]:
    arrays = []
    for param in node.operation.params():
        try:
            if prod(param.shape) > LARGEST:
                raise ValueError(f"{param.name} of shape {param.shape} is too large to be filled without a file")
            arrays.append(fill(param.filler, param.shape, generator))
        except ValueError as error:
            raise NetError.of([Problem(node.layer.name, node.layer.type, str(error))], 1, path) from error
    return arrays
