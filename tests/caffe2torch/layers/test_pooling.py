"""Pooling against a transcription of Caffe's loops, over drawn windows; and what Caffe refuses."""

from __future__ import annotations

from collections.abc import Callable
from math import ceil, floor
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tests.caffe2torch.layers.conftest import OneLayer
from tests.caffe2torch.nets import examples

Pair = tuple[int, int]
FLT_MAX = np.finfo(np.float32).max
DRAWN = examples(60)


def sizes(shape: Pair, kernel: Pair, stride: Pair, pad: Pair, up: bool) -> list[int]:
    """PoolingLayer::Reshape."""
    found = []
    for size, k, s, p in zip(shape, kernel, stride, pad, strict=True):
        count = (ceil if up else floor)((size + 2 * p - k) / s) + 1
        if any(pad) and (count - 1) * s >= size + p:
            count -= 1
        found.append(count)
    return found


def pool(
    x: np.ndarray, method: str, kernel: Pair, stride: Pair, pad: Pair, up: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """PoolingLayer::Forward_cpu, and the mask."""
    height, width = x.shape[2:]
    rows, columns = sizes((height, width), kernel, stride, pad, up)
    top = np.zeros((*x.shape[:2], rows, columns), np.float32)
    mask = np.full_like(top, -1)
    for n, c, i, j in np.ndindex(*top.shape):
        top_edge, left = i * stride[0] - pad[0], j * stride[1] - pad[1]
        if method == "MAX":
            bottom, right = min(top_edge + kernel[0], height), min(left + kernel[1], width)
            best = -FLT_MAX
            for h in range(max(top_edge, 0), bottom):
                for w in range(max(left, 0), right):
                    if x[n, c, h, w] > best:
                        best = x[n, c, h, w]
                        mask[n, c, i, j] = h * width + w
            top[n, c, i, j] = best
        else:
            bottom, right = min(top_edge + kernel[0], height + pad[0]), min(left + kernel[1], width + pad[1])
            count = (bottom - top_edge) * (right - left)
            inside = x[n, c, max(top_edge, 0) : min(bottom, height), max(left, 0) : min(right, width)]
            with np.errstate(invalid="ignore", divide="ignore"):
                top[n, c, i, j] = np.float32(inside.sum(dtype=np.float32)) / np.float32(count)
    return top, mask


def text(method: str, kernel: Pair, stride: Pair, pad: Pair, up: bool = True, tops: str = "y") -> str:
    pairs = {"kernel": kernel, "stride": stride, "pad": pad}
    fields = " ".join(f"{name}_h: {pair[0]} {name}_w: {pair[1]}" for name, pair in pairs.items())
    outputs = " ".join(f'top: "{top}"' for top in tops.split())
    rounding = "" if up else "round_mode: FLOOR"
    return f'type: "Pooling" {outputs} pooling_param {{ pool: {method} {fields} {rounding} }}'


def picture(shape: Pair, batch: int = 2) -> np.ndarray:
    drawn = np.random.default_rng(0).integers(-9, 9, (batch, 2, *shape))  # small integers: ties are frequent
    return drawn.astype(np.float32)


@st.composite
def windows(draw: Any) -> dict[str, Any]:
    """Kernel, stride, pad and input size as Caffe takes them: pad below the kernel, something left of the input."""
    kernel = draw(st.tuples(st.integers(1, 5), st.integers(1, 5)))
    given_windows = {
        "kernel": kernel,
        "stride": draw(st.tuples(st.integers(1, 6), st.integers(1, 6))),
        "pad": tuple(draw(st.integers(0, min(k - 1, 3))) for k in kernel),
        "up": draw(st.booleans()),
    }
    shape = draw(st.tuples(st.integers(1, 9), st.integers(1, 9)))
    assume(min(sizes(shape, **given_windows)) > 0)
    return {"shape": shape, **given_windows}


@DRAWN
@given(drawn=windows(), method=st.sampled_from(["MAX", "AVE"]))
def test_any_window(drawn: dict[str, Any], method: str, one_layer: OneLayer) -> None:
    x = picture(drawn.pop("shape"))
    found = one_layer.run(text(method, **drawn), {"x": x})["y"]
    np.testing.assert_allclose(found, pool(x, method, **drawn)[0], rtol=1e-5, atol=1e-5)


@DRAWN
@given(drawn=windows())
def test_any_mask(drawn: dict[str, Any], one_layer: OneLayer) -> None:
    """Of equal values the first wins; nothing but padding gives -1."""
    x = picture(drawn.pop("shape"))
    found = one_layer.run(text("MAX", tops="y mask", **drawn), {"x": x})
    top, mask = pool(x, "MAX", **drawn)
    np.testing.assert_array_equal(found["y"], top)
    np.testing.assert_array_equal(found["mask"], mask)


@pytest.mark.parametrize("method", ["MAX", "AVE"])
def test_global_pooling(method: str, one_layer: OneLayer) -> None:
    x = picture((5, 7))
    found = one_layer.run(f'type: "Pooling" top: "y" pooling_param {{ pool: {method} global_pooling: true }}', {"x": x})
    want = x.max((2, 3)) if method == "MAX" else x.mean((2, 3))
    np.testing.assert_allclose(found["y"], want[..., None, None], rtol=1e-5)


def test_defaults_are_max_stride_1_pad_0(one_layer: OneLayer) -> None:
    x = picture((5, 5))
    found = one_layer.run('type: "Pooling" top: "y" pooling_param { kernel_size: 3 }', {"x": x})["y"]
    np.testing.assert_array_equal(found, pool(x, "MAX", (3, 3), (1, 1), (0, 0))[0])


def test_kernel_size_goes_before_one_of_its_sides(one_layer: OneLayer) -> None:
    """Caffe refuses kernel_size beside both sides only; a single side is then not read."""
    x = picture((5, 5))
    found = one_layer.run('type: "Pooling" top: "y" pooling_param { kernel_size: 3 kernel_h: 2 }', {"x": x})["y"]
    np.testing.assert_array_equal(found, pool(x, "MAX", (3, 3), (1, 1), (0, 0))[0])


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ("", "kernel_size is missing"),
        ("kernel_h: 2", "kernel_h and kernel_w"),
        ("kernel_size: 2 kernel_h: 2 kernel_w: 2", "both set"),
        ("kernel_size: 2 stride: 2 stride_h: 2 stride_w: 2", "both set"),
        ("kernel_size: 2 stride_h: 2", "stride_h and stride_w must be set together"),
        ("kernel_size: 3 pad: 1 pad_h: 1 pad_w: 1", "both set"),
        ("kernel_size: 3 pad_w: 1", "pad_h and pad_w must be set together"),
        ("kernel_size: 2 pad: 2", "smaller than the kernel"),
        ("kernel_size: 0", "at least 1"),
        ("kernel_size: 2 stride: 0", "at least 1"),
        ("global_pooling: true kernel_size: 2", "kernel_size must not be set"),
        ("global_pooling: true pad: 1", "pad 0 and stride 1"),
        ("global_pooling: true stride: 2", "pad 0 and stride 1"),
        ("kernel_size: 2 pool: STOCHASTIC", "STOCHASTIC"),
        ("kernel_size: 20", "leaves nothing"),
        ("kernel_size: 7 stride: 3 round_mode: FLOOR", "leaves nothing"),
    ],
)
def test_what_caffe_refuses(fields: str, words: str, refused: Callable[..., str]) -> None:
    assert words in refused(f'type: "Pooling" top: "y" pooling_param {{ {fields} }}', (1, 2, 5, 5))


def test_other_refusals(refused: Callable[..., str]) -> None:
    assert "only MAX gives a mask" in refused(text("AVE", (2, 2), (2, 2), (0, 0), tops="y mask"), (1, 2, 5, 5))
    assert "3 axes" in refused(text("MAX", (2, 2), (2, 2), (0, 0)), (2, 5, 5))
    assert "3 tops" in refused(text("MAX", (2, 2), (2, 2), (0, 0), tops="y mask z"), (1, 2, 5, 5))
    assert "2 bottoms" in refused(text("MAX", (2, 2), (2, 2), (0, 0)), (1, 2, 5, 5), (1, 2, 5, 5))
