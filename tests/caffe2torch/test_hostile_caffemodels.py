"""A .caffemodel from a stranger: any damage is an error in words; what its headers claim costs no memory."""

from __future__ import annotations

import os
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from caffe2torch.converted import from_caffemodel
from caffe2torch.errors import CaffeError, NetError, WireError
from caffe2torch.reader import load_net
from caffe2torch.schema import message
from caffe2torch.wire import varint
from tests.caffe2torch import nets


def field(number: int, content: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(content)) + content


def refused(path: Path, content: bytes) -> str:
    """What is said of a file; no more memory than some times its size is taken."""
    path.write_bytes(content)
    tracemalloc.start()
    try:
        with pytest.raises(CaffeError) as caught:
            from_caffemodel(path).state()
        assert tracemalloc.get_traced_memory()[1] < 20_000_000 + 10 * len(content)
    finally:
        tracemalloc.stop()
    return str(caught.value)


def small(**changes: Any) -> Any:
    """One InnerProduct of 2 x 3 with its input, as a message."""
    net = message("NetParameter")(name="small", input=["data"])  # type: ignore[call-arg]
    net.input_shape.add().dim.extend([1, 3])
    layer = net.layer.add(name="fc", type="InnerProduct", bottom=["data"], top=["fc"])
    layer.inner_product_param.num_output = 2
    layer.inner_product_param.bias_term = False
    blob = layer.blobs.add()
    blob.shape.dim.extend([2, 3])
    blob.data.extend([1.0] * 6)
    return net


def test_cut_at_any_byte_and_any_bit_turned(tmp_path: Path) -> None:
    whole, path = small().SerializeToString(), tmp_path / "net.caffemodel"
    path.write_bytes(whole)
    assert from_caffemodel(path).state()["fc.weight"].shape == (2, 3)
    became = set()
    damaged = [whole[:end] for end in range(len(whole))]
    damaged += [
        bytes([*whole[:at], whole[at] ^ 1 << bit, *whole[at + 1 :]]) for at in range(len(whole)) for bit in range(8)
    ]
    for content in damaged:
        path.write_bytes(content)
        try:
            converted = from_caffemodel(path)
            assert converted.state().keys() >= {"fc.weight"} or converted.graph.nodes
            became.add("a net")
        except CaffeError as error:
            became.add(type(error).__name__)
    assert became >= {"a net", "WireError", "NetError"}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"\xff" * 1_000_000, "more than 10 bytes"),
        (b"\x9b\x06" * 500_000, "groups within each other"),
        (b"\x9b\x06\x9c\x06" * 20_000, "there is no layer in it"),
        (varint(100 << 3 | 2) + varint(1 << 62) + b"x" * 50, "cut short"),
        (field(100, varint(7 << 3 | 2) + varint(1 << 40) + b"x"), "cut short"),
        (field(100, varint(7 << 3 | 2) + varint(9) + b"x") + b"x" * 99, "reaches beyond the message"),
        (field(100, field(7, field(5, b"xyz"))), "no whole count of numbers"),
        (field(100, b"") * 25_000, "more than 20,000 layers"),
        (field(1, b"n" * 3_000_000) + field(100, field(1, b"a") + field(2, b"ReLU")), "a name of 3,000,000 characters"),
    ],
    ids=range(9),
)
def test_bytes_that_lie(content: bytes, says: str, tmp_path: Path) -> None:
    text = refused(tmp_path / "net.caffemodel", content)
    assert says in text


@pytest.mark.parametrize("sizes", [[1 << 30, 1 << 30], [1 << 62, 4], [-2, -3], [2, 0], [2, 3, 1], [6], [], [1] * 1000])
def test_shapes_that_lie(sizes: list[int], tmp_path: Path) -> None:
    net = small()
    net.layer[0].blobs[0].shape.dim[:] = sizes
    text = refused(tmp_path / "net.caffemodel", net.SerializeToString())
    assert "the net wants (2, 3)" in text


@pytest.mark.parametrize("count", [0, 5, 7, 100_000])
def test_a_blob_of_another_length_than_its_shape(count: int, tmp_path: Path) -> None:
    net = small()
    net.layer[0].blobs[0].data[:] = [1.0] * count
    assert f"says (2, 3) in {tmp_path / 'net.caffemodel'}, but {count} numbers lie there" in refused(
        tmp_path / "net.caffemodel", net.SerializeToString()
    )


@pytest.mark.parametrize("sizes", [(-1, 3), (1 << 40, 1 << 40)])
def test_inputs_that_lie(sizes: tuple[int, int], tmp_path: Path) -> None:
    net = small()
    net.input_shape[0].dim[:] = sizes
    assert str(sizes) in refused(tmp_path / "net.caffemodel", net.SerializeToString())


def test_a_small_file_of_weights_allows_little_beside_it(tmp_path: Path) -> None:
    more = "inner_product_param { num_output: %d bias_term: false }"
    lines = [nets.given("data", 1, 3), nets.layer("fc", "InnerProduct", "data", "fc", more % 2)]
    head = nets.layer("head", "InnerProduct", "fc", "head", more % 100_000_000)
    (tmp_path / "w.caffemodel").write_bytes(small().SerializeToString())
    converted = from_caffemodel(tmp_path / "w.caffemodel", nets.write(tmp_path, *lines, head))
    tracemalloc.start()
    try:
        with pytest.raises(NetError, match=r"head \(InnerProduct\): its weight .* is in no file, and too large"):
            converted.state()
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()


def test_a_file_that_changes_meanwhile(tmp_path: Path) -> None:
    path = nets.trained(tmp_path / "net.caffemodel")
    converted, whole = from_caffemodel(path), path.read_bytes()
    for content in (whole[:-100], whole + b"\0", b""):
        path.write_bytes(content)
        with pytest.raises(WireError, match="has changed since it was opened"):
            converted.state()


def test_a_file_that_shrinks_while_it_is_read(tmp_path: Path) -> None:
    path = nets.caffemodel(tmp_path / "w.caffemodel", {"fc": [np.zeros((2000, 1000), np.float32)]}, "InnerProduct")
    (blob,) = load_net(path).layers[0].blobs or ()
    pieces = blob.pieces()
    next(pieces)
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(WireError, match="cut short while it was read"):
        list(pieces)


@pytest.mark.parametrize("kind", ["folder", "pipe", "device"])
def test_what_is_no_file(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "net.caffemodel"
    if kind == "device":
        path = Path("/dev/zero")
    elif kind == "folder":
        path.mkdir()
    else:
        os.mkfifo(path)
    for arguments in ((path,), (None, path)):
        with pytest.raises(CaffeError, match="not a regular file"):
            load_net(*arguments)


def test_duplicate_layers_do_not_multiply(tmp_path: Path) -> None:
    net = small()
    for _ in range(2000):
        net.layer.add().CopyFrom(net.layer[0])
    path = tmp_path / "net.caffemodel"
    path.write_bytes(net.SerializeToString())
    with pytest.raises(NetError, match="produced by multiple sources"):
        from_caffemodel(path)
