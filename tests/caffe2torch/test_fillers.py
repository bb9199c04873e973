"""Caffe's fillers: the formulas of filler.hpp, number by number where they are not random."""

from __future__ import annotations

from math import ceil, prod, sqrt
from typing import Any

import numpy as np
import pytest

from caffe2torch import fields
from caffe2torch.fillers import fill
from caffe2torch.net import Shape

LARGE = (40, 50, 9, 11)


def filled(shape: Shape, **given: Any) -> np.ndarray:
    return fill(fields.of("FillerParameter", given), shape, np.random.default_rng(0))


def test_a_number_and_constant() -> None:
    assert fill(0.25, (), np.random.default_rng(0)).shape == ()
    np.testing.assert_array_equal(filled((2, 3), value=1.5), np.full((2, 3), 1.5, np.float32))
    np.testing.assert_array_equal(filled((4,)), np.zeros(4, np.float32))
    assert filled((2, 3)).flags.c_contiguous


def test_uniform_and_gaussian() -> None:
    values = filled(LARGE, type="uniform", min=-2.0, max=5.0)
    assert values.min() >= -2
    assert values.max() < 5
    assert values.mean() == pytest.approx(1.5, abs=0.02)
    values = filled(LARGE, type="gaussian", mean=3.0, std=0.5)
    assert (values.mean(), values.std()) == (pytest.approx(3, abs=0.01), pytest.approx(0.5, abs=0.01))


def test_a_sparse_gaussian_has_so_many_numbers_an_output() -> None:
    values = filled((200, 1000), type="gaussian", sparse=20)
    assert (values != 0).mean() == pytest.approx(20 / 200, abs=0.005)


def test_positive_unitball() -> None:
    values = filled((5, 2, 3), type="positive_unitball")
    assert (values >= 0).all()
    np.testing.assert_allclose(values.reshape(5, -1).sum(1), np.ones(5), rtol=1e-6)


@pytest.mark.parametrize("shape", [LARGE, (300, 200), (50000,), (20, 30, 7, 5, 3)])
@pytest.mark.parametrize("norm", ["FAN_IN", "FAN_OUT", "AVERAGE"])
@pytest.mark.parametrize("kind", ["xavier", "msra"])
def test_fans(kind: str, norm: str, shape: Shape) -> None:
    """A blob of one axis has its whole count as fan out, as in Caffe since its #6240."""
    values = filled(shape, type=kind, variance_norm=norm)
    into, out = prod(shape) / shape[0], prod(shape) / shape[1] if len(shape) > 1 else prod(shape)
    fan = {"FAN_IN": into, "FAN_OUT": out, "AVERAGE": (into + out) / 2}[norm]
    if kind == "xavier":
        limit = sqrt(3 / fan)
        assert np.abs(values).max() <= limit
        assert np.abs(values).max() == pytest.approx(limit, rel=0.01)
    else:
        assert values.std() == pytest.approx(sqrt(2 / fan), rel=0.02)


@pytest.mark.parametrize("width", range(1, 13))
def test_bilinear(width: int) -> None:
    """filler.hpp since BVLC/caffe#5713: symmetric for every width."""
    values = filled((3, 2, width, width), type="bilinear")
    factor = ceil(width / 2)
    centre = (width - 1) / (2 * factor)
    want = np.empty((width, width))
    for y in range(width):
        for x in range(width):
            want[y, x] = (1 - abs(x / factor - centre)) * (1 - abs(y / factor - centre))
    np.testing.assert_allclose(values, np.broadcast_to(want, values.shape), rtol=1e-6)
    np.testing.assert_allclose(values, values[:, :, ::-1, ::-1], rtol=1e-5)


def test_bilinear_of_width_3() -> None:
    expected = [[0.25, 0.5, 0.25], [0.5, 1, 0.5], [0.25, 0.5, 0.25]]
    np.testing.assert_allclose(filled((1, 1, 3, 3), type="bilinear")[0, 0], expected)


@pytest.mark.parametrize(
    ("shape", "given", "words"),
    [
        ((2, 3), {"type": "magic"}, "'magic' is not one of Caffe's"),
        ((2, 3), {"type": "bilinear"}, "square kernels"),
        ((2, 3, 4, 5), {"type": "bilinear"}, "square kernels"),
        ((2, 3), {"type": "xavier", "sparse": 3}, "sparse"),
        ((2, 3), {"type": "gaussian", "sparse": -2}, "sparse"),
        ((), {"type": "xavier"}, "single number"),
        ((), {"type": "positive_unitball"}, "single number"),
        ((), {"type": "gaussian", "sparse": 1}, "single number"),
    ],
)
def test_refusals(shape: Shape, given: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        filled(shape, **given)


def test_the_same_seed_gives_the_same_numbers() -> None:
    np.testing.assert_array_equal(filled((4, 5), type="xavier"), filled((4, 5), type="xavier"))
