"""model.safetensors: written piece by piece and read back, so that no tensor need be in memory whole.

The form is safetensors' own: the length of the header, the header as JSON, then the tensors without gaps. Those of
int64 come first, so that all are aligned, then the others in the order in which they are given.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import FileIO
from itertools import cycle
from math import prod
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np

from caffe2torch import limits
from caffe2torch.digest import AHEAD, Sum, Sums, sha256
from caffe2torch.errors import FileError, OutputError
from caffe2torch.net import Shape
from caffe2torch.tensors import PIECE, Piece, open_file

_TYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1"}
TYPES = {name: np.dtype(dtype) for name, dtype in {**_TYPES, "U8": "u1", "BOOL": "?"}.items()}
NAMES = {dtype: name for name, dtype in TYPES.items()}

Progress = Callable[[int], None]  # called with the bytes that were written since the last call


@dataclass(frozen=True)
class Tensor:
    """One tensor to be written.

    ``pieces`` is called once, when the tensors before this one are written; each piece must stay good until ``AHEAD``
    more are asked for. ``came_from`` is called with the sum of the bytes that it came from.
    """

    key: str
    dtype: np.dtype
    shape: Shape
    pieces: Callable[[], Iterator[Piece]]
    came_from: Callable[[Sum], None] | None = None

    @property
    def nbytes(self) -> int:
        """How many bytes it takes."""
        return prod(self.shape) * self.dtype.itemsize


def of_array(key: str, array: np.ndarray) -> Tensor:
    """A tensor that is in memory."""
    return Tensor(key, array.dtype, array.shape, lambda: iter([Piece(np.ascontiguousarray(array).reshape(-1))]))


def write(
    path: Path,
    tensors: Sequence[Tensor],
    metadata: Callable[[], Mapping[str, str]],
    progress: Progress | None = None,
) -> None:
    """Write a new file, let it reach the disk, and read it back.

    ``metadata`` is asked for before the tensors are read, when only its length counts, and again after that.
    OutputError if what is read back is not what was written, or a tensor has another size than it should.
    """
    offsets = _offsets(tensors)
    written: dict[str, Sum] = {}
    with path.open("wb+", buffering=0) as file, Sums() as summing:
        start = len(_header(tensors, offsets, metadata()))
        for tensor in tensors:
            file.seek(start + offsets[tensor.key])
            written[tensor.key] = _write_tensor(file, tensor, summing)
            if progress is not None:
                progress(tensor.nbytes)
        summing.wait()
        header = _header(tensors, offsets, metadata())
        file.seek(0)
        _write_all(file, memoryview(header))
        with _flushing(file):
            _compare(file, path, header, written, {t.key: (start + offsets[t.key], t.nbytes) for t in tensors}, summing)


def read(path: Path) -> dict[str, np.ndarray]:
    """All tensors, in the order in which they lie; FileError if it is no such file.

    Nothing is mapped: a file that shrinks meanwhile is an error.
    """
    found = {}
    try:
        with open_file(path) as file:
            for key, dtype, shape, start in _entries(file):
                array = np.empty(shape, dtype)
                file.seek(start)
                left = array.reshape(-1).view(np.uint8).data
                while left:
                    got = file.readinto(left)
                    if not got:
                        raise ValueError("cut short while it was read")
                    left = left[got:]
                found[key] = array
    except (OSError, LookupError, TypeError, ValueError, RecursionError) as error:
        raise FileError(f"{path}: not readable as safetensors: {error}") from error
    return found


def _entries(file: FileIO) -> Iterator[tuple[str, np.dtype, Shape, int]]:
    """Name, type, shape and first byte of each tensor; ValueError, KeyError or TypeError unless all fit the file."""
    size = os.fstat(file.fileno()).st_size
    length = int.from_bytes(file.read(8), "little")
    if not 2 <= length <= min(size - 8, limits.HEADER):
        raise ValueError(f"a header of {length:,} bytes in a file of {size:,}")
    entries = json.loads(file.read(length))
    entries.pop("__metadata__", None)
    end = 8 + length
    for key, entry in sorted(entries.items(), key=lambda entry: entry[1]["data_offsets"]):
        dtype, shape, (first, last) = TYPES[entry["dtype"]], tuple(entry["shape"]), entry["data_offsets"]
        whole = all(type(number) is int and number >= 0 for number in (*shape, first, last))
        if not whole or len(shape) > 32 or last - first != prod(shape) * dtype.itemsize:
            raise ValueError(f"{key!r} of shape {shape!s:.80} lies from byte {first} to {last}")
        if 8 + length + first != end:
            raise ValueError(f"{key!r} does not lie behind the tensor before it")
        end += last - first
        yield key, dtype, shape, end - (last - first)
    if end != size:
        raise ValueError(f"its tensors end at byte {end:,} of {size:,}")


def mapped(path: Path) -> dict[str, np.ndarray]:
    """All tensors of a file that ``write`` wrote and nobody else touches, without reading them."""
    content = np.memmap(path, np.uint8, "r")
    start = 8 + int.from_bytes(content[:8].tobytes(), "little")
    found = {}
    for key, entry in _places(path):
        begin, end = (start + offset for offset in entry["data_offsets"])
        found[key] = content[begin:end].view(TYPES[entry["dtype"]]).reshape(entry["shape"])
    return found


def _places(path: Path) -> list[tuple[str, Any]]:
    """The entries of a sound header in the order of the tensors."""
    with path.open("rb") as file:
        entries = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    entries.pop("__metadata__", None)
    return sorted(entries.items(), key=lambda entry: entry[1]["data_offsets"])


def _offsets(tensors: Iterable[Tensor]) -> dict[str, int]:
    """Where each tensor begins, behind the header."""
    found, end = {}, 0
    for tensor in sorted(tensors, key=lambda tensor: -tensor.dtype.itemsize):
        found[tensor.key] = end
        end += tensor.nbytes
    return found


def _header(tensors: Iterable[Tensor], offsets: Mapping[str, int], metadata: Mapping[str, str]) -> bytes:
    entries: dict[str, Any] = {"__metadata__": dict(metadata)}
    for tensor in sorted(tensors, key=lambda tensor: offsets[tensor.key]):
        start = offsets[tensor.key]
        place = {"shape": list(tensor.shape), "data_offsets": [start, start + tensor.nbytes]}
        entries[tensor.key] = {"dtype": NAMES[tensor.dtype], **place}
    text = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _write_tensor(file: FileIO, tensor: Tensor, summing: Sums) -> Sum:
    """Gives the sum of what was written, which is complete after ``summing.wait``."""
    written, raw, size = sha256(), None, 0
    for piece in tensor.pieces():
        data = np.asarray(piece.numbers, tensor.dtype).data.cast("B")
        if piece.raw is not None:
            raw = raw or sha256()
            summing.add(piece.raw, raw)
        summing.add(data, written)
        _write_all(file, data)
        size += len(data)
    if size != tensor.nbytes:
        raise OutputError(f"{tensor.key} has {size:,} bytes, {tensor.nbytes:,} were announced")
    if tensor.came_from is not None:
        tensor.came_from(raw or written)
    return written


def _write_all(file: FileIO, data: memoryview) -> None:
    while data:
        data = data[file.write(data) :]


@contextmanager
def _flushing(file: FileIO) -> Iterator[None]:
    """Let a file reach the disk while the block runs; OSError if it does not."""
    faults: list[BaseException] = []

    def flush() -> None:
        try:
            os.fsync(file.fileno())
        except BaseException as error:  # raised again below
            faults.append(error)

    thread = Thread(target=flush)
    thread.start()
    try:
        yield
    finally:
        thread.join()
    if faults:
        raise faults[0]


def _compare(
    file: FileIO,
    path: Path,
    header: bytes,
    written: Mapping[str, Sum],
    places: Mapping[str, tuple[int, int]],
    summing: Sums,
) -> None:
    """OutputError if the header and the tensors are not read back as they were written."""
    file.seek(0)
    found = {key: sha256() for key in places}
    same = file.read(len(header)) == header
    ring = cycle([memoryview(bytearray(PIECE)) for _ in range(AHEAD + 1)])
    for key, (start, size) in places.items():
        file.seek(start)
        left = size
        while left and (got := file.readinto(buffer := next(ring)[:left])):
            summing.add(buffer[:got], found[key])
            left -= got
    summing.wait()
    damaged = next((key for key in places if found[key].digest() != written[key].digest()), None)
    if not same or damaged is not None:
        what = damaged if same else "the header"
        raise OutputError(f"{path.name}: {what} was not read back as it was written; is the disk sound?")
