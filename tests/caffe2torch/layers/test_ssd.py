"""Permute, Normalize, PriorBox and DetectionOutput against transcriptions of the forks' loops."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import caffe2torch
from tests.caffe2torch import nets

Arrays = dict[str, np.ndarray]
BOXES = "detection_output_param { num_classes: %d %s }"


def outputs(folder: Path, text: str, feeds: Arrays, kind: str, **options: Any) -> np.ndarray:
    """A net of one layer, whose shape the data may tell: torch's output, which source and ONNX have too."""
    inputs = [nets.given(name, *array.shape) for name, array in feeds.items()]
    module = nets.module(folder, *inputs, nets.layer("layer", kind, " ".join(feeds), "out", text), **options)
    feeds = {name: feeds[name] for name in module.input_names}
    result = nets.run(module, feeds)[0]
    path = folder / "net.onnx"
    caffe2torch.to_onnx(module, path)
    for where, other in (
        ("source", nets.run(nets.printed(module), feeds)),
        ("ONNX", nets.session(path).run(None, feeds)),
    ):
        assert other[0].shape == result.shape, where
        np.testing.assert_allclose(other[0], result, rtol=1e-4, atol=1e-5, err_msg=where)
    return result


@pytest.mark.parametrize(("order", "want"), [((0, 2, 3, 1), (0, 2, 3, 1)), ((3,), (3, 0, 1, 2)), ((), (0, 1, 2, 3))])
def test_permute_puts_axes_that_are_not_named_behind(tmp_path: Path, order: Any, want: Any) -> None:
    x = np.random.default_rng(0).standard_normal((2, 3, 4, 5)).astype(np.float32)
    text = f"permute_param {{ {' '.join(f'order: {axis}' for axis in order)} }}"
    np.testing.assert_array_equal(outputs(tmp_path, text, {"x": x}, "Permute"), x.transpose(want))


def test_permute_in_place_only_where_nothing_moves(tmp_path: Path, refused: Callable[..., str]) -> None:
    moved = 'type: "Permute" top: "in0" permute_param { order: 1 }'
    assert "in place" in refused(moved, (1, 2, 3, 4))
    x = np.arange(24, dtype=np.float32).reshape(1, 2, 3, 4)
    still = nets.layer("layer", "Permute", "x", "x", "permute_param { order: 0 order: 1 }")
    module = nets.module(tmp_path, nets.given("x", *x.shape), still)
    np.testing.assert_array_equal(nets.agree(module, tmp_path, {"x": x})[0], x)


@pytest.mark.parametrize(
    ("order", "words"), [("order: 0 order: 4", "has not"), ("order: 1 order: 1", "names an axis twice")]
)
def test_permute_refuses(refused: Callable[..., str], order: str, words: str) -> None:
    assert words in refused(f'type: "Permute" top: "out" permute_param {{ {order} }}', (1, 2, 3, 4))


