"""Fields of Caffe's forks within BVLC's messages of a binary file, where no reading has them: refused, or told."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from typing import Any

from caffe2torch import fields, forks, schema

_OUTSIDE = frozenset({"transform_param", "loss_param"})  # a net computes nothing with them
_FORMS = {1: ("<Q", "<d"), 5: ("<I", "<f")}


def refusal(layer: Any, fork: str | None = None) -> str:
    """Why a binary layer cannot be taken as BVLC's Caffe has it; "" if it can.

    A field counts by the meaning that ``fork`` gives its number. Without a fork that is asked for, it counts where it
    would change what is computed in every fork that has the number.
    """
    for place, message, found in _strange(layer):
        value = _value(found.wire_type, found.data)
        meant = forks.meanings(message, found.field_number, found.wire_type)
        if fork is not None:
            meant = {name: [fork] for name, having in meant.items() if fork in having}
        if meant and not any(_changes_nothing(message, name, value) for name in meant):
            way = "" if fork else f"; --fork {forks.BVLC} passes it over"
            return f"its {place}={value} is {_told(meant)}, which is not supported{way}"
    return ""


def named(unknown: str) -> str:
    """``convolution_param.19`` with what forks mean by it; anything else as it is."""
    field, _, number = unknown.partition(".")
    message = schema.parameters().get(field)
    if message is None or not number.isdigit():
        return unknown
    meant: dict[str, list[str]] = {}
    for wire in (0, 1, 2, 5):
        meant |= forks.meanings(message.name, int(number), wire)
    return f"{unknown} ({_told(meant)})" if meant else unknown


def _strange(layer: Any) -> Iterator[tuple[str, str, Any]]:
    """The fields with their places and messages: ``convolution_param.19``, ConvolutionParameter."""
    from google.protobuf.unknown_fields import UnknownFieldSet

    messages = schema.parameters()
    for descriptor, value in layer.ListFields():
        if descriptor.name in messages and descriptor.name not in _OUTSIDE and not fields.is_repeated(descriptor):
            for found in UnknownFieldSet(value):
                if found.field_number not in value.DESCRIPTOR.fields_by_number:
                    yield f"{descriptor.name}.{found.field_number}", messages[descriptor.name].name, found


def _changes_nothing(message: str, name: str, value: str) -> bool:
    if forks.harmless(message, name) or forks.neutral(message, name, value):
        return True
    return value == "0" and forks.neutral_word(message, name)


def _value(wire: int, data: Any) -> str:
    if wire in _FORMS:
        whole, real = _FORMS[wire]
        return f"{struct.unpack(real, struct.pack(whole, data))[0]:g}"
    if isinstance(data, bytes):
        return fields.plain_text(data) if re.fullmatch(rb"[ -~]{0,40}", data) else f"({len(data)} bytes)"
    return str(data - (1 << 64) if isinstance(data, int) and data >> 63 else data)


def _told(meant: dict[str, list[str]]) -> str:
    return "; ".join(f"{name} in {forks.titles(having)}" for name, having in meant.items())
