"""Scores: overall and a class, of a run on another folder."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from torch import nn

from caffe2torch.errors import DataError, ModelError
from caffe2torch.folder import Converted
from finetune.cli import main
from finetune.data.batches import Batch
from finetune.devices import open_device
from finetune.evaluate import Scores, evaluate_run, score
from finetune.options import Options
from finetune.train import train

QUICK = Options(epochs=6, batch_size=8, hidden=32, lr_step=(5,), device="cpu", workers=0)


class Brightness(nn.Module):
    """Logits from the mean pixel: class 0 of dark pictures, class 1 of bright ones, never class 2."""

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        bright = pictures.float().mean((1, 2, 3)) / 255 - 0.5
        return torch.stack([-bright, bright, torch.full_like(bright, -9)], dim=1)


def test_score_counts_by_class() -> None:
    dark, bright = torch.zeros(1, 4, 4, 3, dtype=torch.uint8), torch.full((1, 4, 4, 3), 255, dtype=torch.uint8)
    source = [
        Batch(torch.cat([dark, bright, bright]), torch.tensor([0, 1, 2])),
        Batch(torch.cat([dark, dark]), torch.tensor([0, 1])),
    ]
    fabric = open_device("cpu")
    classifier = fabric.setup_module(Brightness())
    scores = score(fabric, classifier, source, 3)
    assert scores.pictures == [2, 2, 1]
    assert scores.right == [2, 1, 0]
    assert scores.accuracy == 3 / 5
    logits = torch.cat([Brightness()(batch.pictures) for batch in source])
    labels = torch.cat([batch.labels for batch in source])
    assert scores.loss == pytest.approx(nn.functional.cross_entropy(logits, labels).item())


def test_a_class_without_pictures_has_no_accuracy() -> None:
    rows = Scores(0.5, [2, 0], [1, 0]).to_json(("a", "b"))
    assert rows["accuracy"] == 0.5
    assert rows["classes"] == [
        {"label": "a", "pictures": 2, "right": 1, "accuracy": 0.5, "interval": [0.0, 1.0]},
        {"label": "b", "pictures": 0, "right": 0, "accuracy": None, "interval": None},
    ]


def test_a_folder_with_some_of_the_classes_and_an_unreadable_picture(
    tiny_trunk: Converted, painted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(tiny_trunk, painted, tmp_path / "run", replace(QUICK, epochs=1))
    for picture in (painted / "green").iterdir():
        picture.unlink()
    (painted / "green").rmdir()
    (painted / "red" / "00.png").write_bytes(b"")
    scores = evaluate_run(tmp_path / "run", painted, device="cpu", workers=0)
    assert scores["pictures"] == 19
    assert [row["pictures"] for row in scores["classes"]] == [10, 0, 9]
    assert scores["unreadable"] == [str(painted / "red" / "00.png")]
    said = capsys.readouterr().err
    assert "no folder for 1 class: green" in said
    assert "red/00.png: the file is empty" in said
    printed = CliRunner().invoke(main, ["evaluate", str(tmp_path / "run"), str(painted), "--device", "cpu"])
    assert printed.exit_code == 0
    assert [line.split()[1:3] for line in printed.stdout.splitlines() if line.startswith("green")] == [["0", "0"]]


def test_what_cannot_be_evaluated(tiny_trunk: Converted, painted: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(tiny_trunk, painted, run, replace(QUICK, epochs=1))
    (painted / "violet").mkdir()
    (painted / "red" / "00.png").rename(painted / "violet" / "00.png")
    with pytest.raises(DataError, match="violet: not among the 3 classes that were trained"):
        evaluate_run(run, painted, device="cpu", workers=0)
    config = json.loads((run / "config.json").read_text())
    del config["head"]["hidden"]
    (run / "config.json").write_text(json.dumps(config))
    (painted / "violet" / "00.png").unlink()
    with pytest.raises(ModelError, match=r"config\.json: damaged"):
        evaluate_run(run, painted, device="cpu", workers=0)
    bad = tmp_path / "bad"
    (bad / "red").mkdir(parents=True)
    (bad / "red" / "1.png").write_bytes(b"nothing")
    with pytest.raises(DataError, match="none of its 1 pictures can be read"):
        evaluate_run(run, bad, device="cpu", workers=0)
