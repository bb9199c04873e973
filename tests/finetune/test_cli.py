"""The command `finetune`: in a process of its own, on a real caffemodel, with wrong use and Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from caffe2torch import folder as converted_folder
from caffe2torch.folder import Converted
from finetune.cli import main

COMMAND = [sys.executable, "-c", "from finetune.cli import main; main()"]


def run_command(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *map(str, arguments)], capture_output=True, text=True, timeout=300, check=False)


@pytest.fixture
def trunk(tiny_trunk: Converted, tmp_path: Path) -> Path:
    """The tiny trunk as a folder on disk."""
    converted_folder.save(tiny_trunk, tmp_path / "trunk")
    return tmp_path / "trunk"


def test_train_and_evaluate_a_real_caffemodel(golden: Path, painted: Path, tmp_path: Path) -> None:
    case, run = golden / "illust2vec_mini", tmp_path / "run"
    done = run_command(
        "train", painted, "--trunk", case / "weights.caffemodel", "--prototxt", case / "deploy.prototxt", "-o", run,
        "--test", painted, "--size", "64,48", "--hidden", 32, "--epochs", 4, "--batch-size", 8, "--device", "cpu",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "cut at conv6_3: 64x48 pictures, map 64x2x2" in done.stderr
    assert "3 classes of 10 pictures; 24 pictures to train, 6 to validate, 30 to test" in done.stderr
    assert "head: map 64x2x2, fc7 32, fc8 3: 8,387 parameters, 34 kB" in done.stderr
    assert "device: CPU" in done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("epoch  train loss")
    assert [line.split()[0] for line in lines[1:5]] == ["1", "2", "3", "4"]
    assert lines[-1] == str(run)
    evaluated = run_command("evaluate", run, painted, "--json", "--device", "cpu")
    assert evaluated.returncode == 0, evaluated.stderr
    scores = json.loads(evaluated.stdout)
    assert scores["accuracy"] == json.loads((run / "test.json").read_text())["accuracy"]
    assert f"test: accuracy {scores['accuracy']:.4f}" in done.stdout
    table = run_command("evaluate", run, painted, "--device", "cpu")
    assert table.stdout.splitlines()[-2].split()[:2] == ["all", "30"]


def test_ctrl_c(trunk: Path, painted: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    arguments = ["train", painted, "--trunk", trunk, "-o", run, "--epochs", "100000", "--hidden", 16, "--workers", 2]
    process = subprocess.Popen(
        [*COMMAND, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    partial = tmp_path / "run.partial-1" / "metrics.csv"
    deadline = time.monotonic() + 120
    while not partial.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does it: to the workers too
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "Traceback" not in output + errors
    assert "before it are kept" in errors
    assert json.loads((run / "last.json").read_text())["epoch"] >= 1
    assert not partial.parent.exists()
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)  # no worker is left


def test_killed(trunk: Path, painted: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    arguments = ["train", painted, "--trunk", trunk, "-o", run, "--epochs", "100000", "--hidden", 16, "--workers", 0]
    process = subprocess.Popen([*COMMAND, *map(str, arguments)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    metrics = tmp_path / "run.partial-1" / "metrics.csv"
    deadline = time.monotonic() + 120
    while not metrics.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    process.kill()
    process.wait(timeout=60)
    assert not run.exists()
    assert metrics.exists()
    again = CliRunner().invoke(main, [*map(str, arguments), "--epochs", "1"])
    assert again.exit_code == 0, again.output
    assert "run.partial-1: of a run that is still going on or was killed" in again.stderr


def expect_error(arguments: list[object], message: str, code: int = 1) -> None:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    assert message in result.stderr
    assert result.stdout == ""


def test_wrong_use(trunk: Path, painted: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    common = ["train", painted, "--trunk", trunk, "-o", run]
    expect_error(["train", painted, "-o", run], "Missing option '--trunk'", 2)
    expect_error([*common, "--size", "x"], "'x' is not a list of whole numbers above 0", 2)
    expect_error([*common, "--size", "1,2,3"], "'1,2,3' is not a size", 2)
    expect_error([*common, "--lr-step", "0"], "'0' is not a list of whole numbers above 0", 2)
    expect_error([*common, "--batch-size", "1"], "1 is not in the range x>=2", 2)
    expect_error(
        ["train", tmp_path / "nothing", *common[2:]], "nothing: no such file or folder; wanted is a folder per class"
    )
    expect_error(["train", painted, "--trunk", tmp_path / "none", "-o", run], "none")
    expect_error([*common, "--at", "nowhere"], "there is no blob 'nowhere'; there are conv, pool, fc")
    if not torch.cuda.is_available():
        expect_error([*common, "--device", "cuda"], "error: --device cuda: torch finds no GPU here")
    expect_error(["evaluate", tmp_path, painted], "not a training run")
    expect_error(["evaluate", tmp_path / "none", painted], "not a training run")
    assert not run.exists()
    run.mkdir()
    expect_error(common, f"error: {run}: exists already")


def test_sample(tmp_path: Path) -> None:
    few = {"--characters": 2, "--pictures": 2, "--test": 1, "--scenes": 0, "--size": 32}
    arguments = [str(part) for option in few.items() for part in option]
    drawn = CliRunner().invoke(main, ["sample", str(tmp_path / "drawn"), *arguments])
    assert drawn.exit_code == 0, drawn.output
    assert len(list((tmp_path / "drawn" / "faces").glob("*/*.png"))) == 4


def test_one_line_an_error(painted: Path, tmp_path: Path) -> None:
    (painted / "red" / "ignore").touch()
    (painted / "green" / "ignore").touch()
    result = CliRunner().invoke(
        main, ["train", str(painted), "--trunk", str(tmp_path / "none.caffemodel"), "-o", str(tmp_path / "r")]
    )
    assert result.exit_code == 1
    assert len(result.stderr.splitlines()) == 1


def test_help_imports_neither_torch_nor_lightning() -> None:
    code = (
        "import sys, finetune.cli; print([m for m in ('torch', 'lightning', 'matplotlib', 'onnx') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
