"""Files appear whole or not at all, and errors name them, not what they were called meanwhile."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from caffe2torch import claims, files, replacing
from caffe2torch.errors import OutputError
from caffe2torch.files import beside, folder_beside, refuse, write_whole
from caffe2torch.replacing import Kind, put_folder, recover, refuse_folder
from caffe2torch.terminal import in_words

ANY = Kind("anything", lambda _: True)
OURS = Kind("ours", lambda path: (path / "a").is_file(), re.compile("a|part"))


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
    with folder_beside(tmp_path / "out", ANY, force=True) as place:
        assert place == left
        assert not list(place.iterdir())
        (place / "a").write_text("new")
    assert content(tmp_path) == {"x": "text", "out/a": "new"}


def test_two_runs_at_once_do_not_meet(tmp_path: Path) -> None:
    with folder_beside(tmp_path / "out", ANY, force=True) as first:
        with folder_beside(tmp_path / "out", ANY, force=True) as second:
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
        monkeypatch.setattr(replacing, "_renamed", lambda *_: False)
    (tmp_path / ".old.old").mkdir()  # of a run that was killed when all but this was done
    put_folder(*old_and_new(tmp_path), ANY, force=True)
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

    monkeypatch.setattr(replacing, "_renamed", lambda *_: False)
    monkeypatch.setattr(os, "rename", second_fails)
    with pytest.raises(PermissionError):
        put_folder(new, old, ANY, force=True)
    assert content(tmp_path) == {"old/a": "old", "new/a": "new"}


def test_the_old_folder_comes_back_after_a_kill_between_two_renamings(tmp_path: Path) -> None:
    _, old = old_and_new(tmp_path)
    recover(old, ANY)
    old.rename(tmp_path / ".old.old")
    recover(old, ANY)
    assert content(tmp_path) == {"old/a": "old", "new/a": "new"}


def test_a_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows: what another run may still be writing is left alone."""
    monkeypatch.setattr(claims, "_LOCKS", False)
    (tmp_path / ".out.1.part").mkdir()
    with folder_beside(tmp_path / "out", ANY, force=True) as place:
        assert place.name == ".out.2.part"
        (place / "a").write_text("new")
    with folder_beside(tmp_path / "out", ANY, force=True) as place:
        (place / "b").write_text("newer")
    write_whole(tmp_path / "x", "text")
    assert content(tmp_path) == {"out/b": "newer", "x": "text"}


def into_a_file(place: Path) -> None:
    place.write_text("theirs")


def into_a_folder(place: Path) -> None:
    place.mkdir()
    (place / "thesis").write_text("theirs")