@pytest.mark.parametrize("across", [False, True])
@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 4), (2, 3, 4, 5)])
def test_normalize(tmp_path: Path, across: bool, shared: bool, shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    fields = f"across_spatial: {str(across).lower()} channel_shared: {str(shared).lower()} eps: 0.25"
    text = f'norm_param {{ {fields} scale_filler {{ type: "constant" value: 20 }} }}'
    norm = np.sqrt((x**2).sum(tuple(range(1, x.ndim)) if across else 1, keepdims=True) + 0.25)
    np.testing.assert_allclose(outputs(tmp_path, text, {"x": x}, "Normalize"), 20 * x / norm, rtol=1e-5)


@pytest.mark.parametrize("kind", ["L1", "L2"])
def test_normalize_of_caffe_windows_has_four_axes(tmp_path: Path, kind: str) -> None:
    x = np.random.default_rng(2).standard_normal((2, 3)).astype(np.float32)
    text = f'normalize_param {{ normalize_type: "{kind}" }}'
    norm = np.abs(x).sum(1) + 1e-6 if kind == "L1" else np.sqrt((x**2).sum(1) + 1e-6)
    want = (x / norm[:, None])[..., None, None]
    np.testing.assert_allclose(outputs(tmp_path, text, {"x": x}, "Normalize"), want, rtol=1e-5)


def test_normalize_of_synopsys_adds_its_eps_where_ssd_does(one_layer: Any, refused: Callable[..., str]) -> None:
    x = np.random.default_rng(4).standard_normal((1, 3, 2, 2)).astype(np.float32)
    layer = 'type: "Normalize" top: "y" norm_param { eps: 0.5 %s }'
    same = [one_layer.run(layer % more, {"x": x})["y"] for more in ("", "add_eps_before_sqrt: true")]
    np.testing.assert_array_equal(*same)
    assert "add_eps_before_sqrt=false is not" in refused(layer % "add_eps_before_sqrt: false", x.shape)


@pytest.mark.parametrize("kind", ["L1", "L2"])
def test_normalize_gives_its_norm(tmp_path: Path, kind: str) -> None:
    x = np.random.default_rng(3).standard_normal((2, 3, 4, 2)).astype(np.float32)
    text = f'normalize_param {{ normalize_type: "{kind}" }}'
    lines = [nets.given("x", *x.shape), nets.layer("layer", "Normalize", "x", "out norm", text)]
    module = nets.module(tmp_path, *lines, outputs=["out", "norm"])
    norm = np.abs(x).sum(1, keepdims=True) + 1e-6 if kind == "L1" else np.sqrt((x**2).sum(1, keepdims=True) + 1e-6)
    for got, want in zip(nets.agree(module, tmp_path, {"x": x}), (x / norm, norm), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-5)


def test_normalize_without_a_message_is_of_caffe_windows_until_a_scale_or_the_fork_tells(tmp_path: Path) -> None:
    lines = [nets.given("x", 1, 3, 2, 2), nets.layer("layer", "Normalize", "x", "out")]
    assert not nets.module(tmp_path, *lines).state_dict()
    weights = nets.caffemodel(tmp_path / "a.caffemodel", {"layer": [np.full((), 3, np.float32)]}, "Normalize")
    module = caffe2torch.convert(weights, nets.write(tmp_path, *lines))
    assert module.state_dict()["layer.weight"] == 3
    assert nets.module(tmp_path, *lines, fork="ssd").state_dict()["layer.weight"] == 1


def priors(p: dict[str, Any], cells: tuple[int, int], image: tuple[int, int]) -> np.ndarray:
    """PriorBoxLayer::Forward_cpu, box by box."""
    ratios = [1.0]
    for ratio in p.get("aspect_ratio", []):
        if not any(abs(ratio - each) < 1e-6 for each in ratios):
            ratios += [ratio, 1 / ratio] if p.get("flip", True) else [ratio]
    step_h, step_w = p.get("step", (image[0] / cells[0], image[1] / cells[1]))
    rows = []
    for h in range(cells[0]):
        for w in range(cells[1]):
            x, y = (w + p.get("offset", 0.5)) * step_w, (h + p.get("offset", 0.5)) * step_h
            for place, size in enumerate(map(int, p["min_size"])):
                boxes = [(size, size)]
                if "max_size" in p:
                    boxes.append((np.sqrt(size * int(p["max_size"][place])),) * 2)
                boxes += [(size * np.sqrt(r), size / np.sqrt(r)) for r in ratios if abs(r - 1) >= 1e-6]
                for width, height in boxes:
                    left, right = (x - width / 2) / image[1], (x + width / 2) / image[1]
                    rows.append([left, (y - height / 2) / image[0], right, (y + height / 2) / image[0]])
    corners = np.array(rows)
    if p.get("clip"):
        corners = corners.clip(0, 1)
    variance = np.broadcast_to(p.get("variance", [0.1]), corners.shape)
    return np.stack([corners.ravel(), variance.ravel()])[None]


@pytest.mark.parametrize(
    ("text", "p", "image"),
    [
        ("min_size: 4.9", {"min_size": [4.9]}, (30, 40)),
        (
            "min_size: 4 min_size: 7 max_size: 9.5 max_size: 12 aspect_ratio: 2 aspect_ratio: 0.5 aspect_ratio: 1",
            {"min_size": [4, 7], "max_size": [9.5, 12], "aspect_ratio": [2, 0.5, 1]},
            (30, 40),
        ),
        (
            "min_size: 4 aspect_ratio: 3 flip: false clip: true img_size: 20 step: 6 offset: 0",
            {"min_size": [4], "aspect_ratio": [3], "flip": False, "clip": True, "step": (6, 6), "offset": 0},
            (20, 20),
        ),
        (
            "min_size: 4 img_h: 24 img_w: 16 step_h: 3 step_w: 5 variance: .1 variance: .2 variance: .3 variance: .4",
            {"min_size": [4], "step": (3, 5), "variance": [0.1, 0.2, 0.3, 0.4]},
            (24, 16),
        ),
    ],
)
def test_prior_boxes_are_a_constant(tmp_path: Path, text: str, p: dict[str, Any], image: tuple[int, int]) -> None:
    lines = [nets.given("map", 2, 1, 3, 5), nets.given("image", 2, 3, 30, 40)]
    module = nets.module(
        tmp_path, *lines, nets.layer("layer", "PriorBox", "map image", "out", f"prior_box_param {{ {text} }}")
    )
    assert module.input_names == ()
    np.testing.assert_allclose(nets.agree(module, tmp_path, {})[0], priors(p, (3, 5), image), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("max_size: 4", "min_size must be set"),
        ("min_size: 4 max_size: 3", "must be greater"),
        ("min_size: 4 variance: 1 variance: 2", "1 or 4 numbers"),
        ("min_size: 4 img_size: 9 img_h: 9 img_w: 9", "both set"),
        ("min_size: 4 step_h: 9", "above 0"),
    ],
)
def test_prior_box_refuses(refused: Callable[..., str], text: str, words: str) -> None:
    said = refused(f'type: "PriorBox" top: "out" prior_box_param {{ {text} }}', (1, 1, 2, 2), (1, 3, 8, 8))
    assert words in said


