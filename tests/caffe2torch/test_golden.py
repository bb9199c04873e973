"""Every golden case of Caffe and its forks: torch = printed source = onnxruntime = Caffe; its refusals are ours."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

import caffe2torch
from caffe2torch import onnx_model
from caffe2torch.conversion import graph_of, state_of
from caffe2torch.graph import BATCH

TESTS = Path(__file__).parents[1]
CASES = sorted(path.parent for golden in ("golden", "golden_forks") for path in (TESTS / golden).glob("*/case.json"))
MATCH = [case for case in CASES if json.loads((case / "case.json").read_text())["expect"] == "match"]
REJECT = [case for case in CASES if case not in MATCH]
TOLERANCE = 1e-4


@dataclass
class Case:
    """A case, converted."""

    module: torch.nn.Module
    inputs: dict[str, np.ndarray]
    expected: dict[str, np.ndarray]
    names: list[str]

    def feeds(self) -> dict[str, np.ndarray]:
        return {name: self.inputs[name] for name in self.module.input_names}


def arguments(folder: Path) -> dict[str, Any]:
    case = json.loads((folder / "case.json").read_text())
    models = sorted(folder.glob("weights.*"))
    given: dict[str, Any] = {"prototxt": None if case.get("no_prototxt") else folder / "deploy.prototxt"}
    if models:
        given["caffemodel"] = models[0]
    if case.get("stages"):
        given["stages"] = case["stages"]
    return given


def load(folder: Path) -> Case:
    case = json.loads((folder / "case.json").read_text())
    expected = dict(np.load(folder / "outputs.npz"))
    inputs = dict(np.load(folder / "inputs.npz")) if (folder / "inputs.npz").exists() else {}
    names = [name for name in expected if name not in case.get("net_inputs", [])] or list(expected)
    given = arguments(folder)
    if given["prototxt"] is None:
        given["input_shape"] = {name: array.shape for name, array in inputs.items()}
    return Case(caffe2torch.convert(outputs=names, **given), inputs, expected, names)


def assert_close(got: Any, want: np.ndarray, name: str) -> None:
    got = np.asarray(got, np.float64)
    assert got.shape == want.shape, name
    finite = np.isfinite(want)
    np.testing.assert_array_equal(got[~finite], want[~finite], err_msg=name)
    largest = max(1.0, float(np.abs(want[finite]).max(initial=0)))
    np.testing.assert_allclose(got[finite], want[finite], rtol=0, atol=TOLERANCE * largest, err_msg=name)


def run(module: torch.nn.Module, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    with torch.no_grad():
        results = module(*(torch.from_numpy(array) for array in feeds.values()))
    return [result.numpy() for result in (results if isinstance(results, tuple) else (results,))]


@pytest.mark.parametrize("folder", MATCH, ids=lambda folder: folder.name)
def test_caffe_torch_source_and_onnx_agree(folder: Path, tmp_path: Path) -> None:
    case = load(folder)
    results = {"torch": run(case.module, case.feeds())}

    text = caffe2torch.to_source(case.module)
    assert imports(text) <= {"torch"}
    namespace: dict[str, Any] = {"__name__": "generated"}
    exec(compile(text, "model.py", "exec"), namespace)
    printed = namespace["Model"]().eval()
    printed.load_state_dict(case.module.state_dict(), strict=True)
    results["source"] = run(printed, case.feeds())

    path = tmp_path / "model.onnx"
    caffe2torch.to_onnx(case.module, path)
    check_onnx(onnx.load(path), case)
    results["onnx"] = session(path).run(None, case.feeds())

    for values in results.values():
        for name, value in zip(case.module.output_names, values, strict=True):
            assert_close(value, case.expected[name], name)


def imports(text: str) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom):
            found.add(str(node.module).split(".")[0])
        elif isinstance(node, ast.Import):
            found.update(alias.name.split(".")[0] for alias in node.names)
    return found - set(sys.stdlib_module_names)


def session(path: Path) -> Any:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def check_onnx(model: onnx.ModelProto, case: Case) -> None:
    """Checker-clean, standard operators only, every value's rank and type known, inputs named as in Caffe."""
    onnx.checker.check_model(model, full_check=True)
    assert {entry.domain for entry in model.opset_import} == {""}
    assert [entry.name for entry in model.graph.input] == list(case.module.input_names)
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    known = {entry.name for entry in [*inferred.graph.value_info, *inferred.graph.output, *inferred.graph.input]}
    made = {name for node in model.graph.node for name in node.output if name}
    assert made <= known
    # ONNX itself infers no shape for what a Loop carries.
    carried = {name for node in model.graph.node if node.op_type == "Loop" for name in node.output}
    open_ends = {e.name for e in inferred.graph.value_info if not e.type.tensor_type.HasField("shape")}
    assert open_ends <= carried


@pytest.mark.parametrize("folder", MATCH, ids=lambda folder: folder.name)
def test_shapes_are_those_that_torch_and_onnxruntime_give(folder: Path) -> None:
    case = load(folder)
    graph = graph_of(case.module)
    for name, value in zip(case.module.output_names, run(case.module, case.feeds()), strict=True):
        if name not in graph.values:
            continue
        known = graph.values[name]
        free = known.rows_axis if known.rows and known.rows != BATCH else None  # known only when it runs
        assert len(known.shape) == value.ndim
        for axis, (declared, given) in enumerate(zip(known.shape, value.shape, strict=True)):
            assert declared == given or axis == free, f"axis {axis}"


@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize("folder", MATCH, ids=lambda folder: folder.name)
def test_any_batch_size_where_the_net_allows_it(folder: Path, size: int, tmp_path: Path) -> None:
    case = load(folder)
    graph = graph_of(case.module)
    if not graph.batch:
        pytest.skip("the net fixes its batch size")
    feeds = {name: np.concatenate([array] * 3)[:size] for name, array in case.feeds().items()}
    path = tmp_path / "model.onnx"
    onnx_model.save(graph, state_of(case.module), path)
    for got, want in zip(session(path).run(None, feeds), run(case.module, feeds), strict=True):
        assert_close(got, want, folder.name)


@pytest.mark.parametrize("folder", REJECT, ids=lambda folder: folder.name)
def test_what_caffe_refuses_is_refused_in_words(folder: Path) -> None:
    with pytest.raises(caffe2torch.CaffeError) as caught:
        caffe2torch.convert(**arguments(folder))
    assert folder.name in str(caught.value), "the message names the file"


def test_ruff_leaves_every_printed_source_alone(tmp_path: Path) -> None:
    for folder in MATCH:
        (tmp_path / f"{folder.name}.py").write_text(caffe2torch.to_source(load(folder).module))
    command = [sys.executable, "-m", "ruff", "format", "--isolated", "--diff", str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout[:4000]
