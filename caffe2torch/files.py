"""Files and folders that appear whole or not at all: written beside, flushed to the disk, renamed."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from caffe2torch.claims import claimed, locked, opened, release
from caffe2torch.errors import OutputError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # no room: on the disk, in a quota, under a limit of the file's size
AT_FDCWD, RENAME_EXCHANGE = -100, 2  # of linux/fcntl.h and linux/fs.h
OLD = ".{}.old"  # a folder that is being replaced, where two folders cannot be exchanged


@contextmanager
def beside(path: Path) -> Iterator[Path]:
    """A new file's path next to ``path``; it takes its place when the block ends well, and is gone otherwise.

    Raises OSError that names ``path``, where the new file cannot be written or put in place.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        temporary, handle = claimed(path, folder=False)
    except OSError as error:
        raise _named(error, path) from error
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~umask())
        os.replace(temporary, path)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError) and (
            error.filename in (str(temporary), temporary) or (error.filename is None and error.errno in FULL)
        ):
            raise _named(error, path) from error
        raise
    finally:
        release(handle)


@contextmanager
def folder_beside(target: Path) -> Iterator[Path]:
    """A new, empty folder next to ``target``; it takes its place when the block ends well, and is gone otherwise.

    Folders on the way to ``target`` are made, and removed again if they were not needed.
    """
    made = [parent for parent in target.parents if not parent.exists()]  # the innermost first
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary, handle = claimed(target, folder=True)
    try:
        yield temporary
        for path in temporary.iterdir():
            flush(path)
        temporary.chmod(0o777 & ~umask())
        put_folder(temporary, target)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        with suppress(OSError):
            for parent in made:
                parent.rmdir()
        raise
    finally:
        release(handle)


def flush(path: Path) -> None:
    """Give a finished file the usual mode and let it reach the disk; a folder is left alone."""
    if path.is_file():
        path.chmod(0o666 & ~umask())
        with path.open("rb") as file:
            os.fsync(file.fileno())


def _named(error: OSError, path: Path) -> OSError:
    """The same error, about the file that was to be written."""
    return OSError(error.errno, f"cannot be written: {error.strerror}", str(path))


def write_whole(path: Path, content: bytes | str) -> None:
    """Write a file, whole or not at all."""
    with beside(path) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


def refuse(path: Path, force: bool, inputs: Iterable[Path] = ()) -> None:
    """OutputError if ``path`` is one of ``inputs``, no file, or, without ``force``, there already."""
    if not os.path.lexists(path):
        return
    if any(same(path, given) for given in inputs):
        raise OutputError(f"{path}: is what is read; -o names another file")
    if path.exists() and not path.is_file():
        raise OutputError(f"{path}: is {'a folder' if path.is_dir() else 'no file'}; give the name of a file to write")
    if not force:
        raise OutputError(f"{path}: exists already; --force replaces it, -o names another file")


def same(path: Path, other: Path) -> bool:
    """Whether both are there, and one file."""
    try:
        return path.samefile(other)
    except OSError:
        return False


def put_folder(beside: Path, target: Path) -> None:
    """Rename a finished folder to ``target``; what was there stays if that fails, and is removed if not.

    On Linux the two are exchanged, so that at every moment the old or the new one is there. Elsewhere, and on file
    systems that cannot do it, the old one is aside for the time of a rename; ``recover`` puts it back.
    """
    _flush_folder(beside)
    if not target.exists():
        os.rename(beside, target)
    else:
        old = opened(target)
        try:
            ours = locked(old, new=True)  # so that nobody else takes the old one over while it is removed
            if not _exchange(beside, target):
                _rename_both(beside, target)
            elif beside.is_symlink():
                beside.unlink()
            elif ours:
                shutil.rmtree(beside, ignore_errors=True)
        finally:
            release(old)
    _flush_folder(target.parent)


def _exchange(beside: Path, target: Path) -> bool:
    """Let two folders change places in one step; False where that cannot be done."""
    import ctypes

    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError, TypeError):  # not Linux, or an old C library
        return False
    names = os.fsencode(beside), os.fsencode(target)
    return not rename(AT_FDCWD, names[0], AT_FDCWD, names[1], RENAME_EXCHANGE)


def _rename_both(beside: Path, target: Path) -> None:
    old = target.with_name(OLD.format(target.name))
    shutil.rmtree(old, ignore_errors=True)  # of a run that was killed after the new one was in place
    os.rename(target, old)
    try:
        os.rename(beside, target)
    except BaseException:
        if not target.exists():
            os.rename(old, target)
        raise
    shutil.rmtree(old, ignore_errors=True)


def recover(target: Path) -> None:
    """Put back what ``put_folder`` had aside when it was killed."""
    old = target.with_name(OLD.format(target.name))
    if not os.path.lexists(target) and old.is_dir():
        os.rename(old, target)


def _flush_folder(path: Path) -> None:
    """Let a folder's list of names reach the disk, where the system can do that."""
    with suppress(OSError):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def umask() -> int:
    """The process's file mode mask, which temporary files do not follow."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
