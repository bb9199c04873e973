"""Reorg, UpsampleDarknet and Region against transcriptions of Darknet's loops."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest


def reorg(x: np.ndarray, stride: int, reverse: bool, sizes: tuple[int, int]) -> np.ndarray:
    """reorg_cpu, with the width and height that it is told."""
    items, channels = x.shape[:2]
    width, height = sizes
    flat, top, fewer = x.ravel(), np.zeros(x.size, x.dtype), channels // stride**2
    for n, c, h, w in np.ndindex(items, channels, height, width):
        inner = w + width * (h + height * (c + channels * n))
        offset = c // fewer
        column, row = w * stride + offset % stride, h * stride + offset // stride
        outer = column + width * stride * (row + height * stride * (c % fewer + fewer * n))
        if reverse:
            top[outer] = flat[inner]
        else:
            top[inner] = flat[outer]
    return top


@pytest.mark.parametrize(
    ("shape", "stride", "reverse"),
    [
        ((2, 8, 4, 6), 2, False),
        ((1, 9, 6, 3), 3, False),
        ((1, 3, 2, 5), 1, False),
        ((2, 8, 3, 5), 2, True),
        ((1, 18, 2, 2), 3, True),
    ],
)
def test_reorg(one_layer: Any, shape: tuple[int, ...], stride: int, reverse: bool) -> None:
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    layer = f'type: "Reorg" top: "y" reorg_param {{ stride: {stride} reverse: {str(reverse).lower()} }}'
    found = one_layer.run(layer, {"x": x})["y"]
    assert found.shape[2] == (shape[2] * stride if reverse else shape[2] // stride)
    np.testing.assert_array_equal(found.ravel(), reorg(x, stride, reverse, (shape[3], shape[2])))


def test_reorg_of_synopsys_changes_width_and_height(one_layer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import caffe2torch
    from caffe2torch.conversion import graph_of

    x = np.random.default_rng(0).normal(size=(2, 8, 4, 6)).astype(np.float32)
    convert = caffe2torch.convert
    monkeypatch.setattr(caffe2torch, "convert", partial(convert, fork="synopsys"))
    found = one_layer.run('type: "Reorg" top: "y" reorg_param { stride: 2 }', {"x": x})["y"]
    np.testing.assert_array_equal(found.ravel(), reorg(x, 2, False, (4, 6)))
    square = one_layer.convert('type: "Reorg" top: "y" reorg_param { stride: 2 }', {"x": x[:, :, :, :4]})
    assert "turned" not in caffe2torch.to_source(square).rpartition("forward")[2]
    assert graph_of(square).outputs[0].shape == (2, 32, 2, 2)


@pytest.mark.parametrize("stride", [1, 3])
def test_upsample_darknet(one_layer: Any, stride: int) -> None:
    x = np.random.default_rng(0).normal(size=(2, 3, 2, 3)).astype(np.float32)
    layer = f'type: "UpsampleDarknet" top: "y" upsample_darknet_param {{ stride: {stride} }}'
    np.testing.assert_array_equal(one_layer.run(layer, {"x": x})["y"], x.repeat(stride, 2).repeat(stride, 3))


@pytest.mark.parametrize(("coords", "classes"), [(4, 3), (2, 5), (5, 1)])
def test_region(one_layer: Any, coords: int, classes: int) -> None:
    boxes, size = 2, coords + 1 + classes
    x = np.random.default_rng(0).normal(size=(2, boxes * size, 3, 4)).astype(np.float32)
    want = x.reshape(2, boxes, size, 3, 4).copy()
    for part in (slice(0, 2), slice(coords, coords + 1)):
        want[:, :, part] = 1 / (1 + np.exp(-want[:, :, part]))
    chances = np.exp(want[:, :, coords + 1 :])
    want[:, :, coords + 1 :] = chances / chances.sum(2, keepdims=True)
    layer = f'type: "Region" top: "y" region_param {{ classes: {classes} coords: {coords} num: {boxes} }}'
    np.testing.assert_allclose(one_layer.run(layer, {"x": x})["y"], want.reshape(x.shape), rtol=1e-5)


@pytest.mark.parametrize(
    ("layer", "shape", "words"),
    [
        ('"Reorg" top: "y"', (1, 4, 2, 2), "stride must be set"),
        ('"Reorg" top: "y" reorg_param { stride: 2 }', (1, 6, 2, 2), "no multiple of stride² = 4"),
        ('"Reorg" top: "y" reorg_param { stride: 2 }', (1, 4, 3, 2), "3 x 2 is no multiple"),
        ('"Reorg" top: "in0" reorg_param { stride: 1 }', (1, 4, 2, 2), "in place"),
        ('"UpsampleDarknet" top: "y" upsample_darknet_param { stride: 0 }', (1, 4, 2, 2), "stride 0"),
        ('"Region" top: "y" region_param { classes: 2 num: 3 }', (1, 20, 2, 2), "21 channels; the bottom has 20"),
    ],
)
def test_refusals(refused: Callable[..., str], layer: str, shape: tuple[int, ...], words: str) -> None:
    assert words in refused(f"type: {layer}", shape)
