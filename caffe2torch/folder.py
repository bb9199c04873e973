"""A converted net as a folder: model.safetensors, model.py and config.json, whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import caffe2torch
from caffe2torch import known, net_json, phases, plugins, surgery, weights
from caffe2torch.errors import CaffeError, FileError, NetError, OutputError
from caffe2torch.files import folder_beside, recover
from caffe2torch.graph import Graph, resolve
from caffe2torch.net import Net, Shape
from caffe2torch.preprocess import Preprocessing
from caffe2torch.reader import PathLike, load_net
from caffe2torch.torch_source import shape_text, source
from caffe2torch.tying import moved

if TYPE_CHECKING:
    from torch import nn

FORMAT = "caffe2torch 1"
_PICTURES = phases.DATA_TYPES - {"HDF5Data", "MemoryData"}  # these layers read pictures, as BGR
WEIGHTS, SOURCE, CONFIG, ONNX = "model.safetensors", "model.py", "config.json", "model.onnx"


@dataclass(frozen=True)
class Converted:
    """A net with its weights and preprocessing, on disk or not yet."""

    path: Path  # the folder, or the caffemodel it comes from
    config: dict[str, Any]
    net: Net
    graph: Graph
    preprocessing: Preprocessing
    read: Callable[[], dict[str, np.ndarray]] = field(compare=False, repr=False)

    def state(self) -> dict[str, np.ndarray]:
        """The module's state_dict as numpy arrays, read now."""
        return self.read()

    def module(self) -> nn.Module:
        """The torch module, in eval mode, with input_names and output_names."""
        from caffe2torch.conversion import build

        return build(self.graph, self.state())

    def pictures(self) -> str:
        """What the pixels of its input are, in words; "" where the input does not look like a picture."""
        shape = self.graph.inputs[0].shape if self.graph.inputs else ()
        return self.preprocessing.text() if len(shape) == 4 and shape[1] in (1, 3) else ""

    def cut(self, blob: str, input_shape: tuple[int, ...] | None = None) -> Converted:
        """The part that computes ``blob``, for inputs of ``input_shape`` if given.

        NetError names the blobs there are.
        """
        blobs = list(dict.fromkeys(value.blob for node in self.graph.nodes for value in node.outputs))
        if blob not in blobs:
            raise NetError(f"{self.path}: there is no blob {blob!r}; there are {', '.join(blobs)}")
        shapes = {value.blob: value.shape for value in self.graph.inputs}
        if input_shape is not None:
            shapes[self.graph.inputs[0].blob] = tuple(input_shape)
        graph = resolve(self.net, [blob], shapes)
        whole = {id(node.layer): node for node in self.graph.nodes}

        def read() -> dict[str, np.ndarray]:
            state = self.read()
            return {
                f"{node.name}.{key}": array
                for node in graph.nodes
                for key, array in moved(state, whole[id(node.layer)], node).items()
            }

        return replace(
            self,
            graph=graph,
            config={**self.config, "cut": blob},
            preprocessing=replace(self.preprocessing, size=_size(graph)),
            read=read,
        )


def from_caffemodel(
    caffemodel: PathLike | None,
    prototxt: PathLike | None = None,
    *,
    drop: Sequence[str] = (),
    keep_all: bool = False,
    outputs: Sequence[str] | None = None,
    input_shape: Shape | Mapping[str, Shape] | None = None,
    fork: str | None = None,
    preprocessing: Callable[[Preprocessing], Preprocessing] = lambda found: found,
    progress: Callable[[int], None] | None = None,
) -> Converted:
    """Read and resolve a net; what known.py says of it is applied unless ``keep_all``. No weights are read yet."""
    net = load_net(caffemodel, prototxt, fork=fork)
    published = known.recognise(net)
    dropped: tuple[str, ...] = ()
    usual: list[str] = []  # what is dropped without being asked for
    if published is not None and not keep_all and not outputs:
        names = {layer.name for layer in net.layers}
        usual = [name for name in published.drop if name in names]
    if drop or usual:
        net, dropped = surgery.drop(net, [*drop, *usual])
    graph = resolve(net, outputs, input_shape)
    found = replace(_preprocessing(net, graph, published), size=_size(graph))
    origin = Path(os.fspath(caffemodel if caffemodel is not None else prototxt or ""))
    config = {
        "format": FORMAT,
        "version": caffe2torch.__version__,
        "name": published.name if published else net.name,
        "source": {
            "caffemodel": Path(os.fspath(caffemodel)).name if caffemodel is not None else None,
            "bytes": os.stat(caffemodel).st_size if caffemodel is not None else None,
            "prototxt": Path(os.fspath(prototxt)).name if prototxt is not None else None,
        },
        "dropped": [*dropped, *(name for name in graph.dropped if name not in dropped)],
        "why": published.why if published and usual else "",
        "notes": list(graph.notes),
        "finetune_size": list(published.finetune_size) if published and published.finetune_size else None,
    }
    return Converted(origin, config, net, graph, preprocessing(found), lambda: weights.state_dict(graph, progress))


def _preprocessing(net: Net, graph: Graph, published: known.Known | None) -> Preprocessing:
    """Of a known net; else what its data layer says; channel order BGR, as Caffe reads pictures."""
    if published is not None:
        return published.preprocessing
    shape = graph.inputs[0].shape if graph.inputs else ()
    grey = len(shape) == 4 and shape[1] == 1
    found = Preprocessing("GRAY" if grey else "BGR", assumed=not grey)
    for entry in net.inputs:
        if entry.blob in graph.input_names[:1]:
            found = replace(found, assumed=found.assumed and entry.origin not in _PICTURES)
            if len(entry.mean) in (0, 1, found.channels):
                return found.of_input(entry)
    return found


