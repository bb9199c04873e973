"""The walk over a .caffemodel: equal to protobuf's own reading, and safe on files that are none."""

from __future__ import annotations

import os
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from caffe2torch import headers, schema, tensors, wire
from caffe2torch.errors import FileError, WireError

TENSORS = ("data", "diff", "double_data", "double_diff", "raw_data", "raw_diff")


def parse(content: bytes, name: str = "NetParameter") -> Any:
    return schema.message(name).FromString(content)


def layers_with_places(message: Any, walk: wire.Walk) -> list[tuple[Any, wire.Places]]:
    pairs = [*zip(message.layer, walk.layers, strict=True), *zip(message.layers, walk.v1_layers, strict=True)]
    return pairs + [(each.layer, places) for each, places in zip(message.layers, walk.v0_layers, strict=True)]


def assert_agrees(path: Path) -> int:
    """The walk gives what protobuf gives: the same message but for tensors, the same numbers. How many tensors."""
    walk, message = wire.walk(path), parse(path.read_bytes())
    count = 0
    for layer, places in layers_with_places(message, walk):
        for blob, place in zip(layer.blobs, places, strict=True):
            expected = np.array(blob.double_data or blob.data, np.float64).astype(np.float32)
            assert place.count == len(expected)
            np.testing.assert_array_equal(wire.read(walk, place), expected)
            count += len(expected) > 0
            for field in TENSORS:
                blob.ClearField(field)
    assert parse(walk.message) == message
    return count


# What protobuf would write, by hand.


def number(value: int) -> bytes:
    return wire.varint(value)


def field(tag: int, content: bytes) -> bytes:
    return number(tag << 3 | 2) + number(len(content)) + content


def unpacked(tag: int, values: np.ndarray) -> bytes:
    kind = 5 if values.dtype == np.float32 else 1
    return b"".join(number(tag << 3 | kind) + value.tobytes() for value in values)


def net_of(*blobs: bytes, name: bytes = b"fc") -> bytes:
    return field(1, b"net") + field(100, field(1, name) + b"".join(field(7, blob) for blob in blobs))


def write(folder: Path, content: bytes) -> Path:
    path = folder / "net.caffemodel"
    path.write_bytes(content)
    return path


def first_tensor(folder: Path, *blobs: bytes) -> np.ndarray:
    walk = wire.walk(write(folder, net_of(*blobs)))
    found = wire.read(walk, walk.layers[0][0])
    np.testing.assert_array_equal(in_pieces(walk, walk.layers[0][0]), found)
    return found


def in_pieces(walk: wire.Walk, place: tensors.TensorPlace, copies: int = 2) -> np.ndarray:
    """The numbers from pieces, each looked at when ``copies`` more were read; with them the bytes that they are."""
    pieces, kept = [], []
    for piece in walk.file.pieces(place, copies):
        pieces.append(piece)
        if len(pieces) > copies:
            kept.append(pieces[-1 - copies].numbers.copy())
        if piece.raw is not None:
            size = len(piece.raw) // len(piece.numbers)
            numbers = np.frombuffer(piece.raw, np.uint8).reshape(-1, size)[:, -np.dtype(place.dtype).itemsize :]
            with np.errstate(over="ignore"):
                np.testing.assert_array_equal(numbers.copy().view(place.dtype)[:, 0].astype(np.float32), piece.numbers)
    kept += [piece.numbers for piece in pieces[-copies:]] if copies else []
    return np.concatenate([*kept, np.empty(0, np.float32)])


def test_agrees_with_protobuf_on_every_golden_file(golden: Path) -> None:
    refused = {"reject_model_garbage", "reject_model_truncated"}
    files = sorted(path for path in golden.glob("*/*.caffemodel") if path.parent.name not in refused)
    assert len(files) > 90
    assert sum(map(assert_agrees, files)) > 150
    for name in refused:
        with pytest.raises(WireError, match="weights.caffemodel"):
            wire.walk(golden / name / "weights.caffemodel")


def test_agrees_with_protobuf_on_real_files(shared: Path) -> None:
    files = sorted((shared / "caffemodels").glob("*/*.caffemodel"))
    assert len(files) >= 7
    assert sum(map(assert_agrees, files)) > 300


def test_mean_file(shared: Path) -> None:
    path = shared / "caffemodels" / "lovelive_cifar10_quick" / "lovelive_mean.binaryproto"
    walk, blob = wire.walk_blob(path), parse(path.read_bytes(), "BlobProto")
    np.testing.assert_array_equal(wire.read(walk, walk.place), np.array(blob.data, np.float32))
    assert parse(walk.message, "BlobProto").channels == 3


