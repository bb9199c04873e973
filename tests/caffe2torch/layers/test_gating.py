"""Axpy against its formula, whatever the axes; what it refuses."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from tests.caffe2torch.layers.conftest import OneLayer

RANDOM = np.random.default_rng(0)


@pytest.mark.parametrize("ones", [(), (1, 1)])
@pytest.mark.parametrize("behind", [(), (4,), (4, 5), (4, 5, 2)])
def test_axpy(one_layer: OneLayer, ones: tuple[int, ...], behind: tuple[int, ...]) -> None:
    a = RANDOM.standard_normal((2, 3, *ones), np.float32)
    x, y = RANDOM.standard_normal((2, 2, 3, *behind), np.float32)
    got = one_layer.run('type: "Axpy" top: "out"', {"a": a, "x": x, "y": y})["out"]
    np.testing.assert_allclose(got, a.reshape(2, 3, *[1] * len(behind)) * x + y, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("shapes", "words"),
    [
        (((2, 3), (2, 3, 4), (2, 3, 5)), "equal ones"),
        (((2, 3, 1), (2, 3, 4), (2, 3, 4)), "a has the shape (2, 3, 1)"),
        (((2, 4), (2, 3, 4), (2, 3, 4)), "a has the shape (2, 4)"),
        (((1, 3), (2, 3, 4), (2, 3, 4)), "a has the shape (1, 3)"),
        (((2, 3, 2, 1), (2, 3, 2, 4), (2, 3, 2, 4)), "a has the shape (2, 3, 2, 1)"),
    ],
)
def test_refused(refused: Callable[..., str], shapes: tuple[tuple[int, ...], ...], words: str) -> None:
    assert words in refused('type: "Axpy" top: "out"', *shapes)


def test_in_place_is_refused(refused: Callable[..., str]) -> None:
    assert "in place" in refused('type: "Axpy" top: "in0"', (2, 3), (2, 3), (2, 3))
