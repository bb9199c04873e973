"""The losses and Accuracy against transcriptions of Caffe's forward passes, number by number."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import caffe2torch
from caffe2torch import folder as folders
from caffe2torch.conversion import graph_of
from caffe2torch.schema import message

FLT_MIN = float(np.finfo(np.float32).tiny)
IGNORED = 255
Arrays = dict[str, np.ndarray]


@pytest.fixture
def generator() -> np.random.Generator:
    return np.random.default_rng(7)


def normal(generator: np.random.Generator, *shape: int) -> np.ndarray:
    return (2 * generator.normal(size=shape)).astype(np.float32)


def labels(generator: np.random.Generator, classes: int, *shape: int, ignored: float = 0.0) -> np.ndarray:
    found = generator.integers(0, classes, shape)
    found[generator.random(shape) < ignored] = IGNORED
    return found.astype(np.float32)


def softmax(x: np.ndarray, axis: int) -> np.ndarray:
    e = np.exp(x.astype(np.float64) - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def cells(x: np.ndarray, label: np.ndarray, axis: int) -> list[tuple[np.ndarray, int]]:
    """For each label: the scores of all classes at its place, and the label as a C cast makes it."""
    outer = int(np.prod(x.shape[:axis]))
    scores = x.reshape(outer, x.shape[axis], -1)
    flat = label.reshape(outer, -1)
    return [(scores[i, :, j], int(flat[i, j])) for i in range(outer) for j in range(flat.shape[1])]


def divisor(mode: str, x: np.ndarray, axis: int, total: int, valid: int) -> int:
    outer = int(np.prod(x.shape[:axis]))
    return max(1, {"FULL": total, "VALID": valid, "BATCH_SIZE": outer, "NONE": 1}[mode])


def softmax_loss(inputs: Arrays, axis: int, mode: str, ignore: int | None = None) -> float:
    x, label = inputs.values()
    every = cells(softmax(x, axis), label, axis)
    valid = [(p, k) for p, k in every if k != ignore]
    return sum(-np.log(max(p[k], FLT_MIN)) for p, k in valid) / divisor(mode, x, axis, len(every), len(valid))


def infogain_loss(inputs: Arrays, axis: int, mode: str, matrix: np.ndarray, ignore: int | None = None) -> float:
    x, label = list(inputs.values())[:2]
    every = cells(softmax(x, axis), label, axis)
    valid = [(p, k) for p, k in every if k != ignore]
    total = sum(-(matrix[k] * np.log(np.maximum(p, 1e-20))).sum() for p, k in valid)
    return total / divisor(mode, x, axis, len(every), len(valid))


def sigmoid_loss(inputs: Arrays, mode: str, ignore: int | None = None) -> float:
    x, target = (array.astype(np.float64).ravel() for array in inputs.values())
    total, valid = 0.0, 0
    for value, wanted in zip(x, target, strict=True):
        if ignore is None or int(wanted) != ignore:
            total -= value * (wanted - (value >= 0)) - np.log(1 + np.exp(value - 2 * value * (value >= 0)))
            valid += 1
    first = next(iter(inputs.values()))
    return total / divisor(mode, first, 1, len(x), valid)


def accuracy(inputs: Arrays, axis: int, top_k: int = 1, ignore: int | None = None) -> tuple[float, np.ndarray]:
    x, label = inputs.values()
    hits, counts = np.zeros(x.shape[axis]), np.zeros(x.shape[axis])
    for scores, k in cells(x, label, axis):
        if k != ignore:
            counts[k] += 1
            hits[k] += (scores >= scores[k]).sum() - 1 < top_k
    return hits.sum() / max(counts.sum(), 1), hits / np.maximum(counts, 1)


SHAPES = {
    "classes": ((6, 4), (6,), 1),
    "labels with axes behind": ((6, 4), (6, 1, 1, 1), 1),
    "maps": ((2, 4, 3, 5), (2, 1, 3, 5), 1),
    "maps without a channel axis": ((2, 4, 3, 5), (2, 3, 5), 1),
    "last axis": ((2, 3, 4), (2, 3), -1),
    "axis 2 of 4": ((2, 3, 4, 5), (2, 3, 5), 2),
    "volumes": ((2, 4, 2, 2, 3), (2, 2, 2, 3), 1),
}
MODES = ["FULL", "VALID", "BATCH_SIZE", "NONE"]


def closely(got: np.ndarray, wanted: Any) -> None:
    np.testing.assert_allclose(got, wanted, rtol=2e-5, atol=1e-5)


@pytest.mark.parametrize("shapes", SHAPES.values(), ids=SHAPES)
def test_softmax_loss_axes(one_layer: Any, generator: np.random.Generator, shapes: Any) -> None:
    scores, places, axis = shapes
    inputs = {"x": normal(generator, *scores), "label": labels(generator, 4, *places)}
    given = one_layer.run(f'type: "SoftmaxWithLoss" top: "loss" softmax_param {{ axis: {axis} }}', inputs)
    assert given["loss"].shape == ()
    closely(given["loss"], softmax_loss(inputs, axis % len(scores), "VALID"))


@pytest.mark.parametrize("ignored", [0.4, 1.0])
@pytest.mark.parametrize("mode", MODES)
def test_softmax_loss_normalization(one_layer: Any, generator: np.random.Generator, mode: str, ignored: float) -> None:
    inputs = {"x": normal(generator, 2, 4, 3, 5), "label": labels(generator, 4, 2, 1, 3, 5, ignored=ignored)}
    param = f"loss_param {{ ignore_label: {IGNORED} normalization: {mode} }}"
    given = one_layer.run(f'type: "SoftmaxWithLoss" top: "loss" {param}', inputs)
    closely(given["loss"], softmax_loss(inputs, 1, mode, IGNORED))


@pytest.mark.parametrize(
    ("fields", "mode"),
    [
        ("normalize: true", "VALID"),
        ("normalize: false", "BATCH_SIZE"),
        ("normalize: false normalization: FULL", "FULL"),
    ],
)
@pytest.mark.parametrize("layer", ["SoftmaxWithLoss", "SigmoidCrossEntropyLoss"])
def test_old_normalize(one_layer: Any, generator: np.random.Generator, layer: str, fields: str, mode: str) -> None:
    x = normal(generator, 2, 4, 3)
    given = generator.random(x.shape) if layer.startswith("Sigmoid") else generator.integers(0, 4, (2, 3))
    inputs = {"x": x, "label": given.astype(np.float32)}
    loss = one_layer.run(f'type: "{layer}" top: "loss" loss_param {{ {fields} }}', inputs)["loss"]
    closely(loss, sigmoid_loss(inputs, mode) if layer.startswith("Sigmoid") else softmax_loss(inputs, 1, mode))


def test_softmax_loss_gives_the_softmax_too(one_layer: Any, generator: np.random.Generator) -> None:
    inputs = {"x": normal(generator, 3, 4), "label": labels(generator, 4, 3)}
    layer = 'type: "SoftmaxWithLoss" top: "loss" top: "prob" loss_weight: 1 loss_weight: 0'
    given = one_layer.run(layer, inputs)
    closely(given["loss"], softmax_loss(inputs, 1, "VALID"))
    closely(given["prob"], softmax(inputs["x"], 1))


def test_loss_weight_does_not_change_the_blob(one_layer: Any, generator: np.random.Generator) -> None:
    inputs = {"x": normal(generator, 3, 4), "label": labels(generator, 4, 3)}
    given = one_layer.run('type: "SoftmaxWithLoss" top: "loss" loss_weight: 3', inputs)
    closely(given["loss"], softmax_loss(inputs, 1, "VALID"))


def test_a_softmax_of_zero_counts_as_the_smallest_normal_number(one_layer: Any) -> None:
    inputs = {"x": np.array([[3e38, -3e38, 0], [90, 0, 0]], np.float32), "label": np.array([1, 1], np.float32)}
    given = one_layer.run('type: "SoftmaxWithLoss" top: "loss" loss_param { normalization: NONE }', inputs)
    closely(given["loss"], -2 * np.log(FLT_MIN))


def test_labels_are_cut_to_whole_numbers(one_layer: Any, generator: np.random.Generator) -> None:
    x = normal(generator, 3, 4)
    layer = 'type: "SoftmaxWithLoss" top: "loss"'
    given = one_layer.run(layer, {"x": x, "label": np.array([1.9, -0.5, 2.1], np.float32)})
    closely(given["loss"], softmax_loss({"x": x, "label": np.array([1.0, 0.0, 2.0])}, 1, "VALID"))


def test_gradient_does_not_stop_at_the_floor(one_layer: Any) -> None:
    """Caffe's gradient is softmax minus one at the label, however small the softmax is."""
    import torch

    inputs = {"x": np.array([[200, 0, -200]], np.float32), "label": np.array([2], np.float32)}
    module = one_layer.convert('type: "SoftmaxWithLoss" top: "loss"', inputs)
    x = torch.from_numpy(inputs["x"]).requires_grad_()
    module(x, torch.from_numpy(inputs["label"])).backward()
    assert x.grad is not None
    closely(x.grad.numpy(), [[1, 0, -1]])