VALUES = np.linspace(-3, 3, 700, dtype=np.float32)
DOUBLES = np.linspace(-5, 5, 300)


def test_encodings_of_data(tmp_path: Path) -> None:
    packed = field(5, VALUES[:100].tobytes()) + field(5, b"") + field(5, VALUES[100:].tobytes())
    mixed = field(5, VALUES[:3].tobytes()) + unpacked(5, VALUES[3:600]) + field(5, VALUES[600:].tobytes())
    wide_tags = b"".join(b"\xad\x00" + value.tobytes() for value in VALUES)  # 5 << 3 | 5 in two bytes
    shape = field(7, field(1, number(700)))
    for blob in (packed, unpacked(5, VALUES), mixed, wide_tags, mixed + shape, shape + unpacked(5, VALUES)):
        path = write(tmp_path, net_of(blob, field(5, VALUES[:2].tobytes()), b""))
        assert assert_agrees(path) == 2
        walk = wire.walk(path)
        assert [place.count for place in walk.layers[0]] == [700, 2, 0]
        np.testing.assert_array_equal(wire.read(walk, walk.layers[0][0]), VALUES)


def test_pieces_of_any_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mixed = field(5, VALUES[:3].tobytes()) + unpacked(5, VALUES[3:600]) + field(5, VALUES[600:].tobytes())
    chunked = b"".join(field(5, VALUES[start : start + 7].tobytes()) for start in range(0, 700, 7))
    for size in (16, 40, 4096):
        monkeypatch.setattr(tensors, "CHUNK", size)
        monkeypatch.setattr(tensors, "PIECE", size)
        for blob in (field(5, VALUES.tobytes()), chunked, mixed, unpacked(8, VALUES.astype(np.float64))):
            np.testing.assert_array_equal(first_tensor(tmp_path, blob), VALUES)


def test_double_data_wins(tmp_path: Path) -> None:
    expected = DOUBLES.astype(np.float32)
    for doubles in (field(8, DOUBLES.tobytes()), unpacked(8, DOUBLES)):
        for blob in (doubles, field(5, VALUES.tobytes()) + doubles, doubles + unpacked(5, VALUES)):
            np.testing.assert_array_equal(first_tensor(tmp_path, blob), expected)
    np.testing.assert_array_equal(first_tensor(tmp_path, field(5, VALUES.tobytes()) + field(8, b"")), VALUES)


def test_a_double_beyond_float32_is_infinite(tmp_path: Path) -> None:
    with np.errstate(all="raise"):
        got = first_tensor(tmp_path, field(8, np.array([1e300, -1e300, 0.1]).tobytes()))
    np.testing.assert_array_equal(got, np.array([np.inf, -np.inf, np.float32(0.1)], np.float32))


@pytest.mark.parametrize(("kind", "dtype"), [(0, "<f8"), (1, "<f4"), (2, "<f2"), (3, "<i4"), (4, "<u4")])
def test_raw_data(tmp_path: Path, kind: int, dtype: str) -> None:
    values = np.arange(1000).astype(dtype)
    kind_field, raw = number(10 << 3) + number(kind), field(12, values.tobytes())
    for blob in (kind_field + raw, raw + kind_field, field(12, b"xyz") + raw + kind_field):
        np.testing.assert_array_equal(first_tensor(tmp_path, blob), values.astype(np.float32))
    walk = wire.walk(tmp_path / "net.caffemodel")
    assert parse(walk.message).layer[0].blobs[0].raw_data_type == kind


def test_raw_data_of_unknown_type(tmp_path: Path) -> None:
    for blob in (field(12, b"1234"), field(12, b"1234") + number(10 << 3) + number(9)):
        with pytest.raises(WireError, match="raw_data of an unknown type"):
            wire.walk(write(tmp_path, net_of(blob)))


def test_diffs_are_passed_over(tmp_path: Path) -> None:
    diffs = field(6, VALUES.tobytes()) + unpacked(6, VALUES) + field(9, DOUBLES.tobytes()) + unpacked(9, DOUBLES)
    diffs += field(13, VALUES.tobytes())
    path = write(tmp_path, net_of(diffs + field(5, VALUES.tobytes()) + diffs))
    assert assert_agrees(path) == 1
    assert len(wire.walk(path).message) < 100


def test_both_old_forms(tmp_path: Path) -> None:
    blob, other = field(5, VALUES[:4].tobytes()), field(5, VALUES[4:9].tobytes())
    v0 = field(2, field(1, field(1, b"a") + field(50, blob)) + field(1, field(50, other)))  # merged, as protobuf does
    v1 = field(2, field(4, b"b") + field(6, other) + field(6, blob))
    path = write(tmp_path, field(1, b"old") + v1 + v0)
    assert assert_agrees(path) == 4
    walk = wire.walk(path)
    assert [[place.count for place in places] for places in walk.v1_layers] == [[5, 4], []]
    assert [[place.count for place in places] for places in walk.v0_layers] == [[], [4, 5]]


