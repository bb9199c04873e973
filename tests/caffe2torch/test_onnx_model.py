"""ONNX: names as in Caffe, the batch, outputs that are inputs or aliases, names that collide, the limit of 2 GB."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

import caffe2torch
from caffe2torch import checked_file, onnx_model, weights
from caffe2torch.errors import OutputError
from caffe2torch.onnx_model import OPSET, Nodes
from tests.caffe2torch import nets
from tests.caffe2torch.nets import CONV, agree, layer, session


def exported(converted: Any, folder: Path) -> onnx.ModelProto:
    caffe2torch.to_onnx(converted, folder / "net.onnx")
    return onnx.load(folder / "net.onnx")


def sizes(entry: onnx.ValueInfoProto) -> list[int | str]:
    return [dim.dim_param or dim.dim_value for dim in entry.type.tensor_type.shape.dim]


def test_names_are_those_of_caffe(tmp_path: Path) -> None:
    converted = nets.module(
        tmp_path,
        nets.given("the data", 1, 3, 8, 8),
        layer("conv/1", "Convolution", "the@data", "x", CONV).replace("the@data", "the data"),
        layer("relu/1", "ReLU", "x", "x"),
        layer("pool/1", "Pooling", "x", "pool.1", "pooling_param { kernel_size: 2 }"),
    )
    model = exported(converted, tmp_path)
    assert [entry.name for entry in model.graph.input] == ["the data"]
    assert [entry.name for entry in model.graph.output] == ["pool.1"]
    assert [entry.name for entry in model.graph.initializer] == ["conv_1.weight", "conv_1.bias"]
    assert [node.output[0] for node in model.graph.node] == ["x:conv/1", "x", "pool.1"]
    assert {(entry.domain, entry.version) for entry in model.opset_import} == {("", OPSET)}


def test_any_batch_where_the_net_allows_it(tmp_path: Path) -> None:
    lines = [nets.given("data", 2, 3, 4, 4), layer("conv", "Convolution", "data", "conv", CONV)]
    reshape = "reshape_param { shape { dim: 2 dim: 32 } }"
    free = nets.module(tmp_path, *lines, layer("flat", "Flatten", "conv", "flat"))
    fixed = nets.module(tmp_path, *lines, layer("flat", "Reshape", "conv", "flat", reshape))
    model = exported(free, tmp_path)
    assert sizes(model.graph.input[0]) == ["N", 3, 4, 4]
    assert sizes(model.graph.output[0]) == ["N", 32]
    array = np.ones((5, 3, 4, 4), np.float32)
    assert session(tmp_path / "net.onnx").run(None, {"data": array})[0].shape == (5, 32)
    assert sizes(exported(fixed, tmp_path).graph.input[0]) == [2, 3, 4, 4]
    agree(fixed, tmp_path)


def test_in_place_on_the_input_and_the_input_as_an_output(tmp_path: Path) -> None:
    """An ONNX output cannot have its input's name; what it holds is right all the same."""
    lines = [nets.given("data", 1, 3), layer("relu", "ReLU", "data", "data"), layer("tanh", "TanH", "data", "tanh")]
    converted = nets.module(tmp_path, *lines, outputs=["data", "tanh"])
    changed, _ = agree(converted, tmp_path)
    assert changed.min() == 0
    names = [entry.name for entry in exported(converted, tmp_path).graph.output]
    assert names == ["data:output", "tanh"]


def test_one_value_under_several_names(tmp_path: Path) -> None:
    lines = [
        nets.given("data", 1, 3),
        layer("tanh", "TanH", "data", "t"),
        layer("split", "Split", "t", "a b"),
    ]
    converted = nets.module(tmp_path, *lines, outputs=["b", "t", "a", "data"])
    agree(converted, tmp_path)
    names = [entry.name for entry in exported(converted, tmp_path).graph.output]
    assert names == ["b", "t", "a", "data:output"]


def test_blobs_weights_and_helpers_of_the_same_name_stay_apart(tmp_path: Path) -> None:
    """Blobs are called as a weight is stored, as a helper value would be, and as this exporter names values."""
    converted = nets.module(
        tmp_path,
        nets.given("conv.weight", 1, 2, 4, 4),
        layer("conv", "Convolution", "conv.weight", "conv.bias", CONV),
        layer("relu", "ReLU", "conv.bias", "conv.bias"),
        layer("x", "Power", "conv.bias", "conv.bias:relu", "power_param { power: 3 scale: 2 shift: 1 }"),
        layer("mvn", "MVN", "conv.bias:relu", "x/mul"),
        layer("y", "MVN", "x/mul", "mvn/sub"),
        layer("z", "Scale", "mvn/sub", "conv.bias:conv"),
        outputs=["conv.bias", "conv.bias:conv", "x/mul"],
    )
    agree(converted, tmp_path)
    model = exported(converted, tmp_path)
    assert [entry.name for entry in model.graph.output] == ["conv.bias", "conv.bias:conv", "x/mul"]
    made = [name for node in model.graph.node for name in node.output]
    made += [entry.name for entry in [*model.graph.input, *model.graph.initializer]]
    assert len(set(made)) == len(made)


