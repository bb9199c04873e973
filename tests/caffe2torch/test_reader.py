"""Prototxt and weights as one net: encodings, joins by name, inputs, names, and what is refused."""

from __future__ import annotations

import struct
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import caffe2torch
from caffe2torch import schema, weights
from caffe2torch.conversion import graph_of
from caffe2torch.errors import CaffeError, FileError, NetError, ShapeError, TextError, WireError
from caffe2torch.graph import resolve
from tests.caffe2torch import nets
from tests.caffe2torch.nets import given, layer, run

RANDOM = np.random.default_rng(0)
IP = layer("ip", "InnerProduct", "data", "ip", "inner_product_param { num_output: 3 }")
W, B = RANDOM.standard_normal((3, 4)).astype(np.float32), RANDOM.standard_normal(3).astype(np.float32)
X = {"data": RANDOM.standard_normal((2, 4)).astype(np.float32)}
WANT = X["data"] @ W.T + B


def prototxt(folder: Path, *layers: str) -> Path:
    return nets.write(folder, given("data", 2, 4), *layers)


def write(folder: Path, net: Any, name: str = "weights.caffemodel") -> Path:
    path = folder / name
    path.write_bytes(net if isinstance(net, bytes) else net.SerializeToString())
    return path


def blobs_of(entry: Any, arrays: Sequence[np.ndarray]) -> None:
    for array in arrays:
        blob = entry.blobs.add()
        blob.shape.dim.extend(array.shape)
        blob.data.extend(array.ravel().tolist())


def net_of(*layers: tuple[str, str, Sequence[np.ndarray]]) -> Any:
    net: Any = schema.message("NetParameter")()
    for name, kind, arrays in layers:
        blobs_of(net.layer.add(name=name, type=kind), arrays)
    return net


def output(model: Path, text: Path) -> np.ndarray:
    return run(caffe2torch.convert(model, text), X)[0]


# How the numbers of one blob may be written.


def field(number: int, payload: bytes) -> bytes:
    assert len(payload) < 128
    return bytes([number << 3 | 2, len(payload)]) + payload


def raw_net(name: bytes, *blobs: bytes) -> bytes:
    """A net of one InnerProduct, byte by byte."""
    entry = field(1, name) + field(2, b"InnerProduct") + b"".join(field(7, blob) for blob in blobs)
    return b"\xa2\x06" + bytes([len(entry) & 0x7F | 0x80, len(entry) >> 7]) + entry


def packed(array: np.ndarray) -> bytes:
    return field(5, array.astype("<f4").tobytes())


def unpacked(array: np.ndarray) -> bytes:
    return b"".join(b"\x2d" + struct.pack("<f", value) for value in array.ravel())


def chunked(array: np.ndarray) -> bytes:
    flat = array.ravel()
    return packed(flat[:1]) + unpacked(flat[1:2]) + packed(flat[2:2]) + packed(flat[2:])


def doubled(array: np.ndarray) -> bytes:
    return packed(np.zeros_like(array)) + field(8, array.astype("<f8").tobytes())


def half(array: np.ndarray) -> bytes:
    return b"\x50\x02" + field(12, array.astype("<f2").tobytes())


def modern(array: np.ndarray) -> bytes:
    return field(7, field(1, bytes(array.shape)))


def in_two_parts(array: np.ndarray) -> bytes:
    return b"".join(field(7, field(1, bytes([size]))) for size in array.shape)


def unpacked_shape(array: np.ndarray) -> bytes:
    return field(7, b"".join(b"\x08" + bytes([size]) for size in array.shape))


def legacy(array: np.ndarray) -> bytes:
    sizes = (1,) * (4 - array.ndim) + array.shape
    return b"".join(bytes([number << 3, size]) for number, size in enumerate(sizes, 1))


def legacy_and_wrong_shape(array: np.ndarray) -> bytes:
    return field(7, field(1, b"\x07")) + legacy(array)


