"""InnerProduct against its definition: all axes from `axis` on, flattened, times the weights."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.caffe2torch.layers.conftest import OneLayer
from tests.caffe2torch.nets import examples


@examples(40)
@given(
    shape=st.lists(st.integers(1, 4), min_size=1, max_size=5),
    axis=st.integers(0, 4),
    negative=st.booleans(),
    outputs=st.integers(1, 5),
    bias=st.booleans(),
    transpose=st.booleans(),
)
def test_any_axis(
    shape: list[int], axis: int, negative: bool, outputs: int, bias: bool, transpose: bool, one_layer: OneLayer
) -> None:
    axis %= len(shape)
    generator = np.random.default_rng(0)
    x = generator.standard_normal(shape).astype(np.float32)
    features = int(np.prod(shape[axis:]))
    weight = generator.standard_normal((outputs, features)).astype(np.float32)
    shift = generator.standard_normal(outputs).astype(np.float32)
    fields = {
        "num_output": outputs,
        "axis": axis - len(shape) if negative else axis,
        "bias_term": str(bias).lower(),
        "transpose": str(transpose).lower(),
    }
    text = " ".join(f"{name}: {value}" for name, value in fields.items())
    blobs = [weight.T if transpose else weight, *([shift] if bias else [])]
    found = one_layer.run(f'type: "InnerProduct" top: "y" inner_product_param {{ {text} }}', {"x": x}, blobs)["y"]
    want = x.reshape(*shape[:axis], features) @ weight.T + (shift if bias else 0)
    assert found.shape == (*shape[:axis], outputs)
    np.testing.assert_allclose(found, want, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("batch", [1, 3])
def test_any_batch(batch: int, one_layer: OneLayer) -> None:
    x = np.ones((batch, 2, 3, 3), np.float32)
    found = one_layer.run('type: "InnerProduct" top: "y" inner_product_param { num_output: 4 }', {"x": x})["y"]
    assert found.shape == (batch, 4)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ("", "num_output is missing or 0"),
        ("num_output: 0", "num_output is missing or 0"),
        ("num_output: 2 axis: 2", "axis 2 is out of range"),
        ("num_output: 2 axis: -3", "axis -3 is out of range"),
    ],
)
def test_refusals(fields: str, words: str, refused: Callable[..., str]) -> None:
    assert words in refused(f'type: "InnerProduct" top: "y" inner_product_param {{ {fields} }}', (2, 3))


def test_weights_of_another_shape_are_refused(refused: Callable[..., str]) -> None:
    text = 'type: "InnerProduct" top: "y" inner_product_param { num_output: 2 }'
    assert "weight" in refused(text, (1, 3), blobs=[np.zeros((3, 2), np.float32), np.zeros(2, np.float32)])
    assert "1 blobs" in refused(text, (1, 3), blobs=[np.zeros((2, 3), np.float32)])
