"""--resume: what was killed goes on, and ends as if nothing had happened."""

from __future__ import annotations

import glob
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save

from caffe2torch.errors import ModelError, OutputError
from caffe2torch.folder import Converted
from caffe2torch.folder import save as save_folder
from finetune import keeping, loop
from finetune.checkpoint import KIND, held, save_head
from finetune.options import Options
from finetune.resume import load_state, save_state, states
from finetune.table import Epoch
from finetune.train import train

OPTIONS = Options(epochs=12, batch_size=8, hidden=8, lr_step=(6,), device="cpu", workers=0, checkpoint_every=0)
UNFROZEN = replace(OPTIONS, unfreeze="data", batch_norm=True, augment=("crop",), accumulate=2, schedule="cosine")


def files(run: Path) -> dict[str, bytes]:
    """What must be the same to the last bit."""
    names = ("last.safetensors", "best.safetensors", "predictions-validation.csv")
    return {name: (run / name).read_bytes() for name in names}


def interrupt_in(monkeypatch: pytest.MonkeyPatch, epoch: int, error: type[BaseException]) -> None:
    """The first run stops in the middle of that epoch."""
    train_epoch, calls = loop.train_epoch, []

    def interrupted(*arguments: object) -> tuple[float, float]:
        calls.append(1)
        found = train_epoch(*arguments)  # type: ignore[arg-type]
        if len(calls) == epoch:
            raise error
        return found

    monkeypatch.setattr(loop, "train_epoch", interrupted)


@pytest.mark.parametrize(
    ("options", "name"), [(OPTIONS, "run"), (UNFROZEN, "run"), (OPTIONS, "x[1]")], ids=["head", "trunk", "brackets"]
)
def test_it_ends_with_the_same_bits(
    tiny_trunk: Converted, painted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: Options, name: str
) -> None:
    train(tiny_trunk, painted, tmp_path / "whole", options)
    interrupt_in(monkeypatch, 8, RuntimeError)
    with pytest.raises(RuntimeError):
        train(tiny_trunk, painted, tmp_path / name, options)
    (left,) = tmp_path.glob(f"{glob.escape(name)}.partial-*")
    assert [state.name for state in states(left)] == ["resume-000007"]
    trained = train(tiny_trunk, painted, tmp_path / name, options, resume=True)
    assert [line.epoch for line in trained.epochs] == list(range(1, 13))
    assert files(tmp_path / name) == files(tmp_path / "whole")
    assert not states(tmp_path / name)
    assert (tmp_path / name / "metrics.csv").read_text().count("\n") == 13
    assert not list(tmp_path.glob(f"{glob.escape(name)}.partial-*"))


def test_checkpoints_are_written_now_and_then_and_are_the_same(
    tiny_trunk: Converted, painted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_tensors, written = keeping.save_tensors, []

    def counted(*arguments: Any, **named: Any) -> None:
        written.append(arguments)
        save_tensors(*arguments, **named)

    monkeypatch.setattr(keeping, "save_tensors", counted)
    train(tiny_trunk, painted, tmp_path / "always", OPTIONS)
    assert len(written) == 12
    train(tiny_trunk, painted, tmp_path / "once", replace(OPTIONS, checkpoint_every=1000.0))
    assert len(written) <= 14  # the last and the best
    assert files(tmp_path / "always") == files(tmp_path / "once")
    with monkeypatch.context() as patch:
        interrupt_in(patch, 9, KeyboardInterrupt)
        trained = train(tiny_trunk, painted, tmp_path / "cut", replace(OPTIONS, checkpoint_every=1000.0))
    assert trained.interrupted and json.loads((tmp_path / "cut" / "last.json").read_text())["epoch"] == 8


def test_after_kill_9(tiny_trunk: Converted, painted: Path, tmp_path: Path) -> None:
    save_folder(tiny_trunk, tmp_path / "trunk")
    options = replace(OPTIONS, epochs=100)
    command = [
        *(sys.executable, "-c", "from finetune.cli import main; main()", "train", painted, "-o", tmp_path / "run"),
        *("--trunk", tmp_path / "trunk", "--epochs", "100", "--batch-size", "8", "--hidden", "8", "--lr-step", "6"),
        *("--device", "cpu", "--workers", "0", "--checkpoint-every", "0"),
    ]
    killed = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("run.partial-1/resume-00000[3-9]")) and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(killed.pid, signal.SIGKILL)
    _, said = killed.communicate()
    assert killed.returncode == -signal.SIGKILL, said
    assert not (tmp_path / "run").exists()
    assert not KIND.unknown(tmp_path / "run.partial-1")
    trained = train(tiny_trunk, painted, tmp_path / "run", options, resume=True)
    assert len(trained.epochs) == 100
    train(tiny_trunk, painted, tmp_path / "whole", options)
    assert files(tmp_path / "run") == files(tmp_path / "whole")