@pytest.mark.parametrize("numbers", [packed, unpacked, chunked, doubled, half])
@pytest.mark.parametrize("shape", [modern, in_two_parts, unpacked_shape, legacy, legacy_and_wrong_shape])
def test_encodings_of_a_blob(
    shape: Callable[[np.ndarray], bytes], numbers: Callable[[np.ndarray], bytes], tmp_path: Path
) -> None:
    w, b = (array[:2, :2] if array.ndim == 2 else array[:2] for array in (W, B))
    model = write(tmp_path, raw_net(b"ip", *(shape(array) + numbers(array) for array in (w, b))))
    text = nets.write(
        tmp_path,
        given("data", 2, 2),
        layer("ip", "InnerProduct", "data", "ip", "inner_product_param { num_output: 2 }"),
    )
    x = {"data": X["data"][:, :2]}
    tolerance = 1e-2 if numbers is half else 1e-6
    np.testing.assert_allclose(run(caffe2torch.convert(model, text), x)[0], x["data"] @ w.T + b, atol=tolerance)


def test_reading_a_net_reads_no_tensor(tmp_path: Path) -> None:
    model = write(tmp_path, net_of(("ip", "InnerProduct", [W, B])))
    net = caffe2torch.load_net(model, prototxt(tmp_path, IP))
    graph = resolve(net)
    model.write_bytes(b"")
    with pytest.raises(WireError, match="changed since"):
        weights.state_dict(graph)


# Joined by name.


def test_extra_layers_are_ignored_and_their_order_does_not_matter(tmp_path: Path) -> None:
    model = write(
        tmp_path, net_of(("other", "InnerProduct", [W[:1], B]), ("ip", "InnerProduct", [W, B]), ("x", "ReLU", []))
    )
    np.testing.assert_allclose(output(model, prototxt(tmp_path, IP)), WANT, atol=1e-6)


def test_of_two_layers_in_the_file_the_later_counts(tmp_path: Path) -> None:
    model = write(tmp_path, net_of(("ip", "InnerProduct", [W[::-1], B]), ("ip", "InnerProduct", [W, B])))
    np.testing.assert_allclose(output(model, prototxt(tmp_path, IP)), WANT, atol=1e-6)


def test_of_two_layers_in_the_net_the_first_gets_the_weights(tmp_path: Path) -> None:
    model = write(tmp_path, net_of(("ip", "InnerProduct", [W, B])))
    again = layer(
        "ip", "InnerProduct", "data", "again", "inner_product_param { num_output: 3 bias_filler { value: 7 } }"
    )
    first, second = run(caffe2torch.convert(model, prototxt(tmp_path, IP, again)), X)
    np.testing.assert_allclose(first, WANT, atol=1e-6)
    np.testing.assert_array_equal(second, np.full_like(second, 7))


def test_layers_that_the_file_does_not_have_are_filled(tmp_path: Path) -> None:
    new = layer("new", "InnerProduct", "ip", "new", "inner_product_param { num_output: 2 bias_filler { value: 3 } }")
    module = caffe2torch.convert(
        write(tmp_path, net_of(("ip", "InnerProduct", [W, B]))), prototxt(tmp_path, IP, new), outputs=["ip", "new"]
    )
    ip, filled = run(module, X)
    np.testing.assert_allclose(ip, WANT, atol=1e-6)
    np.testing.assert_array_equal(filled, np.full_like(filled, 3))
    assert weights.missing(graph_of(module)) == ["new"]


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ([W], "holds 1 blobs for it, the layer has 2"),
        ([], "holds 0 blobs for it, the layer has 2"),
        ([W, B, B], "holds 3 blobs"),
        ([W.T, B], r"blob 0 \(weight\) has the shape \(4, 3\) in .*weights.caffemodel, the net wants \(3, 4\)"),
        ([W.reshape(1, 1, 3, 4), B], r"\(1, 1, 3, 4\)"),
        ([W, B.reshape(1, 3)], r"blob 1 \(bias\)"),
    ],
)
def test_blobs_that_do_not_fit_are_refused(arrays: list[np.ndarray], says: str, tmp_path: Path) -> None:
    model = write(tmp_path, net_of(("ip", "InnerProduct", arrays), ("other", "InnerProduct", [W])))
    with pytest.raises(NetError, match=rf"(?s)ip \(InnerProduct\): .*{says}"):
        caffe2torch.convert(model, prototxt(tmp_path, IP))


