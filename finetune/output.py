"""Files that are there whole or not at all."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from caffe2torch.errors import OutputError


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A place beside ``path`` to write to, renamed to ``path`` when the block ends well, else removed.

    What is at ``path`` already is replaced; behind a link, what it points to. A pipe or device is written directly.
    Raises OutputError, before anything is computed, if the folder does not exist or ``path`` is one.
    """
    target = Path(os.path.realpath(path))
    if target.is_dir():
        raise OutputError(f"{path}: is a folder; give the name of a file to write")
    if not target.parent.is_dir():
        raise OutputError(f"{path}: the folder {target.parent} does not exist")
    if target.exists() and not target.is_file():
        yield target
        return
    beside = target.with_name(f".{target.name[:200]}.{os.getpid()}.part")
    try:
        yield beside
        os.replace(beside, target)
    except OSError as error:
        if error.filename == os.fspath(beside):
            raise OutputError(f"{path}: cannot be written: {error.strerror}") from error
        raise
    finally:
        beside.unlink(missing_ok=True)
