"""The forks' activations and LpNormalization against their formulas."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import caffe2torch
from tests.caffe2torch.layers.conftest import OneLayer

X = (np.random.default_rng(0).standard_normal((2, 4, 3, 5)) * 6).astype(np.float32)
EXACT = X.astype(np.float64)
FORMULAS = {
    '"ReLU6"': np.clip(EXACT, 0, 6),
    '"ReLU6" relu6_param { engine: CAFFE }': np.clip(EXACT, 0, 6),
    '"ReLU6" relu6_param { negative_slope: 0.1 }': np.minimum(np.where(EXACT > 0, EXACT, EXACT * 0.1), 6),
    '"ReLU6" relu6_param { negative_slope: 0.1 engine: CUDNN }': np.minimum(np.where(EXACT > 0, EXACT, EXACT * 0.1), 6),
    '"ReLU6" relu6_param { threshold: 2.5 }': np.clip(EXACT, 0, 2.5),
    '"ReLU6" relu6_param { threshold: -1 }': np.minimum(np.maximum(EXACT, 0), -1),
    '"ReLU6" relu6_param { threshold: 2 negative_slope: 0.5 }': np.minimum(np.where(EXACT > 0, EXACT, EXACT * 0.5), 2),
    '"CReLU"': np.concatenate([np.maximum(EXACT, 0), np.maximum(-EXACT, 0)], 1),
    '"CReLU" crelu_param { negative_slope: 0.2 concat_axis: -1 }': np.concatenate(
        [np.where(each > 0, each, each * 0.2) for each in (EXACT, -EXACT)], 3
    ),
    '"HardSigmoid"': np.clip(0.2 * EXACT + 0.5, 0, 1),
    '"HardSigmoid" hard_sigmoid_param { alpha: 0.1667 beta: 0.4 }': np.clip(0.1667 * EXACT + 0.4, 0, 1),
    '"HardSigmoid" hardsigmoid_param { alpha: -0.5 }': np.clip(-0.5 * EXACT + 0.5, 0, 1),
    '"HardSwish"': EXACT * np.clip(EXACT + 3, 0, 6) / 6,
    '"Mish"': EXACT * np.tanh(np.log1p(np.exp(EXACT))),
    '"SeLU"': 1.050700987 * np.where(EXACT > 0, EXACT, 1.67326324 * np.expm1(EXACT)),
    '"SeLU" selu_param { lambda: 1.2 alpha: 0.7 }': 1.2 * np.where(EXACT > 0, EXACT, 0.7 * np.expm1(EXACT)),
    '"Softplus"': np.log1p(np.exp(EXACT)),
}


@pytest.mark.parametrize("layer", FORMULAS)
def test_formula(one_layer: OneLayer, layer: str) -> None:
    y = one_layer.run(f'type: {layer} top: "y"', {"x": X})["y"]
    np.testing.assert_allclose(y, FORMULAS[layer], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["Mish", "Softplus", "LogSoftmax", "SeLU"])
def test_far_out(one_layer: OneLayer, name: str) -> None:
    """Large numbers neither overflow nor fall below the least logarithm of synopsys-caffe's LogSoftmax."""
    x = np.array([[-200, -60, -20, 0, 20, 60, 80]], np.float32)
    exact = x.astype(np.float64)
    plus = np.logaddexp(exact, 0)
    expected = {
        "Mish": exact * np.tanh(plus),
        "Softplus": plus,
        "LogSoftmax": np.maximum(exact - np.log(np.exp(exact).sum()), np.log(1e-20)),
        "SeLU": 1.050700987 * np.where(exact > 0, exact, 1.67326324 * np.expm1(exact)),
    }
    y = one_layer.run(f'type: "{name}" top: "y"', {"x": x})["y"]
    np.testing.assert_allclose(y, expected[name], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("axis", [1, 2, -1])
def test_log_softmax(one_layer: OneLayer, axis: int) -> None:
    y = one_layer.run(f'type: "LogSoftmax" top: "y" log_softmax_param {{ axis: {axis} }}', {"x": X})["y"]
    expected = EXACT - np.log(np.exp(EXACT).sum(axis, keepdims=True))
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("fields", "axes", "p"),
    [
        ("axis: 1", (1,), 2),
        ("axis: -1 p: 2", (3,), 2),
        ("axis: 3 axis: 2 p: 1", (2, 3), 1),
        ("axis: 1 axis: -1 p: 3", (1, 3), 3),
        ("axis: 0 axis: 1 axis: 2 axis: 3", (0, 1, 2, 3), 2),
        ("p: 3", (), 3),
    ],
)
def test_lp_normalization(one_layer: OneLayer, fields: str, axes: tuple[int, ...], p: int) -> None:
    y = one_layer.run(f'type: "LpNormalization" top: "y" lp_normalization_param {{ {fields} }}', {"x": X})["y"]
    norm = (np.abs(EXACT) ** p).sum(axes, keepdims=True) ** (1 / p)
    np.testing.assert_allclose(y, EXACT / norm, rtol=1e-4, atol=1e-5)


def test_nothing_to_divide_by(one_layer: OneLayer) -> None:
    """The forks add no eps."""
    y = one_layer.run('type: "LpNormalization" top: "y" lp_normalization_param { axis: 1 }', {"x": X * 0})["y"]
    assert np.isnan(y).all()


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        ('"LpNormalization" lp_normalization_param { axis: 1 p: 0 }', "p 0 must be at least 1"),
        ('"LpNormalization" lp_normalization_param { axis: 1 axis: -1 }', "twice"),
        ('"LpNormalization" lp_normalization_param { axis: 2 }', "axis 2 is out of range"),
        ('"LogSoftmax" log_softmax_param { axis: 2 }', "axis 2 is out of range"),
        ('"CReLU" crelu_param { concat_axis: 2 }', "axis 2 is out of range"),
    ],
)
def test_refused(refused: Callable[..., str], layer: str, words: str) -> None:
    assert words in refused(f'type: {layer} top: "y"', (2, 3))


def test_torchs_own_where_it_has_one(one_layer: OneLayer) -> None:
    for layer, words in (
        ('"SeLU"', "F.selu(x)"),
        ('"SeLU" selu_param { lambda: 1.0507 }', "F.elu(x, "),
        ('"SeLU" selu_param { alpha: 2 }', "F.elu(x, 2.0)"),
        ('"ReLU6"', "F.relu6(x)"),
    ):
        assert words in caffe2torch.to_source(one_layer.convert(f'type: {layer} top: "y"', {"x": X}))
