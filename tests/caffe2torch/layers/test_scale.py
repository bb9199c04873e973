"""Scale and Bias: which axes the factor spans, learned or given."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from caffe2torch.conversion import graph_of

SHAPE = (2, 3, 4, 5)
SPANS = [  # axis, num_axes, what they span
    (1, 1, (3,)),
    (1, 2, (3, 4)),
    (1, -1, (3, 4, 5)),
    (-1, 1, (5,)),
    (2, 2, (4, 5)),
    (0, 1, (2,)),
    (0, -1, (2, 3, 4, 5)),
    (1, 0, ()),
]


def stretched(factor: np.ndarray, axis: int, axes: int) -> np.ndarray:
    behind = axes - axis % axes - factor.ndim if factor.ndim else 0
    return factor.reshape(factor.shape + (1,) * behind)


def normal(generator: np.random.Generator, *shape: int) -> np.ndarray:
    return np.asarray(generator.normal(size=shape), np.float32)


@pytest.mark.parametrize(("axis", "num_axes", "span"), SPANS)
@pytest.mark.parametrize("kind", ["Scale", "Bias"])
def test_learned(one_layer: Any, kind: str, axis: int, num_axes: int, span: tuple[int, ...]) -> None:
    generator = np.random.default_rng(0)
    x, factor, bias = normal(generator, *SHAPE), normal(generator, *span), normal(generator, *span)
    fields = f"axis: {axis} num_axes: {num_axes}"
    wide, added = stretched(factor, axis, 4), stretched(bias, axis, 4)
    if kind == "Scale":
        layer = f'type: "Scale" top: "y" scale_param {{ {fields} bias_term: true }}'
        found, want = one_layer.run(layer, {"x": x}, [factor, bias])["y"], x * wide + added
    else:
        found, want = (
            one_layer.run(f'type: "Bias" top: "y" bias_param {{ {fields} }}', {"x": x}, [bias])["y"],
            x + added,
        )
    np.testing.assert_allclose(found, want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("axis", "num_axes", "span"), SPANS)
@pytest.mark.parametrize("kind", ["Scale", "Bias"])
def test_given(one_layer: Any, kind: str, axis: int, num_axes: int, span: tuple[int, ...]) -> None:
    """With a second bottom num_axes does not count."""
    generator = np.random.default_rng(0)
    inputs = {"x": normal(generator, *SHAPE), "f": normal(generator, *span)}
    layer = f'type: "{kind}" top: "y" {kind.lower()}_param {{ axis: {axis} num_axes: 7 }}'
    wide = stretched(inputs["f"], axis, 4)
    want = inputs["x"] * wide if kind == "Scale" else inputs["x"] + wide
    np.testing.assert_allclose(one_layer.run(layer, inputs)["y"], want, rtol=1e-6)
    same_batch = bool(span) and span[0] == SHAPE[0]
    assert graph_of(one_layer.convert(layer, inputs)).batch == same_batch


def test_without_a_file_a_bias_is_0_and_a_scale_1(one_layer: Any) -> None:
    x = normal(np.random.default_rng(0), *SHAPE)
    for kind in ("Scale", "Bias"):
        np.testing.assert_array_equal(one_layer.run(f'type: "{kind}" top: "y"', {"x": x})["y"], x)
    filled = one_layer.run('type: "Bias" top: "y" bias_param { filler { value: 2 } }', {"x": x})["y"]
    np.testing.assert_array_equal(filled, x + 2)


@pytest.mark.parametrize(
    ("fields", "shapes", "words"),
    [
        ("axis: 4", [SHAPE], "axis 4"),
        ("axis: 3 num_axes: 2", [SHAPE], "beyond"),
        ("num_axes: -2", [SHAPE], "num_axes -2"),
        ("", [SHAPE, (4,)], "(4,)"),
        ("axis: 3", [SHAPE, (5, 1)], "(5, 1)"),
        ("", [SHAPE, (3,), (3,)], "3 bottoms"),
    ],
)
@pytest.mark.parametrize("kind", ["Scale", "Bias"])
def test_refusals(
    refused: Callable[..., str], kind: str, fields: str, shapes: list[tuple[int, ...]], words: str
) -> None:
    assert words in refused(f'type: "{kind}" top: "y" {kind.lower()}_param {{ {fields} }}', *shapes)