@pytest.mark.parametrize("mode", MODES)
def test_sigmoid_loss(one_layer: Any, generator: np.random.Generator, mode: str) -> None:
    inputs = {"x": normal(generator, 3, 4, 2), "target": generator.random((3, 4, 2)).astype(np.float32)}
    layer = f'type: "SigmoidCrossEntropyLoss" top: "loss" loss_param {{ normalization: {mode} }}'
    closely(one_layer.run(layer, inputs)["loss"], sigmoid_loss(inputs, mode))


@pytest.mark.parametrize("ignored", [0.4, 1.0])
@pytest.mark.parametrize("mode", MODES)
def test_sigmoid_loss_ignores(one_layer: Any, generator: np.random.Generator, mode: str, ignored: float) -> None:
    inputs = {"x": normal(generator, 3, 4), "target": labels(generator, 2, 3, 4, ignored=ignored)}
    param = f"loss_param {{ ignore_label: {IGNORED} normalization: {mode} }}"
    layer = f'type: "SigmoidCrossEntropyLoss" top: "loss" {param}'
    closely(one_layer.run(layer, inputs)["loss"], sigmoid_loss(inputs, mode, IGNORED))


def test_sigmoid_loss_divides_by_the_batch_size_and_reshapes(one_layer: Any, generator: np.random.Generator) -> None:
    inputs = {"x": normal(generator, 3, 4), "target": generator.random((3, 2, 2)).astype(np.float32)}
    given = one_layer.run('type: "SigmoidCrossEntropyLoss" top: "loss"', inputs)
    closely(given["loss"], sigmoid_loss(inputs, "BATCH_SIZE"))


