"""What an ONNX file says of itself, read from its protobuf headers: no onnx, no protobuf, no tensor is read.

Field numbers are those of onnx.proto (IR version 3 and later).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from caffe2torch.errors import ModelError

# message -> field number -> the message in that field: the ways that lead to tensors and to metadata.
MESSAGES = {
    "model": {7: "graph", 14: "property", 25: "function"},
    "graph": {1: "node", 5: "tensor", 15: "sparse tensor"},
    "function": {7: "node"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse tensor", 23: "sparse tensor"},
    "sparse tensor": {1: "tensor", 2: "tensor"},
    "tensor": {},
    "property": {},
}
GRAPH = 7  # in a model
KEY, VALUE = 1, 2  # in a property
EXTERNAL_DATA, DATA_LOCATION, EXTERNAL = 13, 14, 1  # in a tensor

VARINT, LENGTH = 0, 2  # wire types
FIXED = {1: 8, 5: 4}  # wire types of a fixed number of bytes


def read_metadata(path: Path) -> dict[str, str]:
    """The metadata_props of an ONNX file.

    Raises ModelError if the file is missing, not ONNX or truncated, or if it keeps weights in other files.
    """
    try:
        with open(path, "rb") as file:
            return _walk(path, file, os.fstat(file.fileno()).st_size)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (ValueError, EOFError) as error:
        raise ModelError(f"{path}: not an ONNX file, or damaged or truncated ({error})") from error


def _walk(path: Path, file: BinaryIO, size: int) -> dict[str, str]:
    metadata: dict[str, str] = {}
    has_graph = False
    waiting = [("model", 0, size)]
    while waiting:
        message, start, end = waiting.pop()
        key = value = ""
        for number, content in _fields(file, start, end):
            inside = MESSAGES[message].get(number)
            if isinstance(content, tuple):
                if inside is not None:
                    waiting.append((inside, *content))
                    has_graph |= (message, number) == ("model", GRAPH)
                elif message == "property" and number in (KEY, VALUE):
                    text = _text(file, *content)
                    key, value = (text, value) if number == KEY else (key, text)
            elif inside is not None:
                raise ValueError(f"field {number} of the {message} is a number")
            if message == "tensor" and (number == EXTERNAL_DATA or (number, content) == (DATA_LOCATION, EXTERNAL)):
                raise ModelError(f"{path}: keeps weights in other files (external data); give one self-contained file")
        if message == "property":
            metadata[key] = value
    if not has_graph:
        raise ValueError("there is no graph in it")
    return metadata


def _fields(file: BinaryIO, start: int, end: int) -> Iterator[tuple[int, int | tuple[int, int]]]:
    """(field number, its value, or where it starts and ends) for every field of the message at start..end."""
    position = start
    while position < end:
        file.seek(position)
        tag = _varint(file)
        number, wire = tag >> 3, tag & 7
        if number == 0 or wire not in (VARINT, LENGTH, *FIXED):
            raise ValueError(f"byte {position} starts no field")
        if wire == VARINT:
            value = _varint(file)
            position = file.tell()
            content: int | tuple[int, int] = value
        else:
            length = _varint(file) if wire == LENGTH else FIXED[wire]
            content = (file.tell(), file.tell() + length)
            position = content[1]
        if position > end:
            raise ValueError(f"field {number} ends at byte {position}, what holds it at byte {end}")
        yield number, content


def _varint(file: BinaryIO) -> int:
    result = 0
    for shift in range(0, 70, 7):
        byte = file.read(1)
        if not byte:
            raise EOFError("it ends within a field")
        result |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            return result
    raise ValueError("a number of more than 10 bytes")


def _text(file: BinaryIO, start: int, end: int) -> str:
    file.seek(start)
    return file.read(end - start).decode("utf-8")
