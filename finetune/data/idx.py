"""The idx format of MNIST and its descendants: one array of bytes in a file, plain or gzipped."""

from __future__ import annotations

import functools
import gzip
import math
import struct
import zlib
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO

import numpy as np

from caffe2torch.errors import DataError, FileError
from caffe2torch.tensors import TensorFile, open_file

UNSIGNED_BYTE = 8
GZIP = b"\x1f\x8b"
MOST_GAIN = 1032  # of deflate: no byte of a gzipped file stands for more


def is_idx(path: Path) -> bool:
    """Whether a file begins as an idx file of bytes does, gzipped or not."""
    try:
        with BufferedReader(open_file(path)) as file:
            start = file.read(2)
            if start == GZIP:
                file.seek(0)
                with gzip.open(file) as inside:
                    start = inside.read(3)
            else:
                start += file.read(1)
    except (FileError, OSError, EOFError, zlib.error):
        return False
    return start[:3] == bytes([0, 0, UNSIGNED_BYTE])


@dataclass(frozen=True)
class OnDisk:
    """The array of an idx file that is not gzipped, of which one entry is read at a time: nothing is mapped."""

    file: TensorFile
    shape: tuple[int, ...]
    start: int  # its first byte

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, place: int) -> np.ndarray:
        """The entry uint8 (shape[1:]). Raises DataError, also for a file that has changed since it was opened."""
        return self._read(place, self.shape[1:])

    def whole(self) -> np.ndarray:
        """All entries. Raises DataError as ``[place]`` does."""
        return self._read(0, self.shape)

    def _read(self, place: int, shape: tuple[int, ...]) -> np.ndarray:
        out = np.empty(shape, np.uint8)
        try:
            self.file.read_bytes(self.start + place * math.prod(self.shape[1:]), out.reshape(-1).data)
        except FileError as error:
            raise DataError(str(error)) from error
        return out


def read_idx(path: Path) -> OnDisk | np.ndarray:
    """The array of an idx file of unsigned bytes: on the disk, or unpacked, read-only, where it is gzipped.

    The format (http://yann.lecun.com/exdb/mnist/): 0, 0, the type (8 is unsigned byte), the number of axes, each
    axis's length as big-endian uint32, then the bytes. The last few files are remembered. Raises DataError.
    """
    try:
        with open_file(path) as file:
            return _read(TensorFile.of(file, path))
    except FileError as error:
        raise DataError(str(error)) from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (EOFError, ValueError, zlib.error, struct.error) as error:  # ValueError: sizes beyond an address, and a 0
        raise DataError(f"{path}: damaged or truncated: {error}") from error


@functools.lru_cache(maxsize=4)
def _read(state: TensorFile) -> OnDisk | np.ndarray:
    path, size = state.path, state.size
    with BufferedReader(open_file(path)) as file:
        zipped = file.read(2) == GZIP
        file.seek(0)
        if not zipped:
            shape = _header(path, file, size)
            return OnDisk(state, shape, file.tell())
        with gzip.open(file) as inside:
            shape = _header(path, inside, size * MOST_GAIN)  # type: ignore[arg-type]  # GzipFile reads as files do
            content = inside.read(math.prod(shape))
    if len(content) < math.prod(shape):
        raise DataError(f"{path}: truncated: {len(content)} of {math.prod(shape)} bytes")
    return np.frombuffer(content, np.uint8).reshape(shape)


def _header(path: Path, file: BinaryIO, room: int) -> tuple[int, ...]:
    """The shape that the header tells; ``room`` bytes are the most that the file can hold."""
    zero, kind, axes = struct.unpack(">HBB", file.read(4))
    if zero != 0:
        raise DataError(f"{path}: not an idx file")
    if kind != UNSIGNED_BYTE:
        raise DataError(f"{path}: an idx file of type {kind:#04x}; unsigned bytes (0x08) are wanted")
    if not 1 <= axes <= 4:
        raise DataError(f"{path}: an idx file of {axes} axes; 1 to 4 are known")
    shape = struct.unpack(f">{axes}I", file.read(4 * axes))
    if 4 + 4 * axes + math.prod(shape) > room:
        raise DataError(f"{path}: truncated: its header promises {math.prod(shape)} bytes, more than it can hold")
    return shape
