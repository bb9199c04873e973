"""Protobuf's text format as Caffe reads it: the grammar of C++'s TextFormat, which is stricter than Python's.

A field given twice, an unknown field, a number out of range, a wrong escape or a required field left out is an error,
and says at which line.
"""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path
from typing import Any

from caffe2torch import schema
from caffe2torch.errors import FileError, TextError
from caffe2torch.fields import is_repeated, plain_text
from caffe2torch.tokens import Tokens

_TRUE, _FALSE = ("true", "True", "t"), ("false", "False", "f")


def read(path: Path, kind: str = "NetParameter") -> Any:
    """The message that a text file holds.

    FileError if the file cannot be read; TextError, with line and column, for what Caffe would not read.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise FileError(f"{path}: cannot be read: {error.strerror or error}") from error
    if b"\0" in raw:
        raise TextError(f"{path}: not text; a prototxt was expected. Is it a .caffemodel?")
    return parse(raw, str(path), kind)


def parse(raw: bytes, where: str, kind: str = "NetParameter") -> Any:
    """As ``read``, of a file's content; ``where`` names it in errors."""
    message: Any = schema.message(kind)()
    reader = _Reader(Tokens(raw, where))
    while reader.tokens.token.kind != "end":
        reader.field(message)
    missing = message.FindInitializationErrors()
    if missing:
        raise TextError(f"{where}: not what Caffe can read: the required field {missing[0]} is missing")
    return message


class _Reader:
    """Fills messages from tokens."""

    def __init__(self, tokens: Tokens) -> None:
        self.tokens = tokens

    def field(self, message: Any) -> None:
        """One ``name: value``, ``name { }`` or ``name: [ ]``, with the comma or semicolon behind it."""
        tokens = self.tokens
        name = tokens.token.text
        if tokens.token.kind != "word":
            tokens.fail(f"the name of a field was expected, not {tokens.seen()}")
        field = message.DESCRIPTOR.fields_by_name.get(name)
        if field is None:
            tokens.fail(_no_field(message.DESCRIPTOR, name))
        repeated = is_repeated(field)
        if not repeated and message.HasField(name):
            tokens.fail(f"{name} is given twice in one {message.DESCRIPTOR.name}; keep one of the two")
        tokens.take()
        if field.message_type is None:
            tokens.expect(":")
        else:
            tokens.found(":")
        if repeated and tokens.found("["):
            self._list(message, field)
        else:
            self._value(message, field)
        tokens.found(";", ",")

    def _list(self, message: Any, field: Any) -> None:
        while not self.tokens.found("]"):
            self._value(message, field)
            if not self.tokens.found(","):
                self.tokens.expect("]")
                return

    def _value(self, message: Any, field: Any) -> None:
        holder: Any = getattr(message, field.name)
        if field.message_type is not None:
            inner = holder.add() if is_repeated(field) else holder
            inner.SetInParent()
            self._message(inner)
        elif is_repeated(field):
            holder.append(self._scalar(field))
        else:
            setattr(message, field.name, self._scalar(field))

    def _message(self, message: Any) -> None:
        tokens, start = self.tokens, self.tokens.token.start
        closing = ">" if tokens.found("<") else "}"
        if closing == "}":
            tokens.expect("{")
        while not tokens.found(closing):
            if tokens.token.kind == "end":
                tokens.fail("this brace is never closed", start)
            self.field(message)

    def _scalar(self, field: Any) -> Any:
        if field.enum_type is not None:
            return self._enum(field)
        if field.cpp_type == field.CPPTYPE_STRING:
            if self.tokens.token.kind != "string":
                self.tokens.fail(f"{field.name} must be a text in quotes, not {self.tokens.seen()}")
            return plain_text(self.tokens.string())
        if field.cpp_type == field.CPPTYPE_BOOL:
            return self._bool(field)
        if field.cpp_type in (field.CPPTYPE_FLOAT, field.CPPTYPE_DOUBLE):
            return self._float(field)
        bits = {field.CPPTYPE_INT64: 63, field.CPPTYPE_UINT32: 32}.get(field.cpp_type, 31)
        return self._integer(field, (1 << bits) - 1, signed=bits != 32)

    def _integer(self, field: Any, largest: int, signed: bool) -> int:
        tokens, start = self.tokens, self.tokens.token.start
        negative = signed and tokens.found("-")
        if tokens.token.kind != "integer":
            kind = "an integer" if signed else "an integer of at least 0"
            tokens.fail(f"{field.name} must be {kind}, not {tokens.seen()}")
        text = tokens.take().text
        octal = len(text) > 1 and text[0] == "0" and text[1] not in "xX"
        value = int(text, 8) if octal else int(text, 0)
        if value > largest + negative:
            tokens.fail(f"{text} is too large for {field.name}", start)
        return -value if negative else value

    def _float(self, field: Any) -> float:
        negative = self.tokens.found("-")
        kind, text = self.tokens.token.kind, self.tokens.token.text.lower()
        decimal = kind == "integer" and (text == "0" or text[0] != "0")
        if not decimal and kind != "float" and not (kind == "word" and text in ("inf", "infinity", "nan")):
            self.tokens.fail(f"{field.name} must be a decimal number, not {self.tokens.seen()}")
        self.tokens.take()
        value = float(text if kind == "word" else text.rstrip("f"))
        return -value if negative else value

    def _bool(self, field: Any) -> bool:
        token = self.tokens.token
        if token.kind == "integer":
            return bool(self._integer(field, 1, signed=False))
        if token.kind != "word" or token.text not in _TRUE + _FALSE:
            self.tokens.fail(f"{field.name} must be true or false, not {self.tokens.seen()}")
        return self.tokens.take().text in _TRUE

    def _enum(self, field: Any) -> int:
        token, names = self.tokens.token, field.enum_type.values_by_name
        if token.kind == "word" and token.text in names:
            return int(names[self.tokens.take().text].number)
        number = self._integer(field, 0x7FFFFFFF, signed=True) if token.kind in ("integer", "symbol") else -1
        if number not in field.enum_type.values_by_number:
            self.tokens.fail(f"{field.name} must be one of {', '.join(names)}, not {token.text[:40]}", token.start)
        return number


def _no_field(descriptor: Any, name: str) -> str:
    near = get_close_matches(name, [field.name for field in descriptor.fields], 1, cutoff=0.85)
    if near:
        return f"{descriptor.name} has no field {name!r}; did you mean {near[0]}?"
    return (
        f"{descriptor.name} has no field {name!r}; it may be a field of one of Caffe's forks: "
        "leave it out if the layer computes the same without it"
    )
