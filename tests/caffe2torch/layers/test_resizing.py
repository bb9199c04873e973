"""Interp and BilinearInterpolate against transcriptions of the forks' loops; what the forks refuse."""

from __future__ import annotations

from collections.abc import Callable
from math import floor

import numpy as np
import pytest

from tests.caffe2torch.layers.conftest import OneLayer

X = np.random.default_rng(0).standard_normal((2, 3, 7, 9), np.float32)


def line(x: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Linear interpolation along the last axis at places within it."""
    left = np.array([min(floor(place), x.shape[-1] - 1) for place in places])
    right = np.minimum(left + 1, x.shape[-1] - 1)
    part = (places - left).astype(np.float32)
    return (1 - part) * x[..., left] + part * x[..., right]


def aligned(x: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """caffe_cpu_interp2: corners onto corners."""
    for axis, count in zip((2, 3), size, strict=True):
        step = (x.shape[axis] - 1) / (count - 1) if count > 1 else 0
        x = np.swapaxes(line(np.swapaxes(x, axis, 3), np.arange(count) * step), axis, 3)
    return x


def halfway(x: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """BilinearInterpolateLayer without align_corners."""
    for axis, count in zip((2, 3), size, strict=True):
        places = np.clip(x.shape[axis] / count * (np.arange(count) + 0.5) - 0.5, 0, x.shape[axis] - 1)
        x = np.swapaxes(line(np.swapaxes(x, axis, 3), places), axis, 3)
    return x


@pytest.mark.parametrize(
    ("fields", "size"),
    [
        ("height: 13 width: 20", (13, 20)),
        ("height: 1 width: 1", (1, 1)),
        ("height: 7 width: 9", (7, 9)),
        ("height: 3 width: 21", (3, 21)),
        ("zoom_factor: 1", (7, 9)),
        ("zoom_factor: 3", (19, 25)),
        ("shrink_factor: 2", (4, 5)),
        ("shrink_factor: 4", (2, 3)),
        ("shrink_factor: 2 zoom_factor: 4", (13, 17)),
        ("zoom_factor: 2 height: 5 width: 5", (13, 17)),  # one factor wins over a size
        ("shrink_factor: 3 height: 5", (3, 3)),
        ("shrink_factor: 2 zoom_factor: 2 height: 5 width: 6", (5, 6)),  # a size wins over both
        ("full_zoom_factor: 2", (14, 18)),
        ("full_zoom_factor: 2 height: 5 width: 6", (5, 6)),
    ],
)
def test_interp(one_layer: OneLayer, fields: str, size: tuple[int, int]) -> None:
    y = one_layer.run(f'type: "Interp" top: "y" interp_param {{ {fields} }}', {"x": X})["y"]
    np.testing.assert_allclose(y, aligned(X, size), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("begin", "end"), [(0, -1), (-1, 0), (-2, -1)])
def test_interp_cuts(one_layer: OneLayer, begin: int, end: int) -> None:
    layer = f'type: "Interp" top: "y" interp_param {{ zoom_factor: 2 pad_beg: {begin} pad_end: {end} }}'
    rows, columns = (slice(-begin, size + end) for size in X.shape[2:])
    cut = X[:, :, rows, columns]
    size = (2 * cut.shape[2] - 1, 2 * cut.shape[3] - 1)
    np.testing.assert_allclose(one_layer.run(layer, {"x": X})["y"], aligned(cut, size), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("fields", "size"),
    [
        ("dst_h: 11 dst_w: 14", (11, 14)),
        ("dst_h: 3", (3, 9)),
        ("dst_w: 12 align_corners: true", (7, 12)),
        ("scale_factor: 1.5", (10, 13)),
        ("dst_h: 4 dst_w: 5 align_corners: false", (4, 5)),
        ("dst_h: 15 dst_w: 1 align_corners: false", (15, 1)),
        ("scale_factor: 2 align_corners: false", (14, 18)),
        ("scale_factor: 0.7 align_corners: false", (4, 6)),
    ],
)
def test_bilinear_interpolate(one_layer: OneLayer, fields: str, size: tuple[int, int]) -> None:
    layer = f'type: "BilinearInterpolate" top: "y" bilinear_interpolate_param {{ {fields} }}'
    expected = (halfway if "false" in fields else aligned)(X, size)
    np.testing.assert_allclose(one_layer.run(layer, {"x": X})["y"], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        ('"Interp"', "the size is missing"),
        ('"Interp" interp_param { height: 5 }', "the size is missing"),
        ('"Interp" interp_param { height: 0 width: 3 }', "must be at least 1"),
        ('"Interp" interp_param { zoom_factor: 0 }', "zoom_factor 0 must be at least 1"),
        ('"Interp" interp_param { zoom_factor: 2 pad_beg: 1 }', "the fork only cuts"),
        ('"Interp" interp_param { zoom_factor: 2 pad_end: -7 }', "leave nothing of the bottom"),
        ('"BilinearInterpolate"', "set either dst_h and dst_w, or scale_factor"),
        ('"BilinearInterpolate" bilinear_interpolate_param { dst_h: 3 scale_factor: 2 }', "set either"),
        ('"BilinearInterpolate" bilinear_interpolate_param { dst_h: 1 }', "divides by 0"),
        ('"BilinearInterpolate" bilinear_interpolate_param { scale_factor: 0.1 }', "must be at least 1"),
    ],
)
def test_refused(refused: Callable[..., str], layer: str, words: str) -> None:
    assert words in refused(f'type: {layer} top: "y"', (1, 2, 7, 9))