@pytest.mark.parametrize("shapes", SHAPES.values(), ids=SHAPES)
def test_infogain_axes(one_layer: Any, generator: np.random.Generator, shapes: Any) -> None:
    scores, places, axis = shapes
    matrix = normal(generator, 1, 1, 4, 4)
    inputs = {"x": normal(generator, *scores), "label": labels(generator, 4, *places), "H": matrix}
    given = one_layer.run(f'type: "InfogainLoss" top: "loss" infogain_loss_param {{ axis: {axis} }}', inputs)
    closely(given["loss"], infogain_loss(inputs, axis % len(scores), "VALID", matrix.reshape(4, 4)))


@pytest.mark.parametrize("mode", MODES)
def test_infogain_normalization(one_layer: Any, generator: np.random.Generator, mode: str) -> None:
    inputs = {
        "x": 40 * normal(generator, 2, 3, 4),  # some softmaxes are below 1e-20
        "label": labels(generator, 3, 2, 4, ignored=0.4),
        "H": normal(generator, 9),
    }
    param = f"loss_param {{ ignore_label: {IGNORED} normalization: {mode} }}"
    weights = "loss_weight: 1 loss_weight: 0"
    given = one_layer.run(f'type: "InfogainLoss" top: "loss" top: "prob" {weights} {param}', inputs)
    closely(given["loss"], infogain_loss(inputs, 1, mode, inputs["H"].reshape(3, 3), IGNORED))
    closely(given["prob"], softmax(inputs["x"], 1))


