"""What an ONNX file says of itself, read from its protobuf headers: no onnx, no protobuf, no tensor is read.

Field numbers are those of onnx.proto (IR version 3 and later).
"""

from __future__ import annotations

from io import FileIO
from pathlib import Path

from caffe2torch.errors import FileError, WireError
from caffe2torch.headers import BYTES, VARINT, Headers
from caffe2torch.tensors import open_file

# message -> field number -> the message in that field: the ways that lead to tensors and to metadata.
MESSAGES = {
    "model": {7: "graph", 14: "property", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "graph": {1: "node", 5: "tensor", 15: "sparse tensor"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse tensor", 23: "sparse tensor"},
    "sparse tensor": {1: "tensor", 2: "tensor"},
    "tensor": {},
    "property": {},
}
GRAPH = 7  # in a model
KEY, VALUE = 1, 2  # in a property
EXTERNAL_DATA, DATA_LOCATION = 13, 14  # in a tensor
FIRST = b"\x08"  # of a file: field 1, ir_version
MOST = (1 << 31) - 1  # bytes that protobuf reads


def read_metadata(path: Path) -> dict[str, str]:
    """The metadata_props of an ONNX file.

    FileError if the file is missing, no regular file, or keeps weights in other files; WireError if it is not ONNX,
    damaged, truncated, or of more fields than any net has.
    """
    with open_file(path) as file:
        return walk(file, path)


def walk(file: FileIO, path: Path) -> dict[str, str]:
    """As ``read_metadata``, of a file that is open."""
    headers = Headers(file, path, "ONNX file", FIRST)
    if headers.file.size > MOST:
        raise WireError(f"{path}: not an ONNX file: larger than 2 GiB")
    metadata: dict[str, str] = {}
    waiting = [("model", 0, headers.file.size)]
    has_graph = False
    while waiting:
        message, position, end = waiting.pop()
        texts = {KEY: "", VALUE: ""}
        while position < end:
            field, (number, wire, value, after) = position, headers.field(position, end)
            position = after
            if message == "property" and number in texts:
                texts[number] = _text(headers, field, wire, value, after)
            if message == "tensor" and _elsewhere(headers, number, wire, value, after):
                raise FileError(f"{path}: keeps weights in other files (external data); give one self-contained file")
            inside = MESSAGES[message].get(number)
            if inside is None:
                continue
            if wire != BYTES:
                headers.fail(f"the {inside} of the {message} is a number", field)
            has_graph |= (message, number) == ("model", GRAPH)
            if value < after:
                waiting.append((inside, value, after))
        if message == "property":
            metadata[texts[KEY]] = texts[VALUE]
    if not has_graph:
        headers.fail("there is no graph in it")
    return metadata


def _elsewhere(headers: Headers, number: int, wire: int, value: int, after: int) -> bool:
    """Whether a field of a tensor says that its numbers are not in this file."""
    if (number, wire) == (DATA_LOCATION, VARINT):
        return headers.varint(value, after)[0] != 0
    return number == EXTERNAL_DATA


def _text(headers: Headers, field: int, wire: int, value: int, after: int) -> str:
    if wire != BYTES:
        headers.fail("a text of its metadata is a number", field)
    try:
        return headers.copy(value, after).decode("utf-8")
    except UnicodeDecodeError as error:
        headers.fail(f"its metadata is no text: {error}", field)
