"""Names from a stranger: none becomes code, a path or a command of the terminal, and no two are merged."""

from __future__ import annotations

import ast
import json
import os
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from caffe2torch import folder, run
from caffe2torch.cli import main
from caffe2torch.converted import from_caffemodel
from caffe2torch.torch_source import source
from tests.caffe2torch import nets

CODE = "__import__('os').mkdir('owned')"
NAMES = (
    CODE,
    f'"""\n{CODE}\n"""',
    f"x\n{CODE}",
    f"x\r{CODE}",
    f"x\x0c{CODE}",
    f"x\u2028{CODE}",
    f"'+{CODE}+'",
    f'")\n{CODE}  # ',
    "{self}",
    "{0}{1}",
    "%s",
    "\\",
    '\\"""',
    "# fmt: off",
    "../../x",
    "/etc/passwd",
    "..",
    "a/b\\c",
    "\x1b[31mred\x07",
    "\u202eevil",
    "forward",
    "__init__",
    "__class__",
    "training",
    "parameters",
    "_parameters",
    "_modules",
    "state_dict",
    "self",
    "torch",
    "nn",
    "F",
    "Model",
    "None",
    "lambda",
    "match",
    "tuple",
    "Tensor",
    "super",
    "print",
    "1e5",
    "_",
    " ",
    "\N{FULLWIDTH LATIN CAPITAL LETTER A}",
    "\N{LATIN SMALL LIGATURE FI}",
    "\N{CYRILLIC SMALL LETTER A}",
    "\N{FEMININE ORDINAL INDICATOR}",
    "\N{MATHEMATICAL BOLD SMALL A}",
    "n" * 1024,
)


def quoted(name: str) -> str:
    return "".join(f"\\{byte:03o}" for byte in name.encode())


def net(path: Path, *names: str, title: str = "net") -> Path:
    """PReLU after PReLU, each layer and its top of one of the names."""
    blobs = ["data", *map(quoted, names)]
    layers = (nets.layer(top, "PReLU", [bottom], [top]) for bottom, top in pairwise(blobs))
    path.write_text("\n".join([f'name: "{quoted(title)}"', nets.given("data", 1, 2), *layers]))
    return path


def names_in(text: str) -> set[str]:
    """What a source calls or reads by name."""
    return {node.id for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Name)}


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
def test_a_name_is_nothing_but_a_name(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    converted = from_caffemodel(None, net(tmp_path / "net.prototxt", name, title=name))
    text = source(converted.graph)
    assert text.isascii() or name.isprintable()
    assert not names_in(text) & {"__import__", "os", "mkdir"}
    module = converted.module()
    assert module.output_names == (name,)
    assert torch.equal(module(torch.tensor([[-4.0, 4.0]])), torch.tensor([[-1.0, 4.0]]))
    folder.save(converted, tmp_path / "out", onnx=True)
    assert folder.load(tmp_path / "out").graph.output_names == (name,)
    assert sorted(os.listdir(tmp_path)) == ["net.prototxt", "out"]
    assert sorted(os.listdir(tmp_path / "out")) == ["config.json", "model.onnx", "model.py", "model.safetensors"]


def test_all_names_in_one_net_are_told_apart(tmp_path: Path) -> None:
    converted = from_caffemodel(None, net(tmp_path / "net.prototxt", *NAMES))
    assert [node.layer.name for node in converted.graph.nodes] == list(NAMES)
    modules = [node.name for node in converted.graph.nodes]
    assert len({name.casefold() for name in modules}) >= len(NAMES) - 1  # F and f may differ in case only
    assert all(name.isascii() and name.isidentifier() and len(name) <= 110 for name in modules)
    module = converted.module()
    assert len(module.state_dict()) == len(NAMES)
    assert torch.allclose(module(torch.tensor([[1.0, 2.0]])), torch.tensor([[1.0, 2.0]]))


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "net.prototxt"
    for name in (r"\377\376", r"\355\240\200", r"\000", r"a\000b", r"\ud800"):
        path.write_text("\n".join([nets.given("data", 1, 2), nets.layer(name, "PReLU", ["data"], [name])]))
        converted = from_caffemodel(None, path)
        folder.save(converted, tmp_path / "out", force=True)
        assert folder.load(tmp_path / "out").graph.nodes[0].layer.name == converted.graph.nodes[0].layer.name
        (name_,) = converted.module().output_names
        name_.encode()


def test_names_do_not_command_the_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    net(tmp_path / "net.prototxt", "\x1b[31mred\x07", "line\nbreak", title="\x1b]0;title\x07")
    for command in (["inspect", "net.prototxt"], ["inspect", "net.prototxt", "--json"]):
        result = CliRunner().invoke(main, command)
        assert result.exit_code == 0, result.output
        assert "\x1b" not in result.output and "\x07" not in result.output


def test_a_drawing_lies_in_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("../../x", "/etc/x", "..", "a\0b", "n" * 1024, "", "."):
        found = run._free(tmp_path / "deep" / "picture.jpg", name)
        assert found.parent == Path() and found.name.startswith("picture.") and len(found.name) < 200
        found.write_bytes(b"")
    assert len(list(tmp_path.iterdir())) == 7


def test_a_model_named_only_by_its_suffix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in (".caffemodel", "..caffemodel", "...caffemodel"):
        nets.trained(tmp_path / name)
        result = CliRunner().invoke(main, ["convert", name, "--no-verify", "--force"])
        assert result.exit_code in (0, 1) and "Traceback" not in result.output
        assert sorted(os.listdir(tmp_path.parent)) == sorted({*os.listdir(tmp_path.parent), tmp_path.name})
        assert (tmp_path / name).is_file()


def test_json_holds_names_as_they_are(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["inspect", str(net(tmp_path / "net.prototxt", *NAMES)), "--json"])
    assert [row["name"] for row in json.loads(result.output)["layers"]] == list(NAMES)
