"""Pooling3D against transcriptions of the forks' loops; what the forks refuse."""

from __future__ import annotations

from collections.abc import Callable
from math import ceil, floor

import numpy as np
import pytest

from tests.caffe2torch.layers.conftest import OneLayer

Triple = tuple[int, int, int]
X = np.random.default_rng(0).standard_normal((2, 2, 5, 7, 6), np.float32)


def pool(x: np.ndarray, average: bool, kernel: Triple, stride: Triple, begin: Triple, out: list[int]) -> np.ndarray:
    """Pooling3DLayer::Forward_cpu: maxima of what lies inside, averages by the window clipped to the padded input."""
    top = np.full((*x.shape[:2], *out), 0 if average else -np.finfo(np.float32).max, np.float32)
    for place in np.ndindex(*out):
        starts = [i * s - p for i, s, p in zip(place, stride, begin, strict=True)]
        ends = [start + k for start, k in zip(starts, kernel, strict=True)]
        window = tuple(
            slice(max(start, 0), max(min(end, size), 0))
            for start, end, size in zip(starts, ends, x.shape[2:], strict=True)
        )
        part = x[(..., *window)]
        if average:
            clipped = [
                min(end, n + p) - start for start, end, n, p in zip(starts, ends, x.shape[2:], begin, strict=True)
            ]
            with np.errstate(invalid="ignore"):
                top[(..., *place)] = part.sum((2, 3, 4)) / np.float32(np.prod(clipped))
        elif part.size:
            top[(..., *place)] = part.max((2, 3, 4))
    return top


@pytest.mark.parametrize(
    ("fields", "kernel", "stride", "pad"),
    [
        ("kernel_size: 2 kernel_depth: 1 stride: 2", (1, 2, 2), (1, 2, 2), 0),
        ("kernel_size: 3 kernel_depth: 2 stride: 2 temporal_stride: 2", (2, 3, 3), (2, 2, 2), 0),
        ("kernel_size: 2 kernel_depth: 2", (2, 2, 2), (1, 1, 1), 0),
        ("kernel_size: 1 kernel_depth: 1 stride: 4 temporal_stride: 3", (1, 1, 1), (3, 4, 4), 0),  # windows outside
        ("kernel_size: 1 kernel_depth: 1 stride: 7 temporal_stride: 5", (1, 1, 1), (5, 7, 7), 0),  # just outside
        ("pool: AVE kernel_size: 2 kernel_depth: 2 stride: 2 temporal_stride: 2", (2, 2, 2), (2, 2, 2), 0),
        ("pool: AVE kernel_size: 3 kernel_depth: 2 stride: 2 temporal_stride: 2 pad: 1", (2, 3, 3), (2, 2, 2), 1),
        ("pool: AVE kernel_size: 3 kernel_depth: 5 pad: 2", (5, 3, 3), (1, 1, 1), 2),  # over half the kernel
        ("pool: AVE kernel_size: 1 kernel_depth: 1 stride: 4 temporal_stride: 3", (1, 1, 1), (3, 4, 4), 0),
        ("pool: AVE kernel_size: 1 kernel_depth: 1 pad: 2", (1, 1, 1), (1, 1, 1), 2),
        ("pool: AVE kernel_size: 1 kernel_depth: 2 pad: 1", (2, 1, 1), (1, 1, 1), 1),
        ("pool: AVE kernel_size: 2 kernel_depth: 1 stride: 5", (1, 2, 2), (1, 5, 5), 0),
    ],
)
def test_pooling(one_layer: OneLayer, fields: str, kernel: Triple, stride: Triple, pad: int) -> None:
    """C3D's."""
    begin = (0, pad, pad)
    out = [ceil((X.shape[axis + 2] + 2 * begin[axis] - kernel[axis]) / stride[axis]) + 1 for axis in range(3)]
    y = one_layer.run(f'type: "Pooling3D" top: "y" pooling3d_param {{ {fields} }}', {"x": X})["y"]
    expected = pool(X, "AVE" in fields, kernel, stride, begin, out)
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("fields", "kernel", "stride", "begin", "end"),
    [
        ("kernel_size: 2 stride: 2", (2, 2, 2), (2, 2, 2), (0, 0, 0), (0, 0, 0)),
        ("kernel_size: 2 stride: 2 ceil_mode: true", (2, 2, 2), (2, 2, 2), (0, 0, 0), (0, 0, 0)),
        ("kernel_size: 3 stride: 2 pad: 1 ceil_mode: true", (3, 3, 3), (2, 2, 2), (1, 1, 1), (1, 1, 1)),
        (
            "kernel_d: 1 kernel_h: 3 kernel_w: 2 stride_d: 2 stride_h: 1 stride_w: 3 pad_h0: 2 pad_h1: 1 pad_w1: 2",
            (1, 3, 2),
            (2, 1, 3),
            (0, 2, 0),
            (0, 1, 2),
        ),
        ("global_pooling: true stride: 1", (5, 7, 6), (1, 1, 1), (0, 0, 0), (0, 0, 0)),
    ],
)
def test_pooling_of_synopsys(
    one_layer: OneLayer, fields: str, kernel: Triple, stride: Triple, begin: Triple, end: Triple
) -> None:
    out = []
    for axis in range(3):
        room = X.shape[axis + 2] + begin[axis] + end[axis] - kernel[axis]
        count = (ceil if "ceil_mode" in fields else floor)(room / stride[axis]) + 1
        out.append(count - (any(begin + end) and (count - 1) * stride[axis] >= X.shape[axis + 2] + begin[axis]))
    y = one_layer.run(f'type: "Pooling3D" top: "y" pooling3d_param {{ {fields} }}', {"x": X})["y"]
    np.testing.assert_allclose(y, pool(X, False, kernel, stride, begin, out), rtol=1e-5)


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        ('"Pooling3D" pooling3d_param { kernel_size: 2 kernel_depth: 1 pad: 1 }', "goes with pool=AVE only"),
        ('"Pooling3D" pooling3d_param { pool: STOCHASTIC kernel_size: 2 kernel_depth: 1 }', "STOCHASTIC"),
        ('"Pooling3D" pooling3d_param { pool: AVE_EXC_PAD kernel_size: 2 stride: 1 }', "only MAX is supported"),
        ('"Pooling3D" pooling3d_param { kernel_size: 2 kernel_depth: 9 }', "leaves nothing"),
    ],
)
def test_refused(refused: Callable[..., str], layer: str, words: str) -> None:
    assert words in refused(f'type: {layer} top: "y"', (1, 2, 4, 5, 6))
    assert "has 4 axes, the fork wants 5" in refused(f'type: {layer} top: "y"', (1, 2, 4, 5))