def test_a_layer_without_weights_takes_none(tmp_path: Path) -> None:
    model = write(tmp_path, net_of(("ip", "InnerProduct", [W, B])))
    with pytest.raises(NetError, match=r"ip \(ReLU\): .* holds 2 blobs for it, the layer has 0"):
        caffe2torch.convert(model, prototxt(tmp_path, layer("ip", "ReLU", "data", "ip")))


def test_fewer_numbers_than_the_shape_says(tmp_path: Path) -> None:
    net = net_of(("ip", "InnerProduct", [W, B]))
    del net.layer[0].blobs[0].data[-1]
    with pytest.raises(NetError, match=r"blob 0 \(weight\) says \(3, 4\) .* but 11 numbers"):
        caffe2torch.convert(write(tmp_path, net), prototxt(tmp_path, IP))


def test_files_that_do_not_belong_together(tmp_path: Path) -> None:
    model = write(tmp_path, net_of(("fc", "InnerProduct", [W, B])))
    with pytest.raises(CaffeError, match=r"weights.caffemodel: none of its layers .*the file has 'fc'.* not belong"):
        caffe2torch.convert(model, prototxt(tmp_path, IP))
    constant = "inner_product_param { num_output: 3 weight_filler { value: 1 } }"
    text = prototxt(tmp_path, layer("ip", "InnerProduct", "data", "ip", constant))
    np.testing.assert_allclose(output(model, text)[:, 0], X["data"].sum(1), atol=1e-6)
    caffe2torch.convert(model, prototxt(tmp_path, layer("relu", "ReLU", "data", "y")))


def test_blobs_in_the_prototxt_itself_count_unless_the_file_has_others(tmp_path: Path) -> None:
    numbers = " ".join(f"data: {value:.9g}" for value in W.ravel())
    inline = f"blobs {{ shape {{ dim: [3, 4] }} {numbers} }} blobs {{ num: 1 channels: 1 height: 1 width: 3 "
    inline += " ".join(f"double_data: {value:.9g}" for value in B) + " }"
    text = prototxt(
        tmp_path, layer("ip", "InnerProduct", "data", "ip", f"inner_product_param {{ num_output: 3 }} {inline}")
    )
    np.testing.assert_allclose(run(caffe2torch.convert(None, text), X)[0], WANT, atol=1e-6)
    model = write(tmp_path, net_of(("ip", "InnerProduct", [2 * W, B])))
    np.testing.assert_allclose(output(model, text), 2 * WANT - B, atol=1e-6)


# HDF5.


def hdf5(folder: Path, layers: dict[str, Sequence[np.ndarray]], name: str = "weights.caffemodel.h5") -> Path:
    with h5py.File(folder / name, "w") as file:
        for layer_name, arrays in layers.items():
            group = file.create_group(f"data/{layer_name}")
            for index, array in enumerate(arrays):
                group.create_dataset(str(index), data=array)
    return folder / name


@pytest.mark.parametrize("dtype", ["<f4", ">f8", "<f2", "<i4"])
def test_hdf5_is_known_by_its_first_bytes_and_read_as_float32(dtype: str, tmp_path: Path) -> None:
    w, b = (np.round(4 * array).astype(dtype) for array in (W, B))
    model = hdf5(tmp_path, {"ip": [w, b], "relu": []}, "no-suffix")
    want = X["data"] @ w.astype(np.float32).T + b.astype(np.float32)
    np.testing.assert_allclose(output(model, prototxt(tmp_path, IP)), want, atol=1e-5)


