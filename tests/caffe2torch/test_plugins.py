"""Layers of a user's own: from a file, from a package; printed, exported, kept in a folder, and never run unasked."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from click.testing import CliRunner

import caffe2torch
from caffe2torch import cli, folder, module_sources, plugins, readings, registry
from tests.caffe2torch import nets

PLUGIN = Path(__file__).with_name("plugins") / "my_layers.py"
NET = (
    nets.given("data", 2, 3, 4, 5),
    nets.layer("swish", "Swish6", "data", "swish", "swish6_param { beta: 2 }"),
    nets.layer("gate", "Gate", "swish", "gate"),
    nets.layer(
        "shift", "Python", "gate", "out", 'python_param { module: "shift" layer: "ShiftLayer" param_str: "2.5" }'
    ),
)


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """What a test loads is unloaded after it."""
    registry.load_all()
    before = (dict(registry._registered), dict(readings._declared), dict(plugins._loaded))
    sources = (dict(module_sources._places), dict(module_sources._origins))
    modules = set(sys.modules)
    yield
    for held, old in zip((registry._registered, readings._declared, plugins._loaded), before, strict=True):
        held.clear()
        held.update(old)
    readings._candidates.clear()
    module_sources._places.clear()
    module_sources._places.update(sources[0])
    module_sources._origins.clear()
    module_sources._origins.update(sources[1])
    module_sources._parsed.cache_clear()
    for name in set(sys.modules) - modules:
        if name.startswith("caffe2torch_plugins."):
            del sys.modules[name]


def expected(x: np.ndarray) -> np.ndarray:
    swish = np.minimum(x / (1 + np.exp(-2 * x)), 6)
    return np.asarray(swish * (1 / np.sqrt(3)) + 2.5)


def test_the_documented_example(tmp_path: Path) -> None:
    assert caffe2torch.load_plugin(PLUGIN) == "my_layers.py"
    x = np.random.default_rng(0).normal(0, 8, (2, 3, 4, 5)).astype(np.float32)
    module = nets.module(tmp_path, *NET)
    with torch.no_grad():
        np.testing.assert_allclose(module(torch.from_numpy(x)).numpy(), expected(x), atol=1e-5)

    text = caffe2torch.to_source(module)
    assert "class ChannelGate(nn.Module):" in text and "\nimport math\n" in text
    assert "Swish6(" not in text and "caffe2torch import" not in text
    namespace: dict[str, Any] = {"__name__": "generated"}
    exec(compile(text, "model.py", "exec"), namespace)
    printed = namespace["Model"]().eval()
    printed.load_state_dict(module.state_dict(), strict=True)
    np.testing.assert_allclose(printed(torch.from_numpy(x)).detach().numpy(), expected(x), atol=1e-5)

    caffe2torch.to_onnx(module, tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(session.run(None, {"data": x})[0], expected(x), atol=1e-5)


def test_loading_it_again_changes_nothing() -> None:
    assert caffe2torch.load_plugin(PLUGIN) == caffe2torch.load_plugin(str(PLUGIN))


def test_its_fork_can_be_asked_for_and_its_fields_are_read_from_binary_files(tmp_path: Path) -> None:
    path = nets.caffemodel(tmp_path / "net.caffemodel", {})
    # layer { name: "swish" type: "Swish6" bottom: "data" top: "y" } with field 1234 { limit: 3 }
    content = b"\x0a\x05swish\x12\x06Swish6\x1a\x04data\x22\x01y" + b"\x92\x4d\x05\x15\x00\x00\x40\x40"
    path.write_bytes(b"\x1a\x04data" + b"\xa2\x06" + bytes([len(content)]) + content)
    with pytest.raises(caffe2torch.CaffeError, match="no converter"):
        caffe2torch.convert(path, input_shape=(1, 2))
    caffe2torch.load_plugin(PLUGIN)
    layer = caffe2torch.load_net(path, fork="my-fork").layers[0]
    assert layer.fork == ("my-fork",)
    assert (layer.param("swish6_param").limit, layer.param("swish6_param").beta) == (3.0, 1.0)


def test_without_it_its_layers_are_unknown(tmp_path: Path) -> None:
    with pytest.raises(caffe2torch.CaffeError, match=r"3 of 3 layers[\s\S]*shift \(Python:shift.ShiftLayer\): no conv"):
        nets.module(tmp_path, *NET)


def test_commands_take_it_and_a_folder_asks_for_it(tmp_path: Path) -> None:
    """In processes of their own, as a user runs them."""
    prototxt = nets.write(tmp_path, *NET)
    weights = nets.caffemodel(tmp_path / "net.caffemodel", {"gate": [np.ones(3, np.float32)]}, kind="Gate")
    out = tmp_path / "out"

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        program = "import sys; from caffe2torch.cli import main; main(sys.argv[1:])"
        command = [sys.executable, "-c", program, *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    converted = run("convert", weights, "--prototxt", prototxt, "-o", out, "--onnx", "--plugin", PLUGIN)
    assert converted.returncode == 0, converted.stderr
    assert json.loads((out / "config.json").read_text())["plugins"] == ["my_layers.py"]
    without = run("verify", out)
    assert without.returncode == 1
    assert "was converted with the plugin my_layers.py, which is not loaded; give it: --plugin" in without.stderr
    verified = run("verify", out, "--plugin", PLUGIN)
    assert verified.returncode == 0, verified.stderr
    inspected = run("inspect", prototxt, "--plugin", PLUGIN, "--json")
    assert json.loads(inspected.stdout)["problems"] == []
    assert "Swish6" in run("layers", "--plugin", PLUGIN).stdout
    with pytest.raises(caffe2torch.CaffeError, match=r"load_plugin\('my_layers.py'\)"):
        folder.load(out)
    caffe2torch.load_plugin(PLUGIN)
    assert folder.load(out).module()(torch.zeros(2, 3, 4, 5)).shape == (2, 3, 4, 5)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("import nothing_of_this_name", "ModuleNotFoundError: No module named 'nothing_of_this_name' .line 1 of"),
        ("x = 1\ndef", "SyntaxError"),
        (
            "from caffe2torch.registry import layer, Operation\n@layer('ReLU')\nclass X(Operation): pass",
            "registered twice",
        ),
        ("class PyramidPool: pass", "the name PyramidPool is taken by caffe2torch/modules/pooling.py"),
        (
            "from caffe2torch.registry import layer, Operation\n"
            "@layer('New', proto={'new_param': 'a 1 int33'})\nclass X(Operation): pass",
            "no type int33 is known",
        ),
    ],
    ids=["import", "syntax", "layer", "module", "notation"],
)
def test_faults(text: str, says: str, tmp_path: Path) -> None:
    path = tmp_path / "broken.py"
    path.write_text(text)
    before = set(registry._registered)
    with pytest.raises(caffe2torch.CaffeError, match=f"the plugin broken.py cannot be loaded: .*{says}"):
        caffe2torch.load_plugin(path)
    assert set(registry._registered) == before and "broken.py" not in plugins._loaded


def test_no_such_file() -> None:
    result = CliRunner().invoke(cli.main, ["layers", "--plugin", "nowhere.py"])
    assert result.exit_code == 1
    assert "nowhere.py: no such file" in result.output


def test_packages_offer_layers(tmp_path: Path) -> None:
    """An installed package with an entry point of the group caffe2torch.layers needs no option."""
    (tmp_path / "their_layers.py").write_text(PLUGIN.read_text())
    information = tmp_path / "theirs-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text("[caffe2torch.layers]\nlayers = their_layers\nbroken = no_module\n")
    program = (
        "import caffe2torch, sys; from caffe2torch import registry, plugins;"
        "print(registry.find('Gate').__module__, plugins.used([registry.find('Gate')]))"
    )
    result = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": _path(tmp_path)},
    )
    assert result.stdout.strip() == "their_layers ['theirs:layers']", result.stderr
    assert "the plugin theirs:broken cannot be loaded" in result.stderr


def _path(folder: Path) -> str:
    return f"{folder}:{Path(caffe2torch.__file__).parents[1]}"


def test_a_trunk_with_layers_of_ones_own(tmp_path: Path) -> None:
    """`finetune train` and `onnx export` take --plugin, and say so where it is missing."""
    from PIL import Image

    from finetune.cli import main, onnx_main

    for place, colour in enumerate(("red", "blue")):
        (tmp_path / "data" / colour).mkdir(parents=True)
        for shade in range(4):
            picture = Image.new("RGB", (16, 16), (200 - 200 * place, 9 * shade, 200 * place))
            picture.save(tmp_path / "data" / colour / f"{shade}.png")
    caffe2torch.load_plugin(PLUGIN)
    net = (nets.given("data", 1, 3, 16, 16), *NET[1:3])
    folder.save(folder.from_caffemodel(None, nets.write(tmp_path, *net)), tmp_path / "trunk")
    trunk, run = str(tmp_path / "trunk"), str(tmp_path / "run")
    train = ["train", str(tmp_path / "data"), "--trunk", trunk, "-o", run, "--epochs", "1", "--workers", "0"]
    loaded = dict(plugins._loaded)
    plugins._loaded.clear()
    missing = CliRunner().invoke(main, train)
    plugins._loaded.update(loaded)
    assert missing.exit_code == 1 and "--plugin my_layers.py" in missing.stderr
    result = CliRunner().invoke(main, [*train, "--plugin", str(PLUGIN)])
    assert result.exit_code == 0, result.output
    result = CliRunner().invoke(onnx_main, ["export", run, "--plugin", str(PLUGIN)])
    assert result.exit_code == 0, result.output


ODD = """
from dataclasses import dataclass
from caffe2torch.calls import Step
from caffe2torch.registry import Operation, layer

