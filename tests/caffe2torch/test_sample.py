"""The stand-in of Illustration2Vec: its layout, its weights, and what happens when it cannot be written."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from caffe2torch.errors import CaffeError, OutputError
from caffe2torch.sample import _layers, write_sample
from caffe2torch.schema import message

CONVOLUTIONS_16 = {
    "conv1_1": (4, 3),
    "conv2_1": (8, 4),
    "conv3_1": (16, 8),
    "conv3_2": (16, 16),
    "conv4_1": (32, 16),
    "conv4_2": (32, 32),
    "conv5_1": (32, 32),
    "conv5_2": (32, 32),
    "conv6_1": (64, 32),
    "conv6_2": (64, 64),
    "conv6_3": (64, 64),
}
INNER_PRODUCTS_16 = {"encode1": (256, 64 * 7 * 7), "encode2": (24, 256)}


def parsed(path: Path) -> Any:
    return message("NetParameter").FromString(path.read_bytes())


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sample") / "narrow.caffemodel"
    write_sample(path, width=16)
    return path


def test_shapes_are_a_sixteenth(narrow: Path) -> None:
    shapes = {}
    for layer in parsed(narrow).layers:
        if layer.blobs:
            weights, bias = layer.blobs
            shapes[layer.name] = (weights.num, weights.channels, weights.height, weights.width)
            assert (bias.num, bias.channels, bias.height, bias.width) == (1, 1, 1, len(bias.data))
            assert len(weights.data) == math.prod(shapes[layer.name])
            assert not weights.HasField("shape")
    assert shapes == {
        **{name: (*channels, 3, 3) for name, channels in CONVOLUTIONS_16.items()},
        **{name: (1, 1, *shape) for name, shape in INNER_PRODUCTS_16.items()},
    }


def test_is_a_v1_training_snapshot_that_says_it_is_random(narrow: Path) -> None:
    net = parsed(narrow)
    assert len(net.layer) == 0
    assert "random" in net.name
    assert [layer.name for layer in net.layers[:2]] == ["data", "label"]
    assert net.layers[0].transform_param.crop_size == 224
    kinds = message("V1LayerParameter").DESCRIPTOR.enum_types_by_name["LayerType"].values_by_number
    assert kinds[net.layers[-1].type].name == "SIGMOID_CROSS_ENTROPY_LOSS"
    assert list(net.layers[-1].bottom) == ["encode2", "label"]


def test_every_field_is_one_of_the_schema_in_its_usual_order(narrow: Path) -> None:
    """protobuf writes known fields by number and keeps the unknown: the same bytes again mean neither went wrong."""
    net = parsed(narrow)
    assert net.SerializeToString(deterministic=True) == narrow.read_bytes()
    net.DiscardUnknownFields()
    assert net.ByteSize() == narrow.stat().st_size


@pytest.mark.parametrize("net", ["illust2vec", "illust2vec-tag"])
def test_weights_are_one_stream_of_random_numbers(net: str, tmp_path: Path) -> None:
    path = tmp_path / "net.caffemodel"
    write_sample(path, net, width=16, seed=7)
    random = np.random.RandomState(7)
    count = 0
    for layer in parsed(path).layers:
        for blob, is_weight in zip(layer.blobs, (True, False), strict=False):
            shape = [blob.num, blob.channels, blob.height, blob.width]
            inputs = blob.width if shape[:2] == [1, 1] else math.prod(shape[1:])
            scale = math.sqrt(2 / inputs) if is_weight else 0.1
            expected = (random.standard_normal(len(blob.data)) * scale).astype(np.float32)
            np.testing.assert_array_equal(np.array(blob.data, np.float32), expected)
            count += 1
    assert count == 2 * (13 if net == "illust2vec" else 12)


def test_has_the_layers_of_the_golden_case(narrow: Path, shared: Path) -> None:
    golden = parsed(shared / "golden" / "illust2vec_mini" / "weights.caffemodel")
    for ours, theirs in zip(parsed(narrow).layers[2:], golden.layers[1:], strict=True):
        assert (ours.name, ours.type) == (theirs.name, theirs.type)
        assert (list(ours.bottom), list(ours.top)) == (list(theirs.bottom), list(theirs.top))
        assert ours.convolution_param == theirs.convolution_param
        assert ours.pooling_param == theirs.pooling_param
        assert len(ours.blobs) == len(theirs.blobs)
        assert [field.name for field, _ in ours.ListFields()] == [field.name for field, _ in theirs.ListFields()]


@pytest.mark.parametrize(("net", "megabytes"), [("illust2vec", 979), ("illust2vec-tag", 188)])
def test_full_width_has_the_shapes_of_the_recipe(net: str, megabytes: int, shared: Path) -> None:
    recipe = json.loads((shared / "nets" / net.replace("-", "_") / "recipe.json").read_text())
    layers = _layers(net, 1)
    assert [list(shape) for layer in layers for shape in layer.shapes] == [s for _, p in recipe["params"] for s in p]
    assert round(sum(layer.size for layer in layers) / 1e6) == megabytes


def test_full_width_has_the_weights_of_the_recipe(shared: Path, tmp_path: Path) -> None:
    recipe = json.loads((shared / "nets" / "illust2vec_tag" / "recipe.json").read_text())
    path = tmp_path / "tag.caffemodel"
    write_sample(path, "illust2vec-tag")
    with path.open("rb") as file:
        start = file.read(4096)
        file.seek(-4096, os.SEEK_END)
        end = file.read()
    path.unlink()
    assert np.array(recipe["check"]["first_weights"], np.float32).tobytes() in start
    assert np.array(recipe["check"]["last_bias"], np.float32).tobytes() in end


def test_same_seed_same_file(narrow: Path, tmp_path: Path) -> None:
    write_sample(tmp_path / "again.caffemodel", width=16)
    write_sample(tmp_path / "other.caffemodel", width=16, seed=1)
    assert (tmp_path / "again.caffemodel").read_bytes() == narrow.read_bytes()
    assert (tmp_path / "other.caffemodel").read_bytes() != narrow.read_bytes()


def test_progress_reaches_the_size(tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    path = tmp_path / "net.caffemodel"
    write_sample(path, width=16, progress=lambda done, total: calls.append((done, total)))
    assert calls == sorted(calls)
    assert calls[-1] == (path.stat().st_size, path.stat().st_size)


def test_an_existing_file_is_kept_unless_forced(tmp_path: Path) -> None:
    path = tmp_path / "net.caffemodel"
    path.write_text("precious")
    with pytest.raises(OutputError, match="exists already"):
        write_sample(path, width=16)
    assert path.read_text() == "precious"
    write_sample(path, width=16, force=True)
    assert parsed(path).layers


@pytest.mark.parametrize("wrong", [{"net": "vgg"}, {"width": 3}, {"seed": -1}])
def test_wrong_arguments(wrong: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(CaffeError):
        write_sample(tmp_path / "net.caffemodel", **wrong)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_in_the_way(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="is a folder"):
        write_sample(tmp_path, width=16, force=True)


def test_nothing_is_left_when_writing_stops(tmp_path: Path) -> None:
    """The operating system refuses the file's second megabyte, as a full disk would."""
    script = (
        "import resource, signal, sys; from pathlib import Path; from caffe2torch.sample import write_sample;"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20));"
        "write_sample(Path(sys.argv[1]), width=16)"
    )
    answer = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "net.caffemodel")], check=False, capture_output=True, text=True
    )
    assert answer.returncode != 0
    assert "File too large" in answer.stderr
    assert list(tmp_path.iterdir()) == []
