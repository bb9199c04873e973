"""A prototxt and a caffemodel as one Net: text parsed, headers walked, tensors left where they are."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from caffe2torch import fields, phases, schema, upgrade, wire
from caffe2torch.errors import CaffeError, FileError, TextError, WireError
from caffe2torch.net import Blob, Input, Layer, Net, ParamSpec, Rule, Shape

PathLike = str | os.PathLike[str]


def load_net(
    caffemodel: PathLike | None = None,
    prototxt: PathLike | None = None,
    *,
    phase: str = "TEST",
    stages: Sequence[str] = (),
    level: int = 0,
) -> Net:
    """Read a net without reading a tensor.

    With a prototxt, its net is taken as Caffe would run it in ``phase`` (and stages, level), and the caffemodel's
    weights are joined to it by layer name. Without one, the net inside the caffemodel is taken in its deploy form:
    data layers are inputs, and stored phases do not count. Raises CaffeError (FileError, TextError, WireError,
    NetError) naming file and place.
    """
    if caffemodel is None and prototxt is None:
        raise CaffeError("nothing to read: give a caffemodel, a prototxt or both")
    stored = _read_caffemodel(Path(caffemodel)) if caffemodel is not None else None
    if prototxt is None:
        assert stored is not None
        return phases.deploy(phases.stored(stored))
    net = phases.select(_read_prototxt(Path(prototxt)), phase, tuple(stages), level)
    if stored is not None:
        net = _with_weights(net, stored)
    return phases.deploy(net)


def _with_weights(net: Net, stored: Net) -> Net:
    """Join by name, as Caffe does: extra layers of the file are ignored, a later duplicate wins."""
    blobs = {layer.name: layer.blobs for layer in stored.layers if layer.blobs}
    layers = tuple(replace(layer, blobs=blobs.get(layer.name)) for layer in net.layers)
    if blobs and not any(layer.blobs for layer in layers):
        raise CaffeError(
            f"{stored.path}: none of its layers with weights has a name that {net.path} knows "
            f"(the file has {_some(list(blobs))}); these two files do not belong together"
        )
    return replace(net, layers=layers, weights_path=stored.path)


def _some(names: list[str]) -> str:
    return ", ".join(repr(name) for name in names[:4]) + (", …" if len(names) > 4 else "")


def _read_prototxt(path: Path) -> Net:
    from google.protobuf import text_format

    text = _text(path)
    message = schema.message("NetParameter")()
    try:
        text_format.Parse(text, message)
    except text_format.ParseError as error:
        raise TextError(f"{path}: not a net that Caffe can read: {_first_line(error)}") from error
    except (RecursionError, ValueError) as error:
        raise TextError(f"{path}: not a net that Caffe can read: {_first_line(error)}") from error
    return _net(message, str(path))


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _text(path: Path) -> str:
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise FileError(f"{path}: cannot be read: {error.strerror}") from error
    if b"\0" in raw:
        raise TextError(f"{path}: not text; a prototxt was expected. Is it a .caffemodel?")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        # Comments in GBK or Shift-JIS are common; field names are ASCII in any case.
        return raw.decode("latin-1")


def _read_caffemodel(path: Path) -> Net:
    from google.protobuf.message import DecodeError

    walk = wire.walk(path)
    message: Any = schema.message("NetParameter")()
    try:
        message.ParseFromString(walk.message)
    except (DecodeError, ValueError) as error:
        raise WireError(f"{path}: not a .caffemodel, or a damaged one: {_first_line(error)}") from error
    places = walk.v1_layers if message.layers else walk.layers
    net = _net(message, str(path), [_blobs(walk, layer, found) for layer, found in _stored(message, places)])
    if not net.layers:
        raise WireError(f"{path}: no layers in it; not a .caffemodel that holds a net")
    return replace(net, weights_path=str(path), stored_form=True)


def _stored(message: Any, places: Any) -> list[tuple[Any, Any]]:
    return list(zip(message.layers if message.layers else message.layer, places, strict=True))


def _blobs(walk: wire.Walk, layer: Any, places: Sequence[wire.TensorPlace]) -> tuple[Blob, ...]:
    return tuple(_blob(walk, proto, place) for proto, place in zip(layer.blobs, places, strict=True))


def _blob(walk: wire.Walk, proto: Any, place: wire.TensorPlace) -> Blob:
    legacy = any(proto.HasField(name) for name in ("num", "channels", "height", "width"))
    shape: Shape
    if legacy:
        shape = (proto.num, proto.channels, proto.height, proto.width)
    else:
        shape = tuple(proto.shape.dim)

    def read() -> np.ndarray:
        return wire.read(walk, place)

    return Blob(shape, legacy, place.count, read)


def _net(message: Any, path: str, blobs: Sequence[tuple[Blob, ...]] | None = None) -> Net:
    layers = tuple(
        _layer(proto, blobs[index] if blobs else None, os.path.dirname(path))
        for index, proto in enumerate(upgrade.upgrade(message, path))
    )
    return Net(name=message.name, inputs=_inputs(message, path), layers=layers, path=path)


def _inputs(message: Any, path: str) -> tuple[Input, ...]:
    names = list(message.input)
    shapes: list[Shape | None] = [tuple(shape.dim) for shape in message.input_shape]
    if not shapes:
        dims = list(message.input_dim)
        shapes = [tuple(dims[start : start + 4]) for start in range(0, len(dims), 4)]
    if not shapes:
        shapes = [None] * len(names)
    if len(shapes) != len(names):
        raise TextError(
            f"{path}: {len(names)} `input` names but {len(shapes)} shapes; "
            "each input needs four `input_dim` or one `input_shape`"
        )
    return tuple(Input(name, shape) for name, shape in zip(names, shapes, strict=True))


def _layer(proto: Any, blobs: tuple[Blob, ...] | None, folder: str) -> Layer:
    known = fields.from_message(proto)
    return Layer(
        name=proto.name,
        type=proto.type,
        bottoms=tuple(proto.bottom),
        tops=tuple(proto.top),
        params={name: value for name, value in known.items() if name.endswith("_param")},
        specs=tuple(
            ParamSpec(spec.name, spec.lr_mult, spec.decay_mult, spec.share_mode == "PERMISSIVE") for spec in known.param
        ),
        include=tuple(_rule(rule) for rule in known.include),
        exclude=tuple(_rule(rule) for rule in known.exclude),
        phase=known["phase"] if "phase" in known else None,
        loss_weights=known.loss_weight,
        blobs=blobs,
        folder=folder,
    )


def _rule(rule: fields.Fields) -> Rule:
    return Rule(rule.get("phase"), rule.get("min_level"), rule.get("max_level"), rule.stage, rule.not_stage)
