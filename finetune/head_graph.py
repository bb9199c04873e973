"""The heads of finetune/models/head.py as ONNX nodes, without torch: what config.json says of one, and its tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any

import numpy as np

from caffe2torch.errors import ModelError
from caffe2torch.onnx_model import Nodes
from finetune.pooling_graph import add_average_pooling

BATCH_NORM_EPS = 1e-5  # torch.nn.BatchNorm1d's
SHARPNESS = 16.0  # of finetune.models.head.NearestMeanHead
TINY = 1e-12  # its least length of a feature
TRUNK = "trunk."  # in front of tensors of the trunk that were trained too (finetune.models.top)

Shapes = dict[str, tuple[int, ...]]
Tensors = Mapping[str, np.ndarray]


def map_size(shape: Sequence[int]) -> tuple[int, int, int]:
    """(C, h, w) of a blob's shape; one of any other number of axes is taken as a vector, h = w = 1."""
    return (shape[1], shape[2], shape[3]) if len(shape) == 4 else (prod(shape[1:]), 1, 1)


def head_shapes(head: Mapping[str, Any], map_shape: Sequence[int], classes: int) -> Shapes:
    """The tensors of a head on maps of (C, h, w), and their shapes. Raises ModelError, KeyError for what is no head."""
    name = head["name"]
    if name not in HEADS:
        raise ModelError(f"head {name!r} is not one of {', '.join(HEADS)}")
    if name == "nearest-mean":
        return {"centre": (map_shape[0],), "means": (classes, map_shape[0])}
    features = prod((map_shape[0], *head["pool"]) if head["pool"] else map_shape)
    if name != "tutorial":
        statistics = ("bn.running_mean", "bn.running_var") if head.get("normalised") else ()
        return {"fc.weight": (classes, features), "fc.bias": (classes,), **dict.fromkeys(statistics, (features,))}
    hidden = (int(head["hidden"]),)
    inner = ("fc7.bias", "bn.weight", "bn.bias", "bn.running_mean", "bn.running_var")
    outer: Shapes = {"fc8.weight": (classes, *hidden), "fc8.bias": (classes,)}
    return {"fc7.weight": (*hidden, features), **dict.fromkeys(inner, hidden), **outer}


def add_head(nodes: Nodes, maps: str, size: Sequence[int], head: Mapping[str, Any], tensors: Tensors) -> str:
    """Maps (N, C, *size) -> logits (N, classes), without the head's dropout; ``tensors`` are float32."""
    if head.get("pool"):
        maps = add_average_pooling(nodes, maps, size, (int(head["pool"][0]), int(head["pool"][1])))
    return HEADS[head["name"]](nodes, maps, tensors)


def _tutorial(nodes: Nodes, maps: str, tensors: Tensors) -> str:
    """fc7, batch normalisation, ReLU, fc8."""
    flat = nodes.add("Flatten", [maps], axis=1)
    hidden = nodes.add("Gemm", [flat, *_named(nodes, tensors, "fc7.weight", "fc7.bias")], name="head/fc7", transB=1)
    statistics = _named(nodes, tensors, "bn.weight", "bn.bias", "bn.running_mean", "bn.running_var")
    hidden = nodes.add("BatchNormalization", [hidden, *statistics], name="head/bn", epsilon=BATCH_NORM_EPS)
    hidden = nodes.add("Relu", [hidden], name="head/relu")
    return str(
        nodes.add("Gemm", [hidden, *_named(nodes, tensors, "fc8.weight", "fc8.bias")], name="head/fc8", transB=1)
    )


def _linear(nodes: Nodes, maps: str, tensors: Tensors) -> str:
    """fc; where the features are normalised, that is within its weights."""
    flat = nodes.add("Flatten", [maps], axis=1)
    weight, bias = tensors["fc.weight"], tensors["fc.bias"]
    if "bn.running_var" in tensors:
        scaled = weight / np.sqrt(tensors["bn.running_var"].astype(np.float64) + BATCH_NORM_EPS)
        weight, bias = scaled.astype(np.float32), (bias - scaled @ tensors["bn.running_mean"]).astype(np.float32)
    folded = {"fc.weight": weight, "fc.bias": bias}
    return str(nodes.add("Gemm", [flat, *_named(nodes, folded, "fc.weight", "fc.bias")], name="head/fc", transB=1))


def _nearest_mean(nodes: Nodes, maps: str, tensors: Tensors) -> str:
    """16 times the cosine of the feature and each class's mean, both seen from the centre."""
    flat = nodes.add("Flatten", [nodes.add("GlobalAveragePool", [maps])], axis=1)
    (centre,) = _named(nodes, tensors, "centre")
    moved = nodes.add("Sub", [flat, centre])
    length = nodes.add("ReduceL2", [moved], axes=[1], keepdims=1)
    length = nodes.add("Max", [length, nodes.constant(np.float32(TINY), "tiny")])
    means = nodes.constant(np.ascontiguousarray(tensors["means"].T) * np.float32(SHARPNESS), "head/means")
    return str(nodes.add("MatMul", [nodes.add("Div", [moved, length]), means], name="head/cosines"))


def _named(nodes: Nodes, tensors: Tensors, *names: str) -> list[str]:
    return [nodes.constant(tensors[name], f"head/{name}") for name in names]


HEADS: Mapping[str, Callable[[Nodes, str, Tensors], str]] = {
    "tutorial": _tutorial,
    "gap": _linear,
    "linear": _linear,
    "nearest-mean": _nearest_mean,
}