def test_present_weights_are_written(tmp_path: Path) -> None:
    import torch

    converted = nets.module(
        tmp_path, nets.given("data", 1, 2, 4, 4), layer("conv", "Convolution", "data", "conv", CONV)
    )
    with torch.no_grad():
        converted.conv.weight.fill_(0.5)
    stored = exported(converted, tmp_path).graph.initializer[0]
    np.testing.assert_array_equal(numpy_helper.to_array(stored), np.full((2, 2, 3, 3), 0.5, np.float32))


def test_what_it_came_from_is_named(tmp_path: Path) -> None:
    converted = nets.module(
        tmp_path, nets.given("data", 1, 3, 8, 8), layer("conv", "Convolution", "data", "conv", CONV)
    )
    (told,) = [json.loads(entry.value) for entry in exported(converted, tmp_path).metadata_props]
    assert told["caffemodel"] is None and told["prototxt"].endswith(".prototxt")
    torch.nn.init.zeros_(converted.conv.weight)
    (trained,) = [json.loads(entry.value) for entry in exported(converted, tmp_path).metadata_props]
    assert len(told["module_sha256"]) == 64 and trained["module_sha256"] != told["module_sha256"]


def test_more_than_one_file_holds_is_refused_and_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    converted = nets.module(
        tmp_path, nets.given("data", 1, 2, 4, 4), layer("conv", "Convolution", "data", "conv", CONV)
    )
    weights = 4 * (2 * 2 * 9 + 2)
    room = 1 << 20  # for everything that is no weight
    monkeypatch.setattr(onnx_model, "LIMIT", weights + room)
    caffe2torch.to_onnx(converted, tmp_path / "fits.onnx")
    monkeypatch.setattr(onnx_model, "LIMIT", weights + room - 1)
    with pytest.raises(OutputError, match="2 GB"):
        caffe2torch.to_onnx(converted, tmp_path / "large.onnx")
    assert not list(tmp_path.glob("*large*"))


def test_long_vectors_take_no_memory(tmp_path: Path) -> None:
    """onnx's inference would keep 70 bytes for each number, layer by layer: here, 14 gigabytes."""
    pytest.importorskip("resource")
    shifts = [layer(f"p{i}", "Power", f"b{i}", f"b{i + 1}", "power_param { shift: 1 }") for i in range(10)]
    path = nets.write(tmp_path, nets.given("b0", 20_000_000), *shifts)
    program = (
        "import resource, sys; from caffe2torch import onnx_model; from caffe2torch.converted import from_caffemodel\n"
        "resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))\n"
        "model = onnx_model.build(from_caffemodel(None, sys.argv[1]).graph, {})\n"
        "assert len(model.graph.value_info) == 9\n"
    )
    subprocess.run([sys.executable, "-c", program, path], check=True)


def test_nodes_store_equal_constants_once_and_name_values_apart() -> None:
    nodes = Nodes()
    x = nodes.add_input("x", np.float32, ["N", 2])
    one = nodes.constant(np.float32(1), "one")
    assert nodes.constant(np.float32(1), "other") == one
    assert nodes.constant(np.int64(1), "one") != one
    first = nodes.add("Add", [x, one], name="sum")
    second = nodes.add("Add", [first, one], name="sum")
    assert (first, second) == ("sum", "sum_1")
    nodes.add_output(second, np.float32, ["N", 2])
    model = nodes.model({"key": "value"})
    onnx.checker.check_model(model, full_check=True)
    assert [(entry.key, entry.value) for entry in model.metadata_props] == [("key", "value")]
    result = session(model.SerializeToString()).run(None, {"x": np.zeros((3, 2), np.float32)})[0]
    np.testing.assert_array_equal(result, np.full((3, 2), 2))


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    converted = nets.module(tmp_path, nets.given("data", 1, 2), layer("tanh", "TanH", "data", "tanh"))
    path = tmp_path / "net.onnx"
    path.write_bytes(b"old")

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        caffe2torch.to_onnx(converted, path)
    assert path.read_bytes() == b"old"
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["net.onnx", "net.prototxt"]


def test_large_weights_are_appended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is the message, with large weights in another order, whatever the size of the pieces."""
    monkeypatch.setattr(checked_file, "PIECE", 100)
    monkeypatch.setattr(onnx_model, "SMALL", 8)
    graph = nets.graph(tmp_path, nets.given("data", 1, 3, 8, 8), layer("conv", "Convolution", "data", "y", CONV))
    state = weights.state_dict(graph)
    onnx_model.save(graph, state, tmp_path / "net.onnx", {"a": "b"})
    found, want = onnx.load(tmp_path / "net.onnx"), onnx_model.build(graph, state, {"a": "b"})
    for model in (found, want):
        entries = sorted(model.graph.initializer, key=lambda tensor: tensor.name)
        assert [len(tensor.raw_data) for tensor in entries] == [8, 216]
        del model.graph.initializer[:]
        model.graph.initializer.extend(entries)
    assert found == want
