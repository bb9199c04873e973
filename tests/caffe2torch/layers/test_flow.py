"""FlowWarp, ChannelNorm, Mean and NegReLU against transcriptions of FlowNet2's loops."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

Shape = tuple[int, ...]


def warp(image: np.ndarray, flow: np.ndarray, fill: float) -> np.ndarray:
    items, _, height, width = image.shape
    top = np.full(image.shape, float(fill))
    for n, y, x in np.ndindex(items, height, width):
        x2, y2 = (np.float32(at) + flow[n, axis, y, x] for axis, at in enumerate((x, y)))
        if x2 >= 0 and y2 >= 0 and x2 < width and y2 < height:
            left, upper = int(x2), int(y2)
            right, lower = min(left + 1, width - 1), min(upper + 1, height - 1)
            a, b = x2 - left, y2 - upper
            above = (1 - a) * image[n, :, upper, left] + a * image[n, :, upper, right]
            below = (1 - a) * image[n, :, lower, left] + a * image[n, :, lower, right]
            top[n, :, y, x] = (1 - b) * above + b * below
    return top


@pytest.mark.parametrize("fill", ["ZERO", "NOT_A_NUMBER", ""])
@pytest.mark.parametrize("shape", [(2, 3, 7, 9), (1, 1, 1, 4), (1, 2, 5, 1)], ids=str)
def test_flow_warp(one_layer: Any, shape: Shape, fill: str) -> None:
    random = np.random.default_rng(0)
    image = random.normal(size=shape).astype(np.float32)
    flow = (random.normal(size=(shape[0], 2, *shape[2:])) * 3).astype(np.float32)
    flow[0, :, 0, 0] = 0
    flow[0, 0, 0, -1], flow[0, 1, 0, -1] = 0.75, 0  # between the last pixel's middle and the edge
    if min(shape[2:]) > 2:
        flow[0, :, 1] = np.round(flow[0, :, 1])
        flow[0, 0, 2, 0], flow[0, 1, 2, 1] = np.nan, np.inf
    parameter = f"flow_warp_param {{ fill_value: {fill} }}" if fill else ""
    found = one_layer.run(f'type: "FlowWarp" top: "y" {parameter}', {"image": image, "flow": flow})["y"]
    want = warp(image, flow, np.nan if fill == "NOT_A_NUMBER" else 0)
    np.testing.assert_allclose(found, want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("channels", [1, 2, 5])
def test_channel_norm(one_layer: Any, channels: int) -> None:
    x = np.random.default_rng(0).normal(size=(2, channels, 3, 4)).astype(np.float32)
    x[0, :, 0, 0] = 0
    found = one_layer.run('type: "ChannelNorm" top: "y"', {"x": x})["y"]
    np.testing.assert_allclose(found, np.sqrt((x.astype(np.float64) ** 2).sum(1, keepdims=True)), rtol=1e-5)


@pytest.mark.parametrize(
    ("fields", "values", "scales"),
    [
        (
            "operation: ADD value: 1 value: 2 value: 3 mean_scale: 0.5 input_scale: 2 output_scale: 0.25",
            [1, 2, 3],
            (0.5, 2, 0.25),
        ),
        ("operation: SUBTRACT value: 0.5 value: 0.25 value: 1", [-0.5, -0.25, -1], (1, 1, 1)),
        ("operation: SUBTRACT value: 0.5 output_scale: 2", [-0.5], (1, 1, 2)),
        ("operation: ADD value: -0.5 input_scale: 0.00392157", [-0.5], (1, 0.00392157, 1)),
    ],
)
def test_mean(one_layer: Any, fields: str, values: list[float], scales: tuple[float, float, float]) -> None:
    random = np.random.default_rng(0)
    inputs = {
        name: random.normal(size=(2, channels, 3, 4)).astype(np.float32) for name, channels in (("a", 3), ("b", 6))
    }
    found = one_layer.run(f'type: "Mean" top: "oa" top: "ob" mean_param {{ {fields} }}', inputs)
    for name, x in inputs.items():
        mean = np.array([values[channel % len(values)] for channel in range(x.shape[1])])[:, None, None]
        want = scales[2] * (scales[1] * x + scales[0] * mean)
        np.testing.assert_allclose(found[f"o{name}"], want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("slope", [0, 0.25, -1])
def test_neg_relu(one_layer: Any, slope: float) -> None:
    x = np.random.default_rng(0).normal(size=(2, 3, 4)).astype(np.float32)
    found = one_layer.run(f'type: "NegReLU" top: "y" relu_param {{ negative_slope: {slope} }}', {"x": x})["y"]
    np.testing.assert_allclose(found, np.minimum(x, 0) + np.float32(slope) * np.maximum(x, 0), rtol=1e-6)


@pytest.mark.parametrize(
    ("layer", "shapes", "words"),
    [
        ('"FlowWarp" top: "y"', [(1, 3, 4, 5), (1, 3, 4, 5)], "must have 2 channels"),
        ('"FlowWarp" top: "y"', [(1, 3, 4, 5), (1, 2, 4, 4)], "must have 2 channels"),
        ('"ChannelNorm" top: "y"', [(1, 3)], "2 axes"),
        ('"Mean" top: "y" mean_param { operation: ADD value: 1 value: 2 }', [(1, 3, 2, 2)], "multiple of 2"),
        ('"Mean" top: "y" mean_param { operation: ADD }', [(1, 3, 2, 2)], "must be set"),
        (
            '"Mean" top: "y" mean_param { operation: ADD file: "m" }',
            [(1, 3, 2, 2)],
            "mean_param.file=m is not supported",
        ),
        ('"Mean" top: "y" top: "z" mean_param { operation: ADD value: 1 }', [(1, 3, 2, 2)], "2 tops"),
    ],
)
def test_refusals(refused: Callable[..., str], layer: str, shapes: list[Shape], words: str) -> None:
    assert words in refused(f"type: {layer}", *shapes)
