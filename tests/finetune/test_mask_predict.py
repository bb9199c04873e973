"""`onnx predict` with a model of the facemask recipe: the share of faces, and the probability over the picture."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner, Result
from onnx import TensorProto, helper
from PIL import Image

from finetune.mask_predict import open_mask
from finetune.onnx_cli import onnx_main
from finetune.overlays import overlaid


@pytest.fixture
def red_mask(tmp_path: Path) -> Path:
    """A model whose mask is the share of red of each pixel, fed at 8 rows and 16 columns."""
    nodes = [
        helper.make_node("Cast", ["picture"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("Gather", ["pixels", "red"], ["channel"], axis=3),
        helper.make_node("Div", ["channel", "most"], ["mask"]),
    ]
    graph = helper.make_graph(
        nodes,
        "red",
        [helper.make_tensor_value_info("picture", TensorProto.UINT8, ["N", "H", "W", 3])],
        [helper.make_tensor_value_info("mask", TensorProto.FLOAT, ["N", "H", "W"])],
        [
            onnx.numpy_helper.from_array(np.array(0), "red"),
            onnx.numpy_helper.from_array(np.array(255, np.float32), "most"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    said = {"format": 1, "kind": "mask", "size": [8, 16], "resize": "bicubic", "recipe": "facemask"}
    helper.set_model_props(model, {"finetune": json.dumps(said)})
    onnx.save(model, tmp_path / "mask.onnx")
    return tmp_path / "mask.onnx"


@pytest.fixture
def half_red(tmp_path: Path) -> Path:
    """A folder with one picture, its left half red, the right one black; and a file that is no picture."""
    folder = tmp_path / "pictures" / "below"
    folder.mkdir(parents=True)
    pixels = np.zeros((40, 80, 3), np.uint8)
    pixels[:, :40, 0] = 255
    Image.fromarray(pixels).save(folder / "half.png")
    return tmp_path / "pictures"


def predict(*arguments: object) -> Result:
    return CliRunner().invoke(onnx_main, ["predict", *map(str, arguments)])


def test_the_share_of_faces_and_the_overlay(red_mask: Path, half_red: Path, tmp_path: Path) -> None:
    result = predict("-m", red_mask, half_red, "--format", "json", "--overlay", tmp_path / "shown")
    assert result.exit_code == 0, result.output
    (said,) = json.loads(result.stdout)
    assert said["predictions"] == [{"label": "face", "score": pytest.approx(0.5, abs=0.02)}]
    shown = np.asarray(Image.open(tmp_path / "shown" / "below" / "half.png"))
    assert shown.shape == (40, 80, 3)
    assert shown[20, 10, 0] > 200 and shown[20, 70].max() == 0


def test_the_mask_has_the_pictures_size(red_mask: Path) -> None:
    mask = open_mask(red_mask, "cpu").mask(np.full((33, 21, 3), (255, 0, 0), np.uint8))
    assert mask.shape == (33, 21) and mask.min() > 0.99


def test_a_picture_that_cannot_be_read_is_told(red_mask: Path, half_red: Path) -> None:
    (half_red / "bad.png").write_text("no picture")
    result = predict("-m", red_mask, half_red, "--format", "csv")
    assert result.exit_code == 1 and "bad.png: not a picture" in result.stderr
    assert "half.png" in result.stdout


def test_nothing_is_overwritten(red_mask: Path, half_red: Path, tmp_path: Path) -> None:
    picture = half_red / "below" / "half.png"
    into_itself = predict("-m", red_mask, picture, "--overlay", half_red / "below")
    assert into_itself.exit_code == 1 and "is what is read; --overlay names another folder" in into_itself.stderr
    twice = predict("-m", red_mask, picture, picture, "--overlay", tmp_path / "shown")
    assert twice.exit_code == 1 and "another picture was written there" in twice.stderr


def test_overlay_and_unknown_go_with_their_models(red_mask: Path, model: Path, half_red: Path) -> None:
    for arguments in (("-m", red_mask, "--unknown"), ("-m", model, "--overlay", half_red)):
        result = predict(*arguments, half_red)
        assert result.exit_code == 2 and "--overlay goes with a model of the recipe facemask" in result.stderr


def test_the_tint_grows_with_the_probability() -> None:
    picture = np.full((1, 3, 3), 100, np.uint8)
    shown = overlaid(picture, np.array([[0.0, 0.5, 1.0]]))
    assert shown[0, 0].tolist() == [100, 100, 100]
    assert shown[0, 0, 0] < shown[0, 1, 0] < shown[0, 2, 0]
