"""torch's adaptive average pooling as ONNX nodes, at one size of map."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from caffe2torch.onnx_model import Nodes


def add_average_pooling(nodes: Nodes, maps: str, size: Sequence[int], pool: tuple[int, int]) -> str:
    """(N, C, *size) -> (N, C, *pool), as torch's adaptive_avg_pool2d."""
    if size[0] % pool[0] == 0 and size[1] % pool[1] == 0:
        window = [size[0] // pool[0], size[1] // pool[1]]
        return str(nodes.add("AveragePool", [maps], kernel_shape=window, strides=window))
    rows = nodes.constant(pooling_matrix(size[0], pool[0]), "pool_rows")
    columns = nodes.constant(pooling_matrix(size[1], pool[1]).T, "pool_columns")
    return str(nodes.add("MatMul", [nodes.add("MatMul", [rows, maps]), columns]))


def pooling_matrix(length: int, pooled: int) -> np.ndarray:
    """float32 (pooled, length): row i averages places floor(i·length/pooled) up to ceil((i+1)·length/pooled)."""
    matrix = np.zeros((pooled, length), np.float32)
    for i in range(pooled):
        start, end = i * length // pooled, -(-(i + 1) * length // pooled)
        matrix[i, start:end] = 1 / (end - start)
    return matrix
