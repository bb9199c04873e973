"""`caffe2torch run` on real and golden nets."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from caffe2torch import folder
from caffe2torch.cli import main


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
