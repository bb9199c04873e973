"""Several processes train one network: the path that several GPUs take, here on the CPU."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from caffe2torch.folder import Converted, from_caffemodel, save
from finetune.options import Options
from finetune.train import train


@pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="torch has no gloo here")
def test_two_processes_do_what_one_does(tiny_trunk: Converted, painted: Path, tmp_path: Path) -> None:
    net = (tmp_path / "tiny.prototxt").read_text()  # without dropout, which each process has for itself
    (tmp_path / "plain.prototxt").write_text(re.sub('layer { name: "drop".*\n', "", net))
    save(trunk := from_caffemodel(None, tmp_path / "plain.prototxt"), tmp_path / "trunk")
    said = subprocess.run(
        [
            *(sys.executable, Path(sys.executable).with_name("finetune"), "train", painted, "-o", tmp_path / "two"),
            *("--trunk", tmp_path / "trunk", "--head", "gap", "--dropout", "0", "--at", "fc", "--lr", "0.001"),
            *("--epochs", "3", "--batch-size", "8", "--accumulate", "2", "--device", "cpu", "--workers", "0"),
            *("--unfreeze", "conv", "--features", "full", "--test", painted, "--devices", "2"),
        ],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert said.returncode == 0, said.stderr
    assert "2 processes" in said.stderr
    assert said.stdout.count("train loss") == 1  # one of them speaks
    options = Options(
        head="gap", dropout=0.0, at="fc", learning_rate=0.001, epochs=3, batch_size=8, accumulate=2, device="cpu",
        workers=0, unfreeze="conv", features="full",
    )  # fmt: skip
    shared = re.search(r"54 pictures and mirror images, (\d+) by this process, went through the trunk", said.stderr)
    assert shared
    assert 20 < int(shared[1]) < 34
    one = train(trunk, painted, tmp_path / "one", options, painted)
    assert json.loads((tmp_path / "two" / "test.json").read_text())["pictures"] == 30
    lines = (tmp_path / "two" / "metrics.csv").read_text().splitlines()
    assert len(lines) == 4
    assert float(lines[-1].split(",")[1]) == pytest.approx(one.epochs[-1].train_loss, rel=1e-4)
    left, right = (load_file(tmp_path / name / "last.safetensors") for name in ("one", "two"))
    assert left.keys() == right.keys()
    for name in left:
        torch.testing.assert_close(left[name], right[name], rtol=1e-3, atol=1e-5)
