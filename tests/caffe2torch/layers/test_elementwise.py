"""Functions of single numbers against Caffe's formulas, NaN and infinities included; what Caffe refuses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

X = np.array([-30, -2.5, -1, -0.3, 0, 0.3, 1, 1.5, 2.5, 30], np.float32)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 0.5 * np.tanh(0.5 * x) + 0.5


@pytest.mark.parametrize("shape", [(10,), (2, 5), (5, 1, 2)], ids=str)
@pytest.mark.parametrize(
    ("layer", "formula"),
    [
        ('type: "TanH" tanh_param { engine: CAFFE }', np.tanh),
        ('type: "AbsVal"', np.abs),
        ('type: "BNLL"', lambda x: np.where(x > 0, x + np.log(1 + np.exp(-x)), np.log(1 + np.exp(x)))),
        ('type: "ELU"', lambda x: np.maximum(x, 0) + np.exp(np.minimum(x, 0)) - 1),
        ('type: "ELU" elu_param { alpha: -0.5 }', lambda x: np.maximum(x, 0) - 0.5 * (np.exp(np.minimum(x, 0)) - 1)),
        ('type: "ELU" elu_param { alpha: 0 }', lambda x: np.maximum(x, 0)),
        ('type: "Swish"', lambda x: x * sigmoid(x)),
        ('type: "Swish" swish_param { beta: -2 }', lambda x: x * sigmoid(-2 * x)),
        ('type: "Swish" swish_param { beta: 0 }', lambda x: x / 2),
        ('type: "Clip" clip_param { min: -1 max: 1.5 }', lambda x: np.maximum(-1, np.minimum(x, 1.5))),
        ('type: "Clip" clip_param { min: 2 max: 1 }', lambda x: np.maximum(2, np.minimum(x, 1))),
        ('type: "Threshold"', lambda x: x > 0),
        ('type: "Threshold" threshold_param { threshold: 1.5 }', lambda x: x > 1.5),
    ],
)
def test_formula(one_layer: Any, layer: str, formula: Callable[..., np.ndarray], shape: tuple[int, ...]) -> None:
    x = X.reshape(shape)
    found = one_layer.run(f'{layer} top: "y"', {"x": x})["y"]
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, formula(x.astype(np.float64)), rtol=1e-5, atol=1e-6)


POWERS = [(1, 1, 0), (1, -1, 0), (1, 2, -3), (2, 0.5, -0.3), (3, 1, 0), (-1, 1, 0.2), (0.5, 1, 0), (1.5, -1, 0.25)]
CONSTANT = [(0, 2, 1), (3, 0, 2), (0, 0, 0), (-1, 0, 0), (0.5, 0, -1), (1, 0, 0.1)]


@pytest.mark.parametrize(("power", "scale", "shift"), POWERS + CONSTANT)
def test_power(one_layer: Any, power: float, scale: float, shift: float) -> None:
    fields = f"power: {power} scale: {scale} shift: {shift}"
    found = one_layer.run(f'type: "Power" top: "y" power_param {{ {fields} }}', {"x": X})["y"]
    with np.errstate(all="ignore"):
        if power * scale == 0:
            want = np.full_like(X, 1 if power == 0 else np.power(np.float32(shift), np.float32(power)))
        else:
            want = np.power(np.float32(shift) + np.float32(scale) * X, np.float32(power))
    np.testing.assert_allclose(found, want, rtol=1e-4, atol=1e-6)


def test_a_constant_power_does_not_look_at_its_input(one_layer: Any) -> None:
    x = np.array([np.nan, np.inf, 1], np.float32)
    found = one_layer.run('type: "Power" top: "y" power_param { power: 2 scale: 0 shift: 3 }', {"x": x})["y"]
    assert found.tolist() == [9, 9, 9]


@pytest.mark.parametrize("base", [-1, 2, 10, 0.5, 3])
@pytest.mark.parametrize(("scale", "shift"), [(1, 0), (0.5, -1), (-1, 2), (0, 1)])
def test_exp(one_layer: Any, base: float, scale: float, shift: float) -> None:
    x = X[1:-1]
    fields = f"base: {base} scale: {scale} shift: {shift}"
    found = one_layer.run(f'type: "Exp" top: "y" exp_param {{ {fields} }}', {"x": x})["y"]
    want = np.power(np.e if base == -1 else base, shift + scale * x.astype(np.float64))
    np.testing.assert_allclose(found, want, rtol=1e-5)


@pytest.mark.parametrize("base", [-1, 2, 10, 0.5, 3])
@pytest.mark.parametrize(("scale", "shift"), [(1, 0), (0.5, 2), (-1, 2), (1, -2)])
def test_log(one_layer: Any, base: float, scale: float, shift: float) -> None:
    fields = f"base: {base} scale: {scale} shift: {shift}"
    found = one_layer.run(f'type: "Log" top: "y" log_param {{ {fields} }}', {"x": X})["y"]
    with np.errstate(all="ignore"):
        argument = np.float32(shift) + np.float32(scale) * X
        want = np.log(argument) * np.float32(1 if base == -1 else 1 / np.log(base))
    assert np.isnan(want).any() and not np.isnan(want).all()
    np.testing.assert_allclose(found, want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        ('type: "AbsVal" top: "in0"', "in place"),
        ('type: "Clip" top: "y" clip_param { min: 0 }', "max"),
        ('type: "Exp" top: "y" exp_param { base: 0 }', "base 0"),
        ('type: "Exp" top: "y" exp_param { base: -2 }', "base -2"),
        ('type: "Log" top: "y" log_param { base: 1 }', "base 1"),
        ('type: "Log" top: "y" log_param { base: -3 }', "base -3"),
        ('type: "TanH" top: "y" top: "z"', "2 tops"),
    ],
)
def test_refusals(refused: Callable[..., str], layer: str, words: str) -> None:
    assert words in refused(layer, (2, 3))


@pytest.mark.parametrize("kind", ["TanH", "BNLL", "ELU", "Power", "Exp", "Threshold", "Swish"])
def test_in_place(one_layer: Any, kind: str) -> None:
    x = X[1:-1]
    apart = one_layer.run(f'type: "{kind}" top: "y"', {"x": x})["y"]
    np.testing.assert_array_equal(one_layer.run(f'type: "{kind}" top: "x"', {"x": x})["x"], apart)


def test_printed_as_a_person_writes(one_layer: Any) -> None:
    import caffe2torch

    expressions = {
        'type: "Power" power_param { scale: 2 shift: -3 }': "2 * x - 3",
        'type: "Power" power_param { power: 2 scale: 0.5 }': "(0.5 * x).pow(2)",
        'type: "Power" power_param { power: -1 }': "x.pow(-1)",
        'type: "Power" power_param { power: 0 }': "torch.full_like(x, 1)",
        'type: "Exp" exp_param { base: 2 }': "torch.exp2(x)",
        'type: "Log" log_param { base: 10 shift: 1 }': "torch.log10(x + 1)",
        'type: "Threshold"': "(x > 0).float()",
        'type: "Clip" clip_param { min: 0 max: 6 }': "x.clamp(0, 6)",
        'type: "Swish"': "F.silu(x)",
        'type: "ELU"': "F.elu(x)",
    }
    for layer, expression in expressions.items():
        text = caffe2torch.to_source(one_layer.convert(f'{layer} top: "y"', {"x": X}))
        assert f"        y = {expression}  # (N,)\n" in text
