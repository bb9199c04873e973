"""SpatialTransformer against a transcription of its loops."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest


def transformed(x: np.ndarray, theta: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Place by place, as the layer's own code for the CPU goes."""
    items, channels, height, width = x.shape
    y = np.zeros((items, channels, *size))
    for item, row, column in np.ndindex(items, *size):
        place = np.array([row / size[0] * 2 - 1, column / size[1] * 2 - 1, 1])
        px, py = theta[item].reshape(2, 3) @ place
        down, right = (px + 1) / 2 * height, (py + 1) / 2 * width
        for m in (int(np.floor(down)), int(np.floor(down)) + 1):
            for n in (int(np.floor(right)), int(np.floor(right)) + 1):
                if 0 <= m < height and 0 <= n < width:
                    weight = max(0, 1 - abs(down - m)) * max(0, 1 - abs(right - n))
                    y[item, :, row, column] += weight * x[item, :, m, n]
    return y


@pytest.mark.parametrize(
    ("fields", "given", "size"),
    [
        ("", {}, (4, 6)),
        ("output_H: 5 output_W: 3", {}, (5, 3)),
        ("theta_1_2: 0 theta_2_1: 0", {1: 0.0, 3: 0.0}, (4, 6)),
        ("theta_1_1: 0.5 theta_2_3: -0.25 output_W: 7", {0: 0.5, 5: -0.25}, (4, 7)),
    ],
)
def test_as_its_loops(one_layer: Any, fields: str, given: dict[int, float], size: tuple[int, int]) -> None:
    generator = np.random.default_rng(3)
    x = generator.standard_normal((2, 3, 4, 6)).astype(np.float32)
    theta = (np.array([1, 0, 0, 0, 1, 0]) + generator.normal(0, 0.4, (2, 6))).astype(np.float32)
    for place, value in given.items():
        theta[:, place] = value
    free = np.delete(theta, list(given), axis=1)
    text = f'type: "SpatialTransformer" top: "out" st_param {{ transform_type: "affine" {fields} }}'
    got = one_layer.run(text, {"x": x, "theta": free})["out"]
    np.testing.assert_allclose(got, transformed(x, theta.astype(float), size), atol=2e-5)


def test_the_same_place_is_the_same_number(one_layer: Any) -> None:
    x = np.random.default_rng(0).standard_normal((1, 2, 3, 5)).astype(np.float32)
    theta = np.array([[1, 0, 0, 0, 1, 0]], np.float32)
    got = one_layer.run('type: "SpatialTransformer" top: "out"', {"x": x, "theta": theta})["out"]
    np.testing.assert_allclose(got, x, atol=1e-5)


@pytest.mark.parametrize(
    ("fields", "shapes", "says"),
    [
        ('sampler_type: "nearest"', ((1, 2, 3, 4), (1, 6)), "only affine transformations, bilinear"),
        ("theta_1_1: 1", ((1, 2, 3, 4), (1, 6)), r"(1, 5) is wanted, as 1 numbers are set"),
        ("", ((1, 2, 3), (1, 6)), "the bottom has 3 axes"),
        ("output_H: 0", ((1, 2, 3, 4), (1, 6)), "output_H 0 and output_W 4 must be at least 1"),
    ],
)
def test_refused(refused: Callable[..., str], fields: str, shapes: Any, says: str) -> None:
    assert says in refused(f'type: "SpatialTransformer" top: "out" st_param {{ {fields} }}', *shapes)
