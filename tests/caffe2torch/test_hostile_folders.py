"""A converted folder from a stranger: nothing in it is run unasked, and what lies in it is an error in words."""

from __future__ import annotations

import ast
import json
import os
import struct
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from PIL import Image

from caffe2torch import folder
from caffe2torch.cli import main
from caffe2torch.converted import from_caffemodel
from caffe2torch.errors import CaffeError, FileError
from caffe2torch.folder import CONFIG, ONNX, SOURCE, WEIGHTS
from caffe2torch.torch_source import source
from caffe2torch.verify import verify, verify_against
from tests.caffe2torch import nets

CODE = "__import__('pathlib').Path('owned').touch()"


@pytest.fixture
def out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with model.onnx, in an empty working folder."""
    monkeypatch.chdir(tmp_path)
    folder.save(from_caffemodel(nets.trained(tmp_path / "net.caffemodel")), tmp_path / "out", onnx=True)
    return tmp_path / "out"


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in JSON."""
    yield path
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from places(inner, (*path, key))


def put(config: dict[str, Any], path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    """The same with another value at a place."""
    changed = json.loads(json.dumps(config))
    holder = changed
    for key in path[:-1]:
        holder = holder[key]
    if value is None:
        del holder[path[-1]]
    else:
        holder[path[-1]] = value
    return changed


@pytest.mark.parametrize("value", [CODE, -7, 1 << 70, 0.5, True, [], {}, ["\ud800"], {"a": [[1]]}, None])
def test_any_value_anywhere_in_the_config(value: Any, out: Path) -> None:
    """A text in the place of a number would be printed into the source, which is run: it must be refused."""
    config = json.loads((out / CONFIG).read_text())
    for path in list(places(config))[1:]:
        (out / CONFIG).write_text(json.dumps(put(config, path, value)))
        try:
            converted = folder.load(out)
            text = source(converted.graph)
            converted.state()
        except CaffeError:
            continue
        read = {node.id for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Name)}
        assert "__import__" not in read, path
        if value == CODE:
            converted.module()
    assert not Path("owned").exists()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"null",
        b"[" * 200_000,
        b'{"a":' * 200_000,
        b"\xff\xfe{}",
        b'{"format": "caffe2torch 1"}',
        b"1" * 10_000,
        b"NaN",
    ],
)
def test_what_is_no_config(content: bytes, out: Path) -> None:
    (out / CONFIG).write_bytes(content)
    with pytest.raises(FileError, match=r"config\.json"):
        folder.load(out)


def test_more_parameters_than_the_file_has_bytes(out: Path) -> None:
    config = json.loads((out / CONFIG).read_text())
    (fc,) = [each for each in config["net"]["layers"] if each["name"] == "fc"]
    fc["params"]["inner_product_param"]["num_output"] = 50_000_000
    (out / CONFIG).write_text(json.dumps(config))
    with pytest.raises(FileError, match="the folder is damaged"):
        folder.load(out).state()


