"""Batches: order, sizes, content, workers, pictures that vanish."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from caffe2torch.errors import DataError
from finetune.data import batches as module
from finetune.data.batches import Batches, batches, default_workers, loader
from finetune.data.folders import read_folders
from finetune.data.pictures import load_picture


@pytest.mark.parametrize(
    ("length", "size", "expected"),
    [(10, 4, [4, 4, 2]), (9, 4, [4, 5]), (8, 4, [4, 4]), (1, 4, [1]), (5, 4, [5]), (3, 4, [3])],
)
def test_no_last_batch_of_one(length: int, size: int, expected: list[int]) -> None:
    for seed in (None, 0):
        source = Batches(length, size, seed)
        drawn = list(source)
        assert [len(batch) for batch in drawn] == expected
        assert len(source) == len(expected)
        assert sorted(index for batch in drawn for index in batch) == list(range(length))


def test_every_epoch_has_its_own_order_and_the_seed_decides() -> None:
    source, again = Batches(20, 6, seed=3), Batches(20, 6, seed=3)
    first, second = list(source), list(source)
    assert first != second
    assert [list(again), list(again)] == [first, second]


@pytest.mark.parametrize("workers", [0, 2])
def test_pictures_and_labels_belong_together(painted: Path, workers: int) -> None:
    pictures, _ = read_folders(painted)
    source = loader(pictures, (8, 12), 7, workers, seed=0)
    expected = {
        load_picture(path, (8, 12)).tobytes(): label
        for path, label in zip(pictures.paths, pictures.labels, strict=True)
    }
    for _ in range(2):
        seen: Counter[int] = Counter()
        for drawn, labels in batches(source):
            assert drawn.shape[1:] == (8, 12, 3)
            assert drawn.dtype == torch.uint8
            assert [expected[picture.numpy().tobytes()] for picture in drawn] == labels.tolist()
            seen.update(labels.tolist())
        assert seen == {0: 10, 1: 10, 2: 10}


def test_the_order_and_torchs_random_state_do_not_depend_on_workers(painted: Path) -> None:
    pictures, _ = read_folders(painted)
    states, orders = [], []
    for workers in (0, 1):
        torch.manual_seed(0)
        source = loader(pictures, (8, 12), 7, workers, seed=0)
        orders.append([labels.tolist() for _ in range(2) for _, labels in batches(source)])
        states.append(torch.rand(1).item())
    assert orders[0] == orders[1]
    assert states[0] == states[1]


@pytest.mark.parametrize("workers", [0, 1])
def test_a_picture_that_vanished_is_a_data_error_without_a_traceback(painted: Path, workers: int) -> None:
    pictures, _ = read_folders(painted)
    pictures.paths[12].unlink()
    with pytest.raises(DataError) as caught:
        list(batches(loader(pictures, (8, 12), 7, workers)))
    assert "02.png" in str(caught.value)
    assert "Traceback" not in str(caught.value)


def test_workers_fit_the_cores_and_the_shared_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.os, "sched_getaffinity", lambda pid: set(range(64)), raising=False)
    monkeypatch.setattr(module.os.path, "isdir", lambda path: True)
    for free, expected in ((64 << 20, 2), (16 << 30, 16), (0, 0)):
        monkeypatch.setattr(module.shutil, "disk_usage", lambda path, free=free: SimpleNamespace(free=free))
        assert default_workers((160, 160), 64) == expected