def write_matrix(path: Path, matrix: np.ndarray) -> None:
    blob: Any = message("BlobProto")(num=1, channels=1, height=matrix.shape[0], width=matrix.shape[1])
    blob.data.extend(matrix.ravel().tolist())
    path.write_bytes(blob.SerializeToString())


INFOGAIN_FILE = 'type: "InfogainLoss" top: "loss" infogain_loss_param { source: "%s" }'


def test_infogain_matrix_from_a_file(one_layer: Any, generator: np.random.Generator, tmp_path: Path) -> None:
    matrix = normal(generator, 4, 4)
    (tmp_path / "data").mkdir()
    write_matrix(tmp_path / "data" / "H.binaryproto", matrix)
    inputs = {"x": normal(generator, 3, 4), "label": labels(generator, 4, 3)}
    given = one_layer.run(INFOGAIN_FILE % "data/H.binaryproto", inputs)
    closely(given["loss"], infogain_loss(inputs, 1, "VALID", matrix))


def test_a_converted_folder_keeps_the_matrix(generator: np.random.Generator, tmp_path: Path) -> None:
    import torch

    matrix = normal(generator, 3, 3)
    write_matrix(tmp_path / "H.binaryproto", matrix)
    prototxt = tmp_path / "net.prototxt"
    prototxt.write_text(
        'input: "x" input_shape { dim: 2 dim: 3 } input: "label" input_shape { dim: 2 }\n'
        'layer { name: "loss" bottom: "x" bottom: "label" ' + INFOGAIN_FILE % "H.binaryproto" + " }"
    )
    folders.save(folders.from_caffemodel(None, prototxt, outputs=["loss"]), tmp_path / "out")
    (tmp_path / "H.binaryproto").unlink()
    inputs = {"x": normal(generator, 2, 3), "label": labels(generator, 3, 2)}
    module = folders.load(tmp_path / "out").module()
    loss = module(*(torch.from_numpy(array) for array in inputs.values()))
    closely(loss.numpy(), infogain_loss(inputs, 1, "VALID", matrix))


@pytest.mark.parametrize(
    "source", ["../H.binaryproto", "missing.binaryproto", "link.binaryproto", "damaged.binaryproto"]
)
def test_infogain_matrix_that_is_not_read(refused: Callable[..., str], tmp_path: Path, source: str) -> None:
    outside = tmp_path.parent / "H.binaryproto"
    write_matrix(outside, np.eye(4, dtype=np.float32))
    (tmp_path / "link.binaryproto").symlink_to(outside)
    (tmp_path / "damaged.binaryproto").write_bytes(b"\x2a\xff")
    words = refused(INFOGAIN_FILE % source, (3, 4), (3,))
    assert "layer (InfogainLoss)" in words
    assert ("leads out of" in words) == (source in ("../H.binaryproto", "link.binaryproto"))
    assert source in words or "infogain matrix cannot be read" in words


def test_infogain_matrix_of_another_size(refused: Callable[..., str], tmp_path: Path) -> None:
    write_matrix(tmp_path / "H.binaryproto", np.eye(5, dtype=np.float32))
    assert "25 numbers" in refused(INFOGAIN_FILE % "H.binaryproto", (3, 4), (3,))