def test_hdf5_that_claims_more_than_it_keeps(tmp_path: Path) -> None:
    """Numbers that were never written, or are packed a thousandfold."""
    for options in ({}, {"compression": "gzip", "chunks": (1024, 1024)}):
        path = hdf5(tmp_path, {"other": [B]})
        with h5py.File(path, "a") as file:
            numbers = file["data"].create_group("ip").create_dataset("0", (8192, 8192), np.float32, **options)
            if options:
                numbers[:1024, :1024] = np.zeros((1024, 1024), np.float32)
        with pytest.raises(FileError, match="claims 268,435,456 bytes and keeps"):
            caffe2torch.convert(path, prototxt(tmp_path, IP))


def test_hdf5_names_may_have_slashes(tmp_path: Path) -> None:
    model = hdf5(tmp_path, {"a/b": [W, B], "a/c": []})
    text = prototxt(tmp_path, layer("a/b", "InnerProduct", "data", "y", "inner_product_param { num_output: 3 }"))
    np.testing.assert_allclose(output(model, text), WANT, atol=1e-6)


def test_hdf5_holds_no_net(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"HDF5 holds weights only, no net; give its prototxt"):
        caffe2torch.convert(hdf5(tmp_path, {"ip": [W, B]}))


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ([W.reshape(1, 1, 3, 4), B], r"\(1, 1, 3, 4\)"),
        ([W], "holds 1 blobs"),
        ([], "holds 0 blobs"),
        ([W, np.array(["a", "b", "c"], "S1")], "no numbers"),
    ],
)
def test_hdf5_blobs_that_do_not_fit(arrays: list[np.ndarray], says: str, tmp_path: Path) -> None:
    model = hdf5(tmp_path, {"ip": arrays, "z": [W]})
    with pytest.raises(CaffeError, match=f"(?s){says}") as caught:
        caffe2torch.convert(model, prototxt(tmp_path, IP))
    assert "weights.caffemodel.h5" in str(caught.value)


def test_hdf5_of_another_kind_and_damaged(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "keras.h5", "w") as file:
        file.create_group("model_weights")
    with pytest.raises(FileError, match="without the group /data"):
        caffe2torch.convert(tmp_path / "keras.h5", prototxt(tmp_path, IP))
    whole = hdf5(tmp_path, {"ip": [W, B]}).read_bytes()
    (tmp_path / "cut.h5").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(FileError, match="damaged, or not HDF5"):
        caffe2torch.convert(tmp_path / "cut.h5", prototxt(tmp_path, IP))


def test_hdf5_links_to_elsewhere_are_not_followed(tmp_path: Path) -> None:
    model = hdf5(tmp_path, {"ip": [W, B]})
    with h5py.File(tmp_path / "links.h5", "w") as file:
        file.create_group("data")["ip"] = h5py.ExternalLink(str(model), "/data/ip")
    with pytest.raises(FileError, match="/data/ip is a link to somewhere else"):
        caffe2torch.convert(tmp_path / "links.h5", prototxt(tmp_path, IP))