def iou(a: np.ndarray, b: np.ndarray) -> float:
    """JaccardOverlap."""
    width, height = (min(a[i + 2], b[i + 2]) - max(a[i], b[i]) for i in (0, 1))
    if width <= 0 or height <= 0:
        return 0.0
    areas = [0 if c[2] < c[0] or c[3] < c[1] else (c[2] - c[0]) * (c[3] - c[1]) for c in (a, b)]
    return float(width * height / (sum(areas) - width * height))


def decoded(code: str, encoded: bool, change: np.ndarray, prior: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """DecodeBBox."""
    if not encoded:
        change = variance * change
    size = np.tile(prior[2:] - prior[:2], 2)
    if code == "CORNER":
        return prior + change
    if code == "CORNER_SIZE":
        return prior + change * size
    centre = (prior[:2] + prior[2:]) / 2 + change[:2] * size[:2]
    half = np.exp(change[2:]) * size[:2] / 2
    return np.concatenate([centre - half, centre + half])


def detections(feeds: Arrays, classes: int, p: dict[str, Any]) -> np.ndarray:
    """DetectionOutputLayer::Forward_cpu."""
    images, shared = len(feeds["score"]), p.get("shared", True)
    prior, variance = feeds["prior"].reshape(2, -1, 4)
    change = feeds["box"].reshape(images, len(prior), 1 if shared else classes, 4)
    scores = feeds["score"].reshape(images, len(prior), classes)
    rows = []
    for image in range(images):
        found: list[tuple[Any, ...]] = []
        for label in range(classes):
            if label == p.get("background", 0):
                continue
            boxes = [
                decoded(p.get("code", "CORNER"), p.get("encoded", False), c[0 if shared else label], q, v)
                for c, q, v in zip(change[image], prior, variance, strict=True)
            ]
            falling = np.argsort(-scores[image, :, label], kind="stable").tolist()
            order = [i for i in falling if scores[image, i, label] > p.get("threshold", -np.inf)][: p.get("top_k")]
            kept: list[int] = []
            limit = p.get("nms", 0.3)
            for i in order:
                if all(iou(boxes[i], boxes[k]) <= limit for k in kept):
                    kept.append(i)
                    if p.get("eta", 1) < 1 and limit > 0.5:
                        limit *= p["eta"]
            found += [(scores[image, i, label], len(found), label, boxes[i]) for i in kept]
            found = [(s, place, *rest) for place, (s, _, *rest) in enumerate(found)]
        if "keep" in p and len(found) > p["keep"]:
            best = sorted(found, key=lambda row: (-row[0], row[1]))[: p["keep"]]
            found = sorted(best, key=lambda row: row[1])
        rows += [[image, label, score, *box] for score, _, label, box in found]
    return np.array(rows or [[i] + [-1] * 6 for i in range(images)])[None, None]


def drawn(seed: int, images: int, boxes: int, classes: int, shared: bool, ties: bool) -> Arrays:
    """Scores of a few values where ``ties``; boxes around a few places, so that they overlap."""
    rng = np.random.default_rng(seed)
    centre = rng.integers(1, 4, (boxes, 2)) / 4 + rng.normal(0, 0.02, (boxes, 2))
    half = rng.uniform(0.05, 0.2, (boxes, 2))
    prior = np.stack([np.hstack([centre - half, centre + half]).ravel(), rng.uniform(0.1, 0.3, 4 * boxes)])
    score = rng.integers(0, 6, (images, boxes * classes)) / 5 if ties else rng.random((images, boxes * classes))
    change = rng.normal(0, 0.7, (images, boxes * 4 * (1 if shared else classes)))
    return {
        name: array.astype(np.float32) for name, array in {"box": change, "score": score, "prior": prior[None]}.items()
    }


VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "plain": ("", {}),
    "centre": ("code_type: CENTER_SIZE confidence_threshold: 0.3", {"code": "CENTER_SIZE", "threshold": 0.3}),
    "corner size": ("code_type: CORNER_SIZE keep_top_k: 5", {"code": "CORNER_SIZE", "keep": 5}),
    "encoded": ("variance_encoded_in_target: true nms_param { nms_threshold: 0.1 }", {"encoded": True, "nms": 0.1}),
    "limits": ("nms_param { top_k: 4 nms_threshold: 0.6 } keep_top_k: 6", {"top_k": 4, "nms": 0.6, "keep": 6}),
    "shrinking": ("nms_param { nms_threshold: 0.9 eta: 0.7 }", {"nms": 0.9, "eta": 0.7}),
    "shrinking, best": (
        "nms_param { nms_threshold: 0.8 eta: 0.9 top_k: 6 } confidence_threshold: 0.4",
        {"nms": 0.8, "eta": 0.9, "top_k": 6, "threshold": 0.4},
    ),
    "eta below a half": ("nms_param { nms_threshold: 0.4 eta: 0.5 }", {"nms": 0.4}),
    "other background": ("background_label_id: 2 code_type: CENTER_SIZE", {"background": 2, "code": "CENTER_SIZE"}),
    "nothing wanted": ("keep_top_k: 0", {"keep": 0}),
    "none before suppression": ("nms_param { top_k: 0 }", {"top_k": 0}),
    "nothing found": ("confidence_threshold: 2", {"threshold": 2}),
}


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("name", VARIANTS)
def test_detection_output_is_caffes(tmp_path: Path, name: str, shared: bool, ties: bool) -> None:
    text, p = VARIANTS[name]
    feeds = drawn(len(name), 3, 12, 3, shared, ties)
    text = BOXES % (3, f"{text} share_location: {str(shared).lower()}")
    want = detections(feeds, 3, {**p, "shared": shared})
    got = outputs(tmp_path, text, feeds, "DetectionOutput")
    assert got.shape == want.shape
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


