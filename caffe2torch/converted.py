"""A net with its weights and preprocessing, before it is a folder or out of one; and a part of it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import caffe2torch
from caffe2torch import known, surgery, weights
from caffe2torch.errors import NetError
from caffe2torch.graph import Graph, resolve
from caffe2torch.kept import Held, Kept
from caffe2torch.layers import DATA_TYPES
from caffe2torch.net import Net, Shape
from caffe2torch.preprocess import Preprocessing
from caffe2torch.reader import PathLike, load_net
from caffe2torch.tying import moved

if TYPE_CHECKING:
    from torch import nn

FORMAT = "caffe2torch 1"
_PICTURES = DATA_TYPES - {"HDF5Data", "MemoryData"}  # these layers read pictures, as BGR


@dataclass(frozen=True)
class Converted:
    """A net with its weights and preprocessing, on disk or not yet."""

    path: Path  # the folder, or the caffemodel it comes from
    config: dict[str, Any]
    net: Net
    graph: Graph
    preprocessing: Preprocessing
    read: Callable[[], dict[str, np.ndarray]] = field(compare=False, repr=False)
    # The same tensors to be written, each but once; where None, those that ``read`` gives.
    in_pieces: Callable[[], Kept] | None = field(default=None, compare=False, repr=False)

    def state(self) -> dict[str, np.ndarray]:
        """The module's state_dict as numpy arrays, read now."""
        return self.read()

    def kept(self) -> Kept | Held:
        """What is to be written, in the order of the file it comes from, and the digest of that file."""
        if self.in_pieces is not None:
            return self.in_pieces()
        return Held(self.read(), self.graph, self.config["source"].get("sha256") or "")

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
        in_file = self.in_pieces is not None and not weights.missing(self.graph)

        def read() -> dict[str, np.ndarray]:
            if in_file:
                return weights.state_dict(graph)
            state: dict[str, dict[str, np.ndarray]] = {node.name: {} for node in self.graph.nodes}
            for name, array in self.read().items():
                layer, _, key = name.partition(".")
                state[layer][key] = array
            pairs = ((node, whole[id(node.layer)]) for node in graph.nodes)
            return {
                f"{node.name}.{key}": array
                for node, old in pairs
                for key, array in moved(state[old.name], old, node).items()
            }

        return replace(
            self,
            graph=graph,
            config={**self.config, "cut": blob},
            preprocessing=replace(self.preprocessing, size=_size(graph)),
            read=read,
            in_pieces=(lambda: Kept(graph)) if in_file else None,
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
            "prototxt_sha256": sha256(Path(prototxt).read_bytes()).hexdigest() if prototxt is not None else None,
        },
        "dropped": [*dropped, *(name for name in graph.dropped if name not in dropped)],
        "why": published.why if published and usual else "",
        "notes": list(graph.notes),
        "finetune_size": list(published.finetune_size) if published and published.finetune_size else None,
    }
    return Converted(
        origin,
        config,
        net,
        graph,
        preprocessing(found),
        lambda: weights.state_dict(graph),
        lambda: Kept(graph),
    )


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
