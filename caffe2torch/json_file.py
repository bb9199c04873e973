"""A JSON file that may be a stranger's: a regular file of a bounded size, so that reading it ends."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from caffe2torch import limits
from caffe2torch.errors import FileError
from caffe2torch.tensors import open_file


def read(path: Path, most: int = limits.CONFIG) -> Any:
    """What a file of up to ``most`` bytes says.

    FileError for one that is missing, no regular file, longer, or not JSON in UTF-8.
    """
    with open_file(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > most:
            raise FileError(f"{path}: {size:,} bytes; {most:,} are allowed")
        try:
            return json.loads(file.read(size).decode("utf-8"))
        except (ValueError, RecursionError) as error:
            raise FileError(f"{path}: damaged: {error}") from error
        except OSError as error:
            raise FileError(f"{path}: cannot be read: {error.strerror or error}") from error