def header(entries: dict[str, Any], data: bytes = b"") -> bytes:
    text = json.dumps(entries).encode()
    return struct.pack("<Q", len(text)) + text + data


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff" * 8,
        struct.pack("<Q", 1 << 62) + b"{}",
        struct.pack("<Q", 2) + b"[]",
        struct.pack("<Q", 200_000) + b"[" * 200_000,
        header({"a": {"dtype": "F32", "shape": [1 << 60], "data_offsets": [0, 1 << 62]}}),
        header({"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, -4]}}),
        header({"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}, b"x" * 8),
        header({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}, b"x" * 4),
        header({"a": {"dtype": "O", "shape": [1], "data_offsets": [0, 8]}}, b"x" * 8),
        header({"a": {"dtype": "F32", "shape": [1.0], "data_offsets": [0, 4]}}, b"x" * 4),
        header({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}, b"x" * 5),
        header({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}} | {"b": {}}, b"x" * 4),
        header({"a": {"dtype": "F32", "shape": [1] * 99, "data_offsets": [0, 4]}}, b"x" * 4),
    ],
    ids=range(14),
)
def test_headers_of_weights_that_lie(content: bytes, out: Path) -> None:
    (out / WEIGHTS).write_bytes(content)
    with pytest.raises(FileError, match=r"model\.safetensors: (not readable|has)"):
        folder.load(out).state()


def test_a_hole_that_claims_100_gb(out: Path) -> None:
    """What is not needed is refused before memory is taken for it."""
    whole = (out / WEIGHTS).read_bytes()
    length = int.from_bytes(whole[:8], "little")
    entries, size = json.loads(whole[8 : 8 + length]), len(whole) - 8 - length
    entries["hole"] = {"dtype": "F32", "shape": [100 << 28], "data_offsets": [size, size + (100 << 30)]}
    (out / WEIGHTS).write_bytes(header(entries, whole[8 + length :]))
    os.truncate(out / WEIGHTS, (out / WEIGHTS).stat().st_size + (100 << 30))
    with pytest.raises(FileError, match=r"107,\d{3},\d{3},\d{3} bytes of tensors; [\d,]{,9} are wanted"):
        folder.load(out).state()
    config = json.loads((out / CONFIG).read_text())
    (fc,) = [each for each in config["net"]["layers"] if each["name"] == "fc"]
    fc["params"]["inner_product_param"]["num_output"] = 59_000_000  # and the net says that it needs them
    (out / CONFIG).write_text(json.dumps(config))
    with pytest.raises(FileError):
        folder.load(out).state()


def test_weights_cut_at_many_bytes(out: Path) -> None:
    whole, converted = (out / WEIGHTS).read_bytes(), folder.load(out)
    for end in range(0, len(whole), 37):
        (out / WEIGHTS).write_bytes(whole[:end])
        with pytest.raises(FileError):
            converted.state()


def test_a_strangers_model_py_is_not_run(out: Path) -> None:
    Image.new("RGB", (8, 8)).save("picture.png")
    (out / SOURCE).write_text(f"{CODE}\n{(out / SOURCE).read_text()}")
    with pytest.raises(FileError, match="so it is not run"):
        verify(out)
    verify_against(out, out)
    for command in (["verify", "out"], ["run", "out", "picture.png"], ["run", "out/model.onnx", "picture.png"]):
        CliRunner().invoke(main, command)
        assert not Path("owned").exists(), command
    verify(out, run_source=True)
    assert Path("owned").exists(), "--run-source says what it does"


@pytest.mark.parametrize("content", [b"", b"\0", b"\xff", b"x" * 100_000])
def test_a_model_py_that_is_no_text_is_not_run(content: bytes, out: Path) -> None:
    (out / SOURCE).write_bytes(content)
    with pytest.raises(FileError, match="so it is not run"):
        verify(out)


def outside(model: onnx.ModelProto) -> None:
    """A weight that lies in a file outside of the folder."""
    weight = model.graph.initializer[0]
    size = len(weight.raw_data)
    Path("secret").write_bytes(np.zeros(size, np.uint8).tobytes())
    weight.ClearField("raw_data")
    weight.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", "../secret"), ("offset", "0"), ("length", str(size))):
        weight.external_data.add(key=key, value=value)


def inner(model: onnx.ModelProto) -> None:
    """The same in an attribute of a node within a graph within a node."""
    outside(model)
    node = onnx.helper.make_node("Constant", [], ["c"], value=model.graph.initializer[0])
    del model.graph.initializer[0]
    body = onnx.helper.make_graph([node], "body", [], [])
    model.graph.node.add().CopyFrom(onnx.helper.make_node("If", ["x"], ["y"], then_branch=body, else_branch=body))


@pytest.mark.parametrize("change", [outside, inner])
def test_weights_outside_of_the_folder_are_not_read(change: Callable[[onnx.ModelProto], None], out: Path) -> None:
    Image.new("RGB", (8, 8)).save("picture.png")
    model = onnx.load(out / ONNX)
    change(model)
    (out / ONNX).write_bytes(model.SerializeToString())
    for call in (lambda: verify(out), lambda: verify_against(out, out / ONNX)):
        with pytest.raises(FileError, match="in other files"):
            call()
    result = CliRunner().invoke(main, ["run", "out/model.onnx", "picture.png"])
    assert result.exit_code == 1 and "in other files" in result.output


def test_references_that_swell_or_are_damaged(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, prob = np.zeros((1, 3, 8, 8), np.float32), np.full((1, 5), 0.2, np.float32)
    np.savez("i.npz", data=data)
    np.savez_compressed("o.npz", prob=prob)
    assert len(verify(out, (Path("i.npz"), Path("o.npz")))) == 2
    whole = Path("o.npz").read_bytes()
    for place in range(0, len(whole), 3):
        Path("o.npz").write_bytes(whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :])
        with suppress(CaffeError):
            verify(out, (Path("i.npz"), Path("o.npz")))
    for array in (np.array(["a", "b"]), np.array([object()]), np.array([1j])):
        np.savez("o.npz", prob=array)
        with pytest.raises(FileError, match=r"o\.npz: not an \.npz of arrays"):
            verify(out, (Path("i.npz"), Path("o.npz")))
    bomb = struct.pack("<6sBBH", b"\x93NUMPY", 1, 0, 118)
    bomb += b"{'descr': '<f4', 'fortran_order': False, 'shape': (1, 1099511627776), }".ljust(117) + b"\n"
    with zipfile.ZipFile("o.npz", "w") as file:
        file.writestr("prob.npy", bomb)
    with pytest.raises(FileError, match=r"o\.npz: not an \.npz of arrays"):
        verify(out, (Path("i.npz"), Path("o.npz")))
    with zipfile.ZipFile("o.npz", "w", zipfile.ZIP_DEFLATED) as file, file.open("prob.npy", "w") as inside:
        inside.write(bytes(100_000))
    monkeypatch.setattr("caffe2torch.verify.MOST", 10_000)
    with pytest.raises(FileError, match="more than 10,000 bytes of arrays"):
        verify(out, (Path("i.npz"), Path("o.npz")))
    Path("o.npz").unlink()
    os.mkfifo("o.npz")
    with pytest.raises(FileError, match="not a regular file"):
        verify(out, (Path("i.npz"), Path("o.npz")))


@pytest.mark.parametrize("names", [["../../x"], ["/etc/passwd"], [""], ["\0"]])
def test_names_in_references_are_no_paths(names: list[str], out: Path) -> None:
    arrays = {name: np.zeros(3, np.float32) for name in names}
    for name in ("i.npz", "o.npz"):
        with open(name, "wb") as file:
            np.savez(file, **arrays)
    with pytest.raises(CaffeError):
        verify(out, (Path("i.npz"), Path("o.npz")))
    assert sorted(path.name for path in Path().iterdir()) == ["i.npz", "net.caffemodel", "o.npz", "out"]
