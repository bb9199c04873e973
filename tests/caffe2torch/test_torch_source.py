"""The printed source: what names from a file become, aliases, in-place chains; and that it is ordinary PyTorch."""

from __future__ import annotations

import ast
import copy
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from google.protobuf import text_format
from hypothesis import given
from hypothesis import strategies as st

import caffe2torch
from caffe2torch.schema import message
from tests.caffe2torch import nets
from tests.caffe2torch.nets import CONV, agree, examples, layer

FC = 'inner_product_param { num_output: 4 weight_filler { type: "xavier" } }'
HOSTILE = [
    "it's \"quoted\"", 'a"""b', "line\nbreak", "tab\tend", "back\\slash\\", "__import__('os').system('exit')", "class",
    "match", "None", "self", "torch", "nn", "F", "forward", "weight", "1x1", "é漢字", "conv/1", "conv.1", "conv 1",
    "x", "lstm_unit", "Scale", "graph", "len", "{0}", "{self}", "%s", "# fmt: off", "fmt: off", " conv ", "noqa",
    "\u202eabc", "a(", "b)", "c[", "d, e", "f = g", "return h", "\x00", "input_names", "super", "type", "__class__",
    "__init__", "_",
]  # fmt: skip


def hostile(names: list[str], folder: Path) -> Any:
    """A chain of convolutions, one a name, each with a blob of that name; all blobs are outputs."""
    net: Any = message("NetParameter")(name=names[0])
    net.layer.add(name="data", type="Input", top=["data"]).input_param.shape.add().dim.extend([1, 2, 4, 4])
    blob = "data"
    for name in names:
        entry = net.layer.add(name=name, type="Convolution", bottom=[blob], top=[name])
        entry.convolution_param.num_output = 2
        entry.convolution_param.kernel_size.append(1)
        entry.convolution_param.weight_filler.type = "xavier"
        blob = name
    path = folder / "net.prototxt"
    path.write_text(text_format.MessageToString(net))
    return caffe2torch.convert(None, path, outputs=[name for name in names if name])


def calls(text: str) -> set[str]:
    """Everything that the code calls by a plain name, or imports."""
    found = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            found.add(node.func.id)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            found.update(alias.name for alias in node.names)
    return found


def test_hostile_names_are_only_names(tmp_path: Path) -> None:
    converted = hostile(HOSTILE, tmp_path)
    assert converted.output_names == tuple(HOSTILE)
    agree(converted, tmp_path)
    text = caffe2torch.to_source(converted)
    assert text.isascii()
    assert calls(text) == {"super", "Tensor", "nn"}, "nothing else is called or imported"


@examples(25)
@given(
    names=st.lists(st.text(st.characters(codec="utf-8"), min_size=1, max_size=30), min_size=1, max_size=12, unique=True)
)
def test_any_names_compile_and_load(names: list[str], tmp_path: Path) -> None:
    if "data" in names:
        names.remove("data")
        names.append("data2")
    converted = hostile(names, tmp_path)
    assert len(nets.printed(converted).state_dict()) == 2 * len(names), "no two layers were merged"
    assert calls(caffe2torch.to_source(converted)) == {"super", "Tensor", "nn"}


