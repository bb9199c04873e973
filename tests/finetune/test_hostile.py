"""Runs, models, boxes and pictures from a stranger: any value anywhere, any damage, is an error in words or no harm."""

from __future__ import annotations

import io
import json
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from caffe2torch import headers, onnx_file
from caffe2torch.errors import CaffeError, DataError, FileError, ModelError
from caffe2torch.pictures import load_picture
from caffe2torch.wire import varint
from finetune.checkpoint import read_config
from finetune.data.boxes import read_boxes
from finetune.data.idx import is_idx, read_idx
from finetune.data.labelled import read_labelled
from finetune.data.lists import read_list
from finetune.export import export_run, read_run
from finetune.onnx_file import read_metadata
from finetune.report import write_report
from finetune.runtime import open_model
from finetune.train import train
from fuzz.mutations import KINDS, Step, mutated
from tests.caffe2torch.test_hostile_folders import places, put
from tests.finetune.conftest import METADATA, colour_classifier
from tests.finetune.test_export import BGR, write_run
from tests.finetune.test_ways import QUICK

VALUES: list[Any] = ["../../x", -7, 1 << 70, 0.5, True, [], {}, ["\ud800"], {"a": [[1]]}, None]


@pytest.fixture
def run(tmp_path: Path, golden: Path) -> Path:
    """A finished run."""
    return write_run(tmp_path / "run", golden / "illust2vec_mini", "conv6_3", (64, 64), BGR)


def test_any_value_anywhere_in_the_config_of_a_run(run: Path) -> None:
    config = json.loads((run / "config.json").read_text())
    became = set()
    for path in list(places(config))[1:]:
        for value in VALUES:
            (run / "config.json").write_text(json.dumps(put(config, path, value)))
            try:
                read_run(run)
                became.add("a run")
            except CaffeError as error:
                became.add(type(error).__name__)
    assert became == {"a run", "ModelError"}


@pytest.mark.parametrize("value", VALUES)
def test_any_recipe(value: Any, run: Path) -> None:
    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps(put(config, ("recipe",), value)))
    before = sorted(run.parent.rglob("*"))
    try:
        export_run(run)
    except CaffeError:
        assert sorted(run.parent.rglob("*")) == before


@pytest.mark.parametrize("content", [b"", b"null", b"[" * 200_000, b'{"a":' * 200_000, b"\xff", b"1" * 10_000])
def test_what_is_no_config(content: bytes, run: Path) -> None:
    (run / "config.json").write_bytes(content)
    with pytest.raises(ModelError, match=r"config\.json"):
        read_config(run)


