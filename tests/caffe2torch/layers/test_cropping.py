"""CropCenter, Flip and Noise; what the forks refuse."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

import caffe2torch
from tests.caffe2torch.layers.conftest import OneLayer

X = np.random.default_rng(0).standard_normal((5, 3, 7, 9), np.float32)


@pytest.mark.parametrize("sizes", [(0, 0, 1, 1), (0, 1, 0, 2), (0, 0, 0, 0), (2, 1, 3, 4)])
def test_crop_center(one_layer: OneLayer, sizes: tuple[int, ...]) -> None:
    fields = " ".join(f"crop_size: {size}" for size in sizes)
    y = one_layer.run(f'type: "CropCenter" top: "y" crop_center_param {{ {fields} }}', {"x": X})["y"]
    inside = tuple(slice(size, whole - size) for size, whole in zip(sizes, X.shape, strict=True))
    np.testing.assert_array_equal(y, X[inside])


@pytest.mark.parametrize(
    ("fields", "axes"),
    [
        ("", (3,)),
        ("flip_param { flip_width: false flip_height: true }", (2,)),
        ("flip_param { flip_height: true }", (2, 3)),
        ("flip_param { flip_width: false }", ()),
    ],
)
def test_flip(one_layer: OneLayer, fields: str, axes: tuple[int, ...]) -> None:
    np.testing.assert_array_equal(one_layer.run(f'type: "Flip" top: "y" {fields}', {"x": X})["y"], np.flip(X, axes))


def test_flip_of_three_axes(one_layer: OneLayer) -> None:
    """An axis that is not there has a length of 1."""
    layer = 'type: "Flip" top: "y" flip_param { flip_height: true }'
    np.testing.assert_array_equal(one_layer.run(layer, {"x": X[0]})["y"], X[0, :, :, ::-1])


@pytest.mark.parametrize("top", ["x", "y"])
def test_noise_at_test_time(one_layer: OneLayer, top: str) -> None:
    layer = f'type: "Noise" top: "{top}" noise_param {{ gaussian_std: 3 bias: 1 }}'
    np.testing.assert_array_equal(one_layer.run(layer, {"x": X})[top], X)


@pytest.mark.parametrize(
    ("fields", "deviation", "reach"),
    [("gaussian_std: 2 bias: 3", 2, 9), ("uniform_range: 2 bias: 3", 4 / 12**0.5, 2), ("bias: 3", 0, 0)],
)
def test_noise_in_training(one_layer: OneLayer, fields: str, deviation: float, reach: float) -> None:
    module = one_layer.convert(f'type: "Noise" top: "y" noise_param {{ {fields} }}', {"x": X}).train()
    torch.manual_seed(0)
    noise = module(torch.zeros(100, 100)).numpy()
    mean = 3 if deviation else 0  # the fork adds no bias without a kind of noise
    assert noise.std() == pytest.approx(deviation, rel=0.05)
    assert noise.mean() == pytest.approx(mean, abs=0.1)
    assert np.abs(noise - mean).max() <= reach


def test_crop_size_of_a_caffemodel(one_layer: OneLayer, refused: Callable[..., str]) -> None:
    assert "is missing, one number an axis" in refused('type: "CropCenter" top: "y"', (1, 3, 7, 9))


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        ('"CropCenter" top: "y" crop_center_param { crop_size: 1 }', "1 numbers for 4 axes"),
        (
            '"CropCenter" top: "y" crop_center_param { crop_size: 0 crop_size: 2 crop_size: 0 crop_size: 0 }',
            "leaves nothing",
        ),
        (
            '"CropCenter" top: "y" crop_center_param { crop_size: 0 crop_size: 0 crop_size: 4 crop_size: 0 }',
            "leaves nothing",
        ),
        ('"Flip" top: "in0"', "in place"),
    ],
)
def test_refused(refused: Callable[..., str], layer: str, words: str) -> None:
    assert words in refused(f"type: {layer}", (1, 3, 8, 9))


def test_source_is_plain(one_layer: OneLayer) -> None:
    crop = "crop_size: 0 crop_size: 0 crop_size: 1 crop_size: 1"
    module = one_layer.convert(f'type: "CropCenter" top: "y" crop_center_param {{ {crop} }}', {"x": X})
    assert "y = x[:, :, 1:-1, 1:-1]" in caffe2torch.to_source(module)
