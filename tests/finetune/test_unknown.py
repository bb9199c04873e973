"""onnx predict --unknown: by the model's calibration or by a number, in every format, and without calibration."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from PIL import Image

from caffe2torch.errors import ModelError
from finetune.calibration import Calibration, calibration_of
from finetune.onnx_cli import onnx_main
from finetune.runtime import open_model

CALIBRATION = Calibration(2.0, 0.6, 50, 0.1, 0.02).to_json()


@pytest.fixture
def calibrated(write_model: Callable[..., Path], model_metadata: dict[str, Any]) -> Path:
    return write_model({**model_metadata, "calibration": CALIBRATION})


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A red picture, and a grey one that is none of red, green and blue."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    Image.new("RGB", (20, 30), (160, 0, 0)).save(folder / "red.png")
    Image.new("RGB", (20, 30), (120, 120, 100)).save(folder / "grey.png")
    return folder


def ask(*words: object) -> str:
    result = CliRunner().invoke(onnx_main, ["predict", *map(str, words)])
    assert result.exit_code == 0, result.stderr
    return result.stdout


def test_below_the_calibrated_threshold(calibrated: Path, pictures: Path) -> None:
    grey, red = json.loads(ask("-m", calibrated, "--unknown", pictures, "--format", "json"))
    assert grey["unknown"] is True
    assert grey["predictions"][0]["label"] == "unknown"
    assert grey["predictions"][1]["label"] in ("red", "green")
    best = grey["predictions"][1]["score"]
    assert grey["predictions"][0]["score"] == pytest.approx(1 - best) and best < 0.6
    assert red["unknown"] is False and red["predictions"][0]["label"] == "red"
    # logits 5, 0, 0 at temperature 2
    assert red["predictions"][0]["score"] == pytest.approx(0.8590, abs=1e-3)


def test_not_asked_for_nothing_changes(calibrated: Path, model: Path, pictures: Path) -> None:
    plain = ask("-m", model, pictures, "--format", "json")
    assert ask("-m", calibrated, pictures, "--format", "json") == plain
    assert "unknown" not in plain


@pytest.mark.parametrize(("share", "expected"), [("0.95", "unknown"), ("0.5", "red"), ("0", "red"), ("1", "unknown")])
def test_a_threshold_of_ones_own(calibrated: Path, pictures: Path, share: str, expected: str) -> None:
    for words in (["--unknown", share], [f"--unknown={share}"]):
        (said,) = json.loads(ask("-m", calibrated, *words, pictures / "red.png", "--format", "json"))
        assert said["predictions"][0]["label"] == expected


@pytest.mark.parametrize("form", ["table", "jsonl", "csv"])
def test_every_format_says_unknown_first(calibrated: Path, pictures: Path, form: str) -> None:
    text = ask("-m", calibrated, "--format", form, "--top-k", 1, pictures / "grey.png", "--unknown")
    if form == "csv":
        rows = list(csv.DictReader(text.splitlines()))
        assert [row["label"] for row in rows[:1]] == ["unknown"] and len(rows) == 2
    elif form == "jsonl":
        assert json.loads(text)["predictions"][0]["label"] == "unknown"
    else:
        assert text.split("\t")[1] == "unknown"


def test_without_calibration(model: Path, pictures: Path) -> None:
    result = CliRunner().invoke(onnx_main, ["predict", "-m", str(model), "--unknown", str(pictures)])
    assert result.exit_code == 1
    assert "was exported without calibration" in result.stderr and "--unknown 0.7" in result.stderr
    grey, red = json.loads(ask("-m", model, "--unknown", "0.98", pictures, "--format", "json"))
    assert grey["unknown"] and not red["unknown"]  # softmax(5, 0, 0) is 0.987: as the network gives it
    result = CliRunner().invoke(onnx_main, ["predict", "-m", str(model), "--unknown", "1.5", str(pictures)])
    assert result.exit_code == 2 and "not a probability from 0 to 1" in result.stderr
    for words in (["--unknown", "nan"], ["--unknown=nan"], ["--unknown", "inf"]):
        result = CliRunner().invoke(onnx_main, ["predict", "-m", str(model), *words, str(pictures)])
        assert result.exit_code == 2 and "not a probability from 0 to 1" in result.stderr


def test_a_class_called_unknown(
    write_model: Callable[..., Path], model_metadata: dict[str, Any], pictures: Path
) -> None:
    path = write_model({**model_metadata, "classes": ["unknown", "green", "blue"], "calibration": CALIBRATION})
    for words in (["--unknown"], ["--unknown", "0.5"]):
        result = CliRunner().invoke(onnx_main, ["predict", "-m", str(path), *words, str(pictures)])
        assert result.exit_code == 1 and "one of its classes is called 'unknown'" in result.stderr
    (_, red) = json.loads(ask("-m", path, pictures, "--format", "json"))
    assert red["predictions"][0]["label"] == "unknown" and "unknown" not in red


def test_damaged_calibration(write_model: Callable[..., Path], model_metadata: dict[str, Any], tmp_path: Path) -> None:
    path = write_model({**model_metadata, "calibration": {**CALIBRATION, "temperature": -1}})
    with pytest.raises(ModelError, match=r"other\.onnx: calibration is damaged: temperature -1"):
        open_model(path, "cpu")
    path = write_model({**model_metadata, "calibration": []})
    with pytest.raises(ModelError, match="calibration is damaged"):
        open_model(path, "cpu")
    assert calibration_of(tmp_path) == {}
    (tmp_path / "calibration.json").write_text(json.dumps(CALIBRATION))
    assert calibration_of(tmp_path) == {"calibration": CALIBRATION}
    (tmp_path / "calibration.json").write_text("{")
    with pytest.raises(ModelError, match=r"calibration\.json: damaged"):
        calibration_of(tmp_path)
