"""V1 nets (enum types, ``layers``) in today's form (string types, ``layer``); blobs keep their places.

The rules are those of Caffe's own upgrade_proto.cpp, told in our words.
"""

from __future__ import annotations

from typing import Any

from caffe2torch import schema
from caffe2torch.errors import NetError

# Enum names whose type is not just the same words without underscores.
_TYPE_NAMES = {
    "ABSVAL": "AbsVal",
    "ARGMAX": "ArgMax",
    "BNLL": "BNLL",
    "HDF5_DATA": "HDF5Data",
    "HDF5_OUTPUT": "HDF5Output",
    "LRN": "LRN",
    "MVN": "MVN",
    "RELU": "ReLU",
    "SIGMOID_CROSS_ENTROPY_LOSS": "SigmoidCrossEntropyLoss",
    "SOFTMAX_LOSS": "SoftmaxWithLoss",
    "TANH": "TanH",
}
_TRANSFORM_FIELDS = ("scale", "mean_file", "crop_size", "mirror")


def type_name(enum_name: str) -> str:
    """Today's name of a V1 layer type: ``INNER_PRODUCT`` -> ``InnerProduct``."""
    return _TYPE_NAMES.get(enum_name) or "".join(word.capitalize() for word in enum_name.split("_"))


def upgrade(net: Any, where: str) -> list[Any]:
    """The LayerParameter messages of a NetParameter of any generation, in file order.

    Raises NetError for a net that mixes generations (Caffe refuses it) or is of generation V0.
    """
    if net.layers and net.layer:
        raise NetError(
            f"{where}: the net has both `layer` and `layers` entries; Caffe refuses to guess which are meant. "
            "Keep one of the two."
        )
    if not net.layers:
        return list(net.layer)
    return [_upgrade_v1(layer, where) for layer in net.layers]


def _upgrade_v1(old: Any, where: str) -> Any:
    if old.HasField("layer"):
        raise NetError(f"{where}: layer {old.layer.name!r} is of Caffe's first file generation (V0), not read yet")
    new: Any = schema.message("LayerParameter")()
    kinds = old.DESCRIPTOR.enum_types_by_name["LayerType"].values_by_number
    if old.HasField("type"):
        new.type = type_name(kinds[old.type].name)
    if old.HasField("name"):
        new.name = old.name
    for repeated in ("bottom", "top", "loss_weight"):
        getattr(new, repeated).extend(getattr(old, repeated))
    for rule in ("include", "exclude", "blobs"):
        getattr(new, rule).MergeFrom(getattr(old, rule))
    for descriptor, value in old.ListFields():
        if descriptor.name.endswith("_param"):
            getattr(new, descriptor.name).CopyFrom(value)
    _upgrade_param_specs(old, new)
    _upgrade_transform(new)
    return new


def _upgrade_param_specs(old: Any, new: Any) -> None:
    for field, source in (
        ("name", old.param),
        ("share_mode", old.blob_share_mode),
        ("lr_mult", old.blobs_lr),
        ("decay_mult", old.weight_decay),
    ):
        for index, value in enumerate(source):
            while len(new.param) <= index:
                new.param.add()
            setattr(new.param[index], field, value)


def _upgrade_transform(layer: Any) -> None:
    """Before transform_param, data layers held scale, mean_file, crop_size and mirror themselves."""
    for name in ("data_param", "image_data_param", "window_data_param"):
        if not layer.HasField(name):
            continue
        source = getattr(layer, name)
        for field in _TRANSFORM_FIELDS:
            if source.HasField(field):
                setattr(layer.transform_param, field, getattr(source, field))
