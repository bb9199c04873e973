"""A converted net as a folder: model.safetensors, model.py and config.json, whole or not at all."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from caffe2torch import limits, net_json, plugins, safetensors_file
from caffe2torch.converted import FORMAT, Converted, from_caffemodel
from caffe2torch.errors import CaffeError, FileError, OutputError
from caffe2torch.files import folder_beside
from caffe2torch.graph import Graph, resolve
from caffe2torch.kept import expected, shared
from caffe2torch.preprocess import Preprocessing
from caffe2torch.reader import PathLike
from caffe2torch.replacing import Kind, recover, refuse_folder
from caffe2torch.tensors import open_file
from caffe2torch.torch_source import shape_text, source

WEIGHTS, SOURCE, CONFIG, ONNX = "model.safetensors", "model.py", "config.json", "model.onnx"
_KINDS = {"name": str, "source": dict, "inputs": dict, "outputs": list, "net": dict}  # of config.json


def load(folder: PathLike) -> Converted:
    """Open a folder that ``save`` wrote; weights are read when asked for. FileError if it is something else."""
    path = Path(folder)
    config = _read_config(path)
    try:
        plugins.require(map(str, config.get("plugins", ())), str(path))
        net = net_json.from_json(config["net"], str(path))
        shapes = {blob: net_json.shape(sizes) for blob, sizes in config["inputs"].items()}
        graph = resolve(net, list(config["outputs"]), shapes)
        preprocessing = _preprocessing_of(config, path)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise FileError(f"{path / CONFIG}: damaged, or not written by caffe2torch ({error!r})") from error
    return Converted(path, config, net, graph, preprocessing, lambda: _read_weights(path / WEIGHTS, graph))


def _preprocessing_of(config: Mapping[str, Any], path: Path) -> Preprocessing:
    try:
        return Preprocessing.from_json(config["preprocessing"])
    except CaffeError as error:
        raise FileError(f"{path / CONFIG}: {error}") from error


def _read_config(path: Path) -> dict[str, Any]:
    if not path.exists():
        raise FileError(f"{path}: no such folder; make it with `caffe2torch convert MODEL.caffemodel -o {path}`")
    if not (path / CONFIG).is_file():
        raise FileError(f"{path}: no {CONFIG} in it, so not a folder that `caffe2torch convert` wrote")
    try:
        with open_file(path / CONFIG) as file:
            config = json.loads(file.read(limits.CONFIG).decode("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise FileError(f"{path / CONFIG}: cannot be read: {error}") from error
    if not isinstance(config, dict) or config.get("format") != FORMAT:
        raise FileError(f"{path / CONFIG}: not of the format {FORMAT!r}; convert the net again")
    wrong = next((key for key, kind in _KINDS.items() if not isinstance(config.get(key), kind)), None)
    if wrong is not None:
        raise FileError(
            f"{path / CONFIG}: damaged, or not written by caffe2torch ({wrong} is {config.get(wrong)!r:.80})"
        )
    return config


def _read_weights(path: Path, graph: Graph) -> dict[str, np.ndarray]:
    if path.is_file() and graph.parameters * 4 > min(2 * path.stat().st_size + (1 << 20), limits.STATE):
        raise FileError(
            f"{path}: has {path.stat().st_size:,} bytes, the net wants {graph.parameters:,} numbers; the folder is "
            "damaged, convert the net again"
        )
    wanted = expected(graph)
    state = safetensors_file.read(path, sum(prod(shape) * dtype.itemsize for shape, dtype in wanted.values()))
    state.update({key: state[owner] for key, owner in shared(graph).items() if owner in state})
    for key in sorted(wanted.keys() ^ state.keys()):
        fault = "lacks" if key in wanted else "holds beside what the net has"
        raise FileError(f"{path}: {fault} {key}; the folder is damaged, convert the net again")
    for key, (shape, dtype) in wanted.items():
        if (state[key].shape, state[key].dtype) != (shape, dtype):
            raise FileError(
                f"{path}: {key} is {state[key].dtype} of shape {state[key].shape}, the net wants {dtype} of {shape}; "
                "the folder is damaged, convert the net again"
            )
    return state


def open_trunk(path: PathLike, prototxt: PathLike | None = None) -> Converted:
    """A folder from ``convert``, or a caffemodel (converted in memory). CaffeError if it is neither."""
    given = Path(path)
    if given.is_dir():
        if prototxt is not None:
            raise CaffeError(f"{given} is a converted folder: it needs no prototxt")
        return load(given)
    return from_caffemodel(given, prototxt)


def save(
    converted: Converted,
    folder: PathLike,
    force: bool = False,
    onnx: bool = False,
    check: Callable[[Path], None] | None = None,
    progress: Callable[[int], None] | None = None,
) -> None:
    """Write the folder, whole or not at all; ``check`` may look at the finished one before it takes its place.

    ``progress`` is called with the bytes of each tensor that is written. OutputError if something is there already and
    ``force`` is not given, or if what was written is not read back so.
    """
    target = Path(folder)
    with replaced(target, force) as beside:
        kept = converted.kept()
        safetensors_file.write(beside / WEIGHTS, kept.tensors, lambda: _metadata(kept.digest()), progress)
        digest = kept.digest()
        _write(beside / SOURCE, printed(converted))
        config = {**converted.config, **_described(converted)}
        config["source"] = {**config["source"], "sha256": digest or None}
        _write(beside / CONFIG, json.dumps(config, indent=1) + "\n")
        if onnx:
            from caffe2torch import onnx_model

            state = safetensors_file.mapped(beside / WEIGHTS)
            state.update({key: state[owner] for key, owner in shared(converted.graph).items()})
            metadata = {"source": json.dumps(config["source"])}
            onnx_model.save(converted.graph, state, beside / ONNX, metadata)
            del state
        if check is not None:
            check(beside)


def _metadata(digest: str) -> dict[str, str]:
    """Of model.safetensors; torch's format, and what it came from."""
    return {"format": "pt", "source_sha256": digest} if digest else {"format": "pt"}


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
    if path.read_text(encoding="utf-8") != text:
        raise OutputError(f"{path.name} was not read back as it was written; is the disk sound?")