def _size(graph: Graph) -> tuple[int, int] | None:
    shape = graph.inputs[0].shape if graph.inputs else ()
    return (shape[2], shape[3]) if len(shape) == 4 else None


def load(folder: PathLike) -> Converted:
    """Open a folder that ``save`` wrote; weights are read when asked for. FileError if it is something else."""
    path = Path(folder)
    config = _read_config(path)
    try:
        plugins.require(map(str, config.get("plugins", ())), str(path))
        net = net_json.from_json(config["net"], str(path))
        shapes = {blob: tuple(int(size) for size in shape) for blob, shape in config["inputs"].items()}
        graph = resolve(net, list(config["outputs"]), shapes)
        preprocessing = _preprocessing_of(config, path)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
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
        config = json.loads((path / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise FileError(f"{path / CONFIG}: cannot be read: {error}") from error
    if not isinstance(config, dict) or config.get("format") != FORMAT:
        raise FileError(f"{path / CONFIG}: not of the format {FORMAT!r}; convert the net again")
    return config


def _read_weights(path: Path, graph: Graph) -> dict[str, np.ndarray]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        state = load_file(path)
    except (OSError, SafetensorError) as error:
        raise FileError(f"{path}: not readable as safetensors: {error}") from error
    state.update({key: state[owner] for key, owner in _shared(graph).items() if owner in state})
    expected = _expected(graph)
    for key in sorted(expected.keys() ^ state.keys()):
        fault = "lacks" if key in expected else "holds beside what the net has"
        raise FileError(f"{path}: {fault} {key}; the folder is damaged, convert the net again")
    for key, (shape, dtype) in expected.items():
        if (state[key].shape, state[key].dtype) != (shape, dtype):
            raise FileError(
                f"{path}: {key} is {state[key].dtype} of shape {state[key].shape}, the net wants {dtype} of {shape}; "
                "the folder is damaged, convert the net again"
            )
    return state


def _expected(graph: Graph) -> dict[str, tuple[Shape, np.dtype[Any]]]:
    """Shape and dtype of every tensor in the module's state_dict."""
    found = {}
    for node in graph.nodes:
        blobs = [np.broadcast_to(np.float32(0), param.shape) for param in node.operation.params()]
        for name, array in node.operation.state(blobs).items():
            found[f"{node.name}.{name}"] = (array.shape, array.dtype)
    return found


def _shared(graph: Graph) -> dict[str, str]:
    """Keys of tensors that another key holds as well, and that key: such a tensor is stored once."""
    return {f"{node.name}.{key}": owner for node in graph.nodes for key, owner in node.shared.items()}


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
) -> None:
    """Write the folder, whole or not at all; ``check`` may look at the finished one before it takes its place.

    OutputError if something is there already and ``force`` is not given.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    target = Path(folder)
    with replaced(target, force) as beside:
        state = converted.state()
        lent = _shared(converted.graph)
        stored = {key: array for key, array in state.items() if key not in lent}
        try:
            save_file(stored, beside / WEIGHTS, metadata={"format": "pt"})
        except SafetensorError as error:
            raise OutputError(f"{target}: cannot be written: {error}; nothing was left half-written") from error
        (beside / SOURCE).write_text(source(converted.graph, _about(converted)), encoding="utf-8")
        config = {**converted.config, **_described(converted)}
        (beside / CONFIG).write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
        if onnx:
            from caffe2torch import onnx_model

            onnx_model.save(converted.graph, state, beside / ONNX)
        _same(state, _read_weights(beside / WEIGHTS, converted.graph), target)
        del state
        if check is not None:
            check(beside)


def _about(converted: Converted) -> str:
    """How to load the folder and what its input is, for the docstring of model.py."""
    shapes = ", ".join(shape_text(value) for value in converted.graph.inputs)
    pictures = converted.pictures()
    load = (
        ("load_model", f'load_model(model, "{WEIGHTS}")')  # it knows of tensors that are stored once
        if _shared(converted.graph)
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


def _same(written: Mapping[str, np.ndarray], read: Mapping[str, np.ndarray], target: Path) -> None:
    for key, array in written.items():
        if not np.array_equal(array, read[key], equal_nan=True):
            raise OutputError(f"{target}: {key} was not read back as it was written; is the disk sound?")


@contextmanager
def replaced(target: Path, force: bool) -> Iterator[Path]:
    """A new folder beside ``target`` that takes its place when the block ends well, and is gone otherwise."""
    recover(target)
    refuse_existing(target, force)
    try:
        with folder_beside(target) as beside:
            yield beside
    except OSError as error:
        reason = error.strerror or error
        raise OutputError(f"{target}: cannot be written: {reason}; nothing was left half-written") from error


def refuse_existing(target: Path, force: bool) -> None:
    """OutputError if something is at ``target`` that must not, or may never, be replaced."""
    if target.exists() and not force:
        raise OutputError(f"{target} exists already; give another -o, or --force to replace it")
    if target.exists() and not (target.is_dir() and _ours(target)):
        raise OutputError(f"{target} is not a folder that this tool wrote; --force does not replace it")


def _ours(folder: Path) -> bool:
    return (folder / CONFIG).is_file() or not any(folder.iterdir())
