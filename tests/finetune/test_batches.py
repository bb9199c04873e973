"""Batches: order, sizes, content, workers, pictures that vanish."""

from __future__ import annotations

import multiprocessing
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from caffe2torch.errors import DataError
from caffe2torch.pictures import load_picture
from finetune.data import batches as module
from finetune.data.batches import Reader, batches, default_workers, plan_batches
from finetune.data.folders import read_folders


@pytest.mark.parametrize(
    ("length", "size", "expected"),
    [(10, 4, [4, 4, 2]), (9, 4, [4, 5]), (8, 4, [4, 4]), (1, 4, [1]), (5, 4, [5]), (3, 4, [3])],
)
def test_no_last_batch_of_one(length: int, size: int, expected: list[int]) -> None:
    for random in (None, torch.Generator().manual_seed(0)):
        plan = plan_batches(length, size, random)
        assert [len(indices) for indices in plan] == expected
        assert sorted(index for indices in plan for index in indices) == list(range(length))


def test_every_epoch_has_its_own_order_and_the_seed_decides() -> None:
    first, again = (torch.Generator().manual_seed(3) for _ in range(2))
    epochs = [plan_batches(20, 6, first) for _ in range(2)]
    assert epochs[0] != epochs[1]
    assert [plan_batches(20, 6, again) for _ in range(2)] == epochs


@pytest.mark.parametrize("workers", [0, 2])
def test_pictures_and_labels_belong_together(painted: Path, workers: int) -> None:
    pictures, _ = read_folders(painted)
    random = torch.Generator().manual_seed(0)
    with Reader((8, 12), workers) as reader:
        for _ in range(3):
            plan = plan_batches(30, 7, random)
            for indices, (stacked, labels) in zip(plan, batches(reader, pictures, plan), strict=True):
                expected = np.stack([load_picture(pictures.paths[i], (8, 12)) for i in indices])
                np.testing.assert_array_equal(stacked.numpy(), expected)
                assert labels.tolist() == [pictures.labels[i] for i in indices]


def test_torchs_random_state_does_not_depend_on_workers(painted: Path) -> None:
    pictures, _ = read_folders(painted)
    states = []
    for workers in (0, 1):
        torch.manual_seed(0)
        with Reader((8, 12), workers) as reader:
            for _ in range(2):
                list(batches(reader, pictures, plan_batches(30, 7)))
        states.append(torch.rand(1).item())
    assert states[0] == states[1]


@pytest.mark.parametrize("workers", [0, 1])
def test_a_picture_that_vanished_is_a_data_error_without_a_traceback(painted: Path, workers: int) -> None:
    pictures, _ = read_folders(painted)
    pictures.paths[12].unlink()
    with Reader((8, 12), workers) as reader, pytest.raises(DataError) as caught:
        list(batches(reader, pictures, plan_batches(30, 7)))
    assert "02.png" in str(caught.value)
    assert "Traceback" not in str(caught.value)


def test_a_pass_may_be_left_and_workers_end_at_once(painted: Path) -> None:
    pictures, _ = read_folders(painted)
    with Reader((8, 12), 2) as reader:
        next(batches(reader, pictures, plan_batches(30, 2)))
        again = list(batches(reader, pictures, plan_batches(30, 9)))
        assert [len(batch.labels) for batch in again] == [9, 9, 9, 3]
        workers = multiprocessing.active_children()
        assert len(workers) == 2
        start = time.monotonic()
    assert not any(worker.is_alive() for worker in workers)
    assert time.monotonic() - start < 3


def test_a_killed_worker_is_a_data_error(painted: Path) -> None:
    pictures, _ = read_folders(painted)
    with Reader((8, 12), 1) as reader:
        list(batches(reader, pictures, plan_batches(30, 9)))
        (worker,) = multiprocessing.active_children()
        worker.kill()
        with pytest.raises(DataError, match=r"was killed.*--workers 1, or 0"):
            list(batches(reader, pictures, plan_batches(30, 9)))


def test_workers_fit_the_cores_and_the_shared_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.os, "sched_getaffinity", lambda pid: set(range(64)), raising=False)
    monkeypatch.setattr(module.os.path, "isdir", lambda path: True)
    for free, expected in ((64 << 20, 2), (16 << 30, 16), (0, 0)):
        monkeypatch.setattr(module.shutil, "disk_usage", lambda path, free=free: SimpleNamespace(free=free))
        assert default_workers((160, 160), 64) == expected
