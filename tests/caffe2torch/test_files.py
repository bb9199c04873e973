"""Files appear whole or not at all, and errors name them, not what they were called meanwhile."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from caffe2torch import files
from caffe2torch.errors import OutputError
from caffe2torch.files import beside, refuse, write_whole
from caffe2torch.terminal import in_words


def test_errors_name_the_target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse_it(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(tmp_path / ".x.abc.part"))

    monkeypatch.setattr(files.tempfile, "mkstemp", refuse_it)
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
