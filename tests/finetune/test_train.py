"""Whole training runs on small data: what they learn, what they leave behind, how they end."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from caffe2torch import folder as converted_folder
from caffe2torch.errors import DataError, ModelError, OutputError
from caffe2torch.folder import Converted
from caffe2torch.pictures import load_picture
from finetune import loop
from finetune.evaluate import evaluate_run
from finetune.models.classifier import open_run
from finetune.options import Options
from finetune.table import kept_line
from finetune.train import train

QUICK = Options(epochs=4, batch_size=8, hidden=32, lr_step=(3,), device="cpu", workers=0)


def test_learns_to_tell_colours_apart(tiny_trunk: Converted, painted: Path, tmp_path: Path) -> None:
    options = replace(QUICK, epochs=10, lr_step=(8,))
    trained = train(tiny_trunk, painted, tmp_path / "run", options, test=painted)
    assert trained.best.validation_accuracy is not None
    assert trained.best.validation_accuracy >= 0.9
    assert trained.test is not None
    assert trained.test.accuracy >= 0.9
    assert not trained.interrupted
    assert trained.epochs[0].train_loss > trained.epochs[-1].train_loss


def test_what_a_run_holds(tiny_trunk: Converted, painted: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    trained = train(tiny_trunk, painted, run, QUICK, test=painted)
    assert {path.name for path in run.iterdir()} == {
        *("config.json", "split.json", "metrics.csv", "test.json", "loss.png", "accuracy.png", "samples.png", "trunk"),
        *("predictions-validation.csv", "predictions-test.csv", "calibration.json", "report.html"),
        *("best.json", "best.safetensors", "last.json", "last.safetensors"),
    }
    config = json.loads((run / "config.json").read_text())
    assert config["format"] == "finetune-run 1"
    assert config["recipe"] == "tutorial"
    assert config["classes"] == ["blue", "green", "red"]
    assert config["size"] == [16, 24]
    assert config["at"] == "conv"
    assert config["head"] == {
        "name": "tutorial",
        "features": [6, 4, 6],
        "pool": None,
        "hidden": 32,
        "dropout": 0.5,
        "classes": 3,
    }
    assert config["options"]["lr_step"] == [3]
    assert config["versions"]["torch"] == torch.__version__
    split = json.loads((run / "split.json").read_text())
    assert (len(split["train"]), len(split["validation"])) == (24, 6)
    assert all((painted / name).is_file() for name in split["train"] + split["validation"])
    mean = [
        sum(load_picture(painted / name, (16, 24))[..., channel].mean() for name in split["train"]) / 24
        for channel in (2, 1, 0)
    ]
    assert config["preprocessing"]["mean"] == pytest.approx(mean)
    with open(run / "metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["epoch"]) for row in rows] == [1, 2, 3, 4]
    assert [float(row["learning_rate"]) for row in rows] == pytest.approx([0.01, 0.01, 0.01, 0.001])
    assert json.loads((run / "last.json").read_text())["epoch"] == 4
    assert json.loads((run / "best.json").read_text())["epoch"] == trained.best.epoch
    assert json.loads((run / "test.json").read_text())["pictures"] == 30
    trunk = converted_folder.load(run / "trunk")
    assert trunk.graph.output_names == ("conv",)
    assert trunk.graph.inputs[0].shape == (1, 3, 16, 24)
    with Image.open(run / "samples.png") as image:
        assert image.width > image.height


def test_the_best_checkpoint_scores_what_was_measured(tiny_trunk: Converted, painted: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    trained = train(tiny_trunk, painted, run, replace(QUICK, features="full"), test=painted)
    scores = evaluate_run(run, painted, device="cpu", workers=0)
    assert trained.test is not None
    assert scores["accuracy"] == trained.test.accuracy
    assert scores["loss"] == pytest.approx(trained.test.loss, rel=1e-5)
    assert scores["epoch"] == trained.best.epoch
    assert [row["label"] for row in scores["classes"]] == ["blue", "green", "red"]
    assert sum(row["right"] for row in scores["classes"]) == round(scores["accuracy"] * 30)
    assert evaluate_run(run, painted, "last", device="cpu", workers=0)["epoch"] == 4


def test_the_same_seed_gives_the_same_run(tiny_trunk: Converted, painted: Path, tmp_path: Path) -> None:
    options = replace(QUICK, epochs=2)
    runs = [tmp_path / name for name in ("a", "b", "c")]
    for run, changed in zip(runs, (options, replace(options, workers=2), replace(options, seed=1)), strict=True):
        train(tiny_trunk, painted, run, changed)
    a, b, c = (load_file(run / "last.safetensors") for run in runs)
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert not torch.equal(a["fc7.weight"], c["fc7.weight"])
    assert (runs[0] / "split.json").read_text() == (runs[1] / "split.json").read_text()
    assert (runs[0] / "split.json").read_text() != (runs[2] / "split.json").read_text()


def test_only_the_head_is_trained(tiny_trunk: Converted, painted: Path, tmp_path: Path) -> None:
    train(tiny_trunk, painted, tmp_path / "run", replace(QUICK, epochs=1))
    classifier, _, _ = open_run(tmp_path / "run")
    before = tiny_trunk.module().state_dict()
    for name, tensor in classifier.trunk.module.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_without_validation_everything_trains_and_the_last_is_best(
    tiny_trunk: Converted, painted: Path, tmp_path: Path
) -> None:
    trained = train(tiny_trunk, painted, tmp_path / "run", replace(QUICK, epochs=2, validation=0.0))
    assert trained.best.epoch == 2
    assert trained.best.validation_accuracy is None
    assert len(json.loads((tmp_path / "run" / "split.json").read_text())["train"]) == 30
    assert (tmp_path / "run" / "samples.png").exists()
    assert "the last one: no picture was held out" in kept_line(trained.best)
    chosen = json.loads((tmp_path / "run" / "config.json").read_text())["best"]
    assert chosen["epoch"] == 2 and chosen["chosen_by"].startswith("nothing: no picture was held out")
    assert "the last one: no picture was held out" in (tmp_path / "run" / "report.html").read_text()


def test_a_last_batch_of_one_picture(tiny_trunk: Converted, painted: Path, tmp_path: Path) -> None:
    options = replace(QUICK, epochs=1, batch_size=23)  # 24 pictures to train
    assert train(tiny_trunk, painted, tmp_path / "run", options).best.epoch == 1


def test_a_run_that_is_there_is_left_alone(tiny_trunk: Converted, painted: Path, tmp_path: Path) -> None:
    train(tiny_trunk, painted, tmp_path / "run", replace(QUICK, epochs=1))
    before = (tmp_path / "run" / "metrics.csv").read_bytes()
    with pytest.raises(OutputError, match="exists already"):
        train(tiny_trunk, painted, tmp_path / "run", QUICK)
    assert (tmp_path / "run" / "metrics.csv").read_bytes() == before
    train(tiny_trunk, painted, tmp_path / "run", QUICK, force=True)
    assert (tmp_path / "run" / "metrics.csv").read_bytes().count(b"\n") == 5


def test_bad_data_leaves_nothing_behind(tiny_trunk: Converted, painted: Path, tmp_path: Path) -> None:
    for number in range(1, 10):
        (painted / "red" / f"{number:02d}.png").write_bytes(b"")
    with pytest.raises(DataError, match="fewer than 2 readable pictures in red"):
        train(tiny_trunk, painted, tmp_path / "runs" / "run", QUICK)
    assert not (tmp_path / "runs").exists()


def test_test_folders_are_looked_at_before_training(tiny_trunk: Converted, painted: Path, tmp_path: Path) -> None:
    (tmp_path / "test" / "violet").mkdir(parents=True)
    Image.new("RGB", (4, 4)).save(tmp_path / "test" / "violet" / "1.png")
    with pytest.raises(DataError, match="violet: not among the 3 classes"):
        train(tiny_trunk, painted, tmp_path / "run", QUICK, test=tmp_path / "test")
    assert not (tmp_path / "run").exists()


def test_a_loss_that_is_not_finite_is_an_error(tiny_trunk: Converted, painted: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"the loss is (nan|inf): lower --lr"):
        train(tiny_trunk, painted, tmp_path / "run", replace(QUICK, learning_rate=1e30))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("complete", [0, 2])
def test_ctrl_c_keeps_complete_epochs(
    tiny_trunk: Converted, painted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, complete: int
) -> None:
    train_epoch, calls = loop.train_epoch, []

    def interrupted(*arguments: object) -> tuple[float, float]:
        calls.append(1)
        if len(calls) > complete:
            raise KeyboardInterrupt
        return train_epoch(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(loop, "train_epoch", interrupted)
    run = tmp_path / "runs" / "run"
    if complete == 0:
        with pytest.raises(KeyboardInterrupt):
            train(tiny_trunk, painted, run, QUICK)
        assert list((tmp_path / "runs").iterdir()) == []
        return
    trained = train(tiny_trunk, painted, run, QUICK)
    assert trained.interrupted
    assert json.loads((run / "last.json").read_text())["epoch"] == 2
    assert list((tmp_path / "runs").iterdir()) == [run]
    assert evaluate_run(run, painted, "last", device="cpu", workers=0)["pictures"] == 30


def test_bf16(tiny_trunk: Converted, painted: Path, tmp_path: Path) -> None:
    trained = train(tiny_trunk, painted, tmp_path / "run", replace(QUICK, epochs=10, precision="bf16"))
    assert trained.best.validation_accuracy is not None
    assert trained.best.validation_accuracy >= 0.9
    assert load_file(tmp_path / "run" / "best.safetensors")["fc7.weight"].dtype == torch.float32