def test_detection_output_takes_any_number_of_images(tmp_path: Path) -> None:
    feeds = drawn(4, 2, 9, 3, True, False)
    more = drawn(5, 5, 9, 3, True, False) | {"prior": feeds["prior"]}
    lines = [nets.given("score", 2, 27), nets.given("box", 2, 36), nets.given("image", 2, 1, 8, 8)]
    lines.append(nets.given("map", 2, 1, 3, 3))
    lines.append(nets.layer("prior", "PriorBox", "map image", "prior", "prior_box_param { min_size: 3 }"))
    lines.append(nets.layer("out", "DetectionOutput", "box score prior", "out", BOXES % (3, "keep_top_k: 7")))
    module = nets.module(tmp_path, *lines)
    caffe2torch.to_onnx(module, tmp_path / "net.onnx")
    feeds = {name: more[name] for name in module.input_names}
    got = nets.session(tmp_path / "net.onnx").run(None, feeds)[0]
    np.testing.assert_allclose(got, nets.run(module, feeds)[0], rtol=1e-4, atol=1e-5)
    assert set(got[0, 0, :, 0]) == {0, 1, 2, 3, 4}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("detection_output_param { }", "num_classes"),
        (BOXES % (3, "background_label_id: -1"), "background"),
        (BOXES % (3, "nms_param { eta: 0 }"), "eta"),
        (BOXES % (3, "nms_param { eta: 1.5 }"), "eta"),
        (BOXES % (4, ""), "priors want"),
        (BOXES % (3, "objectness_score: 0.5"), "objectness_score"),
    ],
)
def test_detection_output_refuses(refused: Callable[..., str], text: str, words: str) -> None:
    assert words in refused(f'type: "DetectionOutput" top: "out" {text}', (1, 8), (1, 6), (1, 2, 8))