@pytest.mark.parametrize("shapes", [((5,), (5,)), ((3, 4), (3, 4)), ((3, 4), (3, 2, 2)), ((2, 3, 2, 2), (2, 12))])
def test_euclidean(one_layer: Any, generator: np.random.Generator, shapes: Any) -> None:
    inputs = {"a": normal(generator, *shapes[0]), "b": normal(generator, *shapes[1])}
    given = one_layer.run('type: "EuclideanLoss" top: "loss"', inputs)
    closely(given["loss"], ((inputs["a"].ravel() - inputs["b"].ravel()) ** 2).sum() / shapes[0][0] / 2)


@pytest.mark.parametrize("norm", ["L1", "L2"])
@pytest.mark.parametrize("places", [(3,), (3, 1, 1, 1), (3, 2)])
def test_hinge(one_layer: Any, generator: np.random.Generator, norm: str, places: tuple[int, ...]) -> None:
    inputs = {"x": normal(generator, 3, 2, 2), "label": labels(generator, 4, *places)}
    signed = inputs["x"].reshape(3, 4).copy()
    for row, label in enumerate(inputs["label"].ravel()[:3]):  # Caffe reads the first three, wherever they lie
        signed[row, int(label)] *= -1
    margins = np.maximum(0, 1 + signed)
    given = one_layer.run(f'type: "HingeLoss" top: "loss" hinge_loss_param {{ norm: {norm} }}', inputs)
    closely(given["loss"], (margins if norm == "L1" else margins**2).sum() / 3)


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("shapes", [((5, 3), (5, 3, 1, 1), (5,)), ((5,), (5,), (5, 1)), ((2, 3), (2, 3), (4,))])
def test_contrastive(one_layer: Any, generator: np.random.Generator, shapes: Any, legacy: bool) -> None:
    inputs = {"a": normal(generator, *shapes[0]), "b": normal(generator, *shapes[1])}
    inputs["alike"] = np.resize(np.array([1, 0, 0.9, -2, 0], np.float32), shapes[2])
    margin, total = 2.5, 0.0
    rows = (inputs["a"] - inputs["b"].reshape(shapes[0])).reshape(shapes[0][0], -1).astype(np.float64)
    for difference, alike in zip(rows, inputs["alike"].ravel(), strict=False):
        square = (difference**2).sum()
        if int(alike):
            total += square
        else:
            total += max(margin - square, 0) if legacy else max(margin - np.sqrt(square), 0) ** 2
    param = f"contrastive_loss_param {{ margin: {margin} legacy_version: {str(legacy).lower()} }}"
    given = one_layer.run(f'type: "ContrastiveLoss" top: "loss" {param}', inputs)
    closely(given["loss"], total / len(rows) / 2)


def test_contrastive_gradient_of_equal_pairs(one_layer: Any) -> None:
    import torch

    shapes = {"a": (2, 3), "b": (2, 3), "alike": (2,)}
    inputs = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
    module = one_layer.convert('type: "ContrastiveLoss" top: "loss"', inputs)
    a = torch.zeros(2, 3, requires_grad=True)
    module(a, torch.zeros(2, 3), torch.zeros(2)).backward()
    assert a.grad is not None
    assert a.grad.tolist() == [[0.0] * 3] * 2


@pytest.mark.parametrize("shapes", [((3, 4), (3,)), ((3, 2, 2), (3, 1, 1)), ((3, 4, 1, 1), (3, 1, 1, 1))])
def test_multinomial(one_layer: Any, generator: np.random.Generator, shapes: Any) -> None:
    p = generator.dirichlet(np.ones(4), 3).astype(np.float32)
    p[0] = [0, 0, 0, 1]
    label = np.array([1, 3, 0], np.float32)
    given = one_layer.run(
        'type: "MultinomialLogisticLoss" top: "loss"', {"p": p.reshape(shapes[0]), "label": label.reshape(shapes[1])}
    )
    closely(given["loss"], sum(-np.log(max(p[row, int(k)], 1e-20)) for row, k in enumerate(label)) / 3)


