"""Convolution, Deconvolution and Im2col against transcriptions of Caffe's loops, for any number of axes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product
from math import prod
from typing import Any

import numpy as np
import pytest

Shape = tuple[int, ...]


def normal(generator: np.random.Generator, *shape: int) -> np.ndarray:
    return generator.normal(size=shape).astype(np.float32)


def places(
    size: Shape, kernel: Shape, stride: Shape, pad: Shape, dilation: Shape, out: Shape
) -> Iterator[tuple[Shape, Shape, Shape]]:
    """Each window, each place in it, and the place in the image that it covers: im2col and col2im walk over these."""
    for window in product(*map(range, out)):
        for tap in product(*map(range, kernel)):
            columns = zip(window, stride, pad, tap, dilation, strict=True)
            image = tuple(w * s - p + k * d for w, s, p, k, d in columns)
            if all(0 <= place < length for place, length in zip(image, size, strict=True)):
                yield window, tap, image


def counts(size: Shape, kernel: Shape, stride: Shape, pad: Shape, dilation: Shape) -> Shape:
    """compute_output_shape of ConvolutionLayer, with C's division towards 0."""
    columns = zip(size, kernel, stride, pad, dilation, strict=True)
    return tuple(int((n + 2 * p - (d * (k - 1) + 1)) / s) + 1 for n, k, s, p, d in columns)


def convolve(x: np.ndarray, weight: np.ndarray, bias: np.ndarray, group: int, **w: Shape) -> np.ndarray:
    """x: (N, C, ...), weight: (M, C / group, ...)."""
    out = counts(x.shape[2:], weight.shape[2:], **w)
    top = np.zeros((len(x), len(weight), *out))
    top += bias.reshape(-1, *[1] * len(out))
    inputs, outputs = weight.shape[1], len(weight) // group
    for window, tap, image in places(x.shape[2:], weight.shape[2:], **w, out=out):
        for m in range(len(weight)):
            first = m // outputs * inputs
            seen = x[(slice(None), slice(first, first + inputs), *image)]
            top[(slice(None), m, *window)] += seen @ weight[(m, slice(None), *tap)]
    return top


def deconvolve(x: np.ndarray, weight: np.ndarray, bias: np.ndarray, group: int, **w: Shape) -> np.ndarray:
    """x: (N, C, ...), weight: (C, M / group, ...): every number of x adds its weights to a window of the top."""
    columns = zip(x.shape[2:], weight.shape[2:], w["stride"], w["pad"], w["dilation"], strict=True)
    size = tuple(s * (n - 1) + d * (k - 1) + 1 - 2 * p for n, k, s, p, d in columns)
    inputs, outputs = x.shape[1] // group, weight.shape[1]
    top = np.zeros((len(x), outputs * group, *size))
    top += bias.reshape(-1, *[1] * len(size))
    for window, tap, image in places(size, weight.shape[2:], **w, out=x.shape[2:]):
        for c in range(x.shape[1]):
            first = c // inputs * outputs
            added = np.outer(x[(slice(None), c, *window)], weight[(c, slice(None), *tap)])
            top[(slice(None), slice(first, first + outputs), *image)] += added
    return top


def im2col(x: np.ndarray, axis: int, kernel: Shape, **w: Shape) -> np.ndarray:
    lead, channels, size = x.shape[:axis], x.shape[axis], x.shape[axis + 1 :]
    out = counts(size, kernel, **w)
    top = np.zeros((prod(lead), channels, *kernel, *out), np.float32)
    flat = x.reshape(prod(lead), *x.shape[axis:])
    for window, tap, image in places(size, kernel, **w, out=out):
        top[(slice(None), slice(None), *tap, *window)] = flat[(slice(None), slice(None), *image)]
    return top.reshape(*lead, channels * prod(kernel), *out)


def fields(kernel: Shape, stride: Shape, pad: Shape, dilation: Shape) -> str:
    given = {"kernel_size": kernel, "stride": stride, "pad": pad, "dilation": dilation}
    return " ".join(f"{name}: {value}" for name, values in given.items() for value in values)


WINDOWS = [
    # size, kernel, stride, pad, dilation
    ((5, 6), (3, 2), (1, 1), (0, 0), (1, 1)),
    ((5, 6), (3, 3), (2, 1), (1, 2), (1, 1)),
    ((7, 6), (2, 3), (3, 2), (0, 1), (2, 1)),
    ((4, 5), (1, 1), (2, 2), (0, 0), (1, 1)),
    ((6,), (3,), (2,), (1,), (2,)),
    ((3, 4, 3), (2, 3, 1), (1, 2, 1), (1, 0, 0), (1, 1, 2)),
]
BEYOND = [  # a window that is too large by less than a stride is there, and reads zeros
    ((2, 5), (3, 3), (2, 1), (0, 0), (1, 1)),
    ((4, 3), (2, 3), (2, 3), (0, 0), (4, 2)),
]


