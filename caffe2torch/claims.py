"""The place where a file or folder is written before it takes its name: found, and locked against other runs.

What is being written to NAME is called ``.NAME.1.part`` meanwhile. A run that is killed leaves that behind with nobody
holding the lock, and the next one to write NAME takes it over; a second run at the same time takes number 2. What is
no such thing, or cannot be emptied, is left alone.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

try:
    import fcntl

    _LOCKS = True
except ModuleNotFoundError:  # Windows
    _LOCKS = False

NONE = -1
MOST = 1000  # places that are tried


def claimed(path: Path) -> tuple[Path, int]:
    """An empty file next to ``path`` that no other process writes to, and the handle that keeps it so."""
    for temporary in _places(path):
        new = True
        try:
            handle = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            new = False
            try:
                handle = os.open(temporary, os.O_RDWR | getattr(os, "O_NOFOLLOW", 0))
            except OSError:  # something else has the name, or it is just being renamed
                continue
        if locked(handle, new) and is_at(handle, temporary) and stat.S_ISREG(os.fstat(handle).st_mode):
            os.ftruncate(handle, 0)
            return temporary, handle
        release(handle)
    raise AssertionError("unreachable")


def claimed_folder(path: Path, unknown: Callable[[Path], Sequence[str]]) -> tuple[Path, int]:
    """The same with a folder. One that is there is taken over only if it holds nothing ``unknown``."""
    for temporary in _places(path):
        new = True
        try:
            temporary.mkdir(mode=0o700)
            handle = opened(temporary)
        except FileExistsError:
            new = False
            try:
                handle = opened(temporary)
            except OSError:
                continue
        if locked(handle, new) and is_at(handle, temporary) and (new or _emptied(temporary, unknown)):
            return temporary, handle
        release(handle)
    raise AssertionError("unreachable")


def _places(path: Path) -> Iterator[Path]:
    for number in range(1, MOST + 1):
        yield path.with_name(f".{path.name}.{number}.part")
    raise FileExistsError(errno.EEXIST, f"all of .{path.name}.1.part to {MOST} beside it are taken", str(path))


def opened(folder: Path) -> int:
    """A handle of a folder, not of a link to one; NONE where the system has no such thing (Windows)."""
    return os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW) if _LOCKS else NONE


def release(handle: int) -> None:
    """Close a handle, and so give up its lock."""
    if handle != NONE:
        os.close(handle)


def locked(handle: int, new: bool) -> bool:
    """Whether the file is ours alone until ``handle`` is closed. Where there are no locks, one that is new is."""
    if not _LOCKS:
        return new
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return new and error.errno not in (errno.EWOULDBLOCK, errno.EACCES)
    return True


def is_at(handle: int, path: Path) -> bool:
    """Whether a handle is that of the file at ``path``, which may have been renamed since it was opened."""
    if handle == NONE:
        return True
    try:
        return os.path.samestat(os.fstat(handle), os.lstat(path))
    except OSError:
        return False


def _emptied(folder: Path, unknown: Callable[[Path], Sequence[str]]) -> bool:
    """Empty what a killed run left; False for a folder that is someone's own, or cannot be emptied."""
    try:
        if unknown(folder):
            return False
        for entry in folder.iterdir():
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()
    except OSError:
        return False
    return True
