"""Embed: rows by index."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(1,), (6,), (2, 3), (2, 1, 3)], ids=str)
def test_embed(one_layer: Any, shape: tuple[int, ...], bias: bool) -> None:
    generator = np.random.default_rng(0)
    weight, offset = (generator.normal(size=size).astype(np.float32) for size in ((9, 4), (4,)))
    x = generator.integers(0, 9, shape).astype(np.float32)
    x.flat[0] += 0.75  # cut off, as C's cast does
    fields = f"num_output: 4 input_dim: 9 bias_term: {str(bias).lower()}"
    layer = f'type: "Embed" top: "y" embed_param {{ {fields} }}'
    found = one_layer.run(layer, {"x": x}, [weight, offset] if bias else [weight])["y"]
    np.testing.assert_allclose(found, weight[x.astype(int)] + (offset if bias else 0), rtol=1e-6)


@pytest.mark.parametrize("fields", ["num_output: 4", "input_dim: 9", "num_output: 0 input_dim: 9"])
def test_refusals(refused: Callable[..., str], fields: str) -> None:
    assert "num_output and input_dim" in refused(f'type: "Embed" top: "y" embed_param {{ {fields} }}', (3,))


def test_the_blobs_must_be_those_of_the_layer(refused: Callable[..., str]) -> None:
    layer = 'type: "Embed" top: "y" embed_param { num_output: 4 input_dim: 9 }'
    assert "bias" in refused(layer, (3,), blobs=[np.zeros((9, 4), np.float32)])
    assert "(9, 4)" in refused(layer, (3,), blobs=[np.zeros((4, 9), np.float32), np.zeros(4, np.float32)])
