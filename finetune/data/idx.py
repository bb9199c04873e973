"""The idx format of MNIST and its descendants: one array of bytes in a file, plain or gzipped."""

from __future__ import annotations

import functools
import gzip
import math
import os
import struct
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np

from caffe2torch.errors import DataError

UNSIGNED_BYTE = 8
GZIP = b"\x1f\x8b"
MOST_GAIN = 1032  # of deflate: no byte of a gzipped file stands for more


def is_idx(path: Path) -> bool:
    """Whether a file begins as an idx file of bytes does, gzipped or not."""
    try:
        with open(path, "rb") as file:
            start = file.read(2)
            if start == GZIP:
                with gzip.open(path) as inside:
                    start = inside.read(3)
            else:
                start += file.read(1)
    except (OSError, EOFError, zlib.error):
        return False
    return start[:3] == bytes([0, 0, UNSIGNED_BYTE])


def read_idx(path: Path) -> np.ndarray:
    """The array of an idx file of unsigned bytes, read-only: mapped from the disk, or unpacked where it is gzipped.

    The format (http://yann.lecun.com/exdb/mnist/): 0, 0, the type (8 is unsigned byte), the number of axes, each
    axis's length as big-endian uint32, then the bytes. The last few files are kept open. Raises DataError.
    """
    try:
        status = os.stat(path)
        return _read(path, status.st_mtime_ns, status.st_size)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (EOFError, ValueError, zlib.error, struct.error) as error:  # ValueError: sizes beyond an address, and a 0
        raise DataError(f"{path}: damaged or truncated: {error}") from error


@functools.lru_cache(maxsize=4)
def _read(path: Path, changed: int, size: int) -> np.ndarray:
    with open(path, "rb") as file:
        zipped = file.read(2) == GZIP
        file.seek(0)
        if not zipped:
            shape = _header(path, file, size)
            return np.memmap(path, np.uint8, "r", file.tell(), shape)
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
