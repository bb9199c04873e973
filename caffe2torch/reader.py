"""A prototxt and a file of weights as one Net: text parsed, headers walked, tensors left where they are."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from caffe2torch import arguments, binary, forks, hdf5, net_message, phases, prototxt, readings, registry, sharing
from caffe2torch.errors import CaffeError, FileError
from caffe2torch.net import Blob, Layer, Net

PathLike = str | os.PathLike[str]

_LEARNED = frozenset({"Convolution", "Deconvolution", "Embed", "InnerProduct", "LSTM", "RNN"})


def load_net(
    caffemodel: PathLike | None = None,
    prototxt: PathLike | None = None,
    *,
    phase: str = "TEST",
    stages: Sequence[str] = (),
    level: int = 0,
    fork: str | None = None,
) -> Net:
    """Read a net without reading a tensor.

    With a prototxt, its net is taken as Caffe would run it in ``phase`` (and stages, level), and the weights of the
    caffemodel (protobuf or HDF5) are joined to it by layer name. Without one, the net inside the caffemodel is taken
    in its deploy form: data layers are inputs, and stored phases do not count. ``fork``: the fork of Caffe whose
    meaning counts where several have a layer of the same type. Raises CaffeError (FileError, TextError, WireError,
    NetError) naming file and place.
    """
    if caffemodel is None and prototxt is None:
        raise CaffeError("nothing to read: give a caffemodel, a prototxt or both")
    phase, stages, level = arguments.phase(phase), arguments.names(stages, "stages"), arguments.level(level)
    if fork is not None:
        registry.load_all()  # and with them the forks they read
        fork = forks.canonical(fork, readings.fork_names())
    weights = None if caffemodel is None else Path(caffemodel)
    if prototxt is None:
        assert weights is not None
        if hdf5.is_hdf5(weights):
            raise FileError(f"{weights}: HDF5 holds weights only, no net; give its prototxt too (--prototxt)")
        return phases.deploy(sharing.share(phases.stored(binary.read(weights, fork))))
    net = _from_text(Path(prototxt), phase, stages, level, fork)
    if weights is None:
        return phases.deploy(sharing.share(net))
    joined = _with_hdf5(net, weights) if hdf5.is_hdf5(weights) else _with_caffemodel(net, weights, fork)
    return phases.deploy(replace(joined, weights_path=str(weights)))


def _from_text(path: Path, phase: str, stages: tuple[str, ...], level: int, fork: str | None) -> Net:
    if path.suffix == ".protobin":  # waifu2x-caffe's prototxts, as binary messages
        net = binary.read(path, fork)
        layers = tuple(replace(layer, blobs=layer.blobs or None) for layer in net.layers)
        net = replace(net, layers=layers, weights_path=None, stored_form=False)
        return phases.select(net, phase, stages, level)
    text = prototxt.read_net(path, fork)
    net = net_message.to_net(text.message, str(path), fits=text.fits)
    if text.passed:
        net = net.with_notes(f"fields of Caffe's forks passed over: {', '.join(text.passed)}")
    return phases.select(net, phase, stages + net_message.stages(text.message), level)


def _with_caffemodel(net: Net, path: Path, fork: str | None) -> Net:
    """Join by name, as Caffe does: extra layers of the file are ignored, and of two of one name the later counts.

    Where the net has two layers of one name, the first gets the weights.
    """
    weights = binary.read(path, fork, weights_only=True)
    found = {layer.name: layer.blobs for layer in weights.layers}
    _refuse_strangers(net, found, path)
    net = _completed(net, weights)
    layers = [replace(layer, blobs=found.pop(layer.name)) if layer.name in found else layer for layer in net.layers]
    return sharing.share(replace(net, layers=tuple(layers), headers=weights.headers))


def _completed(net: Net, weights: Net) -> Net:
    """With those messages of layers that only the file of weights has, where the type of a layer allows it."""
    by_name = {layer.name: layer for layer in weights.layers}
    layers, notes = list(net.layers), []
    for place, layer in enumerate(layers):
        operation, other = registry.find(layer.type), by_name.get(layer.name)
        if operation is None or other is None or other.type != layer.type:
            continue
        more = {name: other.params[name] for name in operation.completed if name in other.params}
        more = {name: fields for name, fields in more.items() if not layer.params.get(name)}
        if more:
            layers[place] = replace(layer, params={**layer.params, **more})
            notes.append(f"layer {layer.name} ({layer.type}): {', '.join(more)} as {weights.path} has it")
    return replace(net, layers=tuple(layers)).with_notes(*notes) if notes else net


def _with_hdf5(net: Net, path: Path) -> Net:
    """As ``_with_caffemodel``, but for two things: of two layers of the net the last gets the weights, and a shared
    blob lies only with the layer that owns it.
    """
    found = hdf5.read(path)
    _refuse_strangers(net, found, path)
    last = {layer.name: place for place, layer in enumerate(net.layers)}
    by_place = {last[name]: blobs for name, blobs in found.items() if name in last}
    net = sharing.share(net, by_place)
    layers = [
        replace(layer, blobs=_complete(layer, by_place[place], path)) if place in by_place else layer
        for place, layer in enumerate(net.layers)
    ]
    return replace(net, layers=tuple(layers), headers=hdf5.headers(found))


def _complete(layer: Layer, found: Mapping[int, Blob], path: Path) -> tuple[Blob, ...]:
    """A layer's blobs from HDF5, those between them that another layer lends included."""
    blobs: dict[int, Blob] = {
        index: replace(shared.blob, flat=True)
        for index, shared in layer.shared.items()
        if shared.blob is not None and not shared.owned
    }
    blobs |= found
    if set(blobs) != set(range(len(blobs))):
        absent = min(set(range(len(blobs))) - set(blobs))
        raise FileError(f"{path}: layer {layer.name!r} has no blob {absent}, but later ones; Caffe refuses it")
    return tuple(blobs[index] for index in range(len(blobs)))


def _refuse_strangers(net: Net, found: Mapping[str, Collection[Any] | None], path: Path) -> None:
    """CaffeError if a file knows none of the layers that learn, unless these are filled with a constant anyway."""
    learned = [layer for layer in net.layers if layer.type in _LEARNED]
    names = [name for name, blobs in found.items() if blobs]
    if names and not all(map(_constant, learned)) and not any(layer.name in found for layer in learned):
        some = ", ".join(repr(name) for name in names[:4]) + (", …" if len(names) > 4 else "")
        raise CaffeError(
            f"{path}: none of its layers with weights has a name that {net.path} knows "
            f"(the file has {some}); these two files do not belong together"
        )


def _constant(layer: Layer) -> bool:
    fillers = [fields["weight_filler"] for fields in layer.params.values() if "weight_filler" in fields]
    return bool(fillers) and all(filler.type == "constant" for filler in fillers)
