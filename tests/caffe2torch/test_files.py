"""Files appear whole or not at all, and errors name them, not what they were called meanwhile."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from caffe2torch import claims, files
from caffe2torch.errors import OutputError
from caffe2torch.files import beside, folder_beside, put_folder, recover, refuse, write_whole
from caffe2torch.terminal import in_words


def test_errors_name_the_target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse_it(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(tmp_path / ".x.abc.part"))

    monkeypatch.setattr(files, "claimed", refuse_it)
    with pytest.raises(PermissionError) as caught:
        write_whole(tmp_path / "x", "text")
    assert in_words(caught.value) == f"{tmp_path / 'x'}: cannot be written: Permission denied"


def test_a_place_that_is_taken_is_named(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    with pytest.raises(OSError, match="cannot be written") as caught:
        write_whole(tmp_path / "x", "text")
    assert caught.value.filename == str(tmp_path / "x")
    assert ".part" not in in_words(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EFBIG, errno.EDQUOT])
def test_no_room_is_a_full_disk(number: int, tmp_path: Path) -> None:
    with pytest.raises(OSError) as caught, beside(tmp_path / "x"):  # noqa: PT011
        raise OSError(number, os.strerror(number))
    assert in_words(caught.value).startswith(f"{tmp_path / 'x'}: the disk is full")
    assert not list(tmp_path.iterdir())


def test_errors_about_other_files_stay_theirs(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught, beside(tmp_path / "x"):
        (tmp_path / "other").read_bytes()
    assert caught.value.filename == str(tmp_path / "other")


def test_refuse(tmp_path: Path) -> None:
    given, link = tmp_path / "given", tmp_path / "link"
    refuse(given, False, [given])  # nothing is there
    given.write_text("a")
    link.symlink_to(given)
    refuse(given, True, [tmp_path / "nowhere"])
    for path, force, inputs, words in (
        (given, True, [given], "is what is read"),
        (link, True, [given], "is what is read"),
        (given, False, [], "--force"),
        (tmp_path, True, [], "is a folder"),
        (Path(os.devnull), True, [], "is no file"),
    ):
        with pytest.raises(OutputError, match=words):
            refuse(path, force, inputs)


def test_what_a_killed_run_left_is_taken_over(tmp_path: Path) -> None:
    (tmp_path / ".x.1.part").write_text("half a file, of a run that was killed")
    write_whole(tmp_path / "x", "text")
    assert (tmp_path / "x").read_text() == "text"
    left = tmp_path / ".out.1.part"
    (left / "deeper").mkdir(parents=True)
    (left / "deeper" / "file").write_text("half a folder")
    with folder_beside(tmp_path / "out") as place:
        assert place == left
        assert not list(place.iterdir())
        (place / "a").write_text("new")
    assert content(tmp_path) == {"x": "text", "out/a": "new"}


def test_two_runs_at_once_do_not_meet(tmp_path: Path) -> None:
    with folder_beside(tmp_path / "out") as first:
        with folder_beside(tmp_path / "out") as second:
            assert first != second
            (first / "a").write_text("first")
            (second / "b").write_text("second")
        assert content(tmp_path / "out") == {"b": "second"}
        with beside(tmp_path / "x") as third, beside(tmp_path / "x") as fourth:
            assert third != fourth
    assert content(tmp_path) == {"out/a": "first", "x": ""}


def old_and_new(tmp_path: Path) -> tuple[Path, Path]:
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a").write_text(name)
    return tmp_path / "new", tmp_path / "old"


def content(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("exchange", [True, False], ids=["exchanged", "renamed twice"])
def test_a_folder_is_replaced(exchange: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not exchange:
        monkeypatch.setattr(files, "_exchange", lambda *_: False)
    (tmp_path / ".old.old").mkdir()  # of a run that was killed when all but this was done
    put_folder(*old_and_new(tmp_path))
    assert (tmp_path / "old" / "a").read_text() == "new"
    assert not (tmp_path / "new").exists()
    assert exchange or not (tmp_path / ".old.old").exists()


def test_the_old_folder_comes_back_when_the_new_one_cannot_be_put_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    new, old = old_and_new(tmp_path)
    rename, calls = os.rename, []

    def second_fails(*arguments: Path) -> None:
        calls.append(arguments)
        if len(calls) == 2:
            raise PermissionError(errno.EACCES, "Permission denied")
        rename(*arguments)

    monkeypatch.setattr(files, "_exchange", lambda *_: False)
    monkeypatch.setattr(os, "rename", second_fails)
    with pytest.raises(PermissionError):
        put_folder(new, old)
    assert content(tmp_path) == {"old/a": "old", "new/a": "new"}


def test_the_old_folder_comes_back_after_a_kill_between_two_renamings(tmp_path: Path) -> None:
    _, old = old_and_new(tmp_path)
    recover(old)
    old.rename(tmp_path / ".old.old")
    recover(old)
    assert content(tmp_path) == {"old/a": "old", "new/a": "new"}


def test_a_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows: what another run may still be writing is left alone."""
    monkeypatch.setattr(claims, "_LOCKS", False)
    (tmp_path / ".out.1.part").mkdir()
    with folder_beside(tmp_path / "out") as place:
        assert place.name == ".out.2.part"
        (place / "a").write_text("new")
    with folder_beside(tmp_path / "out") as place:
        (place / "b").write_text("newer")
    write_whole(tmp_path / "x", "text")
    assert content(tmp_path) == {"out/b": "newer", "x": "text"}
