"""Blobs that several layers have in common by ``param { name }``, as Caffe's Net::AppendParam shares them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from caffe2torch.errors import NetError
from caffe2torch.net import Blob, Layer, Net, ParamSpec, Shared

_RATES = ("lr_mult", "decay_mult")


@dataclass(frozen=True)
class _Member:
    """One layer's blob of a shared name."""

    place: int  # of the layer in the net
    index: int  # of the blob in the layer
    spec: ParamSpec
    blob: Blob | None


def share(net: Net, blobs: Mapping[int, Mapping[int, Blob]] | None = None) -> Net:
    """Say at every layer which of its blobs it shares, with whom, and what the file has of them.

    The first layer of a name owns the blob. Caffe reads the file's layers in order into one memory, so the last one
    counts. ``blobs``, by places of layers and blobs, stands for the layers' own. NetError for rates that disagree.
    """
    members: dict[str, list[_Member]] = {}
    for place, layer in enumerate(net.layers):
        found = dict(enumerate(layer.blobs or ())) if blobs is None else blobs.get(place, {})
        for index, spec in enumerate(layer.specs):
            if spec.name:
                members.setdefault(spec.name, []).append(_Member(place, index, spec, found.get(index)))
    layers = list(net.layers)
    for name, group in members.items():
        if len(group) > 1:
            rates = _rates(net, name, group)
            owner = layers[group[0].place].name
            for member in group:
                shared = Shared(name, owner, member is group[0], _last(group))
                layers[member.place] = _with(layers[member.place], member.index, shared, rates)
    return replace(net, layers=tuple(layers))


def _with(layer: Layer, index: int, shared: Shared, rates: Mapping[str, float]) -> Layer:
    specs = list(layer.specs)
    lr_mult, decay_mult = (rates.get(rate, 1.0) for rate in _RATES)
    specs[index] = replace(specs[index], lr_mult=lr_mult, decay_mult=decay_mult, given=tuple(rates))
    return replace(layer, specs=tuple(specs), shared={**layer.shared, index: shared})


def _last(group: list[_Member]) -> Blob | None:
    read = [member.blob for member in group if member.blob is not None and member.blob.order >= 0]
    return max(read, key=lambda blob: blob.order) if read else group[0].blob


def _rates(net: Net, name: str, group: list[_Member]) -> dict[str, float]:
    """The learning rate and decay of a shared blob: those that any of its layers says."""
    rates: dict[str, float] = {}
    for member in group:
        for rate in _RATES:
            if rate in member.spec.given:
                value = getattr(member.spec, rate)
                if rates.setdefault(rate, value) != value:
                    raise NetError(
                        f"{net.path}: layer {net.layers[member.place].name!r} sets {rate}: {value:g} for the shared "
                        f"param {name!r}, another layer {rates[rate]:g}; Caffe wants them equal, or said only once"
                    )
    return rates