@layer("Odd")
@dataclass(frozen=True)
class Odd(Operation):
    @classmethod
    def parse(cls, layer, bottoms):
        {parse}
        return cls()
    def shape(self, bottoms):
        return {shape}
    def torch(self):
        return Step("{torch}")
    def onnx(self, nodes):
        nodes.add("Neg", nodes.inputs, {outputs})
"""


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"parse": "1 / 0"}, r"layer 'y' \(Odd\): the plugin odd.py makes a fault: ZeroDivisionError.*line 11 of"),
        ({"shape": "5"}, r"layer 'y' \(Odd\): the plugin odd.py makes a fault: TypeError"),
        ({"torch": "-{0} {"}, "the printed class: the plugin odd.py makes a fault: ValueError"),
        ({"torch": "-({0}"}, "the printed class: the plugin odd.py makes a fault: SyntaxError"),
        ({"outputs": "nodes.nothing"}, r"layer 'y' \(Odd\) in ONNX: the plugin odd.py makes a fault: AttributeError"),
        ({"shape": "[(1, 9)]"}, "the ONNX model: the plugin odd.py makes a fault: InferenceError"),
    ],
)
def test_faults_of_a_plugin_are_told_as_such(change: dict[str, str], says: str, tmp_path: Path) -> None:
    code = {"parse": "pass", "shape": "[bottoms[0]]", "torch": "-{0}", "outputs": "nodes.outputs", **change}
    (tmp_path / "odd.py").write_text(ODD.format(**code))
    caffe2torch.load_plugin(tmp_path / "odd.py")
    with pytest.raises(caffe2torch.CaffeError, match=says):
        caffe2torch.to_onnx(
            nets.module(tmp_path, nets.given("x", 1, 2, 3, 4), nets.layer("y", "Odd", "x", "y")), tmp_path / "m.onnx"
        )
