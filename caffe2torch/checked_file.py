"""A new file of which every piece is read back, and compared, as soon as it is written."""

from __future__ import annotations

import os
from io import FileIO
from pathlib import Path
from types import TracebackType

import numpy as np

from caffe2torch.errors import OutputError
from caffe2torch.tensors import PIECE


class CheckedFile:
    """A context manager; at its end the file is flushed to the disk. OutputError for what is read back otherwise.

    What the system reads back is what it will write; that it could not be written, is the flush's error.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = FileIO(path, "w+")
        self._found = np.empty(PIECE, np.uint8)

    def __enter__(self) -> CheckedFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with self._file:
            if error is None:
                os.fsync(self._file.fileno())

    def put(self, data: memoryview | bytes, position: int) -> int:
        """Write bytes at a position; gives the position behind them."""
        left = memoryview(data)
        while left:
            piece = left[:PIECE]
            self._write(piece, position)
            self._check(piece, position)
            left = left[len(piece) :]
            position += len(piece)
        return position

    def _write(self, piece: memoryview, position: int) -> None:
        self._file.seek(position)
        while piece:
            piece = piece[self._file.write(piece) :]

    def _check(self, piece: memoryview, position: int) -> None:
        found, done = self._found[: len(piece)], 0
        self._file.seek(position)
        while done < len(found) and (got := self._file.readinto(found[done:].data)):
            done += got
        whole = len(piece) // 8 * 8  # eight bytes are compared at once
        wanted = np.frombuffer(piece, np.uint8)
        same = np.array_equal(found[:whole].view(np.uint64), wanted[:whole].view(np.uint64))
        if done < len(found) or not same or not np.array_equal(found[whole:], wanted[whole:]):
            raise OutputError(f"{self._path.name} was not read back as it was written; is the disk sound?")
