"""`caffe2torch run` on real and golden nets."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from caffe2torch import folder
from caffe2torch.cli import main
from caffe2torch.run import _free
from tests.caffe2torch import nets


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "noise.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (90, 120, 3), np.uint8)).save(path)
    return path


@pytest.fixture
def encoder(golden: Path, tmp_path: Path) -> Path:
    case = golden / "illust2vec_mini"
    folder.save(folder.from_caffemodel(case / "weights.caffemodel", outputs=["encode2"]), tmp_path / "net", onnx=True)
    return tmp_path / "net"


def test_a_classifier_lists_its_best(encoder: Path, picture: Path) -> None:
    names = picture.with_name("labels.txt")
    names.write_text("\n".join(f"tag {index}" for index in range(24)))
    result = CliRunner().invoke(main, ["run", str(encoder), str(picture), "--top-k", "3", "--labels", str(names)])
    assert result.exit_code == 0, result.stderr
    assert result.stdout.startswith("encode2:\n")
    assert result.stdout.count("tag ") == 3


def test_the_onnx_file_answers_as_the_folder(encoder: Path, picture: Path) -> None:
    answers = []
    for net in (encoder, encoder / "model.onnx"):
        result = CliRunner().invoke(main, ["run", str(net), str(picture), "--json"])
        assert result.exit_code == 0, result.stderr
        answers.append(json.loads(result.stdout)["answers"][0]["classes"])
    assert [entry["index"] for entry in answers[0]] == [entry["index"] for entry in answers[1]]


@pytest.mark.parametrize("net", ["nowhere", "net/none.onnx"])
def test_what_is_not_there_is_one_line(encoder: Path, picture: Path, net: str) -> None:
    result = CliRunner().invoke(main, ["run", str(encoder.parent / net), str(picture)])
    assert result.exit_code == 1
    assert result.stderr.startswith("error: ")
    assert len(result.stderr.splitlines()) == 1


def test_ssd_draws_what_it_finds(shared: Path, picture: Path, tmp_path: Path) -> None:
    net = shared / "caffemodels" / "res10_300x300_ssd"
    model = next(net.glob("*.caffemodel"))
    folder.save(folder.from_caffemodel(model, net / "deploy.prototxt"), tmp_path / "ssd")
    out = tmp_path / "drawn.png"
    result = CliRunner().invoke(main, ["run", str(tmp_path / "ssd"), str(picture), "-o", str(out), "--conf", "0.01"])
    assert result.exit_code == 0, result.stderr
    assert Image.open(out).size == (120, 90)


def call(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["run", *map(str, arguments)])


def refused(result: Result, words: str) -> None:
    assert result.exit_code == 1, result.output
    assert words in result.stderr
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1


@pytest.fixture
def painter(tmp_path: Path) -> Path:
    """A net that gives a picture."""
    conv = "convolution_param { num_output: 3 kernel_size: 1 }"
    lines = (nets.given("data", 1, 3, 8, 8), nets.layer("paint", "Convolution", "data", "paint", conv))
    return converted(tmp_path, "painter", *lines)


def converted(tmp_path: Path, name: str, *lines: str) -> Path:
    folder.save(folder.from_caffemodel(None, nets.write(tmp_path, *lines, name=name)), tmp_path / name)
    return tmp_path / name


def test_a_drawing_replaces_nothing_unasked(
    painter: Path, picture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, out = picture.read_bytes(), tmp_path / "out.png"
    out.write_text("mine")
    refused(call(painter, picture, "-o", picture, "--force"), "is what is read")
    refused(call(painter, picture, "-o", tmp_path / "t.txt"), "ends in .png")
    refused(call(painter, picture, "-o", out), "--force replaces it")
    assert (picture.read_bytes(), out.read_text()) == (before, "mine")
    assert not (tmp_path / "t.txt").exists()
    assert call(painter, picture, "-o", out, "--force").exit_code == 0
    assert Image.open(out).size == (120, 90)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    for number in range(1, 4):
        assert call(painter, picture).exit_code == 0
        assert len(list(Path().iterdir())) == number


def test_a_drawing_is_no_path_out_of_the_folder() -> None:
    assert _free(Path("x/pic.png"), "../a\\b/c") == Path("pic..._a_b_c.png")


def test_features_are_called_so(picture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    conv = "convolution_param { num_output: 4 kernel_size: 2 }"
    trunk = (
        nets.given("data", 1, 3, 8, 8),
        nets.layer("conv", "Convolution", "data", "conv", conv),
        nets.layer("relu", "ReLU", "conv", "conv"),
    )
    before = set(tmp_path.iterdir())
    result = call(converted(tmp_path, "trunk", *trunk), picture)
    assert result.stdout == "conv: a feature map (4 x 7 x 7): nothing to show\n", result.stderr
    assert {path.suffix for path in set(tmp_path.iterdir()) - before} == {"", ".prototxt"}
    dense = nets.layer("up", "Deconvolution", "conv", "up", conv), nets.layer("drop", "Dropout", "up", "score")
    result = call(converted(tmp_path, "dense", *trunk, *dense), picture)
    assert result.stdout.startswith("score: mask\n"), result.stderr
    assert "drawn: noise." in result.stdout


def test_an_upscaler_takes_the_picture_as_it_is(picture: Path, tmp_path: Path) -> None:
    conv = "convolution_param { num_output: 3 kernel_size: 4 stride: 2 pad: 1 }"
    lines = nets.given("data", 1, 3, 16, 16), nets.layer("up", "Deconvolution", "data", "up", conv)
    net, out = converted(tmp_path, "up", *lines), tmp_path / "out.png"
    result = call(net, picture, "-o", out)
    assert Image.open(out).size == (240, 180), result.stderr
    assert "resized" not in result.stderr
    fixed = nets.layer("fixed", "Reshape", "up", "same", "reshape_param { shape { dim: 1 dim: 3 dim: 32 dim: 32 } }")
    result = call(converted(tmp_path, "fixed", *lines, fixed), picture, "-o", out, "--force")
    assert Image.open(out).size == (32, 32), result.stderr
    assert "note: the picture was resized from 120 x 90 to 16 x 16, as the net takes no other\n" in result.stderr


def test_labels_that_are_no_text(picture: Path, tmp_path: Path) -> None:
    """Found before the net, which is not there, is looked for."""
    refused(call("nowhere", picture, "--labels", picture), "noise.png: not text")
    refused(call("nowhere", picture, "--labels", tmp_path / "none.txt"), "none.txt: cannot be read")
