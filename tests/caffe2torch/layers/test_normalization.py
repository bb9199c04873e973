"""LRN and BatchNorm against transcriptions of Caffe's definitions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.caffe2torch.layers.conftest import OneLayer
from tests.caffe2torch.nets import examples

DRAWN = examples(30)


def normal(*shape: int) -> np.ndarray:
    return (3 * np.random.default_rng(0).standard_normal(shape)).astype(np.float32)


def lrn(x: np.ndarray, size: int, alpha: float, beta: float, k: float, within: bool) -> np.ndarray:
    """LRNLayer: across channels, or by average pooling of squares in each channel, where k is not read."""
    squares = x.astype(np.float64) ** 2
    half = size // 2
    scale = np.empty_like(squares)
    for n, c, h, w in np.ndindex(*x.shape):
        if within:
            window = squares[n, c, max(h - half, 0) : h + half + 1, max(w - half, 0) : w + half + 1]
            scale[n, c, h, w] = 1 + alpha * window.sum() / size**2
        else:
            scale[n, c, h, w] = k + alpha / size * squares[n, max(c - half, 0) : c + half + 1, h, w].sum()
    return x * scale**-beta


@DRAWN
@given(
    size=st.sampled_from([1, 3, 5, 7, 9]),
    alpha=st.sampled_from([1e-4, 0.01, 0.5, 1.0, 2.0]),
    beta=st.sampled_from([0.25, 0.5, 0.75, 1.0, 2.5]),
    k=st.sampled_from([0.5, 1.0, 2.0]),
    within=st.booleans(),
    shape=st.tuples(st.integers(1, 2), st.integers(1, 8), st.integers(1, 5), st.integers(1, 5)),
)
def test_lrn(
    size: int, alpha: float, beta: float, k: float, within: bool, shape: tuple[int, ...], one_layer: OneLayer
) -> None:
    region = "norm_region: WITHIN_CHANNEL" if within else ""
    text = f"lrn_param {{ local_size: {size} alpha: {alpha} beta: {beta} k: {k} {region} }}"
    x = normal(*shape)
    found = one_layer.run(f'type: "LRN" top: "y" {text}', {"x": x})["y"]
    np.testing.assert_allclose(found, lrn(x, size, alpha, beta, k, within), rtol=1e-4, atol=1e-5)


def test_lrn_defaults(one_layer: OneLayer) -> None:
    x = normal(1, 7, 2, 2)
    found = one_layer.run('type: "LRN" top: "y"', {"x": x})["y"]
    np.testing.assert_allclose(found, lrn(x, 5, 1.0, 0.75, 1.0, False), rtol=1e-5)


@pytest.mark.parametrize(
    ("layer", "shape", "words"),
    [
        ('type: "LRN" top: "y" lrn_param { local_size: 4 }', (1, 2, 3, 3), "even"),
        ('type: "LRN" top: "y" lrn_param { local_size: 0 }', (1, 2, 3, 3), "even"),
        ('type: "LRN" top: "y"', (1, 2, 3), "3 axes"),
        ('type: "BatchNorm" top: "y" param { lr_mult: 1 }', (1, 3, 2), "lr_mult"),
    ],
)
def test_refusals(layer: str, shape: tuple[int, ...], words: str, refused: Callable[..., str]) -> None:
    assert words in refused(layer, shape)


STATISTICS = [np.array([1.0, -2.0, 4.0], np.float32), np.array([4.0, 1.0, 9.0], np.float32)]


@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 4), (2, 3, 4, 5), (2, 3, 2, 2, 2), (2, 3, 2, 1, 2, 2)])
@pytest.mark.parametrize("factor", [1.0, 2.0, 0.0, 1e5])
def test_stored_statistics_are_sums(shape: tuple[int, ...], factor: float, one_layer: OneLayer) -> None:
    x = normal(*shape)
    blobs = [*(array * np.float32(max(factor, 1)) for array in STATISTICS), np.array([factor], np.float32)]
    found = one_layer.run('type: "BatchNorm" top: "y" batch_norm_param { eps: 0.5 }', {"x": x}, blobs)["y"]
    mean, variance = (array * bool(factor) for array in STATISTICS)
    behind = (slice(None), *[None] * (len(shape) - 2))
    np.testing.assert_allclose(found, (x - mean[behind]) / np.sqrt(variance[behind] + 0.5), rtol=1e-4, atol=1e-5)


def test_one_axis_is_one_channel(one_layer: OneLayer) -> None:
    blobs = [np.array([value], np.float32) for value in (3, 4, 1)]
    x = normal(5)
    found = one_layer.run('type: "BatchNorm" top: "y" batch_norm_param { eps: 0.5 }', {"x": x}, blobs)["y"]
    np.testing.assert_allclose(found, (x - 3) / np.sqrt(np.float32(4.5)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", [(1, 3), (1, 3, 1, 1), (1,), (1, 2, 1, 1, 1, 1)])
def test_one_value_a_channel_gives_0(shape: tuple[int, ...], one_layer: OneLayer) -> None:
    found = one_layer.run(
        'type: "BatchNorm" top: "y" batch_norm_param { use_global_stats: false }', {"x": normal(*shape)}
    )
    assert found["y"].shape == shape
    assert not found["y"].any()


@pytest.mark.parametrize("shape", [(4, 3), (2, 3, 4), (2, 3, 4, 5), (5,), (3, 2, 1, 1), (2, 3, 2, 1, 2, 2)])
@pytest.mark.parametrize("asked", ["batch_norm_param { use_global_stats: false }", "phase: TRAIN"])
def test_the_batchs_own_statistics(shape: tuple[int, ...], asked: str, one_layer: OneLayer) -> None:
    """The variance is biased: divided by the count, not by one less."""
    x = normal(*shape)
    found = one_layer.run(f'type: "BatchNorm" top: "y" {asked}', {"x": x})["y"]
    over = (0, *range(2, len(shape)))
    mean, variance = x.mean(over, keepdims=True), x.var(over, keepdims=True)
    np.testing.assert_allclose(found, (x - mean) / np.sqrt(variance + 1e-5), rtol=1e-3, atol=1e-4)


def test_batch_norm_learns_its_statistics_in_training(one_layer: OneLayer) -> None:
    x = normal(8, 3, 4, 4)
    blobs = [np.zeros(3, np.float32), np.ones(3, np.float32), np.ones(1, np.float32)]
    text = 'type: "BatchNorm" top: "y" batch_norm_param { moving_average_fraction: 0.5 }'
    module: Any = one_layer.convert(text, {"x": x}, blobs)
    module.train()(torch.from_numpy(x))
    np.testing.assert_allclose(module.layer.running_mean.numpy(), x.mean((0, 2, 3)) / 2, rtol=1e-4, atol=1e-6)
    assert not list(module.parameters())


def test_a_snapshots_use_global_stats_does_not_count(golden: Path) -> None:
    """Read out of a caffemodel, the net is in deploy form: stored statistics (../golden/snapshot_batch_norm)."""
    import caffe2torch

    module = caffe2torch.convert(golden / "snapshot_batch_norm" / "weights.caffemodel", input_shape=(1, 3, 8, 8))
    norms = [layer for layer in module.modules() if isinstance(layer, torch.nn.BatchNorm2d)]
    assert norms
    assert all(layer.track_running_stats for layer in norms)
