"""The pieces of the training loop."""

from __future__ import annotations

import csv
import signal
from pathlib import Path

import pytest

from finetune.loop import _better, interrupts_wait
from finetune.options import Options
from finetune.table import Epoch, append_csv, print_epoch, print_header


def epoch(number: int, accuracy: float | None, loss: float | None) -> Epoch:
    return Epoch(number, 0.25, 0.75, loss, accuracy, 0.01, 123.4, 5.6)


def test_ctrl_c_waits_for_what_is_being_written() -> None:
    steps = []

    def write() -> None:
        with interrupts_wait():
            signal.raise_signal(signal.SIGINT)
            steps.append("written")
        steps.append("after")

    with pytest.raises(KeyboardInterrupt):
        write()
    assert steps == ["written"]
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)  # answered at once again


def test_the_rate_drops_after_the_step() -> None:
    assert [Options().rate(number) for number in (1, 10, 11, 20, 40)] == pytest.approx(
        [0.01, 0.01, 0.001, 0.001, 0.001]
    )
    stepped = Options(learning_rate=1.0, lr_step=(2, 4), lr_gamma=0.5)
    assert [stepped.rate(number) for number in range(1, 7)] == [1, 1, 0.5, 0.5, 0.25, 0.25]
    cosine = Options(learning_rate=1.0, schedule="cosine", epochs=4)
    assert [cosine.rate(number) for number in range(1, 5)] == pytest.approx([1, 0.853553, 0.5, 0.146447], rel=1e-5)


def test_the_best_is_more_accurate_then_of_less_loss_then_the_earlier() -> None:
    best = epoch(1, 0.9, 0.5)
    assert _better(epoch(2, 0.91, 0.9), best)
    assert _better(epoch(2, 0.9, 0.4), best)
    assert not _better(epoch(2, 0.9, 0.5), best)
    assert not _better(epoch(2, 0.8, 0.1), best)
    assert _better(epoch(2, 0.8, 0.4), best, "loss") and not _better(epoch(2, 0.95, 0.5), best, "loss")
    assert _better(epoch(2, None, None), epoch(1, None, None))  # nothing validated: the last


def test_metrics_csv(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    append_csv(path, epoch(1, None, None))
    append_csv(path, epoch(2, 0.5, 1.25))
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == [
        "epoch",
        "train_loss",
        "train_accuracy",
        "validation_loss",
        "validation_accuracy",
        "learning_rate",
        "pictures_per_second",
        "seconds",
    ]
    assert rows[0]["validation_loss"] == ""
    assert rows[1]["validation_loss"] == "1.25"
    assert rows[1]["epoch"] == "2"


def test_the_table_is_aligned(capsys: pytest.CaptureFixture[str]) -> None:
    print_header()
    print_epoch(epoch(1, None, None), best=True)
    print_epoch(epoch(20, 0.5, 1.25), best=False)
    header, first, second = capsys.readouterr().out.splitlines()
    for title in (
        "epoch",
        "train loss",
        "train accuracy",
        "validation loss",
        "validation accuracy",
        "lr",
        "pictures/s",
    ):
        assert title in header
    assert len(header) == len(first) == len(second) <= 120
    assert second.split() == ["20", "0.2500", "0.7500", "1.2500", "0.5000", "0.01", "123.4", "5.6"]
    assert first.split()[3:5] == ["-", "-"]