@pytest.mark.parametrize("system", ["linux", "other"])
@pytest.mark.parametrize(
    ("make", "force"),
    [(into_a_file, False), (into_a_file, True), (into_a_folder, False), (into_a_folder, True), (Path.mkdir, False)],
)
def test_what_appears_meanwhile_is_not_replaced(
    make: Callable[[Path], None], force: bool, system: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if system == "other":
        monkeypatch.setattr(replacing, "_renamed", lambda *_: False)
    with pytest.raises(OutputError), folder_beside(tmp_path / "out", OURS, force) as place:  # noqa: PT012
        (place / "a").write_text("new")
        make(tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert "new" not in content(tmp_path).values()


@pytest.mark.parametrize("system", ["linux", "other"])
@pytest.mark.parametrize(
    ("there", "force", "words"),
    [
        (False, False, "was made by someone else meanwhile"),
        (False, True, "is there, and not ours"),
        (True, True, "holds what is no part of ours: thesis"),
    ],
)
def test_what_appears_after_the_last_look_is_not_replaced(
    there: bool, force: bool, words: str, system: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look at the target and the renaming, a folder of ours becomes a stranger's."""
    if system == "other":
        monkeypatch.setattr(replacing, "_renamed", lambda *_: False)
    out = tmp_path / "out"
    if there:
        out.mkdir()
        (out / "a").write_text("old")

    def late(*arguments: object) -> None:
        refuse_folder(*arguments)  # type: ignore[arg-type]
        out.mkdir(exist_ok=True)
        (out / "thesis").write_text("theirs")

    monkeypatch.setattr(replacing, "refuse_folder", late)
    with (
        pytest.raises(OutputError, match=words),
        folder_beside(out, OURS, force) as place,
    ):
        (place / "a").write_text("new")
    assert content(tmp_path) == {"out/thesis": "theirs"} | ({"out/a": "old"} if there else {})
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_stranger_that_cannot_be_put_back_is_kept_and_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    renamed, calls = replacing._renamed, []

    def once(source: Path, target: Path, how: int) -> bool:
        calls.append(how)
        (target / "thesis").write_text("theirs")
        return len(calls) == 1 and renamed(source, target, how)

    monkeypatch.setattr(replacing, "_renamed", once)
    (tmp_path / "out").mkdir()
    with (
        pytest.raises(OutputError, match=r"it is in .*\.out\.1\.part now"),
        folder_beside(tmp_path / "out", OURS, force=True) as place,
    ):
        (place / "a").write_text("new")
    assert content(tmp_path)[".out.1.part/thesis"] == "theirs"


def test_what_has_the_name_of_a_place_is_left_alone(tmp_path: Path) -> None:
    """A file, a link, and a stranger's folder; what a killed run of ours left is taken over."""
    (tmp_path / ".out.1.part").touch()
    (tmp_path / ".out.2.part").symlink_to(tmp_path)
    into_a_folder(tmp_path / ".out.3.part")
    for name in ("a", "part"):
        (tmp_path / ".out.4.part").mkdir(exist_ok=True)
        (tmp_path / ".out.4.part" / name).touch()
    (tmp_path / ".x.1.part").mkdir()
    with folder_beside(tmp_path / "out", OURS) as place:
        assert place.name == ".out.4.part"
        (place / "a").write_text("new")
    write_whole(tmp_path / "x", "text")
    assert content(tmp_path) == {".out.1.part": "", ".out.3.part/thesis": "theirs", "out/a": "new", "x": "text"}


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can give files away")
def test_what_cannot_be_removed_is_named_and_blocks_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    with TemporaryDirectory() as name:  # pytest's own are closed to others
        Path(name).chmod(0o711)
        check_that_it_blocks_nothing(Path(name) / "place")
    assert ".out.1.part: is the folder that was replaced, and could not be removed" in capfd.readouterr().err


def check_that_it_blocks_nothing(place: Path) -> None:
    place.mkdir()
    place.chmod(0o777)
    (place / "out").mkdir()
    (place / "out" / "a").touch()
    child = os.fork()
    if not child:
        os.setuid(65534)
        for _ in range(2):
            with folder_beside(place / "out", OURS, force=True) as new:
                (new / "a").write_text("new")
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert content(place) == {"out/a": "new", ".out.1.part/a": ""}


def test_a_strangers_folder_is_not_taken_for_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    into_a_folder(tmp_path / ".out.old")
    recover(tmp_path / "out", OURS)
    assert not (tmp_path / "out").exists()
    monkeypatch.setattr(replacing, "_renamed", lambda *_: False)
    for force in (False, True):
        (tmp_path / "out").mkdir(exist_ok=True)
        (tmp_path / "out" / "a").touch()
        with pytest.raises(OutputError), folder_beside(tmp_path / "out", OURS, force) as place:
            (place / "a").write_text("new")
    assert content(tmp_path) == {".out.old/thesis": "theirs", "out/a": ""}


def test_refuse_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("ours", "strange", "mixed", "empty"):
        Path(name).mkdir()
    for name in ("ours/a", "mixed/a", "mixed/thesis", "strange/b", "file"):
        Path(name).touch()
    Path("dangling").symlink_to("nowhere")
    Path("loop").symlink_to("loop")
    Path("link").symlink_to("ours")
    refuse_folder(Path("new"), False, OURS, [Path("file")])
    refuse_folder(Path("deep/new"), False, OURS)
    refuse_folder(Path("ours"), True, OURS, [Path("file"), Path("nowhere")])
    refuse_folder(Path("empty"), True, OURS)
    for place, force, words in (
        (".", True, "has no name of its own"),
        ("..", True, "has no name of its own"),
        ("ours/..", True, "has no name of its own"),
        ("/", True, "has no name of its own"),
        ("file/x", False, "file is no folder, so nothing can be put below it"),
        ("file/x/y", False, "file is no folder, so nothing can be put below it"),
        ("dangling/x", False, "dangling is no folder"),
        ("file", False, "file: is a file; name a folder"),
        (os.devnull, True, "is no folder"),
        ("dangling", False, "is a link to nowhere"),
        ("loop", True, "is a link to loop"),
        ("link", True, "is a link to ours"),
        ("strange", False, "is there, and not ours; it is not replaced, --force or not"),
        ("strange", True, "is there, and not ours; it is not replaced, --force or not"),
        ("mixed", True, "holds what is no part of ours: thesis"),
        ("ours", False, "exists already; name another folder, or replace it with --force"),
        ("empty", False, "exists already"),
    ):
        with pytest.raises(OutputError, match=re.escape(words)):
            refuse_folder(Path(place), force, OURS)
    for given, words in (("ours/a", "ours/a, which is read, lies in it"), ("ours", "is what is read")):
        with pytest.raises(OutputError, match=words):
            refuse_folder(Path("ours"), True, OURS, [Path(given)])
