"""Other ways to train than the default: heads, unfreezing, augmentation, protocols; each to its end and exported."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from caffe2torch.errors import CaffeError, DataError, DeviceError
from caffe2torch.folder import Converted
from caffe2torch.pictures import load_picture
from caffe2torch.preprocess import Preprocessing
from finetune.checkpoint import check_free
from finetune.data.folders import LabelledPictures
from finetune.data.sets import Sets
from finetune.evaluate import evaluate_run
from finetune.export import export_run
from finetune.models.head import HEADS, NearestMeanHead
from finetune.options import Options
from finetune.protocols import preprocessing_of
from finetune.runtime import open_model
from finetune.train import train

QUICK = Options(epochs=2, batch_size=8, hidden=8, lr_step=(3,), learning_rate=1e-3, device="cpu", workers=0)
WAYS: dict[str, dict[str, Any]] = {
    "gap": {"head": "gap"},
    "linear": {"head": "linear"},
    "nearest-mean": {"head": "nearest-mean"},
    "through the trunk": {"cache": False},
    "augmented": {"augment": ("crop", "rotation", "colour")},
    "unfrozen": {"unfreeze": "data", "head": "gap", "augment": ("crop",), "batch_norm": True},
    "unfrozen tail": {"unfreeze": "conv", "at": "fc", "head": "linear"},
    "balanced": {"class_weights": True, "label_smoothing": 0.1, "schedule": "cosine", "accumulate": 2},
    "tutorial": {"protocol": "tutorial"},
    "tutorial-fixed": {"protocol": "tutorial-fixed"},
}


@pytest.mark.parametrize("way", WAYS)
def test_every_way_ends_in_a_model(tiny_trunk: Converted, painted: Path, tmp_path: Path, way: str) -> None:
    run = tmp_path / "run"
    options = replace(QUICK, **WAYS[way])
    trained = train(tiny_trunk, painted, run, options, test=painted)
    assert len(trained.epochs) == (1 if way == "nearest-mean" else 2)
    export_run(run)  # compares onnxruntime with torch
    check_free(run, force=True)  # nothing lies in it that is not known
    assert trained.test is not None
    if way == "nearest-mean":
        assert trained.test.accuracy > 0.9
    scores = evaluate_run(run, painted, device="cpu", workers=0)
    assert scores["accuracy"] == pytest.approx(trained.test.accuracy, abs=0.04)  # features were kept in half precision
    session = open_model(run / "model.onnx", "cpu")
    with open(run / "predictions-test.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["label"] for row in rows] == ["blue"] * 10 + ["green"] * 10 + ["red"] * 10
    picture = load_picture(painted / rows[0]["path"], session.info.size)
    kept = [float(rows[0][name]) for name in session.info.classes]
    np.testing.assert_allclose(session.probabilities(picture[None])[0], kept, atol=5e-3)
    stored = load_file(run / "best.safetensors")
    assert any(name.startswith("trunk.") for name in stored) == way.startswith("unfrozen")


def test_kept_features_train_as_the_trunk_does(tiny_trunk: Converted, painted: Path, tmp_path: Path) -> None:
    for name, options in {
        "kept": replace(QUICK, features="full"),
        "through": replace(QUICK, cache=False),
    }.items():
        trained = train(tiny_trunk, painted, tmp_path / name, options)
        assert trained.passes == {"kept": 54, "through": 2 * 30 + 6}[name]
    kept, through = (load_file(tmp_path / name / "last.safetensors") for name in ("kept", "through"))
    for name, tensor in kept.items():
        torch.testing.assert_close(tensor, through[name], rtol=1e-4, atol=1e-5)


def test_a_second_run_needs_no_trunk(
    tiny_trunk: Converted, painted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trunk = replace(tiny_trunk, preprocessing=Preprocessing("BGR", (104.0, 117.0, 123.0)))
    options = replace(QUICK, cache_folder=tmp_path / "cache")
    assert train(trunk, painted, tmp_path / "a", options).passes == 54
    assert "54 pictures and mirror images went through the trunk" in capsys.readouterr().err
    for name, changed in {"b": {}, "c": {"head": "gap", "seed": 3, "epochs": 1, "mirror": False}}.items():
        assert train(trunk, painted, tmp_path / name, replace(options, **changed)).passes == 0
    assert "no picture went through the trunk" in capsys.readouterr().err
    assert json.loads((tmp_path / "b" / "config.json").read_text())["trunk_passes"] == 0


def test_early_stop(tiny_trunk: Converted, painted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = replace(QUICK, epochs=40, learning_rate=1e-12, early_stop=3)
    trained = train(tiny_trunk, painted, tmp_path / "run", options)
    assert len(trained.epochs) == trained.best.epoch + 3 < 40
    assert "stopped: no better epoch in 3" in capsys.readouterr().err


def test_what_does_not_go_together(
    tiny_trunk: Converted, painted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    wrong: list[tuple[dict[str, Any], type[CaffeError], str]] = [
        ({"early_stop": 2, "validation": 0.0}, DataError, "--early-stop needs pictures"),
        ({"head": "nearest-mean", "unfreeze": "conv"}, DataError, "nearest-mean learns nothing"),
        ({"tensorboard": True}, DeviceError, "the package tensorboard is not installed"),
    ]
    for changed, error, said in wrong:
        with pytest.raises(error, match=said):
            train(tiny_trunk, painted, tmp_path / "run", replace(QUICK, **changed))


def test_cross_validation(tiny_trunk: Converted, painted: Path, tmp_path: Path) -> None:
    trained = train(tiny_trunk, painted, tmp_path / "run", replace(QUICK, learning_rate=0.01, epochs=5, folds=3))
    kept = json.loads((tmp_path / "run" / "cross-validation.json").read_text())
    assert [fold["pictures"] for fold in kept["folds"]] == [10, 10, 10]
    accuracies = [fold["accuracy"] for fold in kept["folds"]]
    assert kept["mean"] == pytest.approx(np.mean(accuracies))
    assert kept["mean"] > 0.6
    assert len(trained.epochs) == 5
    assert not list((tmp_path / "run").glob("fold-*"))
    check_free(tmp_path / "run", force=True)


def test_tensorboard(tiny_trunk: Converted, painted: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    trained = train(tiny_trunk, painted, tmp_path / "run", replace(QUICK, tensorboard=True))
    logged = EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()
    found = [event.value for event in logged.Scalars("train_loss")]
    assert found == pytest.approx([line.train_loss for line in trained.epochs])
    check_free(tmp_path / "run", force=True)


def test_nearest_mean() -> None:
    head = NearestMeanHead((2, 1, 1), 3)
    head.fit(torch.tensor([[2.0, 0], [0, 3], [0, 0]]), torch.tensor([2.0, 3, 0]))
    logits = head(torch.tensor([[1.0, 0], [0, 1], [5, 1]])[..., None, None])
    assert logits.argmax(1).tolist() == [0, 1, 0]
    assert logits.abs().max() == pytest.approx(16)
    assert (logits[:, 2] == 0).all()  # a class without a picture
    assert set(HEADS) == {"tutorial", "gap", "linear", "nearest-mean"}


def test_protocols() -> None:
    pictures = LabelledPictures(Path(), ("a",), tuple(Path(str(i)) for i in range(10)), (0,) * 10)
    sets = Sets(pictures.subset(range(8)), pictures.subset(range(8, 10)), None, (10.0, 20.0, 30.0), ())
    trunk = Preprocessing("BGR", (100.0, 110.0, 120.0), 0.5)
    assert preprocessing_of("careful", trunk, sets)[0] == trunk
    flawed, about = preprocessing_of("tutorial", trunk, sets)
    assert (flawed.channel_order, flawed.mean, flawed.scale) == ("RGB", pytest.approx((8, 16, 24)), 0.5)
    assert "the trunk takes BGR" in about
    assert preprocessing_of("tutorial-fixed", trunk, sets)[0].mean == (30.0, 20.0, 10.0)
    with pytest.raises(CaffeError, match="coloured pictures"):
        preprocessing_of("tutorial", Preprocessing("GRAY", (1.0,)), sets)
