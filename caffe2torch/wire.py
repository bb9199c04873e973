"""Where the tensors of a .caffemodel lie, told from protobuf's wire format without reading them.

A walk reads headers and jumps over payloads, so it takes milliseconds for a file of any size. It gives the same
message without its tensors, small enough for any protobuf runtime, and the place of every tensor.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from caffe2torch import limits
from caffe2torch.headers import BYTES, FIXED32, FIXED64, VARINT, Headers
from caffe2torch.tensors import Run, TensorFile, TensorPlace, open_file

# Fields of BlobProto that hold numbers, packed or not, as (number, wire type): data, double_data, and their diffs.
NUMBERS = {(5, BYTES): "<f4", (5, FIXED32): "<f4", (8, BYTES): "<f8", (8, FIXED64): "<f8"}
DIFFS = {(6, BYTES): "<f4", (6, FIXED32): "<f4", (9, BYTES): "<f8", (9, FIXED64): "<f8"}
RAW_DATA_TYPE, RAW_DATA, RAW_DIFF = (10, VARINT), (12, BYTES), (13, BYTES)
TYPES = NUMBERS | DIFFS | {RAW_DATA: "|u1", RAW_DIFF: "|u1"}
RAW_TYPES = {0: "<f8", 1: "<f4", 2: "<f2", 3: "<i4", 4: "<u4"}  # NVCaffe's DOUBLE, FLOAT, FLOAT16, INT, UINT

Places = tuple[TensorPlace, ...]
Child = Callable[[int, int], bytes]  # walks the message between two positions and gives it without its tensors


@dataclass(frozen=True)
class Walk:
    """What a .caffemodel says, and where its tensors lie: a tuple a layer, a place a blob, in the file's order."""

    message: bytes  # NetParameter without tensors
    layers: tuple[Places, ...]  # the blobs of each ``layer``
    v1_layers: tuple[Places, ...]  # the blobs of each ``layers``
    v0_layers: tuple[Places, ...]  # the blobs of each ``layers.layer``
    file: TensorFile


@dataclass(frozen=True)
class BlobWalk:
    """What a .binaryproto, such as a mean picture, says, and where its numbers lie."""

    message: bytes  # BlobProto without numbers
    place: TensorPlace
    file: TensorFile


def walk(path: str | Path) -> Walk:
    """Walk over a .caffemodel; no tensor is read.

    FileError if there is no such file; WireError, with the byte where it goes wrong, if it is cut short, damaged,
    something else altogether, or holds no layer; NetError if it holds more than any net has.
    """
    path = Path(path)
    layers: list[list[TensorPlace]] = []
    v1_layers: list[list[TensorPlace]] = []
    v0_layers: list[list[TensorPlace]] = []
    with open_file(path) as file:
        headers = Headers(file, path, ".caffemodel")

        def layer(start: int, end: int) -> bytes:
            layers.append([])
            limits.check_layers(len(layers), str(path))
            return without_tensors(headers, start, end, {7: into(headers, layers[-1])})

        def v1_layer(start: int, end: int) -> bytes:
            v1_layers.append([])
            v0_layers.append([])
            limits.check_layers(len(v1_layers), str(path))
            v0_blobs = {50: into(headers, v0_layers[-1])}
            v0_layer: Child = lambda start, end: without_tensors(headers, start, end, v0_blobs)  # noqa: E731
            return without_tensors(headers, start, end, {1: v0_layer, 6: into(headers, v1_layers[-1])})

        message = without_tensors(headers, 0, headers.file.size, {100: layer, 2: v1_layer})
        if not layers and not v1_layers:
            headers.fail("there is no layer in it")
    return Walk(message, frozen(layers), frozen(v1_layers), frozen(v0_layers), headers.file)


def walk_blob(path: str | Path) -> BlobWalk:
    """Walk over a .binaryproto (a bare BlobProto); errors as of ``walk``, also where it holds no number."""
    path = Path(path)
    with open_file(path) as file:
        headers = Headers(file, path, ".binaryproto")
        message, place = blob(headers, 0, headers.file.size)
        if not place.count:
            headers.fail("there is no number in it")
    return BlobWalk(message, place, headers.file)


def read(walk: Walk | BlobWalk, place: TensorPlace, out: np.ndarray | None = None) -> np.ndarray:
    """The numbers of one tensor as float32, shape (place.count,); see ``TensorFile.read``."""
    return walk.file.read(place, out)


def without_tensors(headers: Headers, start: int, end: int, children: Mapping[int, Child]) -> bytes:
    """A message as it stands, but for the fields in ``children``, which say themselves what is left of them."""
    out = bytearray()
    kept = position = start
    while position < end:
        number, wire, value, after = headers.field(position, end)
        if wire == BYTES and number in children:
            out += headers.copy(kept, position)
            body = children[number](value, after)
            out += varint(number << 3 | BYTES) + varint(len(body)) + body
            kept = after
        position = after
    return bytes(out + headers.copy(kept, end))


def into(headers: Headers, places: list[TensorPlace]) -> Child:
    """A Child that walks a BlobProto and appends the place of its numbers to ``places``."""

    def child(start: int, end: int) -> bytes:
        message, place = blob(headers, start, end)
        places.append(place)
        return message

    return child


def blob(headers: Headers, start: int, end: int) -> tuple[bytes, TensorPlace]:
    """A BlobProto without its numbers, and where those lie: double_data, else data, else raw_data."""
    out = bytearray()
    runs: dict[str, list[Run]] = {"<f8": [], "<f4": []}
    raw, raw_type = (start, start), -1
    kept = position = start
    while position < end:
        number, wire, value, after = headers.field(position, end)
        key = (number, wire)
        if key in TYPES:
            out += headers.copy(kept, position)
            tagged = wire != BYTES and value == position + 1
            if tagged:
                after = headers.same_tags(position, after, end)
            found = run(headers, position if tagged else value, after, TYPES[key], tagged)
            if key in NUMBERS:
                runs[TYPES[key]] += found
            elif key == RAW_DATA:
                raw = (value, after)
            kept = after
        elif key == RAW_DATA_TYPE:
            raw_type = headers.varint(value, after)[0]
        position = after
    out += headers.copy(kept, end)
    for dtype, found in runs.items():
        if found:
            return bytes(out), TensorPlace(tuple(found), dtype)
    if raw[0] == raw[1]:
        return bytes(out), TensorPlace()
    if raw_type not in RAW_TYPES:
        headers.fail(f"raw_data of an unknown type ({raw_type})", raw[0])
    return bytes(out), TensorPlace(tuple(run(headers, *raw, RAW_TYPES[raw_type])), RAW_TYPES[raw_type])


def run(headers: Headers, start: int, end: int, dtype: str, tagged: bool = False) -> list[Run]:
    """The numbers between two positions: one run, or none."""
    stride = int(dtype[-1]) + tagged
    if (end - start) % stride:
        headers.fail(f"{end - start:,} bytes are no whole count of numbers of {stride} bytes", start)
    return [Run(start, (end - start) // stride, tagged)] if end > start else []


def frozen(layers: list[list[TensorPlace]]) -> tuple[Places, ...]:
    return tuple(map(tuple, layers))


def varint(value: int) -> bytes:
    """A number as protobuf writes it."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
