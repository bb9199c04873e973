"""A trained classifier as ONNX nodes: preprocessing, trunk, head, softmax."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from caffe2torch.graph import BATCH
from caffe2torch.onnx_model import Nodes, add_graph
from caffe2torch.preprocess import LUMA, Preprocessing
from finetune.head_graph import add_head
from finetune.runtime import INPUT, OUTPUT

if TYPE_CHECKING:
    from caffe2torch.folder import Converted


def build(
    trunk: Converted, preprocessing: Preprocessing, description: Mapping[str, Any], head: Mapping[str, np.ndarray]
) -> Nodes:
    """uint8 (N, height, width, 3) RGB -> probabilities float32 (N, classes), N free.

    ``trunk`` has one input and one output; ``description`` is what config.json says of the head, and ``head`` holds
    its tensors, float32 (finetune/head_graph.py).
    """
    nodes = Nodes("classifier")
    nodes.reserve([OUTPUT])
    value = trunk.graph.inputs[0]
    picture = nodes.add_input(INPUT, np.uint8, [BATCH, *value.shape[2:], 3])
    feeds = {value.blob: add_preprocessing(nodes, preprocessing, picture)}
    (maps,) = add_graph(nodes, trunk.graph, trunk.state(), feeds, prefix="trunk/")
    shape = trunk.graph.outputs[0].shape
    if len(shape) != 4:  # a vector counts as a map of one place
        maps = nodes.add("Reshape", [maps, nodes.constant(np.array([-1, prod(shape[1:]), 1, 1]), "shape")])
    logits = add_head(nodes, maps, shape[2:], description, head)
    nodes.add("Softmax", [logits], [OUTPUT], axis=1)
    nodes.add_output(OUTPUT, np.float32, [BATCH, int(description["classes"])])
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
