"""Unpooling, MaxUnPool and Upsample against transcriptions of the forks' loops; what the forks refuse."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from tests.caffe2torch.layers.conftest import OneLayer

Pair = tuple[int, int]


def drawn(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape, np.float32)


def mask(shape: tuple[int, ...], places: int) -> np.ndarray:
    """Places, some of them named twice."""
    return np.random.default_rng(1).integers(0, places, shape).astype(np.float32)


def unpool(x: np.ndarray, places: np.ndarray, size: Pair) -> np.ndarray:
    """The loop that SegNet's Upsample, MaxUnPool and Unpooling share."""
    top = np.zeros((*x.shape[:2], size[0] * size[1]), np.float32)
    for n, c, i, j in np.ndindex(*x.shape):
        top[n, c, int(places[n, c, i, j])] = x[n, c, i, j]
    return top.reshape(*x.shape[:2], *size)


def unpooling(x: np.ndarray, method: str, kernel: Pair, stride: Pair, size: Pair) -> np.ndarray:
    """UnpoolingLayer::Forward_cpu without a mask."""
    top = np.zeros((*x.shape[:2], *size), np.float32)
    for n, c, i, j in np.ndindex(*x.shape):
        row, column = i * stride[0], j * stride[1]
        if method == "MAX":
            top[n, c, min(row, size[0] - 1), min(column, size[1] - 1)] = x[n, c, i, j]
            continue
        bottom, right = min(row + kernel[0], size[0]), min(column + kernel[1], size[1])
        if bottom > row and right > column:
            share = (bottom - row) * (right - column) if method == "AVE" else 1
            top[n, c, row:bottom, column:right] += x[n, c, i, j] / np.float32(share)
    return top


def text(method: str, kernel: Pair, stride: Pair, size: Pair) -> str:
    pairs = {"kernel": kernel, "stride": stride, "unpool": size}
    fields = " ".join(f"{name}_h: {pair[0]} {name}_w: {pair[1]}" for name, pair in pairs.items())
    return f'type: "Unpooling" top: "y" unpooling_param {{ unpool: {method} {fields} }}'


