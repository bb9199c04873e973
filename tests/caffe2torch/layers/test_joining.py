"""Eltwise and Concat: what they compute over drawn inputs, and what Caffe refuses."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.caffe2torch.layers.conftest import OneLayer
from tests.caffe2torch.nets import examples

Arrays = dict[str, np.ndarray]
DRAWN = examples(30)


def several(count: int, *shapes: tuple[int, ...]) -> Arrays:
    generator = np.random.default_rng(0)
    return {
        f"in{index}": generator.standard_normal(shapes[index % len(shapes)]).astype(np.float32)
        for index in range(count)
    }


@DRAWN
@given(
    coefficients=st.lists(st.sampled_from([1.0, -1.0, 0.0, 0.5, -2.25, 1e-3, 3.0]), min_size=2, max_size=5),
    axes=st.integers(1, 5),
)
def test_weighted_sum(coefficients: list[float], axes: int, one_layer: OneLayer) -> None:
    inputs = several(len(coefficients), tuple(range(2, 2 + axes)))
    text = " ".join(f"coeff: {value}" for value in coefficients)
    found = one_layer.run(f'type: "Eltwise" top: "y" eltwise_param {{ {text} }}', inputs)["y"]
    want = sum(value * array for value, array in zip(coefficients, inputs.values(), strict=True))
    np.testing.assert_allclose(found, want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("count", [2, 3, 5])
@pytest.mark.parametrize(("operation", "reduce"), [("PROD", np.prod), ("SUM", np.sum), ("MAX", np.max)])
def test_operations(operation: str, reduce: Callable[..., np.ndarray], count: int, one_layer: OneLayer) -> None:
    inputs = several(count, (2, 3, 4))
    found = one_layer.run(f'type: "Eltwise" top: "y" eltwise_param {{ operation: {operation} }}', inputs)["y"]
    np.testing.assert_allclose(found, reduce(list(inputs.values()), axis=0), rtol=1e-5)


def test_max_does_not_read_coeff(one_layer: OneLayer) -> None:
    """Caffe refuses coeff for products only."""
    inputs = several(2, (2, 3))
    text = "eltwise_param { operation: MAX coeff: 2 coeff: -1 }"
    found = one_layer.run(f'type: "Eltwise" top: "y" {text}', inputs)["y"]
    np.testing.assert_array_equal(found, np.maximum(*inputs.values()))


@DRAWN
@given(axes=st.integers(1, 5), axis=st.integers(0, 4), lengths=st.lists(st.integers(1, 4), min_size=1, max_size=5))
def test_concat(axes: int, axis: int, lengths: list[int], one_layer: OneLayer) -> None:
    axis %= axes
    shapes = [(*[2] * axis, length, *[3] * (axes - axis - 1)) for length in lengths]
    inputs = several(len(lengths), *shapes)
    want = np.concatenate(list(inputs.values()), axis)
    for given_axis in (axis, axis - axes):
        found = one_layer.run(f'type: "Concat" top: "y" concat_param {{ axis: {given_axis} }}', inputs)["y"]
        np.testing.assert_array_equal(found, want)
    found = one_layer.run(f'type: "Concat" top: "y" concat_param {{ concat_dim: {axis} }}', inputs)["y"]
    np.testing.assert_array_equal(found, want)


@pytest.mark.parametrize(
    ("layer", "shapes", "words"),
    [
        ('"Eltwise" top: "y"', [(2, 3)], "1 bottoms"),
        ('"Eltwise" top: "y"', [(2, 3), (2, 1)], "(2, 3), (2, 1)"),
        ('"Eltwise" top: "y"', [(2, 3), (2, 3, 1)], "(2, 3, 1)"),
        ('"Eltwise" top: "y" eltwise_param { coeff: 1 }', [(2, 3)] * 2, "1 values of coeff for 2 bottoms"),
        ('"Eltwise" top: "y" eltwise_param { operation: PROD coeff: 1 coeff: 2 }', [(2, 3)] * 2, "PROD"),
        ('"Eltwise" top: "y" eltwise_param { operation: MAX coeff: 1 }', [(2, 3)] * 2, "1 values of coeff"),
        ('"Concat" top: "y"', [(2, 3), (3, 3)], "differ in another axis than 1"),
        ('"Concat" top: "y"', [(2, 3), (2, 3, 1)], "(2, 3, 1)"),
        ('"Concat" top: "y" concat_param { axis: 2 }', [(2, 3)] * 2, "axis 2 is out of range"),
        ('"Concat" top: "y" concat_param { axis: -3 }', [(2, 3)] * 2, "axis -3 is out of range"),
        ('"Concat" top: "y" concat_param { axis: 1 concat_dim: 1 }', [(2, 3)] * 2, "both set"),
    ],
)
def test_refusals(layer: str, shapes: list[tuple[int, ...]], words: str, refused: Callable[..., str]) -> None:
    assert words in refused(f"type: {layer}", *shapes)
