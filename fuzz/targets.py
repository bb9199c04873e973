"""What is fuzzed: functions of any bytes, which raise nothing.

Every fault of the bytes is a CaffeError, whose kind they give. Any other exception, a run of more than two seconds
or of more than a gigabyte is a finding: its cause is mended, and the bytes are kept in tests/fuzz_cases.
"""

from __future__ import annotations

import ast
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from caffe2torch import folder, limits, net_json, onnx_model, prototxt, reader, solver, wire
from caffe2torch.errors import CaffeError
from caffe2torch.graph import Graph, resolve
from caffe2torch.torch_source import source

READ = 1 << 20  # numbers of a file that are read at most
_memory = Path("/dev/shm")  # where there is one, files cost no disk


def walk(data: bytes) -> str:
    """The wire reader: headers of a .caffemodel and of a .binaryproto, and what numbers they lead to."""
    with _file(data, "net.caffemodel") as path:
        return _became(_walk, path) + _became(_walk_blob, path)


def text(data: bytes) -> str:
    """The text reader: a net, as BVLC's schema and the forks have it."""
    with _file(data, "net.prototxt") as path:
        return _became(prototxt.read_net, path)


def caffemodel(data: bytes) -> str:
    """All of ``convert`` on a .caffemodel alone, but for torch: net, graph, source, weights, ONNX, config."""
    with _file(data, "net.caffemodel") as path, _small():
        return _became(_convert, path, None)


def net(data: bytes) -> str:
    """The same on a .prototxt alone, with weights as its fillers say."""
    with _file(data, "net.prototxt") as path, _small():
        return _became(_convert, None, path)


def solve(data: bytes) -> str:
    """A solver.prototxt, described; what is printed must be Python."""
    with _file(data, "solver.prototxt") as path:
        return _became(_describe, path)


# Each gives the kind of error that the bytes are, or "".
TARGETS: dict[str, Callable[[bytes], str]] = {
    "wire": walk,
    "text": text,
    "caffemodel": caffemodel,
    "net": net,
    "solver": solve,
}


def _became(function: Callable[..., object], *arguments: object) -> str:
    try:
        function(*arguments)
    except CaffeError as error:
        return type(error).__name__
    return ""


def _walk(path: Path) -> None:
    found = wire.walk(path)
    for layers in (found.layers, found.v1_layers, found.v0_layers):
        for place in (place for places in layers for place in places if place.count <= READ):
            wire.read(found, place)


def _walk_blob(path: Path) -> None:
    blob = wire.walk_blob(path)
    if blob.place.count <= READ:
        wire.read(blob, blob.place)


def _describe(path: Path) -> None:
    compile(solver.describe(path), "solver.py", "exec")


def _convert(model: Path | None, prototext: Path | None) -> None:
    try:
        converted = folder.from_caffemodel(model, prototext)
    except CaffeError:
        _inspect(reader.load_net(model, prototext))
        raise
    graph = converted.graph
    printed = source(graph)
    words = {node.id for node in ast.walk(ast.parse(printed)) if isinstance(node, ast.Name)}
    if words & {"inf", "nan"}:
        raise AssertionError("a number that is no Python")
    state = converted.state()
    _kept(graph)
    onnx_model.build(graph, state)


def _inspect(found: Any) -> None:
    """A net that cannot be converted is listed nevertheless."""
    from caffe2torch import inspection

    inspection.inspect(found, None).to_json()


def _kept(graph: Graph) -> None:
    """What config.json keeps is read back as the same net."""
    kept = net_json.from_json(json.loads(json.dumps(net_json.to_json(graph))), graph.net.weights_path or graph.net.path)
    again = resolve(kept, list(graph.output_names), {value.blob: value.shape for value in graph.inputs})
    if source(again) != source(graph):
        raise AssertionError("config.json gives another net")


@contextmanager
def _file(data: bytes, name: str) -> Iterator[Path]:
    """A file that holds the bytes, in a folder of its own in memory."""
    with tempfile.TemporaryDirectory(dir=_memory if os.access(_memory, os.W_OK) else None) as made:
        path = Path(made) / name
        path.write_bytes(data)
        yield path


@contextmanager
def _small() -> Iterator[None]:
    """What a net may ask for beyond its file, kept small, so that a run is short."""
    before = limits.FILLED, limits.FILLED_ALONE, limits.MADE
    limits.FILLED = limits.FILLED_ALONE = limits.MADE = 1 << 16
    try:
        yield
    finally:
        limits.FILLED, limits.FILLED_ALONE, limits.MADE = before