def test_any_value_anywhere_in_the_metadata_of_a_model(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    for place in list(places(METADATA))[1:]:
        for value in VALUES:
            onnx.save(colour_classifier(put(METADATA, place, value)), path)
            try:
                open_model(path, "cpu", threads=1)
            except CaffeError as error:
                assert str(path) in str(error)


@pytest.mark.parametrize("content", ["", "null", "[" * 100_000, '{"format": 1}', "1" * 10_000, "NaN"])
def test_metadata_that_is_none(content: str, tmp_path: Path) -> None:
    model = colour_classifier()
    onnx.helper.set_model_props(model, {"finetune": content})
    onnx.save(model, tmp_path / "model.onnx")
    with pytest.raises(ModelError, match="metadata"):
        open_model(tmp_path / "model.onnx", "cpu", threads=1)


def png(width: int, height: int, data: bytes) -> bytes:
    """A grey PNG whose header says what it likes."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = chunk(b"IHDR", struct.pack(">2I5B", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("width", "height", "data"),
    [
        (100_000, 100_000, b""),
        (1 << 31, 1 << 31, b""),
        (1 << 32 - 1, 1, b""),
        (0, 0, b""),
        (9000, 9000, b"\0" * 1000),
        (8, 8, b""),
    ],
)
def test_pictures_whose_header_lies(width: int, height: int, data: bytes, tmp_path: Path) -> None:
    (tmp_path / "bomb.png").write_bytes(png(width % (1 << 32), height % (1 << 32), data))
    with pytest.raises(DataError, match=r"bomb\.png"):
        load_picture(tmp_path / "bomb.png")


def test_a_picture_cut_at_any_byte(tmp_path: Path) -> None:
    path = tmp_path / "cut.png"
    whole = png(8, 8, bytes(72))
    path.write_bytes(whole)
    assert load_picture(path).shape == (8, 8, 3)
    refused = 0
    for end in range(len(whole)):
        path.write_bytes(whole[:end])
        try:
            assert load_picture(path).tolist() == [[[0, 0, 0]] * 8] * 8, "nothing but check sums is missing"
        except DataError:
            refused += 1
    assert refused > len(whole) - 30


def picture(kind: str) -> bytes:
    noise = np.random.default_rng(0).integers(0, 256, (12, 10, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, kind)
    return file.getvalue()


MARK = [1.0, 2.0, 7.0, 8.0]
COCO = {
    "images": [{"id": 7, "file_name": "a.png"}],
    "annotations": [{"image_id": 7, "bbox": MARK, "category_id": 1, "iscrowd": 0}],
    "categories": [{"id": 1, "name": "face"}],
}
VOC = b"<annotation><filename>a.png</filename><object><name>face</name><bndbox><xmin>1</xmin><ymin>5</ymin>"
VOC += b"<xmax>9</xmax><ymax>8</ymax></bndbox></object></annotation>"
FILES: dict[str, tuple[str, bytes, Callable[[Path], Any]]] = {
    "boxes": ("boxes.json", json.dumps({"a.png": [{"box": MARK, "label": "x"}]}).encode(), read_boxes),
    "COCO": ("coco.json", json.dumps(COCO).encode(), read_boxes),
    "VOC": ("a.xml", VOC, read_boxes),
    "lines": ("boxes.txt", b"a.png 1 2 7 8\n", read_boxes),
    "CSV": ("list.csv", b"path,label\na.png,x\n", read_list),
    "list": ("list.txt", b"a.png 0\n", read_list),
    "idx": ("x-idx3-ubyte", struct.pack(">4B3I", 0, 0, 8, 3, 2, 4, 4) + bytes(32), read_idx),
    "ONNX": ("m.onnx", colour_classifier().SerializeToString(), read_metadata),
    **{
        kind: (f"p.{kind.lower()}", picture(kind), load_picture)
        for kind in ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP")
    },
}
STEPS = st.lists(st.tuples(st.sampled_from(list(KINDS)), st.integers(0, 1 << 12), st.integers(0, 1 << 12)), max_size=3)


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, of damaged TIFFs
@pytest.mark.parametrize("what", FILES)
def test_damaged_files(what: str, tmp_path: Path) -> None:
    name, content, read = FILES[what]
    (tmp_path / "a.png").write_bytes(png(10, 12, bytes(11 * 12)))

    @settings(max_examples=60, suppress_health_check=list(HealthCheck))
    @given(STEPS)
    def damaged(steps: list[Step]) -> None:
        (tmp_path / name).write_bytes(mutated(content, steps))
        try:
            read(tmp_path / name)
        except CaffeError as error:
            assert name in str(error)

    damaged()


@pytest.mark.parametrize(
    "content",
    [
        b"[" * 200_000,
        b'{"a.png": ' * 100_000,
        b'{"a.png": [' + b"[1, 2, 3, 4], " * 200_000,
        b'<!DOCTYPE a [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><annotation>&b;</annotation>',
        b'<!DOCTYPE a [<!ENTITY a SYSTEM "file:///etc/passwd">]><annotation>&a;</annotation>',
        b"<a>" * 200_000,
    ],
    ids=range(6),
)
def test_annotations_that_swell(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / ("a.xml" if content.startswith(b"<") else "boxes.json")
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_boxes(path)
    assert "root:" not in str(caught.value)


@pytest.mark.parametrize(
    "line",
    ["a" + "," * 200_000, "a 1 1 1 " + "1" * 200_000 + "x", "a " + "1" * 200_000 + "x", "1." * 100_000, " ,a" * 60_000],
    ids=range(5),
)
def test_lines_that_take_for_ever(line: str, tmp_path: Path) -> None:
    """Each took minutes, by trying every place at which a number might end."""
    (tmp_path / "boxes.txt").write_text(line)
    with pytest.raises(DataError, match="line 1"):
        read_boxes(tmp_path / "boxes.txt")


@pytest.mark.parametrize("number", ["1e999", "-Infinity", "NaN", "true", "null", '"9"', "1" + "0" * 300, "[[1]]"])
def test_numbers_that_are_none(number: str, tmp_path: Path) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    coco = '{"images": [{"id": 1, "file_name": "a.png"}], "annotations": [{"image_id": 1, "bbox": [0, 0, %s, 1]}]}'
    for content in ('{"a.png": [[0, 0, %s, 1]]}', coco):
        (tmp_path / "boxes.json").write_text(content % number)
        try:
            (found,) = read_boxes(tmp_path)
            assert number == '"9"' and found.boxes.tolist() == [[0, 0, 9, 1]]
        except DataError as error:
            assert "boxes.json" in str(error)


def test_nested_as_deep_as_json_reads(tmp_path: Path) -> None:
    """What is told of it in the error may nest no deeper than what could be read."""
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    for depth in range(100, 1000, 10):
        deep = "[" * depth + "]" * depth
        for content in (f'{{"a.png": [{deep}]}}', f'{{"a.png": [{{"box": [0, 0, 1, 1], "label": {deep}}}]}}'):
            (tmp_path / "boxes.json").write_text(content)
            try:
                read_boxes(tmp_path)
            except DataError as error:
                assert len(str(error)) < 1000


def test_numbers_of_classes_that_are_none(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    (tmp_path / "classes.txt").write_text("cat")
    for said, label in (("0", "cat"), ("²", "²"), ("٠", "cat"), ("9" * 5000, "9" * 5000), ("-1", "-1")):
        (tmp_path / "a.txt").write_text(f"{said} 0.5 0.5 1 1")
        (found,) = read_boxes(tmp_path)
        assert found.labels == (label,)


@pytest.mark.parametrize("name", ["boxes.json", "a.xml", "boxes.txt", "a.txt", "classes.txt"])
def test_annotations_without_end(name: str, tmp_path: Path) -> None:
    """A hole of a gigabyte; a pipe that nobody writes to."""
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    (tmp_path / "a.txt").write_text("0 0.5 0.5 1 1") if name == "classes.txt" else None
    path = tmp_path / name
    path.touch()
    os.truncate(path, 1 << 30)
    with pytest.raises(DataError, match=rf"{name}: 1,073,741,824 bytes; [\d,]* are allowed"):
        read_boxes(tmp_path)
    path.unlink()
    if name != "classes.txt":
        os.mkfifo(path)
        with pytest.raises(DataError):
            read_boxes(path)
        if name != "a.txt":  # as if it were not there
            with pytest.raises(DataError):
                read_boxes(tmp_path)


@pytest.mark.parametrize("name", ["predictions-validation.csv", "loss.png"])
def test_a_report_of_a_run_with_a_hole_in_it(name: str, tmp_path: Path, tiny_trunk: Any, painted: Path) -> None:
    train(tiny_trunk, painted, tmp_path / "run", QUICK)
    os.truncate(tmp_path / "run" / name, 100 << 30)
    with pytest.raises(CaffeError, match=name):
        write_report(tmp_path / "run")


def test_a_csv_of_too_many_columns(tmp_path: Path) -> None:
    names = ",".join(["path", "label", "x0", "y0", "x1", "y1", *map(str, range(20_000))])
    (tmp_path / "list.csv").write_text(names + "\na" * 20_000)
    with pytest.raises(DataError, match="line 1 names 20006 columns"):
        read_list(tmp_path / "list.csv")
    with pytest.raises(DataError, match="line 1"):
        read_boxes(tmp_path / "list.csv")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_nothing_is_waited_for(run: Path, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for name in ("best.safetensors", "config.json"):
        (run / name).unlink()
        (run / name).symlink_to(pipe)
        for use in (export_run, read_run):
            with pytest.raises(ModelError, match="not a regular file"):
                use(run)
    with pytest.raises(ModelError, match="not a regular file"):
        write_report(run)
    for read in (read_metadata, read_idx, read_boxes, read_labelled):
        with pytest.raises(CaffeError, match="not a regular file"):
            read(pipe)
    assert not is_idx(pipe)


def test_a_config_without_end(run: Path) -> None:
    (run / "config.json").unlink()
    (run / "config.json").symlink_to("/dev/zero")
    with pytest.raises(ModelError, match="not a regular file"):
        read_config(run)
    (run / "config.json").unlink()
    (run / "config.json").touch()
    os.truncate(run / "config.json", 1 << 31)
    with pytest.raises(ModelError, match="2,147,483,648 bytes; 67,108,864 are allowed"):
        read_config(run)


def test_more_nodes_than_any_net_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(headers, "MOST_FIELDS", 1000)
    for count, refused in ((900, False), (1100, True)):
        nodes, path = b"\x0a\x00" * count, tmp_path / f"{count}.onnx"
        path.write_bytes(b"\x08\x07\x3a" + varint(len(nodes)) + nodes)
        if not refused:
            assert read_metadata(path) == {}
            continue
        with pytest.raises(ModelError, match="more than 1,000 fields"):
            read_metadata(path)
        with pytest.raises(FileError, match=r"cannot be run: .*fields"):
            onnx_file.read(path)


EXTERNAL = b"\x70\x01"  # a tensor that says that its numbers lie elsewhere
ELSEWHERE = {
    "a 64-bit value that protobuf cuts to 1": {7: {5: b"\x70\x81\x80\x80\x80\x10"}},
    "training": {7: b"", 20: {1: {5: EXTERNAL}}},
    "a default of a function": {7: b"", 25: {11: {5: EXTERNAL}}},
}


@pytest.mark.parametrize("content", ELSEWHERE.values(), ids=list(ELSEWHERE))
def test_weights_elsewhere_are_seen_wherever_they_hide(content: Any, tmp_path: Path) -> None:
    def whole(part: Any) -> bytes:
        if isinstance(part, bytes):
            return part
        fields = ((number, whole(inside)) for number, inside in part.items())
        return b"".join(varint(number << 3 | 2) + varint(len(body)) + body for number, body in fields)

    path = tmp_path / "model.onnx"
    path.write_bytes(b"\x08\x07" + whole(content))
    with pytest.raises(ModelError, match="keeps weights in other files"):
        read_metadata(path)
    with pytest.raises(FileError, match="keeps weights in other files"):
        onnx_file.read(path)


def test_an_idx_file_that_shrinks_or_is_swapped(tmp_path: Path) -> None:
    path = tmp_path / "x-idx3-ubyte"
    path.write_bytes(struct.pack(">4B3I", 0, 0, 8, 3, 2, 4, 4) + bytes(range(32)))
    found = read_idx(path)
    assert found[1][0, 0] == 16
    os.truncate(path, 20)
    with pytest.raises(DataError, match="has changed"):
        found[1]
    with pytest.raises(DataError, match="truncated"):
        read_idx(path)