def test_unknown_fields_and_groups_stay(tmp_path: Path) -> None:
    group = number(900 << 3 | 3) + field(5, b"1234") + number(901 << 3 | 3) + number(901 << 3 | 4)
    group += number(3 << 3) + number(7) + number(900 << 3 | 4)
    odd = number(5 << 3) + number(3)  # data as a varint: an unknown field
    path = write(tmp_path, group + net_of(field(5, VALUES.tobytes()) + group + odd) + group)
    assert assert_agrees(path) == 1
    assert group in wire.walk(path).message


@given(st.lists(st.sampled_from(["packed", "unpacked", "double", "diff", "shape", "unknown"]), max_size=6), st.data())
def test_any_mixture_agrees(tmp_path_factory: pytest.TempPathFactory, kinds: list[str], data: st.DataObject) -> None:
    blob = b""
    for kind in kinds:
        values = np.arange(data.draw(st.integers(0, 130)), dtype=np.float32)
        blob += {
            "packed": lambda v: field(5, v.tobytes()),
            "unpacked": lambda v: unpacked(5, v),
            "double": lambda v: unpacked(8, v.astype(np.float64)),
            "diff": lambda v: unpacked(6, v),
            "shape": lambda v: field(7, field(1, number(len(v)))),
            "unknown": lambda v: field(333, v.tobytes()),
        }[kind](values)
    assert_agrees(write(tmp_path_factory.getbasetemp(), net_of(blob, b"", blob)))


def test_cut_anywhere(tmp_path: Path, golden: Path) -> None:
    """Cut after any byte: WireError, or just what protobuf reads out of the shorter file."""
    contents = [
        net_of(field(5, VALUES[:5].tobytes()) + unpacked(6, VALUES[:3]), field(8, DOUBLES[:2].tobytes())) * 2,
        (golden / "format_v2_prototxt_v1_model" / "weights.caffemodel").read_bytes()[:3000],
    ]
    for content in contents:
        outcomes = set()
        for end in range(len(content)):
            path = write(tmp_path, content[:end])
            try:
                wire.walk(path)
            except WireError as error:
                assert str(path) in str(error)
                outcomes.add("error")
            else:
                assert_agrees(path)
                outcomes.add("agrees")
        assert "error" in outcomes


