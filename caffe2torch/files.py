"""Files and folders that appear whole or not at all: written beside, flushed to the disk, renamed."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from caffe2torch.errors import OutputError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # no room: on the disk, in a quota, under a limit of the file's size


@contextmanager
def beside(path: Path) -> Iterator[Path]:
    """A new file's path next to ``path``; it takes its place when the block ends well, and is gone otherwise.

    Raises OSError that names ``path``, where the new file cannot be written or put in place.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    except OSError as error:
        raise _named(error, path) from error
    os.close(handle)
    temporary = Path(name)
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
            error.filename in (name, temporary) or (error.filename is None and error.errno in FULL)
        ):
            raise _named(error, path) from error
        raise


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
    """Rename a finished folder to ``target``; what was there stays if that fails, and is removed if not."""
    if not target.exists():
        os.rename(beside, target)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".old", dir=target.parent))
    kept = old / target.name
    try:
        os.rename(target, kept)
        os.rename(beside, target)
    except BaseException:
        if kept.exists():
            os.rename(kept, target)
        old.rmdir()
        raise
    shutil.rmtree(old, ignore_errors=True)


def umask() -> int:
    """The process's file mode mask, which mkstemp and mkdtemp do not follow."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
