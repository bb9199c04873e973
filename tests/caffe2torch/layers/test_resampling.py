"""Resample, Downsample and Accum against transcriptions of FlowNet2's loops."""

from __future__ import annotations

from collections.abc import Callable
from math import ceil, floor
from typing import Any

import numpy as np
import pytest

Pair = tuple[int, int]
f32 = np.float32


def away(x: Any) -> int:
    """C's round: halves away from zero."""
    return floor(abs(x) + 0.5) * (1 if x >= 0 else -1)


def cubic(x: Any) -> float:
    x = abs(x)
    if x <= 1:
        return x * x * (1.5 * x - 2.5) + 1
    return x * (x * (-0.5 * x + 2.5) - 4) + 2 if x < 2 else 0


def resample(x: np.ndarray, size: Pair, kind: str, antialias: bool) -> np.ndarray:
    fy, fx = (f32(old) / f32(new) for old, new in zip(x.shape[2:], size, strict=True))
    top = np.zeros((*x.shape[:2], *size))
    planes = x.reshape(*x.shape[:2], -1)
    wide = antialias and (fx > 1 or fy > 1)
    ax, ay = (f32(1) / (step if wide else f32(1)) for step in (fx, fy))
    width = 4 if kind == "CUBIC" else 2
    rx, ry = (2 if step < 1 else ceil(width / a) for step, a in ((fx, ax), (fy, ay)))
    weigh = cubic if kind == "CUBIC" else lambda d: max(0.0, 1 - abs(d))
    for j, i in np.ndindex(*size):
        x_in = f32(i) * fx + fy / f32(2) - f32(0.5)
        y_in = f32(j) * fy + fx / f32(2) - f32(0.5)
        if kind == "NEAREST":
            top[:, :, j, i] = planes[:, :, away(y_in) * x.shape[3] + away(x_in)]
            continue
        total, weights = np.zeros(x.shape[:2]), 0.0
        for row in range(max(0, away(y_in) - ry), min(x.shape[2], away(y_in) + ry + 1)):
            for column in range(max(0, away(x_in) - rx), min(x.shape[3], away(x_in) + rx + 1)):
                weight = float(ax * weigh(ax * (x_in - f32(column))) * ay * weigh(ay * (y_in - f32(row))))
                total = total + weight * x[:, :, row, column]
                weights += weight
        top[:, :, j, i] = total / weights if weights else 0
    return top


@pytest.mark.parametrize("antialias", [True, False])
@pytest.mark.parametrize("kind", ["LINEAR", "CUBIC"])
@pytest.mark.parametrize(
    ("old", "size"),
    [((7, 9), (14, 18)), ((8, 10), (4, 5)), ((7, 9), (11, 20)), ((7, 9), (3, 13)), ((4, 4), (12, 2)), ((5, 3), (5, 3))],
)
def test_resample(one_layer: Any, old: Pair, size: Pair, kind: str, antialias: bool) -> None:
    x = np.random.default_rng(0).normal(size=(2, 2, *old)).astype(np.float32)
    fields = f"height: {size[0]} width: {size[1]} type: {kind} antialias: {str(antialias).lower()} factor: 3"
    found = one_layer.run(f'type: "Resample" top: "y" resample_param {{ {fields} }}', {"x": x})["y"]
    np.testing.assert_allclose(found, resample(x, size, kind, antialias), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("old", "size"), [((8, 12), (2, 3)), ((4, 6), (8, 12)), ((7, 9), (3, 4)), ((9, 4), (3, 3))])
def test_resample_to_the_nearest(one_layer: Any, old: Pair, size: Pair) -> None:
    """Also where the crossed steps lead beyond the end of a row."""
    x = np.random.default_rng(0).normal(size=(2, 2, *old)).astype(np.float32)
    inputs = {"x": x, "size": np.zeros((1, 5, *size), np.float32)}
    found = one_layer.run('type: "Resample" top: "y" resample_param { type: NEAREST }', inputs)["y"]
    np.testing.assert_array_equal(found, resample(x, size, "NEAREST", False).astype(np.float32))


def downsample(x: np.ndarray, size: Pair) -> np.ndarray:
    (height, width), top = x.shape[2:], np.zeros((*x.shape[:2], *size))
    scale_y, scale_x = (f32(old - 1) / f32(new - 1) for old, new in zip((height, width), size, strict=True))
    for n, c, j, i in np.ndindex(*top.shape):
        at_x, at_y = f32(i) / f32(size[1] - 1) * f32(width - 1), f32(j) / f32(size[0] - 1) * f32(height - 1)
        value = weights = lost = f32(0)
        for row in range(away(at_y) - ceil(scale_y), away(at_y) + ceil(scale_y) + 1):
            for column in range(away(at_x) - ceil(scale_x), away(at_x) + ceil(scale_x) + 1):
                if 0 <= row < height and 0 <= column < width:
                    weight = max(f32(0), f32(1) - abs(f32(column) - at_x) / scale_x)
                    weight *= max(f32(0), f32(1) - abs(f32(row) - at_y) / scale_y)
                    if np.isnan(x[n, c, row, column]):
                        lost += weight
                    else:
                        value, weights = value + x[n, c, row, column] * weight, weights + weight
        with np.errstate(all="ignore"):
            top[n, c, j, i] = np.nan if lost / weights > 0.5 else value / weights
    return top