@pytest.mark.parametrize("method", ["MAX", "AVE", "TILE"])
@pytest.mark.parametrize(
    ("kernel", "stride", "size"),
    [
        ((2, 2), (2, 2), (6, 8)),
        ((3, 2), (2, 1), (7, 5)),
        ((2, 3), (3, 2), (11, 12)),  # larger than the windows reach
        ((3, 3), (2, 2), (5, 6)),  # cuts windows
        ((2, 2), (2, 2), (4, 5)),  # some begin outside
    ],
)
def test_unpooling(one_layer: OneLayer, method: str, kernel: Pair, stride: Pair, size: Pair) -> None:
    x = drawn(2, 3, 3, 4)
    y = one_layer.run(text(method, kernel, stride, size), {"x": x})["y"]
    np.testing.assert_allclose(y, unpooling(x, method, kernel, stride, size), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("size", [(5, 6), (11, 12)])
def test_before_a_pooling(one_layer: OneLayer, size: Pair) -> None:
    """onnxruntime joins a Pad to a pooling behind it, though a maximum's padding is not 0."""
    x = drawn(2, 3, 3, 4) - 9
    pooling = 'layer { name: "pool" type: "Pooling" bottom: "y" top: "z" pooling_param { kernel_size: 3 stride: 2 } '
    one_layer.run(f"{text('TILE', (3, 3), (2, 2), size)} }} {pooling}", {"x": x})


@pytest.mark.parametrize(
    ("layer", "size"),
    [
        ('type: "Unpooling" unpooling_param { unpool: MAX kernel_size: 2 stride: 2 unpool_size: 7 }', (7, 7)),
        ('type: "MaxUnPool" max_unpool_param { dst_h: 5 dst_w: 9 }', (5, 9)),
        ('type: "Upsample"', (6, 8)),
        ('type: "Upsample" upsample_param { scale: 3 }', (9, 12)),
        ('type: "Upsample" upsample_param { scale_h: 2 scale_w: 3 pad_out_h: true }', (5, 12)),
        ('type: "Upsample" upsample_param { pad_out_h: true pad_out_w: true }', (5, 7)),
        ('type: "Upsample" upsample_param { scale: 3 upsample_h: 7 upsample_w: 5 pad_out_w: true }', (7, 5)),
    ],
)
def test_mask(one_layer: OneLayer, layer: str, size: Pair) -> None:
    """Of numbers with one place the last stays."""
    x = drawn(2, 2, 3, 4)
    places = mask(x.shape, size[0] * size[1] // 2)
    y = one_layer.run(f'{layer} top: "y"', {"x": x, "mask": places})["y"]
    np.testing.assert_array_equal(y, unpool(x, places, size))


@pytest.mark.parametrize(
    ("layer", "shape", "axes"),
    [
        ('type: "Upsample"', (2, 3, 4, 5), {}),
        ('type: "Upsample" upsample_param { scale: 3 }', (2, 3, 4, 5), {2: 3, 3: 3}),
        ('type: "Upsample" upsample_param { scale: 2 dims_num: 4 }', (1, 2, 3, 2), {2: 2, 3: 2}),
        ('type: "Upsample" upsample_param { scale: 2 dims_num: 3 }', (2, 3, 4), {2: 2}),
    ],
)
def test_nearest(one_layer: OneLayer, layer: str, shape: tuple[int, ...], axes: dict[int, int]) -> None:
    x = expected = drawn(*shape)
    for axis, scale in axes.items():
        expected = expected.repeat(scale, axis)
    np.testing.assert_array_equal(one_layer.run(f'{layer} top: "y"', {"x": x})["y"], expected)


@pytest.mark.parametrize(
    ("layer", "shapes", "words"),
    [
        ("Unpooling", "unpooling_param { kernel_size: 2 }", "unpool_size is missing"),
        ("Unpooling", "unpooling_param { unpool_size: 6 }", "kernel_size is missing"),
        ("Unpooling", "unpooling_param { kernel_size: 2 unpool_size: 6 pad: 1 }", "pad must be 0"),
        ("Unpooling", "unpooling_param { kernel_size: 2 kernel_h: 2 unpool_size: 6 }", "one form or the other"),
        ("Unpooling", "unpooling_param { kernel_size: 2 unpool_h: 6 }", "must be set together"),
        ("Upsample", "upsample_param { scale: 0 }", "scale 0 must be at least 1"),
        ("Upsample", "upsample_param { scale: 2 dims_num: 3 }", "has 4 axes, the fork wants 3"),
        ("Upsample", "upsample_param { dims_num: 5 }", "must be 3 or 4"),
        ("Upsample", "upsample_param { scale_h: 2 scale_w: 2 }", "it has 1 bottom"),
    ],
)
def test_refused(refused: Callable[..., str], layer: str, shapes: str, words: str) -> None:
    assert words in refused(f'type: "{layer}" top: "y" {shapes}', (1, 2, 3, 3))


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        ('"MaxUnPool" max_unpool_param { dst_h: 5 }', "dst_h and dst_w must both be set"),
        ('"Upsample" upsample_param { scale: 1 }', "must be larger than 1"),
        ('"Upsample" upsample_param { scale_h: 2 }', "scale_h and scale_w"),
        ('"Upsample" upsample_param { scale: 3 pad_out_h: true }', "pad_out_h goes with a scale of 2 only"),
        ('"Upsample" upsample_param { upsample_h: 1 upsample_w: 8 }', "must be larger than 1"),
    ],
)
def test_refused_with_mask(refused: Callable[..., str], layer: str, words: str) -> None:
    assert words in refused(f'type: {layer} top: "y"', (1, 2, 3, 3), (1, 2, 3, 3))


def test_mask_of_another_shape(refused: Callable[..., str]) -> None:
    said = refused('type: "Upsample" top: "y"', (1, 2, 3, 3), (1, 2, 3, 4))
    assert "the mask's shape (1, 2, 3, 4)" in said
