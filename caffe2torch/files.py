"""Files and folders that appear whole or not at all: written beside, flushed to the disk, renamed."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from caffe2torch.claims import claimed, claimed_folder, is_at, release
from caffe2torch.errors import OutputError
from caffe2torch.replacing import Kind, put_folder

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # no room: on the disk, in a quota, under a limit of the file's size


@contextmanager
def beside(path: Path) -> Iterator[Path]:
    """A new file's path next to ``path``; it takes its place when the block ends well, and is gone otherwise.

    Raises OSError that names ``path``, where the new file cannot be written or put in place.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        temporary, handle = claimed(path)
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
def folder_beside(target: Path, kind: Kind, force: bool = False) -> Iterator[Path]:
    """A new, empty folder next to ``target``; it takes its place when the block ends well, and is gone otherwise.

    What is replaced, and when, is said at ``put_folder``. Folders on the way to ``target`` are made, and removed again
    if they were not needed.
    """
    made = [parent for parent in target.parents if not parent.exists()]  # the innermost first
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary, handle = claimed_folder(target, kind.unknown)
    try:
        yield temporary
        for path in temporary.iterdir():
            flush(path)
        temporary.chmod(0o777 & ~umask())
        put_folder(temporary, target, kind, force)
    except BaseException:
        if is_at(handle, temporary):
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


def umask() -> int:
    """The process's file mode mask, which temporary files do not follow."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