@pytest.mark.parametrize(("old", "size"), [((7, 9), (4, 5)), ((8, 8), (3, 6)), ((4, 7), (7, 4)), ((5, 5), (5, 5))])
def test_downsample(one_layer: Any, old: Pair, size: Pair) -> None:
    random = np.random.default_rng(0)
    x = random.normal(size=(1, 2, *old)).astype(np.float32)
    x[0, 1][random.random(old) < 0.3] = np.nan
    fields = f"top_height: {size[0]} top_width: {size[1]}"
    found = one_layer.run(f'type: "Downsample" top: "y" downsample_param {{ {fields} }}', {"x": x})["y"]
    np.testing.assert_allclose(found, x if size == old else downsample(x, size), rtol=1e-4, atol=1e-5)


def stretch(x: np.ndarray, size: Pair) -> np.ndarray:
    if x.shape[2:] == size:
        return x
    top = np.zeros((*x.shape[:2], *size))
    for j, i in np.ndindex(*size):
        y, across = j / (size[0] - 1) * (x.shape[2] - 1), i / (size[1] - 1) * (x.shape[3] - 1)
        row, column = int(y), int(across)
        lower, right = min(row + 1, x.shape[2] - 1), min(column + 1, x.shape[3] - 1)
        b, a = y - row, across - column
        above = (1 - a) * x[:, :, row, column] + a * x[:, :, row, right]
        top[:, :, j, i] = (1 - b) * above + b * ((1 - a) * x[:, :, lower, column] + a * x[:, :, lower, right])
    return top


@pytest.mark.parametrize(
    ("sizes", "fields", "size"),
    [
        ([(7, 9)], "size_divisible_by: 4", (8, 12)),
        ([(7, 9)], "size_divisible_by: 1", (7, 9)),
        ([(8, 9)], "size_divisible_by: 4", (8, 9)),  # the height need not grow, so nothing does
        ([(7, 9), (11, 12)], "have_reference: true", (11, 12)),
        ([(7, 9), (5, 12), (4, 4)], "have_reference: true top_height: 20", (4, 4)),
        ([(7, 4), (5, 9)], "", (7, 9)),
        ([(4, 5), (3, 2)], "top_height: 6 top_width: 7", (6, 7)),
        ([(4, 5), (3, 2)], "top_height: 6 top_width: 5", (4, 5)),
    ],
)
def test_accum(one_layer: Any, sizes: list[Pair], fields: str, size: Pair) -> None:
    random = np.random.default_rng(0)
    inputs = {f"in{k}": random.normal(size=(2, k + 1, *each)).astype(np.float32) for k, each in enumerate(sizes)}
    joined = list(inputs.values())[: -1 if "reference" in fields else None]
    found = one_layer.run(f'type: "Accum" top: "y" accum_param {{ {fields} }}', inputs)["y"]
    np.testing.assert_allclose(found, np.concatenate([stretch(x, size) for x in joined], 1), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("layer", "shapes", "words"),
    [
        ('"Resample" top: "y" resample_param { width: 3 }', [(1, 1, 4, 4)], "height 0"),
        ('"Resample" top: "y" resample_param { width: 3 height: 3 type: AREA }', [(1, 1, 4, 4)], "AREA"),
        ('"Resample" top: "y" resample_param { width: 1 height: 8 type: NEAREST }', [(1, 1, 4, 4)], "outside"),
        ('"Downsample" top: "y"', [(1, 1, 4, 4)], "top_height 0"),
        ('"Downsample" top: "y"', [(1, 1, 4, 4), (1, 1, 1, 3)], "divides by 0"),
        ('"Accum" top: "y" accum_param { have_reference: true }', [(1, 1, 4, 4)], "second bottom"),
        ('"Accum" top: "y" accum_param { size_divisible_by: 0 }', [(1, 1, 4, 4)], "size_divisible_by 0"),
        ('"Accum" top: "y"', [(1, 1, 4, 4), (2, 1, 4, 4)], "same number of items"),
        ('"Accum" top: "y" accum_param { have_reference: true }', [(1, 1, 4, 4), (1, 1, 1, 4)], "divides by 0"),
    ],
)
def test_refusals(refused: Callable[..., str], layer: str, shapes: list[tuple[int, ...]], words: str) -> None:
    assert words in refused(f"type: {layer}", *shapes)
