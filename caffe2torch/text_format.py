"""Protobuf's text format by the grammar of C++'s TextFormat, as Caffe reads it: stricter than Python's."""

from __future__ import annotations

from typing import Any

from caffe2torch.errors import TextError
from caffe2torch.fields import is_repeated, plain_text
from caffe2torch.tokens import Tokens

LONGEST = 4000  # digits of an integer; Python reads 4300 at most
_TRUE, _FALSE = ("true", "True", "t"), ("false", "False", "f")


def complete(message: Any, where: str) -> None:
    """TextError if a required field is missing."""
    missing = message.FindInitializationErrors()
    if missing:
        raise TextError(f"{where}: not what Caffe can read: the required field {missing[0]} is missing")


class Reader:
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
            self.unknown(message.DESCRIPTOR, name)
            return
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
            self.value(message, field)
        tokens.found(";", ",")

    def unknown(self, descriptor: Any, name: str) -> None:
        """What becomes of a field that the message does not have: it comes next."""
        self.tokens.fail(f"{descriptor.name} has no field {name!r}")

    def _list(self, message: Any, field: Any) -> None:
        while not self.tokens.found("]"):
            self.value(message, field)
            if not self.tokens.found(","):
                self.tokens.expect("]")
                return

    def value(self, message: Any, field: Any) -> None:
        """One value of a field."""
        holder: Any = getattr(message, field.name)
        if field.message_type is not None:
            inner = holder.add() if is_repeated(field) else holder
            inner.SetInParent()
            self.message(inner)
        elif is_repeated(field):
            holder.append(self._scalar(field))
        else:
            setattr(message, field.name, self._scalar(field))

    def message(self, message: Any) -> None:
        """A message in braces."""
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
        value = largest + 2 if len(text) > LONGEST else int(text, 8) if octal else int(text, 0)
        if value > largest + negative:
            shown = text if len(text) <= 40 else f"{text[:20]}… ({len(text)} digits)"
            tokens.fail(f"{shown} is too large for {field.name}", start)
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
