"""Protobuf messages as plain Python: enums by name, floats as they were written, nested messages as Fields."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np

from caffe2torch.net import Fields


def plain_float(value: float) -> float:
    """The shortest decimal that is the same float32: 0.02, not 0.019999999552965164."""
    return float(str(np.float32(value)))


def from_message(message: Any) -> Fields:
    """The set fields of a protobuf message, with the schema's defaults behind them."""
    return Fields(
        {descriptor.name: _plain(descriptor, value) for descriptor, value in message.ListFields()},
        _defaults(message.DESCRIPTOR),
    )


def _plain(descriptor: Any, value: Any) -> Any:
    convert = _converter(descriptor)
    if is_repeated(descriptor):
        return tuple(convert(item) for item in value)
    return convert(value)


def _converter(descriptor: Any) -> Any:
    if descriptor.message_type is not None:
        return from_message
    if descriptor.enum_type is not None:
        names = {value.number: value.name for value in descriptor.enum_type.values}
        return lambda number: names.get(number, str(number))
    if descriptor.cpp_type == descriptor.CPPTYPE_FLOAT:
        return plain_float
    return lambda value: value


def is_repeated(descriptor: Any) -> bool:
    """Whether a field is repeated (``label`` is gone from the newest protobuf)."""
    modern = getattr(descriptor, "is_repeated", None)
    return bool(modern) if modern is not None else descriptor.label == descriptor.LABEL_REPEATED


@cache
def defaults(param: str) -> Mapping[str, Any]:
    """Defaults of the message in LayerParameter's field ``param``, by field name."""
    from caffe2torch import schema

    return _defaults(schema.parameters()[param])


def _defaults(descriptor: Any) -> Mapping[str, Any]:
    return _defaults_of(descriptor.full_name, descriptor)


_known: dict[str, Mapping[str, Any]] = {}


def _defaults_of(name: str, descriptor: Any) -> Mapping[str, Any]:
    if name not in _known:
        _known[name] = {field.name: _default(field) for field in descriptor.fields}
    return _known[name]


def _default(field: Any) -> Any:
    if is_repeated(field):
        return ()
    if field.message_type is not None:
        return Fields({}, _defaults(field.message_type))
    return _converter(field)(field.default_value)
