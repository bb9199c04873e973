"""Each part of the exported graph, run in onnxruntime, computes what training computed in torch."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from PIL import Image

from caffe2torch.onnx_model import Nodes
from caffe2torch.preprocess import Preprocessing
from finetune.classifier_graph import add_preprocessing
from finetune.head_graph import add_head, head_shapes
from finetune.models.head import HEADS, head_of, make_head
from finetune.models.trunk import FrozenTrunk
from finetune.pooling_graph import add_average_pooling, pooling_matrix


def computed(value: np.ndarray, shape: list[Any], add: Callable[[Nodes, str], str]) -> np.ndarray:
    """What the nodes that ``add`` adds make of an input."""
    nodes = Nodes()
    output = add(nodes, nodes.add_input("input", value.dtype, shape))
    nodes.add_output(output, np.float32, [None] * 4 if value.ndim == 4 and "head/" not in output else [None, None])
    model = nodes.model()
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"input": value})[0])


@pytest.mark.parametrize(
    "preprocessing",
    [
        Preprocessing("BGR", (104.0, 117.5, 123.25)),
        Preprocessing("RGB", (1.0, 2.0, 3.0), scale=1 / 256),
        Preprocessing("GRAY", (120.0,), scale=0.5),
        Preprocessing("BGR", None),
    ],
)
def test_preprocessing(preprocessing: Preprocessing) -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (2, 5, 7, 3), dtype=np.uint8)
    result = computed(pictures, ["N", 5, 7, 3], lambda nodes, name: add_preprocessing(nodes, preprocessing, name))
    order = {"BGR": [2, 1, 0], "RGB": [0, 1, 2]}.get(preprocessing.channel_order)
    if order is None:  # within a rounding of Pillow's grey
        pixels = np.stack([np.asarray(Image.fromarray(picture).convert("L"))[..., None] for picture in pictures])
        tolerance = 0.51 * preprocessing.scale
    else:
        pixels, tolerance = pictures[..., order], 1e-4
    expected = (pixels.astype(np.float64) - (preprocessing.mean or 0)) * preprocessing.scale
    np.testing.assert_allclose(result, expected.transpose(0, 3, 1, 2), atol=tolerance)
    in_training = FrozenTrunk(torch.nn.Identity(), preprocessing).network_input(torch.from_numpy(pictures))
    np.testing.assert_allclose(result, in_training.numpy(), atol=1e-4)


@pytest.mark.parametrize(
    ("size", "pool"),
    [
        ((14, 14), (7, 7)),
        ((28, 14), (7, 7)),
        ((10, 13), (7, 7)),
        ((9, 5), (7, 5)),
        ((8, 21), (7, 7)),
        ((11, 11), (1, 1)),
    ],
)
def test_pooling(size: tuple[int, int], pool: tuple[int, int]) -> None:
    maps = np.random.default_rng(0).normal(size=(2, 3, *size)).astype(np.float32)
    result = computed(maps, ["N", 3, *size], lambda nodes, name: add_average_pooling(nodes, name, size, pool))
    expected = torch.nn.functional.adaptive_avg_pool2d(torch.from_numpy(maps), pool)
    np.testing.assert_allclose(result, expected.numpy(), atol=1e-6)


def test_rows_of_the_pooling_matrix_are_averages() -> None:
    for length in range(1, 40):
        for pooled in range(1, length + 1):
            matrix = pooling_matrix(length, pooled)
            np.testing.assert_allclose(matrix.sum(1), 1, rtol=1e-6)
            assert (matrix.sum(0) > 0).all()


@pytest.mark.parametrize("size", [(3, 2), (9, 8), (14, 14), (1, 1)])
@pytest.mark.parametrize(("name", "normalised"), [*((name, True) for name in HEADS), ("gap", False), ("linear", False)])
def test_heads(name: str, normalised: bool, size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    head = make_head(name, (4, *size), classes=5, hidden=16, dropout=0.5, normalised=normalised)
    with torch.no_grad():  # as if trained: no weight or statistic at its start value
        for tensor in head.state_dict().values():
            if tensor.is_floating_point():
                tensor.copy_(torch.rand_like(tensor) + 0.1)
    said = json.loads(json.dumps(head.describe()))
    state = {name: tensor.numpy() for name, tensor in head.state_dict().items()}
    shapes = head_shapes(said, (4, *size), 5)
    assert {key: state[key].shape for key in shapes} == shapes
    maps = np.random.default_rng(0).normal(size=(3, 4, *size)).astype(np.float32)
    result = computed(maps, ["N", 4, *size], lambda nodes, value: add_head(nodes, value, size, said, state))
    again = head_of(said)
    again.load_state_dict(head.state_dict())
    with torch.no_grad():
        expected = again.eval()(torch.from_numpy(maps))
    np.testing.assert_allclose(result, expected.numpy(), rtol=1e-4, atol=1e-5)
