"""Messages of Caffe's forks in one line: ``scale 1 uint32 =2; order 2 uint32*; mode 3 Mode =LEARN | Mode: LEARN=0``.

Items are separated by ``;``. ``name number type`` is a field, with ``*`` behind the type if it is repeated, ``!`` if it
is required, and ``=`` before its default. A type is one of protobuf's (float, int32, uint32, bool, string, …), an enum
declared by ``| Name: A=0, B=1``, a message declared by ``Name { … }``, or a message or enum of BVLC's Caffe, such as
FillerParameter. ``Name { * }`` is a message that nobody looks into.
"""

from __future__ import annotations

import re

from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto

_FIELD = re.compile(r"(\w+)\s+(\d+)\s+([\w.]+)\s*([*!]?)\s*(?:=\s*(.+))?", re.DOTALL)
_MESSAGE = re.compile(r"(\w+)\s*\{(.*)\}", re.DOTALL)
_ENUM = re.compile(r"(\w+)\s*:\s*(.*)", re.DOTALL)
_SCALARS = {
    name: getattr(FieldDescriptorProto, f"TYPE_{name.upper()}")
    for name in (
        *("bool", "bytes", "double", "fixed32", "fixed64", "float", "int32", "int64"),
        *("sfixed32", "sfixed64", "sint32", "sint64", "string", "uint32", "uint64"),
    )
}
_LABELS = {
    "": FieldDescriptorProto.LABEL_OPTIONAL,
    "*": FieldDescriptorProto.LABEL_REPEATED,
    "!": FieldDescriptorProto.LABEL_REQUIRED,
}


Types = dict[str, tuple[str, int]]  # a type's full name, and protobuf's number for messages or enums
_MESSAGE_TYPE, _ENUM_TYPE = FieldDescriptorProto.TYPE_MESSAGE, FieldDescriptorProto.TYPE_ENUM


def declare(text: str, name: str, scope: str, bvlc: Types) -> DescriptorProto:
    """The message that a line declares. ``scope``: full name of what it will lie in, as ``.caffe.LayerParameter``;
    ``bvlc``: the types that are there already. ValueError says what is wrong with the line.
    """
    message = DescriptorProto(name=name)
    _fill(message, text, f"{scope}.{name}", bvlc)
    return message


def _fill(message: DescriptorProto, text: str, full: str, outer: Types) -> None:
    items, enums = _split(text)
    types = dict(outer)
    for item in enums:
        name = _enum(message, item)
        types[name] = (f"{full}.{name}", _ENUM_TYPE)
    nested = [found for item in items if (found := _MESSAGE.fullmatch(item))]
    types |= {found[1]: (f"{full}.{found[1]}", _MESSAGE_TYPE) for found in nested}
    for found in nested:
        inner = message.nested_type.add(name=found[1])
        if found[2].strip() != "*":
            _fill(inner, found[2], f"{full}.{found[1]}", types)
    for item in items:
        if not _MESSAGE.fullmatch(item):
            _field(message, item, types)


def _split(text: str) -> tuple[list[str], list[str]]:
    """Fields and messages, and enums, between the ``;`` and ``|`` that no brace encloses."""
    items: list[str] = []
    enums: list[str] = []
    depth, start, kind = 0, 0, items
    for place, letter in enumerate(text + ";"):
        depth += {"{": 1, "}": -1}.get(letter, 0)
        closed = letter == "}" and depth == 0
        if depth == 0 and (letter in ";|" or closed):
            item = text[start : place + closed].strip()
            if item:
                kind.append(item)
            start = place + 1
            kind = enums if letter == "|" else items
    return items, enums


def _enum(message: DescriptorProto, item: str) -> str:
    found = _ENUM.fullmatch(item)
    if found is None:
        raise ValueError(f"{item!r} is no enum; write | Name: A=0, B=1")
    enum = message.enum_type.add(name=found[1])
    for value in found[2].split(","):
        name, _, number = value.partition("=")
        enum.value.add(name=name.strip(), number=int(number))
    return found[1]


def _field(message: DescriptorProto, item: str, types: Types) -> None:
    found = _FIELD.fullmatch(item)
    if found is None:
        raise ValueError(f"{item!r} is no field; write name number type, as in: order 1 uint32*")
    name, number, kind, label, default = found.groups()
    field = message.field.add(name=name, number=int(number), label=_LABELS[label])
    if kind in _SCALARS:
        field.type = _SCALARS[kind]
    else:
        short = kind if kind in types else kind.rpartition(".")[2]  # PriorBoxParameter.CodeType
        if short not in types:
            raise ValueError(f"no type {kind} is known; declare it: | {short}: A=0, B=1 or {short} {{ … }}")
        field.type_name, field.type = types[short]
    if default is not None:
        field.default_value = default.strip().strip('"')
        if kind in ("float", "double"):
            field.default_value = str(float(default))
