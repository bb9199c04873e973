"""ROIPooling, PSROIPooling, SmoothL1Loss and Proposal against transcriptions of the forks' loops."""

from __future__ import annotations

from collections.abc import Callable
from math import ceil, floor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from caffe2torch.layers.python_proposal import _options
from caffe2torch.modules.proposals import quicksorted
from caffe2torch.registry import LayerError
from tests.caffe2torch import nets
from tests.caffe2torch.layers.test_ssd import Arrays, outputs

F = np.float32


def rounded(value: Any) -> int:
    """C's round: halves away from zero."""
    return int(np.sign(value) * floor(abs(float(value)) + 0.5))


def regions(seed: int, count: int, items: int, size: float) -> np.ndarray:
    """Some outside of the map, some the wrong way round, some with corners at halves."""
    rng = np.random.default_rng(seed)
    corners = np.round(rng.uniform(-0.3 * size, 1.3 * size, (count, 4)) * 2) / 2
    corners[: count // 2] = np.sort(corners[: count // 2].reshape(-1, 2, 2), axis=1).reshape(-1, 4)
    return np.hstack([rng.integers(0, items, (count, 1)), corners]).astype(F)


def max_pooled(x: np.ndarray, rois: np.ndarray, size: tuple[int, int], scale: float) -> np.ndarray:
    """ROIPoolingLayer::Forward_cpu."""
    out = np.zeros((len(rois), x.shape[1], *size), F)
    for n, (item, *corners) in enumerate(rois):
        left, top, right, bottom = (rounded(F(corner) * F(scale)) for corner in corners)
        bin_h, bin_w = (F(max(b - a + 1, 1)) / F(s) for a, b, s in ((top, bottom, size[0]), (left, right, size[1])))
        for ph, pw in np.ndindex(size):
            h0, h1 = (np.clip(f(F(p) * bin_h) + top, 0, x.shape[2]) for f, p in ((floor, ph), (ceil, ph + 1)))
            w0, w1 = (np.clip(f(F(p) * bin_w) + left, 0, x.shape[3]) for f, p in ((floor, pw), (ceil, pw + 1)))
            if h1 > h0 and w1 > w0:
                out[n, :, ph, pw] = x[int(item), :, h0:h1, w0:w1].max((1, 2))
    return out


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (7, 7)])
@pytest.mark.parametrize("scale", [0.0625, 0.25, 1.0])
def test_roi_pooling(tmp_path: Path, size: tuple[int, int], scale: float) -> None:
    x = np.random.default_rng(3).standard_normal((2, 3, 9, 11)).astype(F) - 2
    feeds = {"x": x, "rois": regions(size[1], 24, 2, 10 / scale)}
    text = f"roi_pooling_param {{ pooled_h: {size[0]} pooled_w: {size[1]} spatial_scale: {scale} }}"
    got = outputs(tmp_path, text, feeds, "ROIPooling")
    np.testing.assert_array_equal(got, max_pooled(x, feeds["rois"], size, scale))


def average_pooled(x: np.ndarray, rois: np.ndarray, channels: int, bins: int, scale: float) -> np.ndarray:
    """PSROIPoolingForward of R-FCN's psroi_pooling_layer.cu."""
    out = np.zeros((len(rois), channels, bins, bins), F)
    for n, (item, *corners) in enumerate(rois):
        left, top = (F(rounded(corner)) * F(scale) for corner in corners[:2])
        right, bottom = (F(rounded(corner) + 1) * F(scale) for corner in corners[2:])
        bin_h, bin_w = (F(max(b - a, F(0.1))) / F(bins) for a, b in ((top, bottom), (left, right)))
        for c, ph, pw in np.ndindex(out.shape[1:]):
            h0, h1 = (np.clip(f(F(p) * bin_h + top), 0, x.shape[2]) for f, p in ((floor, ph), (ceil, ph + 1)))
            w0, w1 = (np.clip(f(F(p) * bin_w + left), 0, x.shape[3]) for f, p in ((floor, pw), (ceil, pw + 1)))
            if h1 > h0 and w1 > w0:
                out[n, c, ph, pw] = x[int(item), (c * bins + ph) * bins + pw, h0:h1, w0:w1].mean()
    return out


