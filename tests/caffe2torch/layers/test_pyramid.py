"""SPP against a transcription of Caffe's: GetPoolingParam, then PoolingLayer's own loop for each level."""

from __future__ import annotations

from collections.abc import Callable
from math import ceil
from typing import Any

import numpy as np
import pytest

FLT_MAX = float(np.finfo(np.float32).max)


def pool(x: np.ndarray, kernel: list[int], pad: list[int], average: bool) -> np.ndarray:
    """PoolingLayer::Reshape and Forward_cpu, with the stride of the kernel."""
    height, width = x.shape[2:]
    out = [ceil((n + 2 * p - k) / k) + 1 for n, k, p in zip((height, width), kernel, pad, strict=True)]
    if any(pad):
        out = [o - ((o - 1) * k >= n + p) for o, n, k, p in zip(out, (height, width), kernel, pad, strict=True)]
    top = np.empty((*x.shape[:2], *out), np.float32)
    for row, column in np.ndindex(*out):
        begin = [row * kernel[0] - pad[0], column * kernel[1] - pad[1]]
        end = [min(begin[0] + kernel[0], height + pad[0]), min(begin[1] + kernel[1], width + pad[1])]
        size = (end[0] - begin[0]) * (end[1] - begin[1])
        seen = x[:, :, max(begin[0], 0) : min(end[0], height), max(begin[1], 0) : min(end[1], width)]
        top[:, :, row, column] = seen.sum((2, 3)) / size if average else seen.max((2, 3), initial=-FLT_MAX)
    return top


def pyramid(x: np.ndarray, height: int, average: bool) -> np.ndarray:
    levels = []
    for level in range(height):
        bins = 2**level
        kernel = [ceil(n / bins) for n in x.shape[2:]]
        pad = [(k * bins - n + 1) // 2 for k, n in zip(kernel, x.shape[2:], strict=True)]
        levels.append(pool(x, kernel, pad, average))
    return levels[0] if height == 1 else np.concatenate([level.reshape(len(x), -1) for level in levels], 1)


@pytest.mark.parametrize("method", ["MAX", "AVE"])
@pytest.mark.parametrize("height", [1, 2, 3])
@pytest.mark.parametrize("size", [(13, 11), (8, 12), (9, 7), (4, 4), (4, 13)], ids=str)
def test_spp(one_layer: Any, size: tuple[int, int], height: int, method: str) -> None:
    x = np.random.default_rng(0).normal(size=(2, 3, *size)).astype(np.float32)
    layer = f'type: "SPP" top: "y" spp_param {{ pyramid_height: {height} pool: {method} engine: CAFFE }}'
    np.testing.assert_allclose(
        one_layer.run(layer, {"x": x})["y"], pyramid(x, height, method == "AVE"), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize(
    ("fields", "shape", "words"),
    [
        ("", (1, 2, 8, 8), "pyramid_height"),
        ("pyramid_height: 2", (1, 2, 8), "4"),
        ("pyramid_height: 2 pool: STOCHASTIC", (1, 2, 8, 8), "STOCHASTIC"),
        ("pyramid_height: 4", (1, 2, 13, 16), "level 3"),
        ("pyramid_height: 30", (1, 2, 8, 8), "level 4"),
    ],
)
def test_refusals(refused: Callable[..., str], fields: str, shape: tuple[int, ...], words: str) -> None:
    assert words in refused(f'type: "SPP" top: "y" spp_param {{ {fields} }}', shape)
