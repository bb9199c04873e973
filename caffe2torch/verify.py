"""torch = ONNX = reference, value by value; the first layer that differs is named."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from caffe2torch import onnx_model
from caffe2torch.conversion import build
from caffe2torch.errors import CaffeError, FileError, VerifyError
from caffe2torch.folder import ONNX, SOURCE, Converted, load
from caffe2torch.graph import Graph

TOLERANCE = 1e-4  # of the largest value
SEED = 0


@dataclass(frozen=True)
class Row:
    """One value compared: ``error`` is the largest difference, ``largest`` the largest magnitude in the reference."""

    value: str
    layer: str
    type: str
    shape: tuple[int, ...]
    largest: float
    error: float
    place: tuple[int, ...]  # where the largest difference is
    got: float
    want: float

    @property
    def relative(self) -> float:
        """The error as a part of the largest value (of 1 if that is smaller)."""
        return self.error / max(1.0, self.largest)

    @property
    def holds(self) -> bool:
        """Whether it is within tolerance."""
        return self.relative <= TOLERANCE

    def difference(self) -> str:
        """Where and how the two differ, in words."""
        return (
            f"{self.layer} ({self.type}), blob {self.value!r} at {list(self.place)}: "
            f"{self.got:.7g} against {self.want:.7g}"
        )


@dataclass(frozen=True)
class Comparison:
    """All values of two runs side by side, in the order of the layers."""

    title: str  # "torch = ONNX"
    rows: tuple[Row, ...]

    @property
    def first_difference(self) -> Row | None:
        """The first value that differs, None if all hold."""
        return next((row for row in self.rows if not row.holds), None)

    @property
    def worst(self) -> Row:
        """The value with the largest relative difference."""
        return max(self.rows, key=lambda row: row.relative)

    def require(self, where: Path) -> None:
        """VerifyError that names the first layer that differs, with both values."""
        row = self.first_difference
        if row is not None:
            raise VerifyError(f"{where}: {self.title} does not hold; the first difference is in {row.difference()}")


def verify(folder: Path, reference: tuple[Path, Path] | None = None) -> list[Comparison]:
    """Compare what a folder holds with itself (torch against ONNX) and with a reference, if given.

    ``reference``: inputs.npz and outputs.npz with arrays by blob name. Nothing is raised for a difference: see
    ``Comparison.require``.
    """
    converted = load(folder)
    if reference is None:
        feeds = sample_inputs(converted)
        return [*_torch_and_onnx(converted, feeds, folder)]
    feeds, want = _reference(converted, *reference)
    torch_values = run_torch(converted.graph, converted.state(), feeds, everywhere=True)
    onnx_values = run_onnx(converted.graph, converted.state(), feeds)
    return [
        _compare("torch = reference", converted.graph, torch_values, want),
        _compare("ONNX = reference", converted.graph, onnx_values, want),
    ]


def verify_against(folder: Path, other: Path) -> list[Comparison]:
    """Compare two of our own outputs, on the same input: a folder with another folder, or with an .onnx file.

    FileError where ``other`` is neither, or takes other inputs.
    """
    converted = load(folder)
    feeds = sample_inputs(converted)
    values = run_torch(converted.graph, converted.state(), feeds, everywhere=True)
    if other.suffix == ".onnx":
        want = _run_file(other, feeds)
    else:
        second = load(other)
        if {v.blob: v.shape for v in second.graph.inputs} != {v.blob: v.shape for v in converted.graph.inputs}:
            raise FileError(f"{other}: takes other inputs than {folder}, so the two cannot be compared")
        want = run_torch(second.graph, second.state(), feeds, everywhere=True)
    comparison = _compare(f"{folder} = {other}", converted.graph, values, want)
    if not comparison.rows:
        raise FileError(f"{other}: has no blob in common with {folder}")
    return [comparison]


def _run_file(path: Path, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    try:
        session = _session(str(path))
        names = [output.name for output in session.get_outputs()]
        return dict(zip(names, session.run(names, dict(feeds)), strict=True))
    except Exception as error:  # onnxruntime's own exceptions share no base but this
        raise FileError(f"{path}: cannot be run: {str(error).splitlines()[0]}") from error


def _torch_and_onnx(converted: Converted, feeds: Mapping[str, np.ndarray], folder: Path) -> list[Comparison]:
    graph, state = converted.graph, converted.state()
    torch_values = run_torch(graph, state, feeds, everywhere=True)
    onnx_values = run_onnx(graph, state, feeds)
    comparisons = [_compare("torch = ONNX", graph, torch_values, onnx_values)]
    written = _run_source(folder / SOURCE, state, feeds, graph)
    comparisons.append(_compare(f"{SOURCE} = torch", graph, written, torch_values))
    if (folder / ONNX).is_file():
        results = _session(str(folder / ONNX)).run(None, dict(feeds))
        values = dict(zip([value.name for value in graph.outputs], results, strict=True))
        comparisons.append(_compare(f"{ONNX} = torch", graph, values, torch_values))
    return comparisons


def sample_inputs(converted: Converted) -> dict[str, np.ndarray]:
    """Seeded inputs by blob: for the picture noise through its preprocessing, for others 0 and 1."""
    generator = np.random.default_rng(SEED)
    feeds = {}
    for index, value in enumerate(converted.graph.inputs):
        if index == 0:
            pixels = generator.uniform(0, 255, value.shape)
            mean = converted.preprocessing.mean
            if mean is not None and len(value.shape) == 4 and value.shape[1] == len(mean):
                pixels -= np.array(mean).reshape(1, -1, 1, 1)
            pixels *= converted.preprocessing.scale
            feeds[value.blob] = np.asarray(pixels, np.float32)
        else:
            feeds[value.blob] = generator.integers(0, 2, value.shape).astype(np.float32)
    return feeds


def with_all_values(graph: Graph) -> Graph:
    """The same graph, giving every value on its way."""
    values = tuple(value for node in graph.nodes for value in node.outputs)
    return replace(graph, outputs=values, output_names=tuple(value.name for value in values))


def run_torch(
    graph: Graph, state: Mapping[str, np.ndarray], feeds: Mapping[str, np.ndarray], everywhere: bool = False
) -> dict[str, np.ndarray]:
    """Values by name, from torch; with ``everywhere`` all of them, else the outputs."""
    chosen = with_all_values(graph) if everywhere else graph
    return _run_module(build(chosen, state), chosen, feeds)


def _run_module(module: Any, graph: Graph, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    import torch

    with torch.no_grad():
        results = module(*(torch.from_numpy(feeds[blob]) for blob in graph.input_names))
    results = results if isinstance(results, tuple) else (results,)
    return {value.name: result.numpy() for value, result in zip(graph.outputs, results, strict=True)}


def _run_source(
    path: Path, state: Mapping[str, np.ndarray], feeds: Mapping[str, np.ndarray], graph: Graph
) -> dict[str, np.ndarray]:
    """The outputs of the written model.py, loaded strictly with the written weights."""
    import torch

    namespace: dict[str, Any] = {"__name__": "model"}
    exec(compile(path.read_text(encoding="utf-8"), str(path), "exec"), namespace)
    module = namespace["Model"]().eval()
    module.load_state_dict({key: torch.from_numpy(array) for key, array in state.items()}, strict=True)
    return _run_module(module, graph, feeds)


def run_onnx(graph: Graph, state: Mapping[str, np.ndarray], feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Every value by name, from onnxruntime on the CPU."""
    chosen = with_all_values(graph)
    session = _session(onnx_model.build(chosen, state).SerializeToString())
    results = session.run(None, dict(feeds))
    return {value.name: result for value, result in zip(chosen.outputs, results, strict=True)}


