"""Convolution3D against a transcription of C3D's loops; what it refuses."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from tests.caffe2torch.layers.conftest import OneLayer

Triple = tuple[int, int, int]
RANDOM = np.random.default_rng(0)
X = RANDOM.standard_normal((2, 2, 5, 7, 6), np.float32)


def convolution(x: np.ndarray, weight: np.ndarray, stride: Triple, pad: Triple) -> np.ndarray:
    """vol2col_cpu and the product with the weights."""
    padded = np.pad(x, [(0, 0), (0, 0), *((p, p) for p in pad)])
    kernel = weight.shape[2:]
    # Rounded towards 0, as C++ does; what a window reads beyond the padding is 0.
    out = [int((padded.shape[axis + 2] - kernel[axis]) / stride[axis]) + 1 for axis in range(3)]
    padded = np.pad(padded, [(0, 0), (0, 0), *((0, side) for side in kernel)])
    top = np.zeros((len(x), len(weight), *out), np.float32)
    for place in np.ndindex(*out):
        window = tuple(slice(i * s, i * s + k) for i, s, k in zip(place, stride, kernel, strict=True))
        top[(..., *place)] = np.tensordot(padded[(..., *window)], weight, ([1, 2, 3, 4], [1, 2, 3, 4]))
    return top


@pytest.mark.parametrize(
    ("fields", "kernel", "stride", "pad"),
    [
        ("kernel_size: 3 kernel_depth: 3 pad: 1 temporal_pad: 1", (3, 3, 3), (1, 1, 1), (1, 1, 1)),
        ("kernel_size: 3 kernel_depth: 2 stride: 2", (2, 3, 3), (1, 2, 2), (0, 0, 0)),
        ("kernel_size: 1 kernel_depth: 3 temporal_stride: 2 temporal_pad: 2", (3, 1, 1), (2, 1, 1), (2, 0, 0)),
        ("kernel_size: 2 kernel_depth: 1 filter_group: 2 group: 2", (1, 2, 2), (1, 1, 1), (0, 0, 0)),
        ("kernel_size: 1 kernel_depth: 6 temporal_stride: 2", (6, 1, 1), (2, 1, 1), (0, 0, 0)),
    ],
)
@pytest.mark.parametrize("bias", [True, False])
def test_convolution(one_layer: OneLayer, fields: str, kernel: Triple, stride: Triple, pad: Triple, bias: bool) -> None:
    weight = RANDOM.standard_normal((4, 2, *kernel), np.float32)
    shift = RANDOM.standard_normal((1, 1, 1, 1, 4), np.float32)
    term = f"num_output: 4 bias_term: {str(bias).lower()}"
    layer = f'type: "Convolution3D" top: "y" convolution3d_param {{ {term} {fields} }}'
    y = one_layer.run(layer, {"x": X}, [weight, shift] if bias else [weight])["y"]
    expected = convolution(X, weight, stride, pad) + (shift.reshape(4, 1, 1, 1) if bias else 0)
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        ('"Convolution3D" convolution3d_param { num_output: 4 kernel_size: 3 }', "kernel_depth must both be set"),
        ('"Convolution3D" convolution3d_param { kernel_size: 1 kernel_depth: 1 }', "num_output is missing"),
        (
            '"Convolution3D" convolution3d_param { num_output: 4 kernel_size: 1 kernel_depth: 1 filter_group: 3 }',
            "filter_group 3",
        ),
        ('"Convolution3D" convolution3d_param { num_output: 1 kernel_size: 9 kernel_depth: 1 }', "larger than"),
    ],
)
def test_refused(refused: Callable[..., str], layer: str, words: str) -> None:
    assert words in refused(f'type: {layer} top: "y"', (1, 2, 4, 5, 6))
    assert "has 4 axes, the fork wants 5" in refused(f'type: {layer} top: "y"', (1, 2, 4, 5))