def test_boxes_the_wrong_way_round_overlap_nothing() -> None:
    from caffe2torch.modules.suppression import suppress

    boxes = torch.tensor([[0.0, 0, 1, 1], [0.9, 0, 0.1, 1], [0, 0, 1, 0.9], [0.9, 0, 0.1, 1]])
    assert suppress(boxes, 0.5).tolist() == [0, 1, 3]


@pytest.mark.parametrize("clip", [False, True])
@pytest.mark.parametrize(("more", "step"), [("", (10, 12)), ("step: 8", (8, 8)), ("step_h: 6 step_w: 7", (6, 7))])
def test_clustered_priors(tmp_path: Path, clip: bool, more: str, step: tuple[int, int]) -> None:
    feeds = {"map": np.zeros((1, 2, 3, 2), np.float32), "data": np.zeros((1, 3, 30, 24), np.float32)}
    sides = [(4.5, 9.25), (20, 16)]
    fields = "width: 4.5 width: 20 height: 9.25 height: 16 offset: 0.25 variance: 0.1 variance: 0.2 variance: 0.3"
    text = f"prior_box_param {{ {fields} variance: 0.4 clip: {str(clip).lower()} {more} }}"
    want = []
    for row in range(3):
        for column in range(2):
            y, x = (row + 0.25) * step[0], (column + 0.25) * step[1]
            for width, height in sides:
                want += [(x - width / 2) / 24, (y - height / 2) / 30, (x + width / 2) / 24, (y + height / 2) / 30]
    corners = np.clip(want, 0, 1) if clip else np.array(want)
    got = outputs(tmp_path, text, feeds, "PriorBoxClustered")
    np.testing.assert_allclose(got, np.stack([corners, np.tile([0.1, 0.2, 0.3, 0.4], 12)])[None], atol=1e-6)


@pytest.mark.parametrize("fields", ["width: 3", "width: 3 height: 2 height: 1", "width: 3 height: 0", ""])
def test_clustered_priors_want_a_width_and_a_height_each(refused: Callable[..., str], fields: str) -> None:
    text = f'type: "PriorBoxClustered" top: "out" prior_box_param {{ {fields} }}'
    assert "width and height must be set, as many of each" in refused(text, (1, 2, 3, 2), (1, 3, 30, 24))
