"""Layers of all three file generations in today's form: string types, ``layer``, one message a layer type.

The rules are those of Caffe's own upgrade_proto.cpp, told in our words.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from caffe2torch import fields, upgrade_v0
from caffe2torch.errors import NetError
from caffe2torch.net import Fields

if TYPE_CHECKING:
    from caffe2torch.fitting import Fit

# Enum names whose type is not just the same words without underscores.
_TYPE_NAMES = {
    "ABSVAL": "AbsVal",
    "ARGMAX": "ArgMax",
    "BN": "BN",
    "BNLL": "BNLL",
    "FocalLoss": "FocalLoss",
    "HDF5_DATA": "HDF5Data",
    "HDF5_OUTPUT": "HDF5Output",
    "LRN": "LRN",
    "MVN": "MVN",
    "NONE": "",
    "RELU": "ReLU",
    "RELU6": "ReLU6",
    "ROIPOOLING": "ROIPooling",
    "SIGMOID_CROSS_ENTROPY_LOSS": "SigmoidCrossEntropyLoss",
    "SOFTMAX_LOSS": "SoftmaxWithLoss",
    "TANH": "TanH",
}
# Before transform_param, data layers held these themselves.
_TRANSFORM_FIELDS = ("scale", "mean_file", "crop_size", "mirror")
_DATA_PARAMS = {"Data": "data_param", "ImageData": "image_data_param", "WindowData": "window_data_param"}
# V1's lists, one value a blob, and the field of today's ParamSpec that each became.
_SPEC_FIELDS = {
    "param": "name",
    "blob_share_mode": "share_mode",
    "blobs_lr": "lr_mult",
    "weight_decay": "decay_mult",
}


@dataclass(frozen=True)
class Entry:
    """One layer: the fields of a LayerParameter, and what the file's own message of it does not make known."""

    fields: Fields
    place: int  # among the file's ``layer`` or ``layers``
    unknown: tuple[str, ...] = ()
    readings: tuple[tuple[tuple[str, ...], Fields], ...] = ()  # by the forks that read it so; ``fields`` is the first's
    misread: str = ""


def type_name(enum_name: str) -> str:
    """Today's name of a V1 layer type: ``INNER_PRODUCT`` -> ``InnerProduct``."""
    known = _TYPE_NAMES.get(enum_name)
    return known if known is not None else "".join(word.capitalize() for word in enum_name.split("_"))


def generation(net: Any) -> int:
    """0, 1 or 2: which of its formats a NetParameter is written in."""
    if not net.layers:
        return 2
    return 0 if any(layer.HasField("layer") for layer in net.layers) else 1


def upgrade(net: Any, where: str, fits: Mapping[int, Fit] | None = None) -> tuple[list[Entry], list[str]]:
    """The layers of a NetParameter of any generation, in file order, and what was passed over on the way.

    ``fits``: how those by whose place there is one are to be read, where a fork of Caffe has their type.

    Raises NetError for a net that mixes generations, and for a V0 net that Caffe cannot upgrade.
    """
    if net.layers and net.layer:
        raise NetError(
            f"{where}: the net has both `layer` and `layers` entries; Caffe refuses to guess which are meant. "
            "Keep one of the two."
        )
    entries = [_entry(layer, place, (fits or {}).get(place)) for place, layer in enumerate(net.layers or net.layer)]
    notes: list[str] = []
    if generation(net) == 0:
        entries, notes = _from_v0(entries, [fields.plain_text(name) for name in net.input], where)
    if net.layers:
        entries = [_each(entry, _from_v1) for entry in entries]
    return [_each(entry, _batch_norm) for entry in entries], notes


def _entry(layer: Any, place: int, fit: Fit | None) -> Entry:
    if fit is None or not fit.ways:
        unknown = (*fields.unknown(layer), *(fit.passed if fit else ()))
        return Entry(fields.from_message(layer), place, unknown, misread=fit.misread if fit else "")
    readings = tuple((way.forks, fields.from_message(way.message)) for way in fit.ways)
    unknown = (*fields.unknown(fit.ways[0].message), *fit.passed)
    return Entry(readings[0][1], place, unknown, readings, fit.misread)


def _each(entry: Entry, change: Callable[[Fields], Fields]) -> Entry:
    readings = tuple((forks, change(read)) for forks, read in entry.readings)
    return replace(entry, fields=readings[0][1] if readings else change(entry.fields), readings=readings)


def _from_v0(entries: Sequence[Entry], inputs: Sequence[str], where: str) -> tuple[list[Entry], list[str]]:
    notes: list[str] = []
    kept = upgrade_v0.fold_padding([entry.fields for entry in entries], inputs, where)
    upgraded = [replace(entries[place], fields=upgrade_v0.to_v1(layer, where, notes)) for place, layer in kept.items()]
    return upgraded, notes


def _from_v1(old: Fields) -> Fields:
    same = ("name", "bottom", "top", "loss_weight", "include", "exclude", "blobs")
    new = {name: value for name, value in old.items() if name in same or name.endswith("_param")}
    if "type" in old:
        new["type"] = type_name(old.type)
    count = max((len(getattr(old, name)) for name in _SPEC_FIELDS), default=0)
    specs: list[dict[str, Any]] = [{} for _ in range(count)]
    for name, field in _SPEC_FIELDS.items():
        for spec, value in zip(specs, getattr(old, name), strict=False):
            spec[field] = value
    if specs:
        new["param"] = tuple(fields.of("ParamSpec", spec) for spec in specs)
    _move_transform(new)
    return fields.of("LayerParameter", new)


def _move_transform(layer: dict[str, Any]) -> None:
    param = _DATA_PARAMS.get(layer.get("type", ""), "")
    source: Mapping[str, Any] = layer.get(param, {})
    moved = {name: source[name] for name in _TRANSFORM_FIELDS if name in source}
    if moved:
        layer["transform_param"] = fields.of("TransformationParameter", {**layer.get("transform_param", {}), **moved})


def _batch_norm(layer: Fields) -> Fields:
    """BatchNorm's three blobs once had to be kept from the solver by hand; whatever was said, it is 0."""
    if layer.type != "BatchNorm" or len(layer.param) != 3:
        return layer
    specs = tuple(fields.of("ParamSpec", {**spec, "lr_mult": 0.0, "decay_mult": 0.0}) for spec in layer.param)
    return fields.of("LayerParameter", {**layer, "param": specs})