def test_ctrl_c_ends_a_run_that_can_go_on(
    tiny_trunk: Converted, painted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        interrupt_in(patch, 5, KeyboardInterrupt)
        trained = train(tiny_trunk, painted, tmp_path / "run", OPTIONS)
    assert trained.interrupted
    assert len(trained.epochs) == 4
    train(tiny_trunk, painted, tmp_path / "run", OPTIONS, resume=True)
    train(tiny_trunk, painted, tmp_path / "whole", OPTIONS)
    assert files(tmp_path / "run") == files(tmp_path / "whole")
    with pytest.raises(OutputError, match="is finished: there is nothing to resume"):
        train(tiny_trunk, painted, tmp_path / "run", OPTIONS, resume=True)


def test_only_the_same_run_goes_on(
    tiny_trunk: Converted, painted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        interrupt_in(patch, 3, RuntimeError)
        with pytest.raises(RuntimeError):
            train(tiny_trunk, painted, tmp_path / "run", OPTIONS)
    others = ((replace(OPTIONS, seed=1), r"--seed \(was 0, is 1\)"), (replace(OPTIONS, epochs=9), "--epochs"))
    for changed, said in others:
        with pytest.raises(ModelError, match=rf"cannot be resumed, .*{said}"):
            train(tiny_trunk, painted, tmp_path / "run", changed, resume=True)
    with held(tmp_path / "run.partial-1"), pytest.raises(OutputError, match="this run is still going on"):
        train(tiny_trunk, painted, tmp_path / "run", OPTIONS, resume=True)
    (painted / "red" / "00.png").write_bytes((painted / "red" / "01.png").read_bytes())
    with pytest.raises(ModelError, match="something else than then: .*data"):
        train(tiny_trunk, painted, tmp_path / "run", OPTIONS, resume=True)


def test_a_damaged_state(tmp_path: Path) -> None:
    head = torch.nn.Linear(2, 3)
    optimizer = torch.optim.SGD(head.parameters(), 0.1, momentum=0.9)
    head(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    line = Epoch(1, 1.0, 0.5, None, None, 0.1, 1.0, 1.0)
    save_head(tmp_path, head, {"epoch": 1}, best=True)
    save_state(tmp_path, optimizer, [line], line)
    again = torch.optim.SGD(head.parameters(), 0.1, momentum=0.9)
    assert load_state(tmp_path, again) == ([line], line)
    assert torch.equal(again.state[head.bias]["momentum_buffer"], optimizer.state[head.bias]["momentum_buffer"])
    (state,) = states(tmp_path)
    whole = load_file(state / "optimizer.safetensors")
    for tensors, said in (
        (None, "a header of .* bytes in a file of 8"),
        ({**whole, "0.momentum_buffer": torch.zeros(3)}, r"0\.momentum_buffer is of shape \(3,\)"),
        ({**whole, "9.momentum_buffer": torch.zeros(3)}, "index out of range"),
        ({**whole, "0.more": torch.zeros(1 << 19)}, r"bytes of tensors; [\d,]* are wanted"),
    ):
        (state / "optimizer.safetensors").write_bytes(b"\x80\x04pickle" if tensors is None else save(tensors))
        with pytest.raises(ModelError, match=rf"resume-000001: damaged: .*{said}.*; without --resume"):
            load_state(tmp_path, again)
    (state / "state.json").write_bytes(b"[" * 100_000)
    with pytest.raises(ModelError, match=r"damaged: state\.json: damaged"):
        load_state(tmp_path, again)


def test_with_nothing_to_resume_it_begins(
    tiny_trunk: Converted, painted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(tiny_trunk, painted, tmp_path / "run", replace(OPTIONS, epochs=1), resume=True)
    assert "nothing to resume is here: the run begins anew" in capsys.readouterr().err
