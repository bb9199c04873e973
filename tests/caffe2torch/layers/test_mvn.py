"""MVN against a transcription of Caffe's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest


def mvn(x: np.ndarray, across: bool, variance: bool, eps: float) -> np.ndarray:
    """MVNLayer::Forward_cpu; the top always has 4 axes."""
    shape = x.shape + (1,) * (4 - x.ndim)
    rows = x.astype(np.float64).reshape(shape[0] if across else shape[0] * shape[1], -1)
    top = rows - rows.mean(1, keepdims=True)
    if variance:
        top /= np.sqrt(np.square(top).mean(1, keepdims=True)) + eps
    return top.reshape(shape)


@pytest.mark.parametrize("variance", [True, False])
@pytest.mark.parametrize("across", [True, False])
@pytest.mark.parametrize("shape", [(4,), (2, 3), (2, 3, 5), (2, 3, 4, 5)], ids=str)
def test_mvn(one_layer: Any, shape: tuple[int, ...], across: bool, variance: bool) -> None:
    x = 3 * np.random.default_rng(0).normal(size=shape).astype(np.float32) + 1
    for eps in (None, 0.5):
        fields = f"across_channels: {str(across).lower()} normalize_variance: {str(variance).lower()}"
        fields += f" eps: {eps}" if eps else ""
        found = one_layer.run(f'type: "MVN" top: "y" mvn_param {{ {fields} }}', {"x": x})["y"]
        np.testing.assert_allclose(found, mvn(x, across, variance, eps or 1e-9), rtol=1e-4, atol=1e-5)


def test_a_small_deviation_beside_a_large_mean(one_layer: Any) -> None:
    """Where E(x^2) - E(x)^2 would cancel."""
    x = (1000 + np.arange(16, dtype=np.float32) / 8).reshape(1, 1, 4, 4)
    found = one_layer.run('type: "MVN" top: "y"', {"x": x})["y"]
    np.testing.assert_allclose(found, mvn(x, False, True, 1e-9), rtol=1e-3)


def test_a_constant_channel_gives_no_nan_and_no_nan_gradient(one_layer: Any) -> None:
    import torch

    x = np.full((1, 2, 3, 3), 2, np.float32)
    assert not one_layer.run('type: "MVN" top: "y"', {"x": x})["y"].any()
    tensor = torch.from_numpy(x).requires_grad_()
    one_layer.convert('type: "MVN" top: "y"', {"x": x})(tensor).sum().backward()
    assert tensor.grad is not None
    assert not tensor.grad.isnan().any()


def test_five_axes_are_refused(refused: Callable[..., str]) -> None:
    assert "5 axes" in refused('type: "MVN" top: "y"', (1, 2, 3, 4, 5))
