"""Where a tensor's numbers lie in a file, and reading them: once, in bulk, into memory of one's own.

No map of the file is handed out: a mapped view is read-only, and kills the process if the file shrinks under it.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import FileIO
from itertools import cycle
from pathlib import Path
from typing import NamedTuple

import numpy as np

from caffe2torch.errors import FileError, WireError

CHUNK = 1 << 20  # bytes read at once where numbers must be converted
PIECE = 1 << 22  # bytes of a piece of a tensor


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

    @property
    def plain(self) -> bool:
        """Whether the bytes in the file are those of float32 in memory."""
        return self.dtype == "<f4" and sys.byteorder == "little" and not any(run.tagged for run in self.runs)


class Piece(NamedTuple):
    """Some numbers of a tensor, in order."""

    numbers: np.ndarray  # float32, one axis
    raw: memoryview | None = None  # the bytes in the file that they are; None: the numbers' own


@dataclass(frozen=True)
class TensorFile:
    """A file as it was when its tensors were located; one that has changed since is not read."""

    path: Path
    size: int
    state: tuple[int, ...] = field(repr=False)  # device, inode, times of content and of status in nanoseconds

    @classmethod
    def of(cls, file: FileIO, path: Path) -> TensorFile:
        """The state of an open file."""
        state = os.fstat(file.fileno())
        return cls(path, state.st_size, (state.st_dev, state.st_ino, state.st_mtime_ns, state.st_ctime_ns))

    def read(self, place: TensorPlace, out: np.ndarray | None = None) -> np.ndarray:
        """The numbers as float32, shape (place.count,): a new array, or ``out`` if given (C-contiguous, any shape).

        WireError if the file has changed since its tensors were located, or is cut short meanwhile.
        """
        with self._unchanged() as file:
            return self.read_from(file, place, out)

    def pieces(self, place: TensorPlace, copies: int = 0) -> Iterator[Piece]:
        """The numbers in pieces of up to 4 MB, each good until ``copies`` more are asked for, and then overwritten.

        WireError as of ``read``.
        """
        with self._unchanged() as file:
            yield from (self._plain if place.plain else self._converted)(file, place, copies + 1)

    def read_bytes(self, offset: int, out: memoryview) -> None:
        """Fill ``out`` with the bytes from ``offset`` on; errors as of ``read``."""
        with self._unchanged() as file:
            file.seek(offset)
            self._fill(file, out)

    @contextmanager
    def _unchanged(self) -> Iterator[FileIO]:
        """The file, open; WireError if it is not as it was, before or after."""
        with open_file(self.path) as file:
            self._refuse_changed(file)
            yield file
            self._refuse_changed(file)

    def _refuse_changed(self, file: FileIO) -> None:
        if TensorFile.of(file, self.path) != self:
            raise WireError(f"{self.path}: the file has changed since it was opened; run the command again")

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

    def _plain(self, file: FileIO, place: TensorPlace, buffers: int) -> Iterator[Piece]:
        size = min(place.count, PIECE // 4)
        ring = cycle([np.empty(size, np.float32) for _ in range(buffers)])
        numbers, filled = next(ring), 0
        for run in place.runs:
            file.seek(run.offset)
            done = 0
            while done < run.count:
                part = numbers[filled : filled + run.count - done]
                self._fill(file, part.data.cast("B"))
                done += len(part)
                filled += len(part)
                if filled == size:
                    yield Piece(numbers)
                    numbers, filled = next(ring), 0
        if filled:
            yield Piece(numbers[:filled])

    def _converted(self, file: FileIO, place: TensorPlace, buffers: int) -> Iterator[Piece]:
        ring = cycle([np.empty(CHUNK, np.uint8) for _ in range(buffers)])
        numbers = cycle([np.empty(CHUNK, np.float32) for _ in range(buffers)])
        for run in place.runs:
            for records in self._records(file, run, np.dtype(place.dtype), ring):
                part = next(numbers)[: len(records)]
                with np.errstate(over="ignore"):
                    part[:] = records["number"]
                yield Piece(part, records.view("u1").data)

    def _read_run(self, file: FileIO, run: Run, dtype: np.dtype, out: np.ndarray) -> None:
        if dtype == np.float32 and not run.tagged and sys.byteorder == "little":
            file.seek(run.offset)
            self._fill(file, out.data.cast("B"))
            return
        done = 0
        with np.errstate(over="ignore"):  # a double beyond float32 becomes infinite, as in Caffe
            for records in self._records(file, run, dtype, cycle([np.empty(CHUNK, np.uint8)])):
                out[done : done + len(records)] = records["number"]
                done += len(records)

    def _records(self, file: FileIO, run: Run, dtype: np.dtype, buffers: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
        """The numbers of a run as they lie, with their tags if they have some, read into one buffer after another."""
        record = np.dtype([("tag", "u1"), ("number", dtype)] if run.tagged else [("number", dtype)])
        file.seek(run.offset)
        step = CHUNK // record.itemsize
        for start in range(0, run.count, step):
            part = next(buffers)[: min(step, run.count - start) * record.itemsize]
            self._fill(file, part.data)
            yield part.view(record)

    def _fill(self, file: FileIO, memory: memoryview) -> None:
        done = 0
        while done < len(memory):
            with reading(self.path):
                got = file.readinto(memory[done:])
            if not got:
                raise WireError(f"{self.path}: cut short while it was read; copy it again")
            done += got


def open_file(path: Path) -> FileIO:
    """An unbuffered, regular file; FileError says why it cannot be had. No pipe is waited for."""
    try:
        if path.exists() and not path.is_file():
            pipe = "; write what comes through this pipe to a file first" if path.is_fifo() else ""
            raise FileError(f"{path}: not a regular file{pipe}")
        file = FileIO(path, opener=_at_once)
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):  # it was another file when it was looked at
            file.close()
            raise FileError(f"{path}: not a regular file")
        return file
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        raise FileError(f"{path}: {getattr(error, 'strerror', None) or error}") from error


def _at_once(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0), 0o666)


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Inside, an error of the system is a FileError that names the file."""
    try:
        yield
    except OSError as error:
        raise FileError(f"{path}: cannot be read: {error.strerror or error}") from error
