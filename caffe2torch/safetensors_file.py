"""model.safetensors: written piece by piece, so that no tensor need be in memory whole.

The form is safetensors' own: the length of the header, the header as JSON, then the tensors without gaps. Those of
int64 come first, so that all are aligned, then the others in the order in which they are given.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import FileIO
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from caffe2torch import limits
from caffe2torch.checked_file import CheckedFile
from caffe2torch.digest import Sum, Sums, sha256
from caffe2torch.errors import FileError, OutputError
from caffe2torch.net import Shape
from caffe2torch.tensors import Piece, open_file

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
    """Write a new file, read back what was written, and let it reach the disk.

    ``metadata`` is asked for before the tensors are read, when only its length counts, and again after that.
    OutputError if what is read back is not what was written, or a tensor has another size than it should.
    """
    offsets = _offsets(tensors)
    with CheckedFile(path) as file, Sums() as summing:
        start = len(_header(tensors, offsets, metadata()))
        for tensor in tensors:
            _write_tensor(file, start + offsets[tensor.key], tensor, summing)
            if progress is not None:
                progress(tensor.nbytes)
        summing.wait()
        file.put(_header(tensors, offsets, metadata()), 0)


def read(path: Path, needed: int = limits.STATE) -> dict[str, np.ndarray]:
    """All tensors, in the order in which they lie; FileError if it is no such file.

    Nothing is mapped: a file that shrinks meanwhile is an error. So is one of far more than the ``needed`` bytes of
    tensors, before memory is taken: what a file claims may be a hole, which costs who sends it nothing.
    """
    found = {}
    most = min(needed + limits.BESIDE, limits.STATE)
    try:
        with open_file(path) as file:
            entries = _entries(file)
            claimed = sum(prod(shape) * dtype.itemsize for _, dtype, shape, _ in entries)
            if claimed > most:
                raise ValueError(f"{claimed:,} bytes of tensors; {min(needed, limits.STATE):,} are wanted")
            for key, dtype, shape, start in entries:
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


def read_metadata(path: Path) -> dict[str, str]:
    """What the file says of itself beside its tensors; FileError if it is no such file."""
    try:
        with open_file(path) as file:
            told = _header_of(file).get("__metadata__", {})
            return {str(key): str(value) for key, value in told.items()}
    except (OSError, AttributeError, TypeError, ValueError, RecursionError) as error:
        raise FileError(f"{path}: not readable as safetensors: {error}") from error


def _entries(file: FileIO) -> list[tuple[str, np.dtype, Shape, int]]:
    """Name, type, shape and first byte of each tensor; ValueError, KeyError or TypeError unless all fit the file."""
    entries = _header_of(file)
    entries.pop("__metadata__", None)
    size, end = os.fstat(file.fileno()).st_size, file.tell()
    found, start = [], end
    for key, entry in sorted(entries.items(), key=lambda entry: entry[1]["data_offsets"]):
        dtype, shape, (first, last) = TYPES[entry["dtype"]], tuple(entry["shape"]), entry["data_offsets"]
        whole = all(type(number) is int and number >= 0 for number in (*shape, first, last))
        if not whole or len(shape) > 32 or last - first != prod(shape) * dtype.itemsize:
            raise ValueError(f"{key!r} of shape {shape!s:.80} lies from byte {first} to {last}")
        if start + first != end:
            raise ValueError(f"{key!r} does not lie behind the tensor before it")
        found.append((key, dtype, shape, end))
        end += last - first
    if end != size:
        raise ValueError(f"its tensors end at byte {end:,} of {size:,}")
    return found


def _header_of(file: FileIO) -> dict[str, Any]:
    """The header as it stands, from the file's start; ValueError if there is none."""
    size = os.fstat(file.fileno()).st_size
    length = int.from_bytes(file.read(8), "little")
    if not 2 <= length <= min(size - 8, limits.HEADER):
        raise ValueError(f"a header of {length:,} bytes in a file of {size:,}")
    entries = json.loads(file.read(length))
    if not isinstance(entries, dict):
        raise ValueError("its header is no object")
    return entries


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


def _write_tensor(file: CheckedFile, position: int, tensor: Tensor, summing: Sums) -> None:
    end = position + tensor.nbytes
    source = sha256()
    for piece in tensor.pieces():
        data = np.asarray(piece.numbers, tensor.dtype).data.cast("B")
        if tensor.came_from is not None:
            summing.add(data if piece.raw is None else piece.raw, source)
        position = file.put(data, position)
    if position != end:
        raise OutputError(f"{tensor.key} is {end - position:,} bytes shorter than it should be")
    if tensor.came_from is not None:
        tensor.came_from(source)