@given(st.data())
def test_any_damage(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Bytes changed anywhere: WireError, or protobuf refuses what is left, or both read the same."""
    content = bytearray(net_of(field(7, field(1, number(5))) + field(5, VALUES[:5].tobytes()), unpacked(5, VALUES[:9])))
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = write(tmp_path_factory.getbasetemp(), bytes(content))
    try:
        walk = wire.walk(path)
        parse(walk.message)
    except (WireError, DecodeError):
        return
    if any(blob.raw_data for layer in parse(bytes(content)).layer for blob in layer.blobs):
        return
    assert_agrees(path)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "empty"),
        (b"\xff\xd8\xff\xe0\0\x10JFIF\0", "JPEG"),
        (b"\x89HDF\r\n\x1a\n" + bytes(90), "HDF5"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "PNG"),
        (b'name: "LeNet"\nlayer {\n  name: "data"\n}\n', "prototxt"),
        ("# 中文 prototxt\nlayer { }\n".encode() * 99, "prototxt"),
        (b"<!DOCTYPE html><html><body>404</body></html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00", "git lfs pull"),
        (bytes(4096), "zeros"),
        (b"PK\x03\x04" + bytes(50), "zip"),
        (b"\x08\x08\x12\x07pytorch", "ONNX"),
        (b"\x08\x01\x10\x03\x18\x20\x20\x20", "binaryproto"),
        (b"\x08\xe8\x07\x12\x0fx_it.caffemodel", "solverstate"),
        (field(1, b"net"), "no layer"),
        (b"\x0b" * 300, "groups"),
        (b"\x0b\x14", "group ends"),
        (b"\x0c", "group ends"),
        (b"\x0e\x01", "wire type 6"),
        (b"\x02\x01\x01", "field number 0"),
        (b"\x0a" + b"\xff" * 10 + b"\x01", "more than 10 bytes"),
        (b"\x82\x80\x80\x80\x80\x01\x00", "field number"),
        (net_of(field(5, b"12345")), "no whole count"),
        (net_of(b"")[:-1] + b"\x05" + field(1, b"net"), "beyond the message"),
        (field(1, b"net") + b"\x12\x85\x01abc", "cut short.*byte 5 needs 136 bytes, of which 6 are there"),
    ],
)
def test_what_is_no_caffemodel(tmp_path: Path, content: bytes, says: str) -> None:
    path = write(tmp_path, content)
    with pytest.raises(WireError, match=f"(?s)^{path}: .*{says}"):
        wire.walk(path)


def test_a_caffemodel_is_no_mean(tmp_path: Path) -> None:
    with pytest.raises(WireError, match="not a .binaryproto.*no number"):
        wire.walk_blob(write(tmp_path, net_of(field(5, VALUES.tobytes()))))


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="No such file"):
        wire.walk(tmp_path / "missing.caffemodel")
    with pytest.raises(FileError, match="not a regular file"):
        wire.walk(tmp_path)


def test_hostile_sizes_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(headers, "MOST_FIELDS", 1000)
    with pytest.raises(WireError, match="more than 1,000 fields"):
        wire.walk(write(tmp_path, net_of() + b"\x28\x00" * 1000))
    path = write(tmp_path, net_of())
    with path.open("ab") as file:
        file.write(number(3 << 3 | 2) + number(1 << 32))  # one input's name of 4 GiB
        file.truncate(file.tell() + (1 << 32))
    with pytest.raises(WireError, match="more than 64 MiB beside its tensors"):
        wire.walk(path)


class CountingFile(FileIO):
    """Counts the bytes that are read."""

    reads = 0
    bytes_read = 0

    def read(self, size: int | None = -1, /) -> bytes:
        got = super().read(size)
        CountingFile.reads += 1
        CountingFile.bytes_read += len(got)
        return got


def test_a_large_file_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """900 MB in 30 tensors: a window each, and the numbers of one tensor are where they should be."""
    path, length = tmp_path / "large.caffemodel", 30_000_000
    shape = field(7, field(1, number(length // 4)))
    with path.open("wb") as file:
        for index in range(30):
            head = number(5 << 3 | 2) + number(length)
            blob = number(7 << 3 | 2) + number(len(shape) + len(head) + length) + shape + head
            file.write(number(100 << 3 | 2) + number(len(blob) + length) + blob)
            file.seek(length, os.SEEK_CUR)
            if index == 28:
                file.seek(-4, os.SEEK_CUR)
                file.write(np.float32(7).tobytes())
        file.truncate(file.tell())
    monkeypatch.setattr(tensors, "FileIO", CountingFile)
    walk = wire.walk(path)
    assert path.stat().st_size > 900_000_000
    assert CountingFile.reads <= 2 * 30 + 2
    assert CountingFile.bytes_read <= CountingFile.reads * headers.WINDOW
    assert len(walk.message) < 30 * 20
    values = wire.read(walk, walk.layers[28][0])
    assert len(values) == length // 4
    assert values[-1] == 7
    assert not values[:-1].any()


def test_unpacked_numbers_cost_few_fields(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(headers, "MOST_FIELDS", 20)
    values = np.arange(500_000, dtype=np.float32)
    records = np.empty(len(values), [("tag", "u1"), ("value", "<f4")])
    records["tag"], records["value"] = 5 << 3 | 5, values
    np.testing.assert_array_equal(first_tensor(tmp_path, records.tobytes()), values)


def test_out_is_filled_in_place(tmp_path: Path) -> None:
    walk = wire.walk(write(tmp_path, net_of(field(5, VALUES.tobytes()))))
    out = np.zeros((7, 100), np.float32)
    assert wire.read(walk, walk.layers[0][0], out) is out
    np.testing.assert_array_equal(out.ravel(), VALUES)
    for wrong in (np.zeros(699, np.float32), np.zeros(700), np.zeros((100, 7), np.float32).T):
        with pytest.raises(ValueError, match="700 contiguous float32"):
            wire.read(walk, walk.layers[0][0], wrong)


def test_the_result_is_memory_of_its_own(tmp_path: Path) -> None:
    path = write(tmp_path, net_of(field(5, VALUES.tobytes())))
    walk = wire.walk(path)
    values = wire.read(walk, walk.layers[0][0])
    os.truncate(path, 0)
    values += 1
    np.testing.assert_array_equal(values, VALUES + 1)


def test_a_file_that_changes_is_not_read(tmp_path: Path) -> None:
    path = write(tmp_path, net_of(field(5, VALUES.tobytes())))
    walk = wire.walk(path)
    os.truncate(path, 50)
    with pytest.raises(WireError, match="has changed"):
        wire.read(walk, walk.layers[0][0])
    with FileIO(path) as file, pytest.raises(WireError, match="cut short"):
        walk.file.read_from(file, walk.layers[0][0])