@pytest.mark.parametrize("shapes", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("top_k", [1, 3])
def test_accuracy(one_layer: Any, generator: np.random.Generator, shapes: Any, top_k: int) -> None:
    scores, places, axis = shapes
    x = generator.integers(0, 5, scores).astype(np.float32)  # with ties
    inputs = {"x": x, "label": labels(generator, 4, *places)}
    param = f"accuracy_param {{ axis: {axis} top_k: {top_k} }}"
    given = one_layer.run(f'type: "Accuracy" top: "all" top: "each" {param}', inputs)
    overall, each = accuracy(inputs, axis % len(scores), top_k)
    closely(given["all"], overall)
    closely(given["each"], each)


@pytest.mark.parametrize("ignored", [0.4, 1.0])
@pytest.mark.parametrize("tops", ['top: "all"', 'top: "all" top: "each"'])
def test_accuracy_ignores(one_layer: Any, generator: np.random.Generator, tops: str, ignored: float) -> None:
    inputs = {"x": normal(generator, 2, 4, 3, 5), "label": labels(generator, 4, 2, 1, 3, 5, ignored=ignored)}
    given = one_layer.run(f'type: "Accuracy" {tops} accuracy_param {{ ignore_label: {IGNORED} }}', inputs)
    overall, each = accuracy(inputs, 1, ignore=IGNORED)
    closely(given["all"], overall)
    if "each" in given:
        closely(given["each"], each)


@pytest.mark.parametrize(
    ("layer", "shapes"),
    [
        ('type: "SoftmaxWithLoss" top: "loss" loss_param { ignore_label: 1 }', [(2, 4, 3), (2, 3)]),
        ('type: "SoftmaxWithLoss" top: "loss" loss_param { normalization: FULL }', [(2, 4, 3), (2, 3)]),
        ('type: "SigmoidCrossEntropyLoss" top: "loss"', [(2, 4), (2, 2, 2)]),
        ('type: "EuclideanLoss" top: "loss"', [(2, 4), (2, 2, 2)]),
        ('type: "HingeLoss" top: "loss"', [(2, 4), (2,)]),
        ('type: "ContrastiveLoss" top: "loss"', [(2, 4), (2, 4), (2,)]),
        ('type: "MultinomialLogisticLoss" top: "loss"', [(2, 4), (2,)]),
        ('type: "Accuracy" top: "all" top: "each"', [(2, 4, 3), (2, 3)]),
    ],
)
def test_any_batch_size(one_layer: Any, tmp_path: Path, layer: str, shapes: list[tuple[int, ...]]) -> None:
    """The graph says that axis 0 may vary: then torch and ONNX agree at another size than the net's."""
    import onnxruntime
    import torch

    module = one_layer.convert(layer, {f"in{i}": np.zeros(shape, np.float32) for i, shape in enumerate(shapes)})
    assert graph_of(module).batch
    caffe2torch.to_onnx(module, tmp_path / "any.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "any.onnx", providers=["CPUExecutionProvider"])
    generator = np.random.default_rng(1)
    inputs = [generator.integers(0, 3, (5, *shape[1:])).astype(np.float32) for shape in shapes]
    given = module(*(torch.from_numpy(array) for array in inputs))
    results = session.run(None, {f"in{i}": array for i, array in enumerate(inputs)})
    for got, wanted in zip(results, given if isinstance(given, tuple) else (given,), strict=True):
        closely(got, wanted.numpy())


def test_a_loss_can_be_exported_and_trained_on(one_layer: Any, generator: np.random.Generator) -> None:
    import torch

    inputs = {"x": normal(generator, 4, 5), "label": labels(generator, 5, 4, ignored=0.3)}
    layer = f'type: "SoftmaxWithLoss" top: "loss" loss_param {{ ignore_label: {IGNORED} }}'
    module = one_layer.convert(layer, inputs)
    x, label = (torch.from_numpy(array) for array in inputs.values())
    exported = torch.export.export(module, (x, label)).module()
    torch.testing.assert_close(exported(x, label), module(x, label))
    x.requires_grad_()
    module(x, label).backward()
    p = softmax(inputs["x"], 1)
    valid = inputs["label"] != IGNORED
    p[np.arange(4), np.where(valid, inputs["label"], 0).astype(int)] -= 1
    assert x.grad is not None
    closely(x.grad.numpy(), p * valid[:, None] / valid.sum())


@pytest.mark.parametrize(
    ("layer", "shapes", "word"),
    [
        ('type: "SoftmaxWithLoss" top: "loss"', [(3, 4), (2,)], "first axis"),
        ('type: "SoftmaxWithLoss" top: "loss"', [(3, 4, 2), (3,)], "6 labels"),
        ('type: "SoftmaxWithLoss" top: "loss"', [(3,), (3,)], "axis 1 is out of range"),
        ('type: "SoftmaxWithLoss" top: "loss" softmax_param { axis: 3 }', [(3, 4, 2), (3, 4)], "axis 3"),
        ('type: "SoftmaxWithLoss" top: "loss" top: "prob"', [(3, 4), (3,)], "loss_weight"),
        ('type: "SoftmaxWithLoss" top: "loss" top: "prob" loss_weight: 1', [(3, 4), (3,)], "loss_weight"),
        ('type: "SoftmaxWithLoss" top: "loss" loss_weight: 1 loss_weight: 0', [(3, 4), (3,)], "loss_weight"),
        ('type: "SoftmaxWithLoss" top: "loss"', [(3, 4)], "bottoms"),
        ('type: "SoftmaxWithLoss" top: "loss"', [(3, 4), (3,), (3,)], "bottoms"),
        ('type: "SigmoidCrossEntropyLoss" top: "loss"', [(3, 4), (3, 5)], "count"),
        ('type: "SigmoidCrossEntropyLoss" top: "loss"', [(3, 4), (4, 3)], "first axis"),
        ('type: "InfogainLoss" top: "loss"', [(3, 4), (3,)], "source"),
        ('type: "InfogainLoss" top: "loss"', [(3, 4), (3,), (3, 4)], "16"),
        ('type: "InfogainLoss" top: "loss" loss_param { normalize: true }', [(3, 4), (3,), (4, 4)], "normalize"),
        ('type: "EuclideanLoss" top: "loss"', [(3, 4), (3, 5)], "count"),
        ('type: "EuclideanLoss" top: "loss"', [(3, 4), (4, 3)], "first axis"),
        ('type: "EuclideanLoss" top: "loss"', [(3, 1, 1, 1, 4), (3, 4)], "at most 4 axes"),
        ('type: "HingeLoss" top: "loss"', [(3, 4), (2,)], "first axis"),
        ('type: "ContrastiveLoss" top: "loss"', [(3, 4), (3, 5), (3,)], "one C"),
        ('type: "ContrastiveLoss" top: "loss"', [(3, 4, 2), (3, 4, 2), (3,)], "N x C"),
        ('type: "ContrastiveLoss" top: "loss"', [(3, 4), (3, 4), (3, 2)], "third bottom"),
        ('type: "ContrastiveLoss" top: "loss"', [(3, 4), (3, 4), (2,)], "too few"),
        ('type: "MultinomialLogisticLoss" top: "loss"', [(3, 4), (3, 2)], "second bottom"),
        ('type: "Accuracy" top: "acc" accuracy_param { top_k: 5 }', [(3, 4), (3,)], "top_k"),
        ('type: "Accuracy" top: "acc"', [(3, 4), (4,)], "3 labels"),
        ('type: "Accuracy" top: "acc" accuracy_param { axis: 2 }', [(3, 4), (3,)], "axis 2"),
    ],
)
def test_what_caffe_refuses(refused: Callable[..., str], layer: str, shapes: list[tuple[int, ...]], word: str) -> None:
    assert word in refused(layer, *shapes)