def test_hdf5_without_h5py_says_how_to_get_it(tmp_path: Path) -> None:
    model, text = hdf5(tmp_path, {"ip": [W, B]}), prototxt(tmp_path, IP)
    program = "import sys; sys.modules['h5py'] = None; import caffe2torch; caffe2torch.load_net(*sys.argv[1:])"
    command = [sys.executable, "-c", program, str(model), str(text)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "FileError" in result.stderr and "pip install 'caffe2torch[hdf5]'" in result.stderr


# Inputs.


@pytest.mark.parametrize(
    ("head", "shapes"),
    [
        ('input: "a" input: "b" input_dim: [1, 2, 3, 4, 5, 6, 7, 8]', {"a": (1, 2, 3, 4), "b": (5, 6, 7, 8)}),
        (
            'input: "a" input_dim: [1, 2, 3, 4] input: "b" input_dim: [5, 6, 7, 8]',
            {"a": (1, 2, 3, 4), "b": (5, 6, 7, 8)},
        ),
        ('input: "a" input_shape { dim: 1 dim: 2 } input: "b" input_shape { }', {"a": (1, 2), "b": ()}),
        ('input: "a" input_shape { dim: 9 } input_dim: [1, 2, 3, 4]', {"a": (9,)}),
        ('input: "a" input_dim: [1, 2, 3, 4, 5, 6, 7, 8, 9]', {"a": (1, 2, 3, 4)}),
        ('input: "a"', {"a": None}),
        (
            'layer { name: "i" type: "Input" top: "a" top: "b" input_param { shape { dim: 7 } } }',
            {"a": (7,), "b": (7,)},
        ),
        (
            'layer { name: "i" type: "Input" top: "a" top: "b" input_param { shape { dim: 7 } shape { dim: 8 } } }',
            {"a": (7,), "b": (8,)},
        ),
        ('layer { name: "i" type: "Input" top: "a" }', {"a": None}),
        ('layer { name: "r" type: "ReLU" bottom: "a" top: "r" } input: "a" input_shape { dim: 3 }', {"a": (3,)}),
    ],
)
def test_inputs(head: str, shapes: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "net.prototxt"
    path.write_text(head)
    assert {entry.blob: entry.shape for entry in caffe2torch.load_net(None, path).inputs} == shapes


@pytest.mark.parametrize(
    ("head", "says"),
    [
        ('input: "a" input: "b" input_dim: [1, 2, 3, 4]', "2 `input` names but 1 shapes"),
        ('input: "a" input_dim: [1, 2, 3]', "1 `input` names but 0 shapes"),
        ('input: "a" input: "a" input_dim: [1, 2, 3, 4, 1, 2, 3, 4]', "'a' is produced by multiple sources"),
        ('input: "a" input_dim: [1, -2, 3, 4]', r"'a' has the shape \(1, -2, 3, 4\); no size may be negative"),
        (
            'layer { name: "i" type: "Input" top: "a" top: "b" top: "c" '
            "input_param { shape { dim: 7 } shape { dim: 8 } } }",
            "'i' .Input. has 3 tops but 2 shapes",
        ),
        (
            'layer { name: "r" type: "ReLU" bottom: "a" top: "r" } '
            'layer { name: "i" type: "Input" top: "a" input_param { shape { dim: 3 } } }',
            "layer 'r' reads blob 'a', which layer 'i' .Input. gives only later",
        ),
    ],
)
def test_inputs_that_are_refused(head: str, says: str, tmp_path: Path) -> None:
    path = tmp_path / "net.prototxt"
    path.write_text(head)
    with pytest.raises((NetError, TextError), match=f"net.prototxt: .*{says}"):
        caffe2torch.load_net(None, path)


def test_an_input_without_a_size_must_be_told(tmp_path: Path) -> None:
    path = tmp_path / "net.prototxt"
    path.write_text('input: "a" layer { name: "r" type: "ReLU" bottom: "a" top: "r" }')
    with pytest.raises(ShapeError, match="--input-shape"):
        caffe2torch.convert(None, path)
    assert caffe2torch.convert(None, path, input_shape=(2, 3)).input_names == ("a",)


# Names, and what nobody knows.


@pytest.mark.parametrize("name", ["漢字".encode(), "汉字".encode("gbk"), b"a b/c.d\xff", b"class"])
def test_names_need_not_be_utf8_in_either_file(name: bytes, tmp_path: Path) -> None:
    text = tmp_path / "net.prototxt"
    entry = b'layer { name: "%s" type: "InnerProduct" bottom: "data" top: "%s" inner_product_param { num_output: 3 } }'
    text.write_bytes(given("data", 2, 4).encode() + entry % (name, name))
    model = write(tmp_path, raw_net(name, *(modern(array) + packed(array) for array in (W, B))))
    np.testing.assert_allclose(nets.agree(caffe2torch.convert(model, text), tmp_path, X)[0], WANT, atol=1e-5)


def test_names_that_collide_as_identifiers(tmp_path: Path) -> None:
    names = ["a-b", "a.b", "a_b", "A_b", "a b"]
    param = "inner_product_param { num_output: 3 }"
    text = prototxt(tmp_path, *(layer(name, "InnerProduct", ["data"], [name], param) for name in names))
    model = write(tmp_path, net_of(*((name, "InnerProduct", [W * index, B]) for index, name in enumerate(names))))
    results = nets.agree(caffe2torch.convert(model, text), tmp_path, X)
    for index, got in enumerate(results):
        np.testing.assert_allclose(got, index * (WANT - B) + B, atol=1e-5)


def test_unknown_fields_of_a_binary_net_are_kept_and_told(tmp_path: Path) -> None:
    net = net_of(("ip", "InnerProduct", [W, B]))
    net.input.append("data")
    net.input_shape.add().dim.extend([2, 4])
    entry = net.layer[0]
    entry.bottom.append("data")
    entry.top.append("ip")
    entry.inner_product_param.MergeFromString(b"\x08\x03" + b"\xc2\x3e\x02hi")
    entry.MergeFromString(b"\xc8\x3e\x05")
    model = write(tmp_path, net)
    found = caffe2torch.load_net(model)
    assert set(found.layers[0].unknown) == {"1001", "inner_product_param.1000"}
    assert any("ip: 1001" in note or "inner_product_param.1000" in note for note in found.notes)
    np.testing.assert_allclose(run(caffe2torch.convert(model), X)[0], WANT, atol=1e-6)
    # Only the net counts, not what the file of weights says beside it.
    joined = caffe2torch.load_net(model, prototxt(tmp_path, IP))
    assert not joined.notes and not joined.layers[0].unknown


def test_an_enum_value_that_nobody_knows_is_refused_but_not_an_engine(tmp_path: Path) -> None:
    net: Any = schema.message("NetParameter")(input=["data"])
    net.input_shape.add().dim.extend([1, 2, 5, 5])
    pool = net.layer.add(name="pool", type="Pooling", bottom=["data"], top=["pool"])
    pool.pooling_param.MergeFromString(b"\x10\x02\x58\x09")
    assert caffe2torch.convert(write(tmp_path, net)).output_names == ("pool",)
    pool.pooling_param.MergeFromString(b"\x08\x07")
    with pytest.raises(NetError, match=r"pool \(Pooling\): Caffe knows no pooling_param.pool=7"):
        caffe2torch.convert(write(tmp_path, net))


def test_an_unknown_v1_type_is_named(tmp_path: Path) -> None:
    net: Any = schema.message("NetParameter")(input=["data"])
    net.input_shape.add().dim.extend([1, 2, 5, 5])
    entry = net.layers.add(name="x", bottom=["data"], top=["x"])
    entry.MergeFromString(b"\x28\x63")
    with pytest.raises(NetError, match=r"x \(type=99\): Caffe knows no such layer type"):
        caffe2torch.convert(write(tmp_path, net))


def test_a_required_field_that_is_missing(tmp_path: Path) -> None:
    net: Any = schema.message("NetParameter")()
    net.layer.add(name="clip", type="Clip").clip_param.min = 0
    with pytest.raises(WireError, match=r"layer\[0\].clip_param.max is missing"):
        caffe2torch.load_net(write(tmp_path, net.SerializePartialToString()))


def test_nothing_to_read() -> None:
    with pytest.raises(CaffeError, match="give a caffemodel, a prototxt or both"):
        caffe2torch.load_net()
