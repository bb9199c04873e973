"""A trained classifier as ONNX nodes: preprocessing, trunk, pooling, head, softmax."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from caffe2torch.graph import BATCH
from caffe2torch.onnx_model import Nodes, add_graph
from caffe2torch.preprocess import LUMA, Preprocessing
from finetune.runtime import INPUT, OUTPUT

if TYPE_CHECKING:
    from caffe2torch.folder import Converted

BATCH_NORM_EPS = 1e-5  # torch.nn.BatchNorm1d's


def build(
    trunk: Converted, preprocessing: Preprocessing, pool: tuple[int, int] | None, head: Mapping[str, np.ndarray]
) -> Nodes:
    """uint8 (N, height, width, 3) RGB -> probabilities float32 (N, classes), N free.

    ``trunk`` has one input and one output; ``pool`` is the size its map is pooled to; ``head`` holds the state_dict
    of the trained head, float32.
    """
    nodes = Nodes("classifier")
    nodes.reserve([OUTPUT])
    value = trunk.graph.inputs[0]
    picture = nodes.add_input(INPUT, np.uint8, [BATCH, *value.shape[2:], 3])
    feeds = {value.blob: add_preprocessing(nodes, preprocessing, picture)}
    (maps,) = add_graph(nodes, trunk.graph, trunk.state(), feeds, prefix="trunk/")
    if pool is not None:
        maps = add_average_pooling(nodes, maps, trunk.graph.outputs[0].shape[2:], pool)
    nodes.add("Softmax", [add_head(nodes, maps, head)], [OUTPUT], axis=1)
    nodes.add_output(OUTPUT, np.float32, [BATCH, head["fc8.bias"].size])
    return nodes


def add_preprocessing(nodes: Nodes, preprocessing: Preprocessing, picture: str) -> str:
    """uint8 (N, H, W, 3) RGB -> (pixel[channel order] - mean) * scale, float32 (N, channels, H, W)."""
    from onnx import TensorProto

    if preprocessing.channel_order == "GRAY":
        pixels = nodes.add("Cast", [picture], to=TensorProto.FLOAT)
        luma = nodes.constant(np.array(LUMA, np.float32).reshape(3, 1), "luma")
        pixels = nodes.add("MatMul", [pixels, luma])
        pixels = nodes.add("Transpose", [pixels], perm=[0, 3, 1, 2])
    else:  # moved about as bytes: a quarter of the memory of float32
        pixels = nodes.add("Transpose", [picture], perm=[0, 3, 1, 2])
        if preprocessing.channel_order == "BGR":
            pixels = nodes.add("Gather", [pixels, nodes.constant(np.array([2, 1, 0]), "bgr")], axis=1)
        pixels = nodes.add("Cast", [pixels], to=TensorProto.FLOAT)
    if preprocessing.mean is not None:
        mean = np.array(preprocessing.mean, np.float32).reshape(1, -1, 1, 1)
        pixels = nodes.add("Sub", [pixels, nodes.constant(mean, "mean")])
    if preprocessing.scale != 1:
        pixels = nodes.add("Mul", [pixels, nodes.constant(np.float32(preprocessing.scale), "scale")])
    return str(pixels)


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


def add_head(nodes: Nodes, maps: str, head: Mapping[str, np.ndarray]) -> str:
    """The tutorial's head without its dropout: fc7, batch normalisation, ReLU, fc8; gives logits (N, classes)."""

    def weights(*names: str) -> list[str]:
        return [nodes.constant(head[name], f"head/{name}") for name in names]

    flat = nodes.add("Flatten", [maps], axis=1)
    hidden = nodes.add("Gemm", [flat, *weights("fc7.weight", "fc7.bias")], name="head/fc7", transB=1)
    statistics = weights("bn.weight", "bn.bias", "bn.running_mean", "bn.running_var")
    hidden = nodes.add("BatchNormalization", [hidden, *statistics], name="head/bn", epsilon=BATCH_NORM_EPS)
    hidden = nodes.add("Relu", [hidden], name="head/relu")
    return str(nodes.add("Gemm", [hidden, *weights("fc8.weight", "fc8.bias")], name="head/fc8", transB=1))