def test_ruff_leaves_any_names_alone(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    for index in range(30):
        names = [
            "".join(chr(generator.integers(32, 127)) for _ in range(generator.integers(1, 30)))
            for _ in range(generator.integers(1, 9))
        ]
        (tmp_path / f"net{index}.py").write_text(caffe2torch.to_source(hostile([*names, *HOSTILE[index:]], tmp_path)))
    command = [sys.executable, "-m", "ruff", "format", "--isolated", "--diff", str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout[:4000]


@pytest.mark.parametrize("name", [*HOSTILE, "ResNet-50, v1 (deep)", "イラスト net", '"', '\\"""', "a\\", "  a b"])
def test_the_title_keeps_the_name_of_the_net(name: str, tmp_path: Path) -> None:
    net: Any = message("NetParameter")(name=name)
    net.layer.add(name="data", type="Input", top=["data"]).input_param.shape.add().dim.extend([1, 2])
    net.layer.add(name="a", type="TanH", bottom=["data"], top=["a"])
    (tmp_path / "net.prototxt").write_text(text_format.MessageToString(net))
    text = caffe2torch.to_source(caffe2torch.convert(None, tmp_path / "net.prototxt"))
    assert text.partition("\n")[0].endswith(', converted from Caffe by caffe2torch."""')
    title = ast.get_docstring(ast.parse(text), clean=False)
    assert title == f"{name.strip()}, converted from Caffe by caffe2torch."
    assert calls(text) == {"super", "Tensor", "nn"} | ({"torch"} & calls(text))
    command = [sys.executable, "-m", "ruff", "format", "--isolated", "--diff", "-"]
    result = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout


def test_a_net_without_a_name_is_called_after_its_file(tmp_path: Path) -> None:
    path = tmp_path / "my net.prototxt"
    path.write_text(nets.given("data", 1, 2) + layer("a", "TanH", "data", "a"))
    assert caffe2torch.to_source(caffe2torch.convert(None, path)).startswith('"""my net.prototxt, converted from Caffe')


def test_names_that_become_the_same_identifier_stay_apart(tmp_path: Path) -> None:
    converted = hostile(["conv/1", "conv-1", "conv 1", "conv_1", "conv_1_2"], tmp_path)
    keys = {key.partition(".")[0] for key in converted.state_dict()}
    assert keys == {"conv_1", "conv_1_2", "conv_1_3", "conv_1_4", "conv_1_2_2"}
    again = hostile(["conv/1", "conv-1", "conv 1", "conv_1", "conv_1_2"], tmp_path)
    assert caffe2torch.to_source(converted) == caffe2torch.to_source(again)


def test_an_in_place_chain_changes_what_a_split_shares_too(tmp_path: Path) -> None:
    """Caffe's Split gives its tops the bottom's own memory: what is written over one is written over all."""
    converted = nets.module(
        tmp_path,
        nets.given("data", 1, 2, 4, 4),
        layer("conv", "Convolution", "data", "first", CONV),
        layer("split", "Split", "first", "x y"),
        layer("before", "TanH", "y", "before"),
        layer("relu", "ReLU", "x", "x"),
        layer("power", "Power", "x", "x", "power_param { scale: 2 shift: 1 }"),
        layer("sum", "Eltwise", "x y", "sum"),
        outputs=["sum", "x", "y", "before"],
    )
    total, x, y, before = agree(converted, tmp_path)
    np.testing.assert_array_equal(x, y)
    np.testing.assert_allclose(total, 2 * x, rtol=1e-6)
    np.testing.assert_allclose(x, 2 * np.maximum(np.arctanh(before), 0) + 1, rtol=1e-4)
    assert before.min() < 0


def test_in_place_on_the_input_leaves_the_callers_tensor_alone(tmp_path: Path) -> None:
    converted = nets.module(tmp_path, nets.given("data", 1, 2), layer("relu", "ReLU", "data", "data"))
    given_tensor = torch.tensor([[-1.0, 2.0]])
    result = converted(given_tensor)
    assert result.tolist() == [[0, 2]]
    assert given_tensor.tolist() == [[-1, 2]]
    agree(converted, tmp_path)


@pytest.mark.parametrize(
    "outputs", [["data"], ["data", "relu"], ["relu", "relu"], ["relu", "data", "relu"], ["alias", "relu", "other"]]
)
def test_outputs_that_are_inputs_or_aliases_are_tensors_of_their_own(outputs: list[str], tmp_path: Path) -> None:
    converted = nets.module(
        tmp_path,
        nets.given("data", 1, 3),
        layer("relu", "ReLU", "data", "relu"),
        layer("split", "Split", "relu", "alias other"),
        outputs=outputs,
    )
    assert converted.output_names == tuple(outputs)
    agree(converted, tmp_path)
    x = torch.randn(1, 3)
    results = converted(x)
    results = results if isinstance(results, tuple) else (results,)
    places = [tensor.data_ptr() for tensor in (x, *results)]
    assert len(set(places)) == len(places)


def test_several_inputs_and_outputs_keep_their_order(tmp_path: Path) -> None:
    converted = nets.module(
        tmp_path,
        nets.given("b", 2, 3),
        nets.given("a", 2, 3),
        nets.given("unused", 7),
        layer("sum", "Eltwise", "a b", "sum", "eltwise_param { coeff: 1 coeff: -1 }"),
        layer("prod", "Eltwise", "a b", "prod", "eltwise_param { operation: PROD }"),
        outputs=["sum", "prod", "b"],
    )
    assert converted.input_names == ("b", "a")
    feeds = nets.sample(converted)
    difference, product, b = agree(converted, tmp_path, feeds)
    np.testing.assert_allclose(difference, feeds["a"] - feeds["b"], rtol=1e-6)
    np.testing.assert_allclose(product, feeds["a"] * feeds["b"], rtol=1e-6)
    np.testing.assert_array_equal(b, feeds["b"])


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A net with branches, an in-place chain, LRN, odd pooling, BatchNorm, Scale and a fully connected layer."""
    return nets.module(
        tmp_path_factory.mktemp("net"),
        nets.given("data", 1, 3, 9, 9),
        layer("conv", "Convolution", "data", "conv", CONV),
        layer("bn", "BatchNorm", "conv", "bn"),
        layer("scale", "Scale", "bn", "bn", "scale_param { bias_term: true }"),
        layer("relu", "ReLU", "bn", "bn", "relu_param { negative_slope: 0.1 }"),
        layer("pool", "Pooling", "bn", "pool", "pooling_param { pool: AVE kernel_size: 3 stride: 2 pad: 1 }"),
        layer("lrn", "LRN", "pool", "lrn", "lrn_param { norm_region: WITHIN_CHANNEL local_size: 3 }"),
        layer("both", "Concat", "pool lrn", "both"),
        layer("drop", "Dropout", "both", "both"),
        layer(
            "fc", "InnerProduct", "both", "fc", 'inner_product_param { num_output: 4 weight_filler { type: "xavier" } }'
        ),
        layer("prob", "Softmax", "fc", "prob"),
    )


def test_deepcopy_is_a_module_of_its_own(converted: Any) -> None:
    x = torch.randn(2, 3, 9, 9)
    twin = copy.deepcopy(converted)
    with torch.no_grad():
        assert torch.equal(converted(x), twin(x))
        twin.conv.weight.zero_()
        assert not torch.equal(converted(x), twin(x))


def test_state_dict_is_saved_and_loaded_as_plain_weights(converted: Any, tmp_path: Path) -> None:
    torch.save(converted.state_dict(), tmp_path / "weights.pt")
    state = torch.load(tmp_path / "weights.pt", weights_only=True)
    twin = nets.printed(converted)
    twin.load_state_dict(state, strict=True)
    x = torch.randn(1, 3, 9, 9)
    with torch.no_grad():
        assert torch.equal(converted(x), twin(x))


def test_torch_export(converted: Any) -> None:
    x = torch.randn(2, 3, 9, 9)
    exported = torch.export.export(converted, (x,))
    with torch.no_grad():
        torch.testing.assert_close(exported.module()(x), converted(x))


def test_torch_compile_without_a_break(converted: Any) -> None:
    x = torch.randn(2, 3, 9, 9)
    compiled = torch.compile(converted, fullgraph=True, backend="aot_eager")
    with torch.no_grad():
        torch.testing.assert_close(compiled(x), converted(x))


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a compiler")
def test_torch_compile_with_its_own_compiler(converted: Any) -> None:
    x = torch.randn(2, 3, 9, 9)
    with torch.no_grad():
        torch.testing.assert_close(torch.compile(converted)(x), converted(x))


def test_tracebacks_show_the_printed_line(converted: Any) -> None:
    with pytest.raises(RuntimeError) as caught:
        converted(torch.randn(1, 5, 9, 9))
    lines = [str(entry.statement) for entry in caught.traceback]
    assert any("self.conv(data)" in line for line in lines)


def test_it_trains(converted: Any) -> None:
    twin = copy.deepcopy(converted).train()
    loss = -twin(torch.randn(4, 3, 9, 9))[:, 0].log().mean()
    loss.backward()
    assert all(parameter.grad is not None for parameter in twin.parameters())