def printed(converted: Converted) -> str:
    """The text of model.py."""
    told = [converted.config["source"].get(kind) for kind in ("caffemodel", "prototxt")]
    file = next((name for name in told if isinstance(name, str)), "")
    return source(converted.graph, _about(converted), file)


def _about(converted: Converted) -> str:
    """How to load the folder and what its input is, for the docstring of model.py."""
    shapes = ", ".join(shape_text(value) for value in converted.graph.inputs)
    pictures = converted.pictures()
    load = (
        ("load_model", f'load_model(model, "{WEIGHTS}")')  # it knows of tensors that are stored once
        if shared(converted.graph)
        else ("load_file", f'model.load_state_dict(load_file("{WEIGHTS}"))')
    )
    return f"""    from safetensors.torch import {load[0]}

    model = Model().eval()
    {load[1]}

Input: float32 of shape {shapes}{f"; pictures: {pictures}" if pictures else ""}."""


def _described(converted: Converted) -> dict[str, Any]:
    graph = converted.graph
    return {
        "inputs": {value.blob: list(value.shape) for value in graph.inputs},
        "outputs": list(graph.output_names),
        "batch": "any" if graph.batch else "fixed",
        "preprocessing": converted.preprocessing.to_json(),
        "modules": _modules(graph),
        "plugins": plugins.used(type(node.operation) for node in graph.nodes),
        "net": net_json.to_json(graph),
    }


def _modules(graph: Graph) -> dict[str, str]:
    """The Caffe layer of each submodule: the first, where several are the same."""
    found: dict[str, str] = {}
    for node in graph.nodes:
        if node.operation.torch().module is not None:
            found.setdefault(node.name, node.layer.name)
    return found


@contextmanager
def replaced(target: Path, force: bool) -> Iterator[Path]:
    """A new folder beside ``target`` that takes its place when the block ends well, and is gone otherwise."""
    recover(target, KIND)
    refuse_folder(target, force, KIND)
    try:
        with folder_beside(target, KIND, force) as beside:
            yield beside
    except OSError as error:
        reason = error.strerror or error
        raise OutputError(f"{target}: cannot be written: {reason}; nothing was left half-written") from error


def _is_converted(path: Path) -> bool:
    try:
        return bool(_read_config(path))
    except FileError:
        return False


FILES = re.compile(
    r"model\.(safetensors|py|onnx)|config\.json|\.model\.onnx\.\d+\.part"
    r"|__pycache__/[^/]*\.pyc|\.DS_Store"  # of who imported model.py, or looked into the folder on a Mac
)
KIND = Kind("a folder that `caffe2torch convert` wrote", _is_converted, FILES)
