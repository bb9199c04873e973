"""A finished folder takes its place: a free one, or that of a folder of the same kind, and of nothing else."""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from caffe2torch.claims import is_at, locked, opened, release
from caffe2torch.errors import OutputError

AT_FDCWD, RENAME_NOREPLACE, RENAME_EXCHANGE = -100, 1, 2  # of linux/fcntl.h and linux/fs.h
OLD = ".{}.old"  # a folder that is being replaced, where two folders cannot be exchanged
LISTED = 3  # names in an error


@dataclass(frozen=True)
class Kind:
    """Folders that a command writes, and how they are known from a stranger's."""

    name: str  # "a training run"
    is_one: Callable[[Path], bool]  # whether a folder is a finished one; no error for what is not
    files: re.Pattern[str] | None = None  # the paths, with slashes, of all that may lie in it; None: anything

    def unknown(self, folder: Path) -> list[str]:
        """The first files in a folder, finished or not, that are not of this kind. OSError if it cannot be seen."""
        found: list[str] = []
        for path in _files(folder) if self.files is not None else ():
            name = path.relative_to(folder).as_posix()
            if self.files is not None and not self.files.fullmatch(name):
                found.append(name)
            if len(found) > LISTED:
                break
        return found

    def objection(self, path: Path) -> str:
        """Why what is at a path must never be replaced; "" if it may be. An empty folder may."""
        if path.is_symlink():
            return f"is a link to {os.readlink(path)}; name the folder itself, or another"
        if not path.is_dir():
            return f"is {'a file' if path.is_file() else 'no folder'}; name a folder to write"
        try:
            if not any(path.iterdir()):
                return ""
            if not self.is_one(path):
                return f"is there, and not {self.name}; it is not replaced, --force or not: name another folder"
            unknown = self.unknown(path)
        except OSError as error:
            return f"cannot be looked into: {error.strerror}; name another folder"
        if unknown:
            names = ", ".join(unknown[:LISTED]) + (", …" if len(unknown) > LISTED else "")
            return f"holds what is no part of {self.name}: {names}; move that away, or name another folder"
        return ""


def _files(folder: Path) -> Iterator[Path]:
    """All that is no folder, at any depth; links are not followed."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _files(folder / entry.name)
            else:
                yield folder / entry.name


def refuse_folder(target: Path, force: bool, kind: Kind, inputs: Iterable[Path] = ()) -> None:
    """OutputError if no folder can be put at ``target``, if it may never be replaced, or, without ``force``, is there.

    ``inputs`` are files that are read: they must not be ``target``, nor lie in it.
    """
    if target.name in ("", ".."):
        raise OutputError(f"{target}: has no name of its own; name a folder to write, such as {target / 'NAME'}")
    above = next((parent for parent in target.parents if os.path.lexists(parent)), None)
    if above is not None and not above.is_dir():
        raise OutputError(f"{target}: {above} is no folder, so nothing can be put below it; name another folder")
    if not os.path.lexists(target):
        return
    for given in inputs:
        if _same(target, given):
            raise OutputError(f"{target}: is what is read; name another folder to write, with -o")
        real = Path(os.path.realpath(given))
        if any(_same(target, parent) for parent in (*given.absolute().parents, *real.parents)):
            raise OutputError(f"{target}: {given}, which is read, lies in it; name another folder to write")
    if objection := kind.objection(target):
        raise OutputError(f"{target}: {objection}")
    if not force:
        raise OutputError(f"{target}: exists already; name another folder, or replace it with --force")


def _same(path: Path, other: Path) -> bool:
    try:
        return path.samefile(other)
    except OSError:
        return False


def put_folder(beside: Path, target: Path, kind: Kind, force: bool = False) -> None:
    """Rename a finished folder to ``target``; what was there stays if that fails, and is removed if not.

    Only with ``force``, and only a folder of ``kind``, is anything replaced, whenever it came there: else OutputError.
    On Linux the two are exchanged, so that at every moment the old or the new one is there. Elsewhere, and on file
    systems that cannot do it, the old one is aside for the time of a rename; ``recover`` puts it back.
    """
    _flush_folder(beside)
    refuse_folder(target, force, kind)
    if force and os.path.lexists(target):
        _replace(beside, target, kind)
    else:
        _put_new(beside, target)
    _flush_folder(target.parent)


def _put_new(beside: Path, target: Path) -> None:
    try:
        if _renamed(beside, target, RENAME_NOREPLACE):
            return
        if os.path.lexists(target):
            raise FileExistsError
        os.rename(beside, target)  # would replace an empty folder, and nothing else
    except OSError as error:
        if os.path.lexists(target):
            raise OutputError(f"{target}: was made by someone else meanwhile; it is not replaced") from error
        raise


def _replace(beside: Path, target: Path, kind: Kind) -> None:
    old = opened(target)
    try:
        alone = locked(old, new=True)  # so that nobody else takes the old one over while it is removed
        if not _renamed(beside, target, RENAME_EXCHANGE):
            _rename_both(beside, target, kind)
            return
        if objection := kind.objection(beside):  # it was put there after it had been looked at
            if not _renamed(beside, target, RENAME_EXCHANGE):
                objection += f" (it is in {beside} now)"
            raise OutputError(f"{target}: {objection}")
        if alone and is_at(old, beside):
            _remove(beside)
    finally:
        release(old)


def _renamed(source: Path, target: Path, how: int) -> bool:
    """Rename in one step, without replacing or with exchanging; False where that cannot be done.

    FileExistsError if nothing may be replaced and something is there.
    """
    import ctypes

    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError, TypeError):  # not Linux, or an old C library
        return False
    names = os.fsencode(source), os.fsencode(target)
    done = not rename(AT_FDCWD, names[0], AT_FDCWD, names[1], how)
    if not done and how == RENAME_NOREPLACE and ctypes.get_errno() == errno.EEXIST:
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))
    return done


def _rename_both(beside: Path, target: Path, kind: Kind) -> None:
    old = target.with_name(OLD.format(target.name))
    if os.path.lexists(old):  # of a run that was killed after the new one was in place
        if old.is_symlink() or not old.is_dir() or kind.unknown(old):
            raise OutputError(f"{target}: cannot be replaced while {old} is there; move that away")
        shutil.rmtree(old)
    os.rename(target, old)
    try:
        if objection := kind.objection(old):
            raise OutputError(f"{target}: {objection}")
        os.rename(beside, target)
    except BaseException:
        if not os.path.lexists(target):
            os.rename(old, target)
        raise
    _remove(old)


def _remove(old: Path) -> None:
    """Remove a folder that was replaced; one that cannot be removed is named."""
    from caffe2torch.terminal import note

    shutil.rmtree(old, ignore_errors=True)
    if os.path.lexists(old):
        note(f"{old}: is the folder that was replaced, and could not be removed; remove it yourself")


def recover(target: Path, kind: Kind) -> None:
    """Put back what ``put_folder`` had aside when it was killed."""
    old = target.with_name(OLD.format(target.name))
    if not os.path.lexists(target) and os.path.lexists(old) and not kind.objection(old):
        os.rename(old, target)


def _flush_folder(path: Path) -> None:
    """Let a folder's list of names reach the disk, where the system can do that."""
    with suppress(OSError):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