@pytest.mark.parametrize(("channels", "bins"), [(1, 1), (2, 3), (3, 2)])
@pytest.mark.parametrize("scale", [0.0625, 0.5])
def test_position_sensitive_roi_pooling(tmp_path: Path, channels: int, bins: int, scale: float) -> None:
    x = np.random.default_rng(4).standard_normal((2, channels * bins**2, 9, 11)).astype(F)
    feeds = {"x": x, "rois": regions(bins, 16, 2, 10 / scale)}
    text = f"psroi_pooling_param {{ spatial_scale: {scale} output_dim: {channels} group_size: {bins} }}"
    want = average_pooled(x, feeds["rois"], channels, bins, scale)
    np.testing.assert_allclose(outputs(tmp_path, text, feeds, "PSROIPooling"), want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("kind", "text", "words"),
    [
        ("ROIPooling", "roi_pooling_param { pooled_h: 2 }", "pooled_h and pooled_w"),
        ("ROIPooling", "roi_pooling_param { pooled_h: 2 pooled_w: 2 pooled_size: 3 }", "pooled_size"),
        ("PSROIPooling", "psroi_pooling_param { spatial_scale: 1 output_dim: 2 group_size: 2 }", "8 channels"),
    ],
)
def test_pooling_of_regions_refuses(refused: Callable[..., str], kind: str, text: str, words: str) -> None:
    assert words in refused(f'type: "{kind}" top: "out" {text}', (1, 3, 4, 4), (2, 5))


def test_regions_have_five_numbers(refused: Callable[..., str]) -> None:
    text = 'type: "ROIPooling" top: "out" roi_pooling_param { pooled_h: 2 pooled_w: 2 }'
    assert "5 numbers" in refused(text, (1, 3, 4, 4), (2, 4))


@pytest.mark.parametrize("sigma", [None, 3])
@pytest.mark.parametrize("weights", [0, 2])
def test_smooth_l1(tmp_path: Path, sigma: int | None, weights: int) -> None:
    rng = np.random.default_rng(5)
    feeds = {name: rng.normal(0, 1, (3, 4, 2, 2)).astype(F) for name in "abcd"[: 2 + weights]}
    text = f"smooth_l1_loss_param {{ sigma: {sigma} }}" if sigma else ""
    square = (sigma or 1) ** 2
    difference = (feeds["a"] - feeds["b"]) * feeds.get("c", F(1))
    size = np.abs(difference)
    losses = np.where(size < 1 / square, size**2 * square / 2, size - 0.5 / square) * feeds.get("d", F(1))
    got = outputs(tmp_path, text, feeds, "SmoothL1Loss", outputs=["out"])
    np.testing.assert_allclose(got, losses.sum() / 3, rtol=1e-4)


def test_smooth_l1_wants_both_weights(tmp_path: Path) -> None:
    lines = [nets.given(name, 2, 3) for name in "abc"]
    with pytest.raises(Exception, match="inside and outside"):
        nets.module(tmp_path, *lines, nets.layer("layer", "SmoothL1Loss", "a b c", "out"), outputs=["out"])


def c_quicksort(scores: list[float], most: int) -> list[int]:
    """sort_box of PVANet: the order it leaves, sorted as far as ``most``."""
    a, order = list(scores), list(range(len(scores)))

    def swap(i: int, j: int) -> None:
        a[i], a[j] = a[j], a[i]
        order[i], order[j] = order[j], order[i]

    stack = [(0, len(a) - 1)]
    while stack:
        start, end = stack.pop()
        pivot, left, right = a[start], start + 1, end
        while left <= right:
            while left <= end and a[left] >= pivot:
                left += 1
            while right > start and a[right] <= pivot:
                right -= 1
            if left <= right:
                swap(left, right)
                left, right = left + 1, right - 1
        if right > start:
            swap(start, right)
        if start < right - 1:
            stack.append((start, right - 1))
        if right + 1 < most and right + 1 < end:
            stack.append((right + 1, end))
    return order


