"""Protobuf messages as plain Python: enums by name, floats as they were written, nested messages as Fields."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import numpy as np

from caffe2torch.net import Fields


def plain_float(value: float) -> float:
    """The shortest decimal that is the same float32: 0.02, not 0.019999999552965164."""
    return float(str(np.float32(value)))


def plain_text(value: bytes | str) -> str:
    """A name as Caffe's files hold it, bytes that are UTF-8 if they can be: otherwise one character a byte."""
    if isinstance(value, str):
        return value
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value.decode("latin-1")


def from_message(message: Any) -> Fields:
    """The set fields of a protobuf message, with the schema's defaults behind them."""
    return Fields(
        {descriptor.name: _plain(descriptor, value) for descriptor, value in message.ListFields()},
        _defaults(message.DESCRIPTOR),
    )


def of(name: str, given: Mapping[str, Any]) -> Fields:
    """Plain values as the set fields of the message ``name``, such as ParamSpec, with its defaults behind them."""
    from caffe2torch import schema

    return Fields(given, _defaults(schema.message(name).DESCRIPTOR))


def of_descriptor(descriptor: Any, given: Mapping[str, Any]) -> Fields:
    """As ``of``, for a message that a descriptor describes."""
    return Fields(given, _defaults(descriptor))


def of_param(name: str, given: Mapping[str, Any]) -> Fields:
    """As ``of``, for the message in LayerParameter's field ``name``, such as pooling_param."""
    return Fields(given, defaults(name))


def unknown(message: Any) -> tuple[str, ...]:
    """What a binary message holds that the schema does not know, as Caffe skips it: ``pooling_param.40``.

    An enum field with a value that does not exist is there by its name, ``pooling_param.pool=7``.
    """
    return tuple(dict.fromkeys(_unknown(message, "")))


def _unknown(message: Any, prefix: str) -> Iterator[str]:
    from google.protobuf.unknown_fields import UnknownFieldSet

    if prefix and not message.DESCRIPTOR.fields:
        return  # a message that nobody looks into, as SSD's save_output_param
    for found in UnknownFieldSet(message):
        known = message.DESCRIPTOR.fields_by_number.get(found.field_number)
        if known is not None and known.enum_type is not None and found.wire_type == 0:
            yield f"{prefix}{known.name}={found.data}"
        else:
            yield f"{prefix}{found.field_number}"
    for descriptor, value in message.ListFields():
        if descriptor.message_type is not None:
            for inner in value if is_repeated(descriptor) else (value,):
                yield from _unknown(inner, f"{prefix}{descriptor.name}.")


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
    if descriptor.type == descriptor.TYPE_STRING:
        return plain_text
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
