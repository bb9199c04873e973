"""The place where a file or folder is written before it takes its name: found, and locked against other runs.

What is being written to NAME is called ``.NAME.1.part`` meanwhile. A run that is killed leaves that behind with nobody
holding the lock, and the next one to write NAME takes it over; a second run at the same time takes number 2.
"""

from __future__ import annotations

import errno
import os
import shutil
from itertools import count
from pathlib import Path

try:
    import fcntl

    _LOCKS = True
except ModuleNotFoundError:  # Windows
    _LOCKS = False

NONE = -1


def claimed(path: Path, folder: bool) -> tuple[Path, int]:
    """An empty file or folder next to ``path`` that no other process writes to, and the handle that keeps it so."""
    for number in count(1):
        temporary = path.with_name(f".{path.name}.{number}.part")
        new = True
        try:
            if folder:
                temporary.mkdir(mode=0o700)
                handle = opened(temporary)
            else:
                handle = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            new = False
            try:
                handle = opened(temporary) if folder else os.open(temporary, os.O_RDWR | getattr(os, "O_NOFOLLOW", 0))
            except OSError:  # something else has the name, or it is just being renamed
                continue
        if locked(handle, new) and _is_at(handle, temporary):
            if folder and not new:
                _empty(temporary)
            elif not new:
                os.ftruncate(handle, 0)
            return temporary, handle
        release(handle)
    raise AssertionError("unreachable")


def opened(folder: Path) -> int:
    """A handle of a folder; NONE where the system has no such thing (Windows)."""
    return os.open(folder, os.O_RDONLY) if _LOCKS else NONE


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


def _is_at(handle: int, path: Path) -> bool:
    """Whether a handle is that of the file at ``path``, which may have been renamed since it was opened."""
    if handle == NONE:
        return True
    try:
        return os.path.samestat(os.fstat(handle), os.lstat(path))
    except OSError:
        return False


def _empty(folder: Path) -> None:
    for entry in folder.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