@pytest.mark.parametrize("seed", range(20))
def test_the_quicksort_leaves_equal_scores_as_caffes_does(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for count in (1, 2, 7, 40):
        scores = rng.integers(0, seed // 2 + 2, count).astype(F)
        most = int(rng.integers(1, count + 1))
        want = c_quicksort(scores.tolist(), most)
        assert quicksorted(torch.from_numpy(scores))[:most].tolist() == want[:most]


def candidates(anchors: np.ndarray, feeds: Arrays, stride: int, item: int) -> tuple[np.ndarray, np.ndarray]:
    """All boxes, clipped, and their scores, by row, column and anchor."""
    info, height, width = feeds["info"].ravel(), *feeds["change"].shape[2:]
    count = len(anchors)
    boxes, scores = [], []
    for h, w, k in np.ndindex(height, width, count):
        box = anchors[k] + np.array([w, h, w, h]) * stride
        dx, dy, dw, dh = feeds["change"][item, 4 * k : 4 * k + 4, h, w].astype(float)
        size = box[2:] - box[:2] + 1
        centre = box[:2] + size / 2 + np.array([dx, dy]) * size
        half = np.exp([dw, dh]) * size / 2
        limit = np.array([info[1], info[0]] * 2) - 1
        boxes.append(np.maximum(np.minimum(np.concatenate([centre - half, centre + half]), limit), 0))
        scores.append(feeds["score"][item, count + k, h, w])
    return np.array(boxes, F), np.array(scores, F)


def survivors(boxes: np.ndarray, overlap: float, most: int) -> list[int]:
    """Greedy suppression, the best first, with the last pixel part of a box."""
    kept: list[int] = []
    for place, box in enumerate(boxes):
        for other in boxes[kept]:
            common = np.maximum(np.minimum(box[2:], other[2:]) - np.maximum(box[:2], other[:2]) + 1, 0).prod()
            areas = [(each[2:] - each[:2] + 1).prod() for each in (box, other)]
            if common / (sum(areas) - common) > overlap:
                break
        else:
            kept.append(place)
        if len(kept) == most:
            break
    return kept


def network(seed: int, items: int, anchors: int, info: list[float], ties: bool = False) -> Arrays:
    rng = np.random.default_rng(seed)
    score = rng.random((items, 2 * anchors, 4, 5))
    return {
        "score": (np.round(score * 8) / 8 if ties else score).astype(F),
        "change": rng.normal(0, 0.4, (items, 4 * anchors, 4, 5)).astype(F),
        "info": np.array([info], F),
    }


def pvanet_anchors(base: int, ratios: list[float], scales: list[float]) -> np.ndarray:
    found = []
    for ratio in ratios:
        width = np.sqrt(base**2 / ratio)
        for scale in scales:
            half = [0.5 * int(side * scale / base - 1 + 0.5) for side in (width, width * ratio)]
            found.append([(base - 1) / 2 + sign * side for sign in (-1, 1) for side in half])
    return np.array(found)


PVANET = (
    "proposal_param { ratio: 0.5 ratio: 1 scale: 12 scale: 30 base_size: 16 feat_stride: 16 min_size: %d "
    "pre_nms_topn: %d post_nms_topn: %d nms_thresh: %s }"
)


def run_proposal(folder: Path, kind: str, text: str, feeds: Arrays, **options: Any) -> list[np.ndarray]:
    """Regions and scores by torch, after the printed source and ONNX were found to give the same."""
    import caffe2torch

    inputs = [nets.given(name, *array.shape) for name, array in feeds.items()]
    layer = nets.layer("layer", kind, "score change info", "rois best", text)
    module = nets.module(folder, *inputs, layer, outputs=["rois", "best"], **options)
    results = nets.run(module, feeds)
    caffe2torch.to_onnx(module, folder / "net.onnx")
    for others in (nets.run(nets.printed(module), feeds), nets.session(folder / "net.onnx").run(None, feeds)):
        for got, want in zip(others, results, strict=True):
            assert got.shape == want.shape
            np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)
    return results


@pytest.mark.parametrize("fork", [None, "inisis", "caffe-windows"])
@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize(("least", "before", "after"), [(1, 60, 10), (16, 1000, 200), (50, 30, 100)])
def test_proposal_of_pvanet(tmp_path: Path, fork: str | None, ties: bool, least: int, before: int, after: int) -> None:
    feeds = network(least, 2, 4, [64, 80, 1.5, 0.8], ties)
    got, best = run_proposal(tmp_path, "Proposal", PVANET % (least, before, after, 0.6), feeds, fork=fork)
    anchors = pvanet_anchors(16, [0.5, 1], [12, 30])
    scale = np.array([0.8, 1.5]) if fork == "caffe-windows" else 1
    rows, scores = [], []
    for item in range(2):
        boxes, score = candidates(anchors, feeds, 16, item)
        score = score * (boxes[:, 2:] - boxes[:, :2] + 1 >= F(least) * scale).all(1)
        order = np.array(c_quicksort(score.tolist(), before))[:before]
        order = order[survivors(boxes[order], 0.6, after)]
        rows += [[item, *box] for box in boxes[order]]
        scores += score[order].tolist()
    assert got.shape == (len(rows), 5)
    np.testing.assert_allclose(got, rows, rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(best, scores, rtol=1e-5)


def python_layer(text: str) -> str:
    return f'python_param {{ module: "rpn.proposal_layer" layer: "ProposalLayer" param_str: "{text}" }}'


@pytest.mark.parametrize("scale", [0.5, 2.0, 100.0])
def test_proposal_of_py_faster_rcnn(tmp_path: Path, scale: float) -> None:
    feeds = network(7, 1, 6, [64, 80, scale])
    text = python_layer("{'feat_stride': 16, 'scales': [1, 3]}")
    got, best = run_proposal(tmp_path, "Python", text, feeds)
    sides = [(23, 12), (16, 16), (11, 22)]  # 16 x 16 in the ratios 0.5, 1 and 2, rounded
    anchors = np.array(
        [[7.5 + sign * 0.5 * (side * s - 1) for sign in (-1, 1) for side in pair] for pair in sides for s in (1, 3)]
    )
    boxes, score = candidates(anchors, feeds, 16, 0)
    large = (boxes[:, 2:] - boxes[:, :2] + 1 >= 16 * scale).all(1)
    boxes, score = boxes[large], score[large]
    order = np.argsort(-score, kind="stable")
    order = order[survivors(boxes[order], 0.7, 300)]
    assert got.shape == (len(order), 5)
    assert (len(order) == 0) == (scale == 100)
    np.testing.assert_allclose(got[:, 1:], boxes[order], rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(best[:, 0], score[order], rtol=1e-5)


@pytest.mark.parametrize(
    "text",
    [
        "'feat_stride': 16\n'scales': !!python/tuple [1, 3]",
        "{feat_stride: 16, scales: [1, 3]}",
        "feat_stride: 16\nscales:\n  - 1\n  - 3",
        "scales:\n- 1\n- 3.0\nfeat_stride: 16\n",
        "'scales': !!python/tuple\n- 1\n- 3\n'feat_stride': 16",
    ],
)
def test_ways_to_write_param_str(text: str) -> None:
    assert _options(text) == {"feat_stride": 16.0, "scales": [1.0, 3.0]}


def test_a_module_within_lib(tmp_path: Path) -> None:
    feeds = network(7, 1, 6, [64, 80, 1])
    text = python_layer("'feat_stride': 16\\n'scales': [1, 3]").replace('"rpn.', '"lib.rpn.')
    assert len(run_proposal(tmp_path, "Python", text, feeds)) == 2


def test_regions_flow_on_into_pooling(tmp_path: Path) -> None:
    feeds = network(8, 1, 9, [64, 80, 1]) | {"x": np.random.default_rng(9).standard_normal((1, 3, 4, 5)).astype(F)}
    lines = [nets.given(name, *array.shape) for name, array in feeds.items()]
    lines.append(nets.layer("p", "Python", "score change info", "rois", python_layer("'feat_stride': 16")))
    pooling = "roi_pooling_param { pooled_h: 2 pooled_w: 2 spatial_scale: 0.0625 }"
    lines.append(nets.layer("pool", "ROIPooling", "x rois", "pool", pooling))
    fc = 'inner_product_param { num_output: 4 weight_filler { type: "xavier" } }'
    lines.append(nets.layer("fc", "InnerProduct", "pool", "fc", fc))
    module = nets.module(tmp_path, *lines)
    import caffe2torch

    caffe2torch.to_onnx(module, tmp_path / "net.onnx")
    got = nets.session(tmp_path / "net.onnx").run(None, {name: feeds[name] for name in module.input_names})[0]
    np.testing.assert_allclose(got, nets.run(module, feeds)[0], rtol=1e-4, atol=1e-4)
    assert 1 < len(got) < 300


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("proposal_param { ratio: 1 }", "scale must be set"),
        ("proposal_param { ratio: 1 scale: 8 }", "1 anchors want 2 channels"),
        ("proposal_param { ratio: 1 scale: 8 post_nms_topn: 0 }", "above 0"),
        ("proposal_param { anchor_scale: 3 }", "Synopsys"),
    ],
)
def test_proposal_refuses(refused: Callable[..., str], text: str, words: str) -> None:
    shapes = ((1, 2, 2, 2), (1, 4, 2, 2), (1, 3)) if "above" in words else ((1, 4, 2, 2), (1, 8, 2, 2), (1, 3))
    assert words in refused(f'type: "Proposal" top: "out" {text}', *shapes)


def test_a_python_layer_takes_one_picture(refused: Callable[..., str]) -> None:
    text = f'type: "Python" top: "out" {python_layer("feat_stride: 16")}'
    assert "one picture" in refused(text, (2, 18, 2, 2), (2, 36, 2, 2), (1, 3))


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("'feat_stride': 16", {"feat_stride": 16}),
        ("feat_stride: 8\nscales: [4, 8.5]", {"feat_stride": 8, "scales": [4, 8.5]}),
        ('{"feat_stride": 16, "scales": [2]}', {"feat_stride": 16, "scales": [2]}),
        ("", {}),
    ],
)
def test_options_of_a_python_layer(text: str, want: dict[str, Any]) -> None:
    assert _options(text) == want


@pytest.mark.parametrize("text", ["ratios: [1, 2]", "feat_stride: !!python/object:os.system", "feat_stride"])
def test_options_that_are_not_understood_are_refused(text: str) -> None:
    with pytest.raises(LayerError, match="feat_stride and scales"):
        _options(text)
