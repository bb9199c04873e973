"""A .caffemodel as a Net: headers walked, tensors left where they lie."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from caffe2torch import fields, fitting, limits, net_message, schema, upgrade, wire
from caffe2torch.errors import NetError, WireError
from caffe2torch.net import Blob, Net
from caffe2torch.tensors import Piece


def read(path: Path, fork: str | None = None, weights_only: bool = False) -> Net:
    """The net inside a binary file, with its blobs; ``fork``: that of Caffe whose layers are meant.

    ``weights_only``: a prototxt says what the net is, so it does not matter whether forks' layers can be told apart.
    Raises FileError, WireError, or NetError for what Caffe refuses.
    """
    from google.protobuf.message import DecodeError

    walk = wire.walk(path)
    message: Any = schema.message("NetParameter")()
    try:
        message.ParseFromString(walk.message)
    except (DecodeError, ValueError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise WireError(f"{path}: not a .caffemodel, or a damaged one: {reason}") from error
    limits.check_layers(max(len(message.layer), len(message.layers)), str(path))
    try:
        fits = fitting.of_net(message, str(path), fork, walk.message)
    except NetError:
        if not weights_only:
            raise
        fits = {}
    # Where a fork has the layer, it depends on the fork what is required.
    forked = {place for place, fit in fits.items() if not fit.misread}
    missing = [name for name in message.FindInitializationErrors() if _layer_place(name) not in forked]
    if missing and not weights_only:
        raise WireError(f"{path}: the required field {missing[0]} is missing; Caffe does not read this file")
    net = net_message.to_net(message, str(path), _blobs(message, walk), fits)
    if not net.layers:
        raise WireError(f"{path}: no layers in it; not a .caffemodel that holds a net")
    headers = sha256(walk.message, usedforsecurity=False).digest()
    return replace(net, weights_path=str(path), stored_form=True, headers=headers)


def _layer_place(name: str) -> int | None:
    """Of ``layer[3].clip_param.min`` the 3; None outside of layers."""
    found = re.match(r"layers?\[(\d+)\]", name)
    return int(found[1]) if found else None


def _blobs(message: Any, walk: wire.Walk) -> list[tuple[Blob, ...]]:
    by_generation: tuple[tuple[Sequence[Any], Sequence[wire.Places]], ...] = (
        ([layer.layer for layer in message.layers], walk.v0_layers),
        (message.layers, walk.v1_layers),
        (message.layer, walk.layers),
    )
    layers, places = by_generation[upgrade.generation(message)]
    return [
        tuple(
            _blob(walk, proto, place, order, index)
            for index, (proto, place) in enumerate(zip(layer.blobs, found, strict=True))
        )
        for order, (layer, found) in enumerate(zip(layers, places, strict=True))
    ]


def _blob(walk: wire.Walk, proto: Any, place: wire.TensorPlace, order: int, index: int) -> Blob:
    shape, legacy = net_message.shape_of(fields.from_message(proto))

    def read() -> np.ndarray:
        return wire.read(walk, place)

    def pieces(copies: int) -> Iterator[Piece]:
        return walk.file.pieces(place, copies)

    return Blob(shape, legacy, place.count, read, order, index, in_pieces=pieces)
