"""Features that are kept: found again by their keys, whatever became of the process that wrote them."""

from __future__ import annotations

import resource
import signal
from pathlib import Path

import numpy as np
import pytest

from caffe2torch.errors import OutputError
from finetune.features import KEY_BYTES, Store, default_cache, key_of

KEYS = [key_of(bytes([number]), False) for number in range(10)]
ROWS = np.random.default_rng(0).normal(size=(10, 2, 3)).astype(np.float32)


def filled(cache: Path, numbers: range, half: bool = False) -> Store:
    """A store with some of KEYS and ROWS."""
    store = Store(cache, {"net": "tiny"}, (2, 3), half)
    with store.writing() as writer:
        writer.add([KEYS[i] for i in numbers], ROWS[numbers.start : numbers.stop])
    store.reopen()
    return store


def test_what_is_written_is_found(tmp_path: Path) -> None:
    filled(tmp_path, range(4))
    filled(tmp_path, range(3, 8))  # another run; one key is there twice
    store = Store(tmp_path, {"net": "tiny"}, (2, 3), half=False)
    places = store.places(KEYS)
    assert (places >= 0).tolist() == [True] * 8 + [False] * 2
    order = [7, 0, 3, 3, 5]
    np.testing.assert_array_equal(store.rows(places[order]), ROWS[order])
    assert KEYS[0] in store
    assert KEYS[9] not in store


def test_what_it_depends_on_is_kept_apart(tmp_path: Path) -> None:
    filled(tmp_path, range(4))
    for about, shape, half in (({"net": "other"}, (2, 3), False), ({"net": "tiny"}, (6,), False)):
        assert (Store(tmp_path, about, shape, half).places(KEYS) == -1).all()
    assert (Store(tmp_path, {"net": "tiny"}, (2, 3), half=True).places(KEYS) == -1).all()
    assert key_of(b"picture", True) != key_of(b"picture", False)
    assert len(KEYS[0]) == KEY_BYTES


def test_half_precision(tmp_path: Path) -> None:
    store = filled(tmp_path, range(4), half=True)
    found = store.rows(store.places(KEYS[:4]))
    assert found.dtype == np.float16
    np.testing.assert_allclose(found, ROWS[:4], rtol=1e-3)
    with store.writing() as writer, pytest.raises(OutputError, match="1e\\+05 are too large for half precision"):
        writer.add(KEYS[:1], np.full((1, 2, 3), 1e5))
    with store.writing() as writer, pytest.raises(OutputError, match="features that are no numbers"):
        writer.add(KEYS[:1], np.full((1, 2, 3), np.nan))


@pytest.mark.parametrize(("part", "less"), [("rows", 1), ("rows", 25), ("keys", 1), ("keys", 3 * KEY_BYTES)])
def test_a_segment_that_was_cut_off_counts_as_far_as_it_goes(tmp_path: Path, part: str, less: int) -> None:
    store = filled(tmp_path, range(8))
    (path,) = store.folder.glob(f"*.{part}")
    path.write_bytes(path.read_bytes()[:-less])
    store = Store(tmp_path, {"net": "tiny"}, (2, 3), half=False)
    known = store.places(KEYS) >= 0
    whole = 8 - -(-less // (24 if part == "rows" else KEY_BYTES))
    assert known.tolist() == [True] * whole + [False] * (10 - whole)
    np.testing.assert_array_equal(store.rows(store.places(KEYS[:whole])), ROWS[:whole])
    filled(tmp_path, range(whole, 10))  # what is missing is computed again
    store.reopen()
    np.testing.assert_array_equal(store.rows(store.places(KEYS)), ROWS)


def test_segments_without_anything_or_half_deleted(tmp_path: Path) -> None:
    store = filled(tmp_path, range(2))
    (store.folder / "a.keys").touch()
    (store.folder / "a.rows").touch()
    (store.folder / "b.keys").write_bytes(KEYS[5])
    store.reopen()
    assert (store.places(KEYS) >= 0).sum() == 2


def test_a_full_disk_is_told_before(tmp_path: Path) -> None:
    store = Store(tmp_path, {}, (2, 3), half=False)
    store.check_room(10)
    with pytest.raises(
        OutputError, match=r"need 24,000,000,000.0 MB, .* MB are free; --cache-folder puts them elsewhere"
    ):
        store.check_room(10**15)


def test_a_disk_that_fills_up(tmp_path: Path) -> None:
    store = filled(tmp_path, range(4))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, limits[1]))
    try:
        with pytest.raises(OutputError, match="the disk is full; --cache-folder puts"), store.writing() as writer:  # noqa: PT012
            for number in range(100):
                writer.add([key_of(bytes([number]), True)] * 8, np.ones((8, 2, 3), np.float32))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    store.reopen()
    np.testing.assert_array_equal(store.rows(store.places(KEYS[:4])), ROWS[:4])


def test_memory_is_handed_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("finetune.features.MAPPED", 100)
    store = filled(tmp_path, range(10))
    for _ in range(3):
        np.testing.assert_array_equal(store.rows(store.places(KEYS)), ROWS)


def test_the_usual_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert default_cache() == Path("/somewhere/caffe2torch/features")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert default_cache() == Path.home() / ".cache/caffe2torch/features"
