"""Correlation against a transcription of FlowNet2's loops."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest


def correlation(
    a: np.ndarray, b: np.ndarray, pad: int, k: int, reach: int, s1: int, s2: int, subtract: bool
) -> np.ndarray:
    a, b = (np.pad(x, [(0, 0), (0, 0), (pad, pad), (pad, pad)]).astype(np.float64) for x in (a, b))
    border, radius = reach + (k - 1) // 2, reach // s2
    height, width = (-(-(size - 2 * border) // s1) for size in a.shape[2:])
    side = 2 * radius + 1
    top = np.zeros((len(a), side**2, height, width))
    for n, c, y, x in np.ndindex(*top.shape):
        dx, dy = (c % side - radius) * s2, (c // side - radius) * s2
        row, column = y * s1 + reach, x * s1 + reach
        one = a[n, :, row : row + k, column : column + k]
        other = b[n, :, row + dy : row + dy + k, column + dx : column + dx + k]
        assert one.shape == other.shape
        top[n, c, y, x] = (np.abs(one - other) if subtract else one * other).mean()
    return top


@pytest.mark.parametrize("subtract", [False, True])
@pytest.mark.parametrize(
    ("shape", "pad", "kernel", "reach", "s1", "s2"),
    [
        ((2, 3, 7, 9), 4, 1, 4, 1, 2),
        ((1, 3, 9, 9), 0, 1, 2, 1, 2),
        ((1, 4, 8, 9), 2, 1, 2, 2, 1),
        ((2, 2, 8, 7), 3, 3, 2, 1, 1),
        ((1, 2, 9, 8), 4, 3, 3, 2, 2),  # reach is no multiple of the step
        ((1, 5, 3, 4), 0, 1, 0, 1, 1),
        ((1, 2, 6, 5), 1, 5, 1, 3, 3),
    ],
)
def test_correlation(
    one_layer: Any, shape: tuple[int, ...], pad: int, kernel: int, reach: int, s1: int, s2: int, subtract: bool
) -> None:
    random = np.random.default_rng(0)
    a, b = (random.normal(size=shape).astype(np.float32) for _ in range(2))
    fields = f"pad: {pad} kernel_size: {kernel} max_displacement: {reach} stride_1: {s1} stride_2: {s2}"
    fields += f" correlation_type: {'SUBTRACT' if subtract else 'MULTIPLY'} do_abs: true single_direction: 1"
    found = one_layer.run(f'type: "Correlation" top: "y" correlation_param {{ {fields} }}', {"a": a, "b": b})["y"]
    np.testing.assert_allclose(found, correlation(a, b, pad, kernel, reach, s1, s2, subtract), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("fields", "second", "words"),
    [
        ("max_displacement: 1", (1, 2, 5, 5), "kernel_size and max_displacement must be set"),
        ("kernel_size: 1", (1, 2, 5, 5), "kernel_size and max_displacement must be set"),
        ("kernel_size: 2 max_displacement: 1", (1, 2, 5, 5), "must be odd"),
        ("kernel_size: 1 max_displacement: 1 stride_2: 0", (1, 2, 5, 5), "stride_2 0"),
        ("kernel_size: 3 max_displacement: 2", (1, 2, 5, 5), "does not fit"),
        ("kernel_size: 1 max_displacement: 1", (1, 2, 5, 6), "one shape"),
    ],
)
def test_refusals(refused: Callable[..., str], fields: str, second: tuple[int, ...], words: str) -> None:
    layer = f'type: "Correlation" top: "y" correlation_param {{ {fields} }}'
    assert words in refused(layer, (1, 2, 5, 5), second)
