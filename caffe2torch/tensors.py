"""Where a tensor's numbers lie in a file, and reading them: once, in bulk, into memory of one's own.

No map of the file is handed out: a mapped view is read-only, and kills the process if the file shrinks under it.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path

import numpy as np

from caffe2torch.errors import FileError, WireError

CHUNK = 1 << 20  # bytes read at once where numbers must be converted


@dataclass(frozen=True)
class Run:
    """Numbers that follow one another in a file: ``count`` of them from byte ``offset`` on."""

    offset: int
    count: int
    tagged: bool = False  # every number has its own tag byte before it; ``offset`` is that of the first tag


@dataclass(frozen=True)
class TensorPlace:
    """Where one tensor's numbers lie, all of type ``dtype`` (a numpy type, such as "<f4")."""

    runs: tuple[Run, ...] = ()
    dtype: str = "<f4"

    @property
    def count(self) -> int:
        """How many numbers there are."""
        return sum(run.count for run in self.runs)


@dataclass(frozen=True)
class TensorFile:
    """A file as it was when its tensors were located; one that has changed since is not read."""

    path: Path
    size: int
    modified: int = field(repr=False)  # nanoseconds, as the file system counts them

    @classmethod
    def of(cls, file: FileIO, path: Path) -> TensorFile:
        """The state of an open file."""
        state = os.fstat(file.fileno())
        return cls(path, state.st_size, state.st_mtime_ns)

    def read(self, place: TensorPlace, out: np.ndarray | None = None) -> np.ndarray:
        """The numbers as float32, shape (place.count,): a new array, or ``out`` if given (C-contiguous, any shape).

        WireError if the file has changed since its tensors were located, or is cut short meanwhile.
        """
        with open_file(self.path) as file:
            if TensorFile.of(file, self.path) != self:
                raise WireError(f"{self.path}: the file has changed since it was opened; convert it again")
            return self.read_from(file, place, out)

    def read_from(self, file: FileIO, place: TensorPlace, out: np.ndarray | None = None) -> np.ndarray:
        """As ``read``, from a file that is open already."""
        if out is None:
            out = np.empty(place.count, np.float32)
        if out.dtype != np.float32 or out.size != place.count or not out.flags.c_contiguous:
            raise ValueError(f"out must be {place.count} contiguous float32, not {out.dtype} {out.shape}")
        numbers = out.reshape(-1)
        done = 0
        for run in place.runs:
            self._read_run(file, run, np.dtype(place.dtype), numbers[done : done + run.count])
            done += run.count
        return out

    def _read_run(self, file: FileIO, run: Run, dtype: np.dtype, out: np.ndarray) -> None:
        file.seek(run.offset)
        if dtype == np.float32 and not run.tagged and sys.byteorder == "little":
            self._fill(file, out.data.cast("B"))
            return
        record = np.dtype([("tag", "u1"), ("number", dtype)]) if run.tagged else np.dtype([("number", dtype)])
        buffer = np.empty(min(run.count, max(1, CHUNK // record.itemsize)), record)
        with np.errstate(over="ignore"):  # a double beyond float32 becomes infinite, as in Caffe
            for start in range(0, run.count, len(buffer) or 1):
                part = buffer[: run.count - start]
                self._fill(file, part.view("u1").data)
                out[start : start + len(part)] = part["number"]

    def _fill(self, file: FileIO, memory: memoryview) -> None:
        done = 0
        while done < len(memory):
            got = file.readinto(memory[done:])
            if not got:
                raise WireError(f"{self.path}: cut short while it was read; copy it again")
            done += got


def open_file(path: Path) -> FileIO:
    """An unbuffered, regular file; FileError says why it cannot be had."""
    if path.exists() and not path.is_file():
        raise FileError(f"{path}: not a regular file")
    try:
        return FileIO(path)
    except OSError as error:
        raise FileError(f"{path}: {error.strerror or error}") from error
