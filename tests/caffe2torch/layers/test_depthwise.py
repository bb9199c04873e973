"""DepthwiseConvolution and ConvolutionDepthwise against transcriptions of the forks' loops."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from tests.caffe2torch.layers.conftest import OneLayer

Pair = tuple[int, int]
RANDOM = np.random.default_rng(0)
X = RANDOM.standard_normal((2, 6, 7, 9), np.float32)


def depthwise(x: np.ndarray, weight: np.ndarray, stride: Pair, pad: Pair, dilation: Pair) -> np.ndarray:
    """ConvolutionDepthwiseLayer::Forward_cpu without its bias."""
    kernel = weight.shape[2:]
    rows, columns = (
        int((x.shape[axis + 2] + 2 * pad[axis] - dilation[axis] * (kernel[axis] - 1) - 1) / stride[axis]) + 1
        for axis in (0, 1)
    )
    top = np.zeros((*x.shape[:2], rows, columns), np.float32)
    for i, j, kh, kw in np.ndindex(rows, columns, *kernel):
        h, w = i * stride[0] + kh * dilation[0] - pad[0], j * stride[1] + kw * dilation[1] - pad[1]
        if 0 <= h < x.shape[2] and 0 <= w < x.shape[3]:
            top[:, :, i, j] += weight[:, 0, kh, kw] * x[:, :, h, w]
    return top


@pytest.mark.parametrize(
    ("fields", "kernel", "stride", "pad", "dilation"),
    [
        ("kernel_size: 3 pad: 1 stride: 1", (3, 3), (1, 1), (1, 1), (1, 1)),
        ("num_output: 12 group: 2 kernel_size: 3 pad: 1 stride: 2", (3, 3), (2, 2), (1, 1), (1, 1)),
        (
            "num_output: 5 kernel_size: 3 kernel_size: 2 pad: 1 pad: 0 stride: 2 stride: 1",
            (3, 2),
            (2, 1),
            (1, 0),
            (1, 1),
        ),
        (
            "kernel_h: 3 kernel_w: 2 stride_h: 1 stride_w: 2 pad_h: 2 pad_w: 1 dilation: 2",
            (3, 2),
            (1, 2),
            (2, 1),
            (2, 2),
        ),
        (
            "kernel_h: 2 kernel_w: 3 kernel_size: 5 stride: 1 pad: 0 dilation: 1 dilation: 3",
            (2, 3),
            (1, 1),
            (0, 0),
            (1, 3),
        ),
        ("kernel_size: 8 stride: 2", (8, 8), (2, 2), (0, 0), (1, 1)),  # reads a row of zeros behind
    ],
)
@pytest.mark.parametrize("bias", [True, False])
def test_convolution_depthwise(
    one_layer: OneLayer, fields: str, kernel: Pair, stride: Pair, pad: Pair, dilation: Pair, bias: bool
) -> None:
    weight, shift = RANDOM.standard_normal((6, 1, *kernel), np.float32), RANDOM.standard_normal(6, np.float32)
    layer = f'type: "ConvolutionDepthwise" top: "y" convolution_param {{ {fields} bias_term: {str(bias).lower()} }}'
    y = one_layer.run(layer, {"x": X}, [weight, shift] if bias else [weight])["y"]
    expected = depthwise(X, weight, stride, pad, dilation) + (shift[:, None, None] if bias else 0)
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-4)


def test_depthwise_convolution(one_layer: OneLayer) -> None:
    """It is Convolution: here two filters for each of three groups of two channels."""
    weight, shift = RANDOM.standard_normal((6, 2, 3, 3), np.float32), RANDOM.standard_normal(6, np.float32)
    layer = 'top: "y" convolution_param { num_output: 6 group: 3 kernel_size: 3 stride: 2 pad: 1 engine: CAFFE }'
    found = [
        one_layer.run(f'type: "{name}" {layer}', {"x": X}, [weight, shift])["y"]
        for name in ("DepthwiseConvolution", "Convolution")
    ]
    np.testing.assert_array_equal(*found)


def test_two_bottoms(one_layer: OneLayer) -> None:
    weight = RANDOM.standard_normal((6, 1, 3, 3), np.float32)
    fields = "num_output: 6 group: 6 kernel_size: 3 bias_term: false"
    layer = f'type: "DepthwiseConvolution" top: "y" top: "z" convolution_param {{ {fields} }}'
    found = one_layer.run(layer, {"x": X, "other": X + 1}, [weight])
    np.testing.assert_allclose(found["y"], depthwise(X, weight, (1, 1), (0, 0), (1, 1)), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(found["z"], depthwise(X + 1, weight, (1, 1), (0, 0), (1, 1)), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("layer", "shapes", "words"),
    [
        ('"ConvolutionDepthwise"', [(1, 2, 5, 5)], "kernel_size is missing"),
        ('"ConvolutionDepthwise" convolution_param { kernel_size: 3 stride: 0 }', [(1, 2, 5, 5)], "at least 1"),
        ('"ConvolutionDepthwise" convolution_param { kernel_size: 3 axis: 2 }', [(1, 2, 5, 5)], "axis 2"),
        ('"ConvolutionDepthwise" convolution_param { kernel_size: 9 }', [(1, 2, 5, 5)], "larger than the padded input"),
        ('"DepthwiseConvolution" convolution_param { num_output: 3 group: 2 kernel_size: 1 }', [(1, 2, 5, 5)], "group"),
    ],
)
def test_refused(refused: Callable[..., str], layer: str, shapes: list[tuple[int, ...]], words: str) -> None:
    assert words in refused(f'type: {layer} top: "y"', *shapes)