@pytest.mark.parametrize("group", [1, 2])
@pytest.mark.parametrize(("size", "kernel", "stride", "pad", "dilation"), WINDOWS + BEYOND)
def test_convolution(
    one_layer: Any, size: Shape, kernel: Shape, stride: Shape, pad: Shape, dilation: Shape, group: int
) -> None:
    generator = np.random.default_rng(0)
    x = normal(generator, 2, 4, *size)
    blobs = [normal(generator, 6, 4 // group, *kernel), normal(generator, 6)]
    parameters = f"num_output: 6 group: {group} {fields(kernel, stride, pad, dilation)}"
    found = one_layer.run(f'type: "Convolution" top: "y" convolution_param {{ {parameters} }}', {"x": x}, blobs)["y"]
    want = convolve(x, *blobs, group=group, stride=stride, pad=pad, dilation=dilation)
    np.testing.assert_allclose(found, want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("group", [1, 2])
@pytest.mark.parametrize(("size", "kernel", "stride", "pad", "dilation"), WINDOWS)
def test_deconvolution(
    one_layer: Any, size: Shape, kernel: Shape, stride: Shape, pad: Shape, dilation: Shape, group: int
) -> None:
    generator = np.random.default_rng(0)
    x = normal(generator, 2, 4, *size)
    blobs = [normal(generator, 4, 6 // group, *kernel), normal(generator, 6)]
    parameters = f"num_output: 6 group: {group} {fields(kernel, stride, pad, dilation)}"
    found = one_layer.run(f'type: "Deconvolution" top: "y" convolution_param {{ {parameters} }}', {"x": x}, blobs)["y"]
    want = deconvolve(x, *blobs, group=group, stride=stride, pad=pad, dilation=dilation)
    np.testing.assert_allclose(found, want, rtol=1e-4, atol=1e-5)


def test_deconvolution_padded_by_more_than_its_kernel(one_layer: Any) -> None:
    generator = np.random.default_rng(0)
    x, blobs = normal(generator, 1, 2, 5, 6), [normal(generator, 2, 3, 2, 2), normal(generator, 3)]
    layer = 'type: "Deconvolution" top: "y" convolution_param { num_output: 3 kernel_size: 2 stride: 2 pad: 3 }'
    want = deconvolve(x, *blobs, group=1, stride=(2, 2), pad=(3, 3), dilation=(1, 1))
    np.testing.assert_allclose(one_layer.run(layer, {"x": x}, blobs)["y"], want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["Convolution", "Deconvolution"])
@pytest.mark.parametrize(
    ("shape", "axis"),
    [
        ((3, 4, 5, 6), 1),
        ((2, 3, 4, 5, 6), 2),
        ((2, 2, 3, 4, 5), -2),
        ((4, 5, 6), 0),
        ((3, 4), 1),
        ((2, 3, 4), 2),
        ((4,), 0),
    ],
    ids=str,
)
def test_any_channel_axis(one_layer: Any, kind: str, shape: Shape, axis: int) -> None:
    """Axes before the channels count as one batch; without axes behind them it is a matrix product."""
    generator = np.random.default_rng(0)
    x = normal(generator, *shape)
    lead, channels, size = shape[: axis % len(shape)], shape[axis], shape[axis % len(shape) + 1 :]
    kernel, ones = (2,) * len(size), (1,) * len(size)
    convolution = kind == "Convolution"
    weight = normal(generator, *((6, channels) if convolution else (channels, 6)), *kernel)
    blobs = [weight, normal(generator, 6)]
    parameters = f"num_output: 6 kernel_size: 2 axis: {axis}"
    found = one_layer.run(f'type: "{kind}" top: "y" convolution_param {{ {parameters} }}', {"x": x}, blobs)["y"]
    flat = x.reshape(prod(lead), channels, *size)
    compute = convolve if convolution else deconvolve
    want = compute(flat, *blobs, group=1, stride=ones, pad=(0,) * len(size), dilation=ones)
    np.testing.assert_allclose(found, want.reshape(*lead, *want.shape[1:]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("size", "kernel", "stride", "pad", "dilation"), WINDOWS + BEYOND)
@pytest.mark.parametrize("lead", [(2,), (2, 3), ()], ids=str)
def test_im2col(
    one_layer: Any, size: Shape, kernel: Shape, stride: Shape, pad: Shape, dilation: Shape, lead: Shape
) -> None:
    x = normal(np.random.default_rng(0), *lead, 3, *size)
    x.flat[3] = np.nan  # seen by some windows, and by no other
    parameters = f"axis: {len(lead)} {fields(kernel, stride, pad, dilation)}"
    found = one_layer.run(f'type: "Im2col" top: "y" convolution_param {{ {parameters} }}', {"x": x})["y"]
    want = im2col(x, len(lead), kernel, stride=stride, pad=pad, dilation=dilation)
    np.testing.assert_array_equal(found, want)


@pytest.mark.parametrize("kind", ["Convolution", "Deconvolution"])
def test_without_bias(one_layer: Any, kind: str) -> None:
    generator = np.random.default_rng(0)
    x, weight = normal(generator, 1, 3, 5, 6), normal(generator, 3, 3, 2, 2)
    layer = f'type: "{kind}" top: "y" convolution_param {{ num_output: 3 kernel_size: 2 bias_term: false }}'
    compute = convolve if kind == "Convolution" else deconvolve
    want = compute(x, weight, np.zeros(3), group=1, stride=(1, 1), pad=(0, 0), dilation=(1, 1))
    np.testing.assert_allclose(one_layer.run(layer, {"x": x}, [weight])["y"], want, rtol=1e-4, atol=1e-5)


def test_im2col_with_sizes_by_axis_name(one_layer: Any) -> None:
    x = normal(np.random.default_rng(0), 1, 2, 6, 5)
    parameters = "kernel_h: 3 kernel_w: 2 stride_h: 2 stride_w: 1 pad_h: 1 force_nd_im2col: true"
    found = one_layer.run(f'type: "Im2col" top: "y" convolution_param {{ {parameters} }}', {"x": x})["y"]
    want = im2col(x, 1, (3, 2), stride=(2, 1), pad=(1, 0), dilation=(1, 1))
    np.testing.assert_array_equal(found, want)


def test_bilinear_weights_need_no_file(one_layer: Any) -> None:
    """Upsampling by 2, as in fully convolutional nets, leaves a linear ramp linear."""
    x = np.broadcast_to(np.arange(6, dtype=np.float32), (1, 2, 6, 6)).copy()
    parameters = (
        'num_output: 2 group: 2 kernel_size: 4 stride: 2 pad: 1 bias_term: false weight_filler { type: "bilinear" }'
    )
    found = one_layer.run(f'type: "Deconvolution" top: "y" convolution_param {{ {parameters} }}', {"x": x})["y"]
    assert found.shape == (1, 2, 12, 12)
    np.testing.assert_allclose(found[0, 1, 5, 1:-1], np.arange(10) / 2 + 0.25, atol=1e-6)


def test_multiply_adds() -> None:
    from caffe2torch import registry
    from caffe2torch.fields import defaults
    from caffe2torch.net import Fields, Layer

    p = Fields({"num_output": 6, "kernel_size": (3,), "stride": (2,), "group": 2}, defaults("convolution_param"))
    for kind, want in (("Convolution", 6 * 4 * 4 * 2 * 9), ("Deconvolution", 4 * 9 * 9 * 3 * 9)):
        cls = registry.find(kind)
        assert cls is not None
        operation = registry.parse(cls, Layer("layer", kind, ("x",), ("y",), {"convolution_param": p}), [(1, 4, 9, 9)])
        assert operation.multiply_adds([(1, 4, 9, 9)]) == want


@pytest.mark.parametrize(
    ("layer", "shape", "words"),
    [
        ("Deconvolution: num_output: 2 kernel_size: 2 pad: 4", (1, 2, 4, 4), "leaves nothing"),
        ("Deconvolution: num_output: 3 kernel_size: 2 group: 2", (1, 2, 4, 4), "group 2"),
        ("Deconvolution: num_output: 2 group: 2 kernel_size: 2", (1, 3, 4, 4), "group 2"),
        ("Deconvolution: kernel_size: 2", (1, 2, 4, 4), "num_output"),
        ("Deconvolution: num_output: 2", (1, 2, 4, 4), "kernel_size"),
        ("Convolution: num_output: 2 kernel_size: 4 stride: 2", (1, 2, 2, 4), "larger than the padded input"),
        ("Im2col: kernel_size: 2 axis: 3", (1, 2, 4, 4), "no axes are left"),
        ("Im2col: kernel_size: 2 kernel_size: 2 kernel_size: 2", (1, 2, 4, 4), "3 values"),
        ("Im2col: kernel_size: 5", (1, 2, 4, 4), "larger than the padded input"),
        ("Im2col: kernel_size: 2 kernel_h: 2", (1, 2, 4, 4), "one form or the other"),
        ("Im2col: kernel_size: 2 pad_h: 1", (1, 2, 4), "2 spatial axes"),
        ("Im2col: kernel_size: 2 stride: 0", (1, 2, 4, 4), "at least 1"),
    ],
)
def test_refusals(refused: Callable[..., str], layer: str, shape: Shape, words: str) -> None:
    kind, parameters = layer.split(": ", 1)
    assert words in refused(f'type: "{kind}" top: "y" convolution_param {{ {parameters} }}', shape)
