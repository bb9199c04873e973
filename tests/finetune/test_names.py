"""Files and classes whose names are no UTF-8, or command a terminal: trained, kept as they are, shown as escapes."""

from __future__ import annotations

import csv
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from caffe2torch.errors import DataError
from caffe2torch.folder import Converted
from finetune.checkpoint import read_config
from finetune.cli import main, onnx_main
from finetune.data.folders import LabelledPictures, check_trainable
from finetune.data.labelled import read_labelled
from finetune.options import Options
from finetune.train import train
from finetune.wording import json_text

STRAY, RED = "caf\udce9", "red\x1b[31m\n\x9b"  # b"caf\xe9" on the disk; a colour, a line end and C1's introducer


@pytest.fixture
def odd(painted: Path) -> Path:
    """The painted classes, two of them with such names, one picture of each as well."""
    if sys.platform != "linux":
        pytest.skip("the file system takes no such names")
    for before, after in (("blue", STRAY), ("red", RED)):
        os.rename(painted / before, painted / after)
        os.rename(painted / after / "00.png", painted / after / f"0{after}.png")
    return painted


def test_they_train_and_are_kept(tiny_trunk: Converted, odd: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    options = Options(epochs=1, batch_size=8, hidden=8, device="cpu", workers=0)
    trained = train(tiny_trunk, odd, run, options, test=odd)
    assert trained.test is not None and trained.test.pictures == [10, 10, 10]
    assert read_config(run)["classes"] == [STRAY, "green", RED]
    said = json.loads((run / "split.json").read_text(encoding="utf-8"))
    assert {f"{STRAY}/0{STRAY}.png", f"{RED}/0{RED}.png"} < {*said["train"], *said["validation"]}
    with open(run / "predictions-test.csv", newline="", encoding="utf-8", errors="surrogateescape") as file:
        rows = list(csv.DictReader(file))
    assert all((odd / row["path"]).is_file() for row in rows) and {row["label"] for row in rows} == {
        STRAY,
        "green",
        RED,
    }
    page = (run / "report.html").read_text(encoding="utf-8")
    assert r"caf\udce9" in page and r"red\x1b[31m\n\x9b" in page and "\x1b" not in page and "\x9b" not in page

    shown = call(main, "evaluate", run, odd, "--device", "cpu", "--workers", 0)
    assert r"caf\udce9" in shown and r"red\x1b[31m\n\x9b" in shown and "\x1b" not in shown
    said = json.loads(call(main, "evaluate", run, odd, "--json", "--device", "cpu", "--workers", 0))
    assert [row["label"] for row in said["classes"]] == [STRAY, "green", RED]
    call(onnx_main, "export", run)
    picture = odd / STRAY / f"0{STRAY}.png"
    text = call(onnx_main, "predict", "-m", run / "model.onnx", picture, "--format", "json")
    (answer,) = json.loads(text)
    assert answer["path"] == str(picture) and {each["label"] for each in answer["predictions"]} == {STRAY, "green", RED}
    assert "\x9b" not in text and "\x1b" not in text
    assert r"red\x1b[31m\n\x9b" in call(onnx_main, "predict", "-m", run / "model.onnx", picture)


def test_the_table_of_data_shows_them_on_one_line_each(odd: Path) -> None:
    table = call(main, "data", odd)
    assert r"caf\udce9" in table and r"red\x1b[31m\n\x9b" in table and "\x1b" not in table
    said = json.loads(call(main, "data", odd, "--json"))
    assert [row["label"] for row in said["classes"]] == [STRAY, "green", RED]


def test_half_a_character_is_refused_before_training(painted: Path) -> None:
    known, _ = read_labelled(painted)
    with pytest.raises(DataError, match="half a character"):
        check_trainable(LabelledPictures(painted, ("\ud83d", "green", "red"), known.paths, known.labels))


@pytest.mark.parametrize("said", [[STRAY, RED, "\xa0", "日本", "\U000e0001", '"\\'], {"a\x7f": [1.5, None, True]}])
def test_json_reads_back_and_is_printable(said: Any) -> None:
    for indent in (None, 1):
        text = json_text(said, indent)
        assert json.loads(text) == said and text.replace("\n", "").isprintable()


def call(command: Any, *words: object) -> str:
    result = CliRunner().invoke(command, list(map(str, words)))
    assert result.exit_code == 0, result.output
    return result.stdout
