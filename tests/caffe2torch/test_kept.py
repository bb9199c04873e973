"""The tensors that go from file to file: the same as in memory, each read once, and the digest of their source."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open

import caffe2torch
from caffe2torch import folder, safetensors_file, tensors, weights
from caffe2torch.checked_file import CheckedFile
from caffe2torch.digest import of_source
from caffe2torch.errors import OutputError
from caffe2torch.folder import CONFIG, ONNX, WEIGHTS
from caffe2torch.graph import Graph, resolve
from caffe2torch.kept import Kept
from caffe2torch.net import Blob, Layer, Net
from caffe2torch.tensors import Piece
from tests.caffe2torch import nets

CASES = [
    "illust2vec_mini",
    "bn_scale_inplace",
    "graph_shared_params",
    "ip_transpose_axis2_no_bias",
    "lstm_hidden",
    "format_hard_names",
]


def written(graph: Graph, path: Path) -> dict[str, np.ndarray]:
    safetensors_file.write(path, Kept(graph).tensors, dict)
    return safetensors_file.read(path)


@pytest.mark.parametrize("size", [16, tensors.PIECE])
@pytest.mark.parametrize("case", CASES)
def test_what_is_written_is_the_state(
    case: str, size: int, golden: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tensors, "PIECE", size)
    place = golden / case
    graph = resolve(caffe2torch.load_net(place / "weights.caffemodel", place / "deploy.prototxt"))
    found = written(graph, tmp_path / WEIGHTS)
    shared = {f"{node.name}.{key}" for node in graph.nodes for key in node.shared}
    state = {key: array for key, array in weights.state_dict(graph).items() if key not in shared}
    assert found.keys() == state.keys()
    for key, array in state.items():
        assert found[key].dtype == array.dtype
        np.testing.assert_array_equal(found[key], array)


def test_filled_tensors_are_those_of_the_module(tmp_path: Path) -> None:
    """Random numbers are drawn in the order of the net, though what is in the file is written first."""
    fill = 'num_output: 2 weight_filler { type: "xavier" }'
    lines = (
        nets.given("data", 1, 2),
        nets.layer("a", "InnerProduct", "data", "a", f"inner_product_param {{ {fill} }}"),
        nets.layer("b", "InnerProduct", "a", "b", f"inner_product_param {{ {fill} }}"),
        nets.layer("c", "InnerProduct", "b", "c", f"inner_product_param {{ {fill} }}"),
    )
    model = nets.caffemodel(tmp_path / "net.caffemodel", {"b": [np.eye(2, dtype=np.float32), np.zeros(2)]})
    graph = resolve(caffe2torch.load_net(model, nets.write(tmp_path, *lines)))
    found = written(graph, tmp_path / WEIGHTS)
    assert next(iter(found)).startswith("b.")
    for key, array in weights.state_dict(graph).items():
        np.testing.assert_array_equal(found[key], array)


def counting(net: Net, seen: list[tuple[str, int]]) -> Net:
    """The same net, noting the numbers that are read of each layer."""

    def watched(entry: Layer, blob: Blob) -> Blob:
        def pieces(copies: int) -> Iterator[Piece]:
            for piece in blob.pieces(copies):
                seen.append((entry.name, len(piece.numbers)))
                yield piece

        return replace(blob, in_pieces=pieces)

    layers = [
        replace(entry, blobs=tuple(watched(entry, blob) for blob in entry.blobs)) if entry.blobs else entry
        for entry in net.layers
    ]
    return replace(net, layers=tuple(layers))


def test_each_kept_number_is_read_once_and_no_other(tmp_path: Path) -> None:
    seen: list[tuple[str, int]] = []
    net = counting(caffe2torch.load_net(nets.trained(tmp_path / "small.caffemodel")), seen)
    graph = resolve(net, ["pool"])
    kept = Kept(graph)
    assert seen == []
    safetensors_file.write(tmp_path / WEIGHTS, kept.tensors, dict)
    assert {name for name, _ in seen} == {"conv"}
    assert sum(count for _, count in seen) == graph.parameters


def test_what_lies_in_the_file_in_another_order_is_read_in_its_order(tmp_path: Path) -> None:
    fields = "inner_product_param { num_output: 2 bias_term: false }"
    lines = (
        nets.given("data", 1, 2),
        nets.layer("a", "InnerProduct", "data", "a", fields),
        nets.layer("b", "InnerProduct", "a", "b", fields),
    )
    model = nets.caffemodel(tmp_path / "net.caffemodel", {"b": [np.eye(2)], "a": [2 * np.eye(2)]})
    graph = resolve(caffe2torch.load_net(model, nets.write(tmp_path, *lines)))
    assert list(written(graph, tmp_path / WEIGHTS)) == ["b.weight", "a.weight"]


def test_every_artifact_names_what_it_came_from(tmp_path: Path) -> None:
    model = nets.trained(tmp_path / "small.caffemodel")
    converted = folder.from_caffemodel(model)
    folder.save(converted, tmp_path / "out", onnx=True)
    blobs = [blob for layer in converted.net.layers for blob in layer.blobs or ()]
    sums = [sha256(blob.read().tobytes()).digest() for blob in blobs]
    want = of_source(converted.net.headers, sums)
    assert json.loads((tmp_path / "out" / CONFIG).read_text())["source"]["sha256"] == want
    with safe_open(tmp_path / "out" / WEIGHTS, "numpy") as stored:
        assert stored.metadata()["source_sha256"] == want
    import onnx

    properties = {entry.key: entry.value for entry in onnx.load(tmp_path / "out" / ONNX).metadata_props}
    assert json.loads(properties["source"])["sha256"] == want
    folder.save(folder.load(tmp_path / "out"), tmp_path / "again")
    assert json.loads((tmp_path / "again" / CONFIG).read_text())["source"]["sha256"] == want


def test_another_number_is_another_source(tmp_path: Path) -> None:
    digests = set()
    for number in (1.0, 1.0, 2.0):
        model = nets.caffemodel(tmp_path / "net.caffemodel", {"fc": [np.full((2, 2), number)]})
        text = nets.write(
            tmp_path,
            nets.given("data", 1, 2),
            nets.layer("fc", "InnerProduct", "data", "fc", "inner_product_param { num_output: 2 bias_term: false }"),
        )
        folder.save(folder.from_caffemodel(model, text), tmp_path / "out", force=True)
        digests.add(folder.load(tmp_path / "out").config["source"]["sha256"])
    assert len(digests) == 2


@pytest.mark.parametrize("byte", [0, 7, 8, 20])
def test_a_disk_that_does_not_keep_what_is_written_is_found_out(
    byte: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = CheckedFile._write

    def damaging(file: CheckedFile, piece: memoryview, position: int) -> None:
        damaged = bytearray(piece)
        damaged[byte] ^= 1
        write(file, memoryview(damaged), position)

    monkeypatch.setattr(CheckedFile, "_write", damaging)
    with pytest.raises(OutputError, match="a was not read back"), CheckedFile(tmp_path / "a") as file:
        file.put(bytes(21), 0)


def test_progress_counts_the_bytes(tmp_path: Path) -> None:
    seen: list[int] = []
    graph = resolve(caffe2torch.load_net(nets.trained(tmp_path / "small.caffemodel")))
    safetensors_file.write(tmp_path / WEIGHTS, Kept(graph).tensors, dict, seen.append)
    assert sum(seen) == 4 * graph.parameters == 4 * 297
