"""A file that may be a stranger's, read whole: a regular file of a bounded size, so that reading it ends."""

from __future__ import annotations

import os
from io import BufferedReader
from pathlib import Path

from caffe2torch.errors import FileError
from caffe2torch.tensors import open_file, reading


def read(path: Path, most: int) -> bytes:
    """The content of a file of up to ``most`` bytes.

    FileError for one that is missing, no regular file, longer, or cannot be read. No pipe is waited for.
    """
    with BufferedReader(open_file(path)) as file, reading(path):
        size = os.fstat(file.fileno()).st_size
        if size > most:
            raise FileError(f"{path}: {size:,} bytes; {most:,} are allowed")
        return file.read(size)
