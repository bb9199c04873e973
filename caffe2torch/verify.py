"""torch = ONNX = reference, value by value; the first layer that differs is named."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from caffe2torch import limits, values
from caffe2torch.errors import CaffeError, FileError, VerifyError
from caffe2torch.folder import CONFIG, ONNX, SOURCE, Converted, load, printed
from caffe2torch.graph import Graph
from caffe2torch.tensors import open_file

TOLERANCE = 1e-4  # of the largest value
MOST = 4 * limits.VALUES  # bytes of a reference
DAMAGED = (BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError)


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
    sizes: tuple[int, ...] | None = None  # of what was got, where the shapes differ

    @property
    def relative(self) -> float:
        """The error as a part of the largest value (of 1 if that is smaller)."""
        return self.error / max(1.0, self.largest)

    @property
    def holds(self) -> bool:
        """Whether it is within tolerance."""
        return self.relative <= TOLERANCE

    def difference(self, left: str, right: str) -> str:
        """Where and how the two differ, in words; ``left`` is what was got, ``right`` what it is held against."""
        where = f"{self.layer} ({self.type}), blob {self.value!r}"
        if self.sizes is not None:
            return f"{where}: shape {self.sizes} in {left}, {self.shape} in {right}"
        return f"{where} at {list(self.place)}: {left} {self.got:.7g}, {right} {self.want:.7g}"


@dataclass(frozen=True)
class Comparison:
    """All values of two runs side by side, in the order of the layers."""

    left: str  # what was got: "torch"
    right: str  # what it is held against: "ONNX"
    rows: tuple[Row, ...]

    @property
    def title(self) -> str:
        """``torch = ONNX``"""
        return f"{self.left} = {self.right}"

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
        if self.first_difference is not None:
            raise VerifyError(f"{where}: {self.summary()}")

    def summary(self) -> str:
        """``torch = ONNX on 24 values, largest difference 2e-06 of the largest value (conv5_2)``, or what differs."""
        if not self.rows:
            return f"{self.title}: nothing to compare"
        first, worst = self.first_difference, self.worst
        if first is not None:
            return f"{self.title} does not hold; the first difference is in {first.difference(self.left, self.right)}"
        return (
            f"{self.title} on {len(self.rows)} values, largest difference {worst.relative:.1e} "
            f"of the largest value ({worst.value})"
        )


def verify(folder: Path, reference: tuple[Path, Path] | None = None, run_source: bool = False) -> list[Comparison]:
    """Compare what a folder holds with itself (torch against ONNX) and with a reference, if given.

    ``reference``: inputs.npz and outputs.npz with arrays by blob name. Nothing is raised for a difference: see
    ``Comparison.require``. A model.py that is not what is printed of the folder's config.json may be anybody's program:
    FileError, unless ``run_source``.
    """
    converted = load(folder)
    if reference is None:
        feeds = values.sample_inputs(converted)
        if not run_source:
            _check_source(converted, folder / SOURCE)
        return _torch_and_onnx(converted, feeds, folder)
    feeds, want = _reference(converted, *reference)
    torch_values = values.from_torch(converted.graph, converted.state(), feeds)
    onnx_values = values.from_onnx(converted.graph, converted.state(), feeds)
    return [
        _compare("torch", "reference", converted.graph, torch_values, want),
        _compare("ONNX", "reference", converted.graph, onnx_values, want),
    ]


def _check_source(converted: Converted, path: Path) -> None:
    """FileError unless a model.py is word for word what is printed of the net: only that is run unasked."""
    wanted = printed(converted).encode()
    with open_file(path) as file:
        if file.read(len(wanted) + 1) != wanted:
            raise FileError(
                f"{path}: not what caffe2torch prints of the {CONFIG} beside it, so it is not run: somebody changed "
                "it, or another version wrote it. It is a program; --run-source runs it, if you know whose it is"
            )


def verify_against(folder: Path, other: Path) -> list[Comparison]:
    """Compare two of our own outputs, on the same input: a folder with another folder, or with an .onnx file.

    FileError where ``other`` is neither, or takes other inputs.
    """
    converted = load(folder)
    feeds = values.sample_inputs(converted)
    found = values.from_torch(converted.graph, converted.state(), feeds)
    if other.suffix == ".onnx":
        want = values.from_file(other, feeds)
    else:
        second = load(other)
        if {v.blob: v.shape for v in second.graph.inputs} != {v.blob: v.shape for v in converted.graph.inputs}:
            raise FileError(f"{other}: takes other inputs than {folder}, so the two cannot be compared")
        want = values.from_torch(second.graph, second.state(), feeds)
    comparison = _compare(str(folder), str(other), converted.graph, found, want)
    if not comparison.rows:
        raise FileError(f"{other}: has no blob in common with {folder}")
    return [comparison]


def _torch_and_onnx(converted: Converted, feeds: Mapping[str, np.ndarray], folder: Path) -> list[Comparison]:
    graph, state = converted.graph, converted.state()
    torch_values = values.from_torch(graph, state, feeds)
    comparisons = [
        _compare("torch", "ONNX", graph, torch_values, values.from_onnx(graph, state, feeds)),
        _compare(SOURCE, "torch", graph, values.from_source(folder / SOURCE, graph, state, feeds), torch_values),
    ]
    if (folder / ONNX).is_file():
        written = values.from_file(folder / ONNX, feeds, graph)
        comparisons.append(_compare(ONNX, "torch", graph, written, torch_values))
    return comparisons


def _reference(
    converted: Converted, inputs: Path, outputs: Path
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    graph = converted.graph
    (given, there), (wanted, beside) = _arrays(inputs, graph), _arrays(outputs, graph)
    feeds = {}
    for value in graph.inputs:
        if value.blob not in given:
            raise FileError(f"{inputs}: has no {value.blob!r}; it has {', '.join(there)}")
        fixed = 1 if value.rows else 0  # axes that need not agree
        if given[value.blob].shape[fixed:] != value.shape[fixed:]:
            raise FileError(
                f"{inputs}: {value.blob!r} has the shape {given[value.blob].shape}, "
                f"{converted.path} was converted for {value.shape}; convert with --input-shape"
            )
        feeds[value.blob] = np.asarray(given[value.blob], np.float32)
    if not wanted:
        raise CaffeError(f"{outputs}: none of its blobs ({', '.join(beside)}) is in {converted.path}")
    return feeds, wanted


def _arrays(path: Path, graph: Graph) -> tuple[dict[str, np.ndarray], list[str]]:
    """The arrays of a file that are named as values of a graph, and the names of all that it has."""
    with BufferedReader(open_file(path)) as file:
        if file.peek(2)[:2] != b"PK":
            raise FileError(f"{path}: not an .npz of arrays")
        try:
            with np.load(file, allow_pickle=False) as stored:
                sizes = {each.filename.removesuffix(".npy"): each.file_size for each in stored.zip.infolist()}
                names = [name for name in stored.files if name in graph.values]
                if sum(sizes[name] for name in names) > MOST:
                    raise ValueError(f"more than {MOST:,} bytes of arrays")
                found = {name: stored[name] for name in names}
                if strange := [name for name in found if found[name].dtype.kind not in "biuf"]:
                    raise ValueError(f"{strange[0]!r} are no numbers")
                return found, stored.files
        except (*DAMAGED, OSError, ValueError, LookupError, AttributeError, TypeError, MemoryError) as error:
            raise FileError(f"{path}: not an .npz of arrays: {error}") from error


def _compare(
    left: str, right: str, graph: Graph, got: Mapping[str, np.ndarray], want: Mapping[str, np.ndarray]
) -> Comparison:
    rows = (
        compare(value.name, node.layer.name, node.layer.type, got[value.name], want[value.name])
        for node in graph.nodes
        for value in node.outputs
        if value.name in got and value.name in want
    )
    return Comparison(left, right, tuple(rows))


def compare(name: str, layer: str, kind: str, got: np.ndarray, want: np.ndarray) -> Row:
    """Two arrays as a Row; a difference in shape, or one not finite where the other is, is infinitely far."""
    a, b = np.asarray(got), np.asarray(want)
    magnitudes = np.abs(b)
    largest = float(magnitudes.max(initial=0))
    if not np.isfinite(largest):
        largest = float(magnitudes[np.isfinite(magnitudes)].max(initial=0))
    if a.shape != b.shape:
        return Row(name, layer, kind, b.shape, largest, float("inf"), (), 0.0, 0.0, a.shape)
    with np.errstate(invalid="ignore"):
        error = np.subtract(a, b, dtype=np.float64)
        np.abs(error, out=error)
    if not np.isfinite(error.max(initial=0)):
        error[(a == b) | (np.isnan(a) & np.isnan(b))] = 0
        error[~np.isfinite(error)] = np.inf
    place: tuple[int, ...] = ()
    if error.size:
        place = tuple(int(index) for index in np.unravel_index(int(error.argmax()), error.shape))
    at = (float(a[place]), float(b[place])) if error.size else (0.0, 0.0)
    return Row(name, layer, kind, b.shape, largest, float(error.max(initial=0.0)), place, *at)
