"""A NetParameter message, from text or from a binary file, as a Net."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from caffe2torch import fields, limits, phases, strangers, upgrade
from caffe2torch.errors import TextError
from caffe2torch.fitting import Fit
from caffe2torch.net import Blob, Input, Layer, Net, ParamSpec, ReadAs, Rule, Shape

Blobs = tuple[Blob, ...]
_NAMED = 4  # unknown fields in a note, at most


def to_net(message: Any, path: str, blobs: Sequence[Blobs] | None = None, fits: Mapping[int, Fit] | None = None) -> Net:
    """The whole net. ``blobs``: of each layer of a binary file; None: those that the text itself holds. ``fits``: how
    layers are to be read whose type a fork of Caffe has.

    Raises NetError for what Caffe's upgrade of old nets refuses, TextError for inputs without a shape each.
    """
    entries, notes = upgrade.upgrade(message, path, fits)
    folder = os.path.dirname(path)
    layers = tuple(_layer(entry, None if blobs is None else blobs[entry.place], folder) for entry in entries)
    inputs, more = _inputs(message, path)
    odd = [layer for layer in layers if layer.unknown and not phases.is_data(layer)]  # data layers become inputs
    if odd and blobs is None:
        more.append(f"fields of Caffe's forks passed over: {_told(odd)}")
    elif odd:
        holders = "1 layer holds" if len(odd) == 1 else f"{len(odd)} layers hold"
        more.append(
            f"{holders} fields that Caffe does not know, first {odd[0].name}: "
            f"{', '.join(map(strangers.named, odd[0].unknown[:_NAMED]))}; passed over, as Caffe does"
        )
    net = Net(fields.plain_text(message.name), inputs, layers, path, notes=(*notes, *more))
    limits.check_net(net)
    return net


def _told(odd: Sequence[Layer]) -> str:
    """``data (AnnotatedData): annotated_data_param; …``"""
    told = [f"{layer.name} ({layer.type}): {', '.join(layer.unknown)}" for layer in odd[:_NAMED]]
    more = len(odd) - _NAMED
    return "; ".join(told) + (f"; and in {more} more {'layer' if more == 1 else 'layers'}" if more > 0 else "")


def stages(message: Any) -> tuple[str, ...]:
    """The stages that a net sets itself, in its ``state { }``; phase and level there do not count in Caffe."""
    return tuple(fields.plain_text(stage) for stage in message.state.stage)


def _inputs(message: Any, path: str) -> tuple[tuple[Input, ...], list[str]]:
    names = [fields.plain_text(name) for name in message.input]
    shapes: list[Shape | None] = [tuple(shape.dim) for shape in message.input_shape]
    if not shapes:
        dims = list(message.input_dim)
        shapes = [tuple(dims[start : start + 4]) for start in range(0, len(dims) - len(dims) % 4, 4)]
    if not shapes and not message.input_dim:
        shapes = [None] * len(names)
    if len(shapes) < len(names):
        raise TextError(
            f"{path}: {len(names)} `input` names but {len(shapes)} shapes; "
            "each input needs four `input_dim` or one `input_shape`"
        )
    notes = []
    if len(shapes) > len(names) and names:
        notes.append(f"{len(shapes)} shapes for {len(names)} `input` names: the last are passed over, as Caffe does")
    return tuple(Input(name, shape) for name, shape in zip(names, shapes, strict=False)), notes


def _layer(entry: upgrade.Entry, blobs: Blobs | None, folder: str) -> Layer:
    known = entry.fields
    readings = tuple(ReadAs(forks, _params(read)) for forks, read in entry.readings)
    return Layer(
        name=known.name,
        type=_type(known),
        bottoms=known.bottom,
        tops=known.top,
        params=readings[0].params if readings else _params(known),
        specs=tuple(_spec(spec) for spec in known.param),
        include=tuple(_rule(rule) for rule in known.include),
        exclude=tuple(_rule(rule) for rule in known.exclude),
        phase=known.get("phase"),
        loss_weights=known.loss_weight,
        propagate_down=known.propagate_down,
        blobs=blobs if blobs is not None else tuple(_inline(blob) for blob in known.blobs) or None,
        unknown=entry.unknown,
        folder=folder,
        fork=tuple(dict.fromkeys(fork for reading in readings for fork in reading.forks)),
        readings=readings,
        misread=entry.misread,
    )


def _params(known: fields.Fields) -> dict[str, fields.Fields]:
    return {name: value for name, value in known.items() if name.endswith("_param")}


def _type(known: fields.Fields) -> str:
    """The type by which a layer is looked up: of layers written in Python, with their module and class."""
    if known.type != "Python":
        return str(known.type)
    python = known.get("python_param", {})
    module = python.get("module", "").removeprefix("lib.")  # py-faster-rcnn's folder
    return ":".join(["Python", ".".join(filter(None, (module, python.get("layer"))))]).rstrip(":")


def _spec(spec: fields.Fields) -> ParamSpec:
    given = tuple(name for name in ("lr_mult", "decay_mult") if name in spec)
    return ParamSpec(spec.name, spec.lr_mult, spec.decay_mult, spec.share_mode == "PERMISSIVE", given)


def _rule(rule: fields.Fields) -> Rule:
    return Rule(rule.get("phase"), rule.get("min_level"), rule.get("max_level"), rule.stage, rule.not_stage)


def _inline(proto: fields.Fields) -> Blob:
    """Numbers that stand in the prototxt itself."""
    shape, legacy = shape_of(proto)
    numbers = proto.double_data or proto.data
    return Blob(shape, legacy, len(numbers), lambda: np.array(numbers, np.float32))


def shape_of(proto: fields.Fields) -> tuple[Shape, bool]:
    """A BlobProto's shape, and whether it is told by num, channels, height and width."""
    legacy = any(name in proto for name in ("num", "channels", "height", "width"))
    if legacy:
        return (proto.num, proto.channels, proto.height, proto.width), True
    return tuple(proto.shape.dim), False
