"""A JSON file that may be a stranger's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from caffe2torch import limits, whole_file
from caffe2torch.errors import FileError


def read(path: Path, most: int = limits.CONFIG) -> Any:
    """What a file of up to ``most`` bytes says.

    FileError for one that is missing, no regular file, longer, or not JSON in UTF-8.
    """
    content = whole_file.read(path, most)
    try:
        return json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise FileError(f"{path}: damaged: {error}") from error
