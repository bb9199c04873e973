"""V0, Caffe's first file generation (2013): ``layers { layer { name: "conv1" type: "conv" } bottom: ... top: ... }``.

One message held the parameters of all layer types, and padding was a layer of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from caffe2torch import fields
from caffe2torch.errors import NetError
from caffe2torch.net import Fields

_TYPES = {
    "accuracy": "ACCURACY",
    "bnll": "BNLL",
    "concat": "CONCAT",
    "conv": "CONVOLUTION",
    "data": "DATA",
    "dropout": "DROPOUT",
    "euclidean_loss": "EUCLIDEAN_LOSS",
    "flatten": "FLATTEN",
    "hdf5_data": "HDF5_DATA",
    "hdf5_output": "HDF5_OUTPUT",
    "im2col": "IM2COL",
    "images": "IMAGE_DATA",
    "infogain_loss": "INFOGAIN_LOSS",
    "innerproduct": "INNER_PRODUCT",
    "lrn": "LRN",
    "multinomial_logistic_loss": "MULTINOMIAL_LOGISTIC_LOSS",
    "pool": "POOLING",
    "relu": "RELU",
    "sigmoid": "SIGMOID",
    "softmax": "SOFTMAX",
    "softmax_loss": "SOFTMAX_LOSS",
    "split": "SPLIT",
    "tanh": "TANH",
    "window_data": "WINDOW_DATA",
}
_CONV, _IP, _POOL, _LRN = "convolution_param", "inner_product_param", "pooling_param", "lrn_param"
_DATA, _IMAGES, _WINDOWS, _HDF5 = "data_param", "image_data_param", "window_data_param", "hdf5_data_param"
_BATCHES = {"data": _DATA, "hdf5_data": _HDF5, "images": _IMAGES, "window_data": _WINDOWS}
_LEARNED = {"conv": _CONV, "innerproduct": _IP}
_WINDOWED = {"conv": _CONV, "pool": _POOL}
# Each V0 field: its name today, and the message it went to for each layer type that had it.
_FIELDS: dict[str, tuple[str, dict[str, str]]] = {
    "num_output": ("num_output", _LEARNED),
    "biasterm": ("bias_term", _LEARNED),
    "weight_filler": ("weight_filler", _LEARNED),
    "bias_filler": ("bias_filler", _LEARNED),
    "pad": ("pad", _WINDOWED),
    "kernelsize": ("kernel_size", _WINDOWED),
    "stride": ("stride", _WINDOWED),
    "group": ("group", {"conv": _CONV}),
    "pool": ("pool", {"pool": _POOL}),
    "dropout_ratio": ("dropout_ratio", {"dropout": "dropout_param"}),
    "local_size": ("local_size", {"lrn": _LRN}),
    "alpha": ("alpha", {"lrn": _LRN}),
    "beta": ("beta", {"lrn": _LRN}),
    "k": ("k", {"lrn": _LRN}),
    "source": ("source", {**_BATCHES, "infogain_loss": "infogain_loss_param"}),
    "batchsize": ("batch_size", _BATCHES),
    "rand_skip": ("rand_skip", {"data": _DATA, "images": _IMAGES}),
    "shuffle_images": ("shuffle", {"images": _IMAGES}),
    "new_height": ("new_height", {"images": _IMAGES}),
    "new_width": ("new_width", {"images": _IMAGES}),
    "concat_dim": ("concat_dim", {"concat": "concat_param"}),
    "det_fg_threshold": ("fg_threshold", {"window_data": _WINDOWS}),
    "det_bg_threshold": ("bg_threshold", {"window_data": _WINDOWS}),
    "det_fg_fraction": ("fg_fraction", {"window_data": _WINDOWS}),
    "det_context_pad": ("context_pad", {"window_data": _WINDOWS}),
    "det_crop_mode": ("crop_mode", {"window_data": _WINDOWS}),
}
# Of any layer type.
_TRANSFORM = {"scale": "scale", "meanfile": "mean_file", "cropsize": "crop_size", "mirror": "mirror"}
_KEPT = ("name", "blobs", "blobs_lr", "weight_decay")
_REPEATED = ("pad", "kernel_size", "stride")  # in today's convolution_param


def fold_padding(layers: Sequence[Fields], inputs: Sequence[str], where: str) -> dict[int, Fields]:
    """The V1LayerParameters without their padding layers, by place: the layer that reads one pads itself.

    NetError where that is no single convolution or pooling, and for a bottom that nothing makes.
    """
    source: dict[str, Fields | None] = dict.fromkeys(inputs)  # the layer that made a blob last
    kept: dict[int, Fields] = {}
    for place, layer in enumerate(layers):
        for bottom in layer.bottom:
            if bottom not in source:
                raise NetError(
                    f"{where}: layer {layer.layer.name!r} reads blob {bottom!r}, which no earlier layer gives"
                )
        if layer.layer.type != "padding":
            kept[place] = _padded(layer, [source[bottom] for bottom in layer.bottom], where)
        source.update(dict.fromkeys(layer.top, layer))
    return kept


def _padded(layer: Fields, sources: Sequence[Fields | None], where: str) -> Fields:
    paddings = [source for source in sources if source is not None and source.layer.type == "padding"]
    if not paddings:
        return layer
    old, padding = layer.layer, paddings[0]
    if old.type not in _WINDOWED or len(layer.bottom) != 1 or len(padding.bottom) != 1 or len(padding.top) != 1:
        raise NetError(
            f"{where}: layer {old.name!r} ({old.type}) reads padding layer {padding.layer.name!r}; "
            "Caffe pads only a conv or pool layer with one bottom"
        )
    inner = fields.of("V0LayerParameter", {**old, "pad": padding.layer.pad})
    return fields.of("V1LayerParameter", {**layer, "layer": inner, "bottom": padding.bottom})


def to_v1(connection: Fields, where: str, notes: list[str]) -> Fields:
    """A V0 layer with its connections as a V1LayerParameter; ``notes`` gathers fields that mean nothing to its type."""
    if "layer" not in connection:
        raise NetError(
            f"{where}: layer {connection.name!r} has no inner `layer`, but others have: the net mixes Caffe's first "
            "and second file generation (V0 and V1); write all layers in one form"
        )
    old: Fields = connection.layer
    if "type" in old and old.type not in _TYPES:
        raise NetError(f"{where}: layer {old.name!r} is of the unknown type {old.type!r}")
    new: dict[str, Any] = {name: connection[name] for name in ("bottom", "top") if name in connection}
    new |= {name: old[name] for name in _KEPT if name in old}
    if "type" in old:
        new["type"] = _TYPES[old.type]
    params: dict[str, dict[str, Any]] = {}
    for name, value in old.items():
        if name in _TRANSFORM:
            params.setdefault("transform_param", {})[_TRANSFORM[name]] = value
        elif name == "hdf5_output_param" and old.type == "hdf5_output":
            new[name] = value
        elif name not in (*_KEPT, "type"):
            today, messages = _FIELDS.get(name, (name, {}))
            message = messages.get(old.type)
            if message is None:
                notes.append(f"layer {old.name} ({old.type}): {name} means nothing there; Caffe passes over it")
                continue
            repeated = message == _CONV and today in _REPEATED
            params.setdefault(message, {})[today] = (value,) if repeated else value
    new |= {name: fields.of_param(name, given) for name, given in params.items()}
    return fields.of("V1LayerParameter", new)