def _session(model: str | bytes) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _reference(
    converted: Converted, inputs: Path, outputs: Path
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    graph = converted.graph
    given, wanted = _arrays(inputs), _arrays(outputs)
    feeds = {}
    for value in graph.inputs:
        if value.blob not in given:
            raise FileError(f"{inputs}: has no {value.blob!r}; it has {', '.join(given)}")
        if given[value.blob].shape[1:] != value.shape[1:]:
            raise FileError(
                f"{inputs}: {value.blob!r} has the shape {given[value.blob].shape}, "
                f"{converted.path} was converted for {value.shape}; convert with --input-shape"
            )
        feeds[value.blob] = np.asarray(given[value.blob], np.float32)
    known = {name: array for name, array in wanted.items() if name in graph.values}
    if not known:
        raise CaffeError(f"{outputs}: none of its blobs ({', '.join(wanted)}) is in {converted.path}")
    return feeds, known


def _arrays(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as stored:
            return dict(stored)
    except (OSError, ValueError, EOFError, KeyError, AttributeError, TypeError) as error:
        raise FileError(f"{path}: not an .npz of arrays: {error}") from error


def _compare(title: str, graph: Graph, got: Mapping[str, np.ndarray], want: Mapping[str, np.ndarray]) -> Comparison:
    rows = (
        compare(value.name, node.layer.name, node.layer.type, got[value.name], want[value.name])
        for node in graph.nodes
        for value in node.outputs
        if value.name in got and value.name in want
    )
    return Comparison(title, tuple(rows))


def compare(name: str, layer: str, kind: str, got: np.ndarray, want: np.ndarray) -> Row:
    """Two arrays as a Row; a difference in shape, or one not finite where the other is, is infinitely far."""
    a, b = np.asarray(got, np.float64), np.asarray(want, np.float64)
    largest = float(np.abs(b[np.isfinite(b)]).max(initial=0.0))
    if a.shape != b.shape:
        return Row(name, layer, kind, b.shape, largest, float("inf"), (), float(a.size), float(b.size))
    with np.errstate(invalid="ignore"):
        error = np.abs(a - b)
    error[(a == b) | (np.isnan(a) & np.isnan(b))] = 0
    error[~np.isfinite(error)] = np.inf
    place: tuple[int, ...] = ()
    if error.size:
        place = tuple(int(index) for index in np.unravel_index(int(error.argmax()), error.shape))
    at = (float(a[place]), float(b[place])) if error.size else (0.0, 0.0)
    return Row(name, layer, kind, b.shape, largest, float(error.max(initial=0.0)), place, *at)


def summary(comparisons: Sequence[Comparison]) -> str:
    """``torch = ONNX on 24 values, largest difference 2e-06 (conv5_2)``"""
    first = comparisons[0]
    if not first.rows:
        return f"{first.title}: nothing to compare"
    worst = first.worst
    return (
        f"{first.title} on {len(first.rows)} values, largest difference {worst.relative:.1e} "
        f"of the largest value ({worst.value})"
    )
