"""What an exported model came from, as its metadata names it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from caffe2torch.digest import sha256
from caffe2torch.errors import FileError, ModelError
from caffe2torch.tensors import open_file, reading

PIECE = 1 << 20  # bytes of a file that are read at once


def origin_of(run: Path, weights: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """{"source": …}: the SHA-256 of the run's file ``weights``, and those of trunk and data that config.json names.

    Raises ModelError if the file cannot be read.
    """
    said = {"weights": _digest(run / weights)}
    for name in ("trunk", "data"):
        part = config.get(name)
        if isinstance(part, dict) and isinstance(part.get("sha256"), str):
            said[name] = part["sha256"]
    return {"source": {f"{name}_sha256": digest for name, digest in said.items()}}


def _digest(path: Path) -> str:
    found = sha256()
    try:
        with open_file(path) as file, reading(path):
            while piece := file.read(PIECE):
                found.update(piece)
    except FileError as error:
        raise ModelError(str(error)) from error
    return str(found.hexdigest())
