"""Files that appear whole or not at all: written beside, flushed to the disk, renamed."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def beside(path: Path) -> Iterator[Path]:
    """A new file's path next to ``path``; it takes its place when the block ends well, and is gone otherwise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~umask())
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise


def write_whole(path: Path, content: bytes | str) -> None:
    """Write a file, whole or not at all."""
    with beside(path) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


def umask() -> int:
    """The process's file mode mask, which mkstemp and mkdtemp do not follow."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
