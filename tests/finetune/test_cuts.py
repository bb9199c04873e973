"""--at auto: the blob that classifies best is found, in one pass through the trunk."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from caffe2torch.errors import NetError
from caffe2torch.folder import Converted, from_caffemodel
from finetune.checkpoint import check_free
from finetune.cuts import candidates, ridge_accuracy
from finetune.data.split import folds
from finetune.options import AUTO, Options
from finetune.train import train

QUICK = Options(at=AUTO, epochs=1, batch_size=8, hidden=8, device="cpu", workers=0)


def test_ridge_accuracy_tells_good_features_from_bad() -> None:
    random = np.random.default_rng(0)
    labels = np.repeat(np.arange(4), 15)
    good = np.eye(4)[labels] + random.normal(0, 0.3, (60, 4))
    parts = folds(labels.tolist(), None, 5, 0)
    assert ridge_accuracy(np.concatenate([good, random.normal(size=(60, 5))], 1) * 1e4, labels, parts) > 0.9
    assert ridge_accuracy(random.normal(size=(60, 9)), labels, parts) < 0.5
    assert ridge_accuracy(np.zeros((60, 9)), labels, parts) <= 0.25


def test_candidates_are_whole_blobs_that_everything_goes_through(tiny_trunk: Converted, golden: Path) -> None:
    assert [value.name for value in candidates(tiny_trunk.cut("fc"))] == ["conv", "pool", "fc"]
    case = golden / "illust2vec_mini"
    trunk = from_caffemodel(case / "weights.caffemodel", case / "deploy.prototxt")
    assert [value.blob for value in candidates(trunk)][-5:] == ["conv5_2", "pool5", "conv6_1", "conv6_2", "conv6_3"]


def test_the_best_is_taken_and_the_table_kept(
    tiny_trunk: Converted, painted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trained = train(tiny_trunk, painted, tmp_path / "run", QUICK)
    check_free(tmp_path / "run", force=True)  # nothing lies in it that is not known
    said = capsys.readouterr()
    assert "cuts: 3 blobs are compared on 24 training pictures, 5-fold cross-validation" in said.err
    kept = json.loads((tmp_path / "run" / "cuts.json").read_text())
    assert [cut["blob"] for cut in kept["cuts"]] == ["conv", "pool", "fc"]
    best = max(kept["cuts"], key=lambda cut: cut["accuracy"])
    assert best["accuracy"] > 0.9
    assert kept["chosen"] == best["blob"] == json.loads((tmp_path / "run" / "config.json").read_text())["at"]
    assert next(line for line in said.out.splitlines() if line.endswith("chosen")).split()[0] == best["blob"]
    assert trained.passes > 0
    train(tiny_trunk, painted, tmp_path / "again", QUICK)
    assert capsys.readouterr().err.count("no picture went through the trunk") == 2  # for the cuts, and to train


def test_another_size_goes_as_far_as_it_can(
    tiny_trunk: Converted, painted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prototxt = tmp_path / "fixed.prototxt"
    prototxt.write_text((tmp_path / "tiny.prototxt").read_text().replace("global_pooling: true", "kernel_size: 4"))
    train(from_caffemodel(None, prototxt), painted, tmp_path / "run", replace(QUICK, size=(20, 28)))
    kept = json.loads((tmp_path / "run" / "cuts.json").read_text())
    assert [(cut["blob"], cut["map"]) for cut in kept["cuts"]][:2] == [("conv", [6, 5, 7]), ("pool", [6, 2, 4])]


def test_a_net_with_nothing_to_cut(tmp_path: Path, painted: Path) -> None:
    prototxt = tmp_path / "wide.prototxt"
    prototxt.write_text(
        'layer { name: "d" type: "Input" top: "d" input_param { shape { dim: 1 dim: 3 dim: 8 dim: 8 } } }'
        'layer { name: "r" type: "Reshape" bottom: "d" top: "r" reshape_param { shape { dim: 2 dim: 96 } } }'
    )
    with pytest.raises(NetError, match=r"no blob that is a map"):
        train(from_caffemodel(None, prototxt), painted, tmp_path / "run", QUICK)
