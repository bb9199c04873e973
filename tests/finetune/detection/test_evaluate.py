"""The command `onnx evaluate`: figures that can be counted by hand, intervals, the page, wrong use."""

from __future__ import annotations

import base64
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from finetune.onnx_cli import onnx_main
from tests.finetune.detection.conftest import squares


def run(*arguments: str | Path) -> Result:
    words = ["evaluate", *map(str, arguments), "--provider", "cpu"]
    return CliRunner().invoke(onnx_main, words, prog_name="onnx")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Four pictures: two faces found; one found and one (blue) missed; a false box; a difficult face; and a folder.

    So 4 boxes count as told, 3 of them right; 4 faces are there.
    """
    folder = tmp_path / "data"
    folder.mkdir()
    marked: dict[str, list[dict[str, Any]]] = {
        "1.png": [{"box": [20, 40, 52, 72]}, {"box": [120, 20, 184, 84]}],
        "2.png": [{"box": [20, 40, 52, 72]}, {"box": [100, 20, 164, 84]}],
        "3.png": [],
        "4.png": [{"box": [20, 40, 52, 72], "difficult": True}],
    }
    squares(200, 120, [(20, 40, 32), (120, 20, 64)]).save(folder / "1.png")
    missed = squares(200, 120, [(20, 40, 32)])
    missed.paste((0, 0, 255), (100, 20, 164, 84))
    missed.save(folder / "2.png")
    squares(200, 120, [(60, 40, 16)]).save(folder / "3.png")
    squares(200, 120, [(20, 40, 32)]).save(folder / "4.png")
    (folder / "boxes.json").write_text(json.dumps(marked))
    return folder


def test_figures(detector_file: Path, data: Path) -> None:
    result = run(detector_file, data, "--json")
    assert result.exit_code == 0
    figures = json.loads(result.stdout)
    counts = {name: figures[name] for name in ("pictures", "faces", "difficult", "found", "false", "threshold")}
    assert counts == {"pictures": 4, "faces": 4, "difficult": 1, "found": 3, "false": 1, "threshold": 0.5}
    for name in ("precision", "recall", "f1"):
        assert figures[name]["value"] == 0.75
        assert 0 <= figures[name]["low"] < 0.75 < figures[name]["high"] <= 1
    assert figures["average_precision"].keys() == {"0.4", "0.5", "0.5-0.95"}
    assert figures["average_precision"]["0.5"]["value"] == pytest.approx(76 / 101, abs=1e-4)  # recalls 0 to 0.75
    assert [(size["size"], size["faces"]) for size in figures["sizes"]][-1] == ("large", 0)
    assert figures["without_faces"] == {"pictures": 1, "false": 1, "false_per_picture": 1.0}
    table = run(detector_file, data).stdout
    assert "4 pictures, 4 faces (1 difficult ones aside)" in table
    assert re.search(r"recall +0\.750  \(0\.\d+ to \d\.\d+\)", table)


def test_thresholds(detector_file: Path, data: Path) -> None:
    figures = json.loads(run(detector_file, data, "--json", "--overlap", "1").stdout)
    assert figures["recall"]["value"] == 0.75  # the squares are found to the pixel
    strict = json.loads(run(detector_file, data, "--json", "--conf", "1").stdout)
    assert strict["threshold"] == 1 and strict["found"] <= 3


def test_pictures_without_faces(detector_file: Path, data: Path) -> None:
    figures = json.loads(run(detector_file, "--without-faces", data, "--json").stdout)
    assert figures["without_faces"]["pictures"] == 4
    assert figures["without_faces"]["false"] == 5
    assert figures["recall"] == {"value": None, "low": None, "high": None}
    assert figures["average_precision"]["0.5"]["value"] is None


def test_page(detector_file: Path, data: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    assert run(detector_file, data, "--page", page).exit_code == 0
    text = page.read_text()
    assert "1 face was missed" in text and "1 box is on no face" in text
    assert "http:" not in text and "https:" not in text and "<script" not in text
    pictures = [Image.open(io.BytesIO(base64.b64decode(code))) for code in re.findall(r'base64,([^"]+)"', text)]
    assert len(pictures) == 2
    red, _, blue = np.asarray(pictures[0].convert("RGB")).transpose(2, 0, 1)  # the missed one is blue
    assert ((blue > 200) & (red < 60)).mean() > 0.1


def test_the_page_escapes_names(detector_file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "<b>bold"
    folder.mkdir()
    squares(100, 100, []).save(folder / "<i>.png")
    (folder / "boxes.json").write_text(json.dumps({"<i>.png": [{"box": [1, 1, 30, 30]}]}))
    assert run(detector_file, folder, "--page", tmp_path / "page.html").exit_code == 0
    text = (tmp_path / "page.html").read_text()
    assert "<i>" not in text and "<b>bold" not in text and "&lt;i&gt;.png" in text


@pytest.mark.parametrize("form", ["json", "jsonl", "csv", "coco"])
@pytest.mark.parametrize("name", ["data/found.json", "found.txt"])
def test_what_detect_writes_is_read(
    detector_file: Path, data: Path, monkeypatch: pytest.MonkeyPatch, form: str, name: str
) -> None:
    """Labelled by the detector, under any name, with a picture that cannot be read: it agrees with itself."""
    (data / "torn.png").write_bytes(b"torn")
    monkeypatch.chdir(data.parent)
    if (form, name) == ("csv", "data/found.json"):
        name = "data/found.csv"
    asked = ["detect", "-m", str(detector_file), data.name, "--format", form, "-o", name, "--provider", "cpu"]
    assert CliRunner().invoke(onnx_main, asked).exit_code == 1
    result = run(detector_file, name, "--json")
    figures = json.loads(result.stdout)
    assert (figures["pictures"], figures["found"], figures["false"], figures["f1"]["value"]) == (4, 5, 0, 1)
    assert "1 of the pictures in it could not be read when it was written: they are left out" in result.stderr


def test_the_labels_that_detect_writes_are_read(detector_file: Path, model: Path, tmp_path: Path) -> None:
    squares(200, 100, [(20, 40, 32)]).save(tmp_path / "images.png")
    (tmp_path / "images").mkdir()
    (tmp_path / "images.png").rename(tmp_path / "images" / "a.png")
    words = ["--classify", str(model), "--classify-margin", "0", "--format", "yolo", "-o", str(tmp_path / "labels")]
    asked = ["detect", "-m", str(detector_file), str(tmp_path / "images"), *words, "--provider", "cpu"]
    assert CliRunner().invoke(onnx_main, asked).exit_code == 0
    figures = json.loads(run(detector_file, tmp_path, "--json", "--label", "red").stdout)
    assert (figures["faces"], figures["found"], figures["false"]) == (1, 1, 0)


def test_labels_that_are_faces(detector_file: Path, tmp_path: Path) -> None:
    squares(200, 100, [(20, 40, 32)]).save(tmp_path / "a.png")
    boxes = [([20, 40, 52, 72], "face"), ([100, 40, 132, 72], "bottle"), ([140, 40, 172, 72], "bottle")]
    marks = [{"box": box, "label": label} for box, label in boxes]
    (tmp_path / "boxes.json").write_text(json.dumps({"a.png": marks}))
    result = run(detector_file, tmp_path, "--json")
    assert json.loads(result.stdout)["faces"] == 3
    assert "the boxes have 2 labels (bottle 2, face 1), and all count as faces; --label NAME" in result.stderr
    result = run(detector_file, tmp_path, "--json", "--label", "face")
    figures = json.loads(result.stdout)
    assert (figures["faces"], figures["found"], figures["false"]) == (1, 1, 0)
    assert "labels" not in result.stderr
    assert json.loads(run(detector_file, tmp_path, "--json", "--label", "face", "--label", "bottle").stdout) == {
        **json.loads(run(detector_file, tmp_path, "--json").stdout)
    }
    result = run(detector_file, tmp_path, "--label", "Face")
    assert result.exit_code == 1 and "no box has the label 'Face'; their labels: bottle 2, face 1" in result.stderr


def test_wrong_use(detector_file: Path, model: Path, data: Path, tmp_path: Path) -> None:
    for arguments, code, reason in (
        ([detector_file], 2, "give DATA, or --without-faces"),
        ([detector_file, data, "--overlap", "nan"], 2, "'nan' is not in the range 0<=x<=1"),
        ([detector_file, "--without-faces", data, "--label", "face"], 2, "--label goes with DATA"),
        (["missing.onnx", data], 1, "missing.onnx: no such file"),
        ([detector_file, tmp_path / "nothing"], 1, "no such file or folder"),
        ([model, data], 1, "a classifier, which marks no boxes"),
        ([detector_file, data, "--page", tmp_path], 1, "is a folder"),
    ):
        result = run(*arguments)
        assert result.exit_code == code
        assert reason in result.stderr
    (data / "2.png").write_bytes(b"torn")
    result = run(detector_file, data, "--page", tmp_path / "page.html")
    assert result.exit_code == 1 and "2.png: not a picture" in result.stderr
    assert not (tmp_path / "page.html").exists()
