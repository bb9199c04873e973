"""ReLU, PReLU, Sigmoid, Softmax and Dropout against their definitions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from tests.caffe2torch.layers.conftest import OneLayer

SHAPES = [(4,), (2, 3), (2, 3, 4), (2, 3, 4, 5), (2, 3, 1, 2, 2)]


def normal(*shape: int) -> np.ndarray:
    return (4 * np.random.default_rng(0).standard_normal(shape)).astype(np.float32)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("slope", [0.0, 0.1, -0.5, 1.0])
def test_relu(slope: float, shape: tuple[int, ...], one_layer: OneLayer) -> None:
    x = normal(*shape)
    found = one_layer.run(f'type: "ReLU" top: "y" relu_param {{ negative_slope: {slope} }}', {"x": x})["y"]
    np.testing.assert_allclose(found, np.maximum(x, 0) + np.float32(slope) * np.minimum(x, 0), rtol=1e-6)


@pytest.mark.parametrize("shape", SHAPES[1:])
@pytest.mark.parametrize("shared", [False, True])
def test_prelu(shared: bool, shape: tuple[int, ...], one_layer: OneLayer) -> None:
    x = normal(*shape)
    slope = np.array(0.3 if shared else [0.1, -0.2, 0.5], np.float32)
    text = f'type: "PReLU" top: "y" prelu_param {{ channel_shared: {str(shared).lower()} }}'
    found = one_layer.run(text, {"x": x}, [slope])["y"]
    each = slope if shared else slope[(slice(None), *[None] * (len(shape) - 2))]
    np.testing.assert_allclose(found, np.maximum(x, 0) + each * np.minimum(x, 0), rtol=1e-6)


def test_prelu_without_a_file_is_a_quarter(one_layer: OneLayer) -> None:
    x = normal(2, 3)
    np.testing.assert_allclose(one_layer.run('type: "PReLU" top: "y"', {"x": x})["y"], np.where(x > 0, x, x / 4))


@pytest.mark.parametrize("shape", SHAPES)
def test_sigmoid(shape: tuple[int, ...], one_layer: OneLayer) -> None:
    x = normal(*shape)
    found = one_layer.run('type: "Sigmoid" top: "y"', {"x": x})["y"]
    np.testing.assert_allclose(found, 1 / (1 + np.exp(-x.astype(np.float64))), rtol=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("last", [False, True])
def test_softmax_along_any_axis(last: bool, shape: tuple[int, ...], one_layer: OneLayer) -> None:
    x = 100 * normal(*shape)
    for axis in range(len(shape)):
        given = axis - len(shape) if last else axis
        found = one_layer.run(f'type: "Softmax" top: "y" softmax_param {{ axis: {given} }}', {"x": x})["y"]
        e = np.exp(x.astype(np.float64) - x.max(axis, keepdims=True))
        np.testing.assert_allclose(found, e / e.sum(axis, keepdims=True), rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("ratio", [0.25, 0.5, 0.75])
def test_dropout_does_nothing_at_test_time_and_scales_in_training(ratio: float, one_layer: OneLayer) -> None:
    x = np.ones((100, 100), np.float32)
    text = f'type: "Dropout" top: "y" dropout_param {{ dropout_ratio: {ratio} }}'
    np.testing.assert_array_equal(one_layer.run(text, {"x": x})["y"], x)
    module: Any = one_layer.convert(text, {"x": x}).train()
    torch.manual_seed(0)
    trained = module(torch.from_numpy(x)).numpy()
    assert set(np.unique(trained)) == {0.0, np.float32(1 / (1 - ratio))}
    assert abs(np.mean(trained == 0) - ratio) < 0.02


@pytest.mark.parametrize("ratio", [0, 1])
def test_dropout_of_nothing_or_all_is_legal_at_test_time(ratio: int, one_layer: OneLayer) -> None:
    """Caffe checks the ratio in debug builds only."""
    x = normal(2, 3)
    text = f'type: "Dropout" top: "y" dropout_param {{ dropout_ratio: {ratio} }}'
    np.testing.assert_array_equal(one_layer.run(text, {"x": x})["y"], x)


@pytest.mark.parametrize(
    ("layer", "shape", "words"),
    [
        ('"PReLU" top: "y"', (3,), "1 axes"),
        ('"Softmax" top: "y" softmax_param { axis: 2 }', (2, 3), "axis 2 is out of range"),
        ('"Dropout" top: "y" dropout_param { dropout_ratio: 1.5 }', (2, 3), "between 0 and 1"),
        ('"ReLU" top: "y" top: "z"', (2, 3), "2 tops"),
    ],
)
def test_refusals(layer: str, shape: tuple[int, ...], words: str, refused: Callable[..., str]) -> None:
    assert words in refused(f"type: {layer}", shape)
