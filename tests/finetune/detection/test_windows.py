"""The windows recipe and its dense form: the windows that are looked at, and that both find the same."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from caffe2torch.errors import ModelError
from finetune.detection import METHODS, dense, windows

SQUARE = (288, 144, 336, 192)  # of 48 pixels; on the grids of windows.py (16) and dense.py (18)


def white_classifier(path: Path, classes: tuple[str, ...] = ("face", "other"), **changes: str) -> Path:
    """How white a picture of 64 x 64 is: of pools and two inner products, "face" above 90 %."""
    sharp = 40.0
    fc1 = np.full((1, 3 * 8 * 8), 1 / (3 * 8 * 8 * 255), np.float32)
    constants = {
        "fc1": fc1,
        "bias1": np.array([-0.9], np.float32),
        "fc2": np.array([[sharp], [-sharp]], np.float32),
        "bias2": np.zeros(2, np.float32),
    }
    nodes = [
        helper.make_node("Transpose", ["picture"], ["bytes"], perm=[0, 3, 1, 2]),
        helper.make_node("Cast", ["bytes"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("MaxPool", ["pixels"], ["pool1"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("MaxPool", ["pool1"], ["pool2"], kernel_shape=[4, 4], strides=[4, 4], ceil_mode=1),
        helper.make_node(changes.get("act", "Relu"), ["pool2"], ["relu"]),
        helper.make_node("Flatten", ["relu"], ["flat"], axis=1),
        helper.make_node("Gemm", ["flat", "fc1", "bias1"], ["white"], transB=1),
        helper.make_node("Gemm", ["white", "fc2", "bias2"], ["logits"], transB=1),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "white",
        [helper.make_tensor_value_info("picture", TensorProto.UINT8, ["N", 64, 64, 3])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", 2])],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    said = {"format": 1, "kind": "classifier", "classes": list(classes), "size": [64, 64], "resize": "bicubic"}
    helper.set_model_props(model, {"finetune": json.dumps({**said, "recipe": "white", "trunk": "none"})})
    onnx.save(onnx.shape_inference.infer_shapes(model), path)
    return path


@pytest.fixture
def classifier(tmp_path: Path) -> Path:
    return white_classifier(tmp_path / "white.onnx")


def black_with_a_square(factor: int = 1) -> np.ndarray:
    picture = np.zeros((256 * factor, 512 * factor, 3), np.uint8)
    x0, y0, x1, y1 = (edge * factor for edge in SQUARE)
    picture[y0:y1, x0:x1] = 255
    return picture


@pytest.mark.parametrize("module", [windows, dense], ids=["windows", "dense"])
@pytest.mark.parametrize("factor", [1, 2], ids=["512", "1024"])
def test_a_square_is_found_where_it_is(classifier: Path, module: object, factor: int) -> None:
    finder = module.open_finder(classifier, "cpu", 1)
    found = finder.find(black_with_a_square(factor), finder.settings)
    assert found.boxes.dtype == found.scores.dtype == np.float32 and len(found.boxes) == len(found.scores) == 1
    np.testing.assert_allclose(found.boxes[0], np.array(SQUARE) * factor, atol=2 * factor)
    assert found.scores[0] > 0.9


@pytest.mark.parametrize("module", [windows, dense], ids=["windows", "dense"])
@pytest.mark.parametrize("shape", [(3, 3), (20, 600), (600, 20)])
def test_pictures_of_any_shape_are_looked_at(classifier: Path, module: object, shape: tuple[int, int]) -> None:
    finder = module.open_finder(classifier, "cpu", 1)
    black, white = (np.full((*shape, 3), value, np.uint8) for value in (0, 255))
    assert len(finder.find(black, finder.settings).boxes) == 0
    found = finder.find(white, finder.settings)
    assert len(found.boxes) > 0
    assert found.boxes.min() >= 0 and (found.boxes[:, 2:] <= [shape[1], shape[0]]).all()


def test_windows_are_those_of_the_recipe() -> None:
    picture = np.arange(160 * 512 * 3, dtype=np.uint32).astype(np.uint8).reshape(160, 512, 3)
    sizes = [(corners, pixels) for corners, pixels in windows.all_windows(picture, (64, 64))]
    assert [len(corners) for corners, _ in sizes] == [30 * 8, 19 * 4, 8 * 1]
    corners, pixels = sizes[1]
    assert corners[20].tolist() == [24, 24, 96, 96]  # the second row's second
    alone = Image.fromarray(picture[24:96, 24:96]).resize((64, 64), Image.Resampling.BICUBIC)
    assert np.abs(pixels[20].astype(int) - np.asarray(alone)).max() <= 1


@pytest.mark.parametrize("side", [48, 72, 144])
def test_windows_are_resized_as_pillow_resizes_them(side: int) -> None:
    smooth = np.random.default_rng(side).integers(60, 200, (4, 3, side // 8, side // 8), dtype=np.uint8)
    pixels = smooth.repeat(8, axis=2).repeat(8, axis=3)
    ours = windows.resized(pixels, (64, 64)).astype(int)
    for one, mine in zip(pixels.transpose(0, 2, 3, 1), ours, strict=True):
        pillow = np.asarray(Image.fromarray(np.ascontiguousarray(one)).resize((64, 64), Image.Resampling.BICUBIC))
        assert np.abs(mine - pillow).max() <= 2  # Pillow rounds between rows and columns


def test_dense_gives_one_window_what_the_classifier_gives_it(classifier: Path) -> None:
    pictures = np.random.default_rng(0).integers(0, 240, (2, 64, 64, 3), dtype=np.uint8)
    alone = windows.open_finder(classifier, "cpu", 1).session.probabilities(pictures)
    (maps,) = dense.open_finder(classifier, "cpu", 1).opened.run(["probabilities"], {"picture": pictures})
    np.testing.assert_allclose(maps[:, :, 0, 0], alone, atol=1e-4)
    assert 0.05 < alone[0, 0] < 0.95


def test_dense_takes_out_what_the_surroundings_of_a_window_add(classifier: Path) -> None:
    """Pools see no padding: nothing to take out. Where dense logits are higher by 2, they are lowered by 2."""
    assert dense.open_finder(classifier, "cpu", 1).shift == pytest.approx(0, abs=1e-3)
    np.testing.assert_allclose(dense.lowered(np.array([0.5, 1.0, 0.0]), 2.0), [0.1192, 1, 0], atol=1e-4)
    logits = np.log([[0.25], [4.0]])
    raised = 1 / (1 + np.exp(-logits - 2))
    np.testing.assert_allclose(dense.lowered(raised, 2.0), [[0.2], [0.8]], atol=1e-5)


def test_what_the_surroundings_add_is_measured_near_the_decision() -> None:
    """Of 1.5 where a window may be a face; of 4 where it is surely none, which decides nothing."""

    class Alone:
        path, info = Path("alone.onnx"), SimpleNamespace(size=(64, 64))

        def probabilities(self, pictures: np.ndarray) -> np.ndarray:
            logits = (pictures.mean(axis=(1, 2, 3)) - 150) / 8
            return np.stack([1 / (1 + np.exp(-logits))] * 2, axis=1)

    class Dense:
        def run(self, outputs: list[str], feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
            (picture,) = feeds["picture"]
            view = np.lib.stride_tricks.sliding_window_view(picture, (64, 64), axis=(0, 1))[::24, ::24]
            logits = (view.mean(axis=(2, 3, 4)) - 150) / 8
            logits = logits + np.where(logits > -4, 1.5, 4.0)
            return [np.stack([1 / (1 + np.exp(-logits))] * 2)[None]]

    assert dense._shift(Alone(), Dense(), 0, 24) == pytest.approx(1.5, abs=1e-4)  # type: ignore[arg-type]


@pytest.mark.parametrize("method", ["windows", "dense"])
def test_methods_are_named(method: str) -> None:
    assert METHODS[method] == f"finetune.detection.{method}"


def test_classes_must_tell_which_is_a_face(tmp_path: Path) -> None:
    path = white_classifier(tmp_path / "white.onnx", classes=("cat", "dog"))
    with pytest.raises(ModelError, match=r"0 of its classes have 'face' in their names \(cat, dog\)"):
        windows.open_finder(path, "cpu")


def test_dense_refuses_a_graph_of_another_form(tmp_path: Path) -> None:
    path = white_classifier(tmp_path / "white.onnx", act="Softplus")
    with pytest.raises(ModelError, match="cannot be made dense"):
        dense.open_finder(path, "cpu")
