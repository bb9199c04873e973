"""The words of protobuf's text format, told apart as C++'s tokenizer does, one ahead of the reader."""

from __future__ import annotations

import re
from typing import NamedTuple, NoReturn

from caffe2torch import limits
from caffe2torch.errors import TextError

# Bytes are looked at as characters of the same number; only names and texts are decoded.
# A text of any length costs no memory to be matched; for escapes there is some, so there may be only so many.
_SPACE = re.compile(r"(?:[ \t\r\n\v\f]+|#[^\n]*)*")
_TOKEN = re.compile(
    r"""[ \t\r\n\v\f]*(?:(?P<word>[A-Za-z_][A-Za-z0-9_]*)
    |(?P<integer>0[xX][0-9A-Fa-f]+|0[0-7]*|[1-9][0-9]*)(?![A-Za-z0-9_.])
    |(?P<float>(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?[fF]?)(?![A-Za-z0-9_.])
    |(?P<string>"[^"\\\n\0]*(?:\\[^\n][^"\\\n\0]*){0,9999}"|'[^'\\\n\0]*(?:\\[^\n][^'\\\n\0]*){0,9999}')
    |(?P<symbol>[{}<>\[\]:;,-]))""",
    re.VERBOSE,
)
_ESCAPE = re.compile(
    r"\\(?:([abfnrtv\\?'\"])|([0-7]{1,3})|[xX]([0-9A-Fa-f]{1,2})|u([0-9A-Fa-f]{4})|U(00[01][0-9A-Fa-f]{5})|(.))",
    re.DOTALL,
)
_ESCAPED = dict(zip("abfnrtv\\?'\"", "\a\b\f\n\r\t\v\\?'\"", strict=True))


class Token(NamedTuple):
    """A word of the file: ``kind`` is a group of _TOKEN, or "end"; ``start`` counts bytes."""

    kind: str
    text: str
    start: int


class Tokens:
    """A text's tokens: ``token`` is the next one. Bytes stand for themselves, as characters below 256."""

    def __init__(self, raw: bytes, where: str) -> None:
        self._text, self.where = raw.removeprefix(b"\xef\xbb\xbf").decode("latin-1"), where
        self._end = 0
        self._read = 0
        self.token = self._next()

    def mark(self) -> tuple[Token, int]:
        """The present place, for ``back``."""
        return self.token, self._end

    def back(self, mark: tuple[Token, int]) -> None:
        """Go (back) to a place."""
        self.token, self._end = mark

    def take(self) -> Token:
        """The next token, which is then done with."""
        token, self.token = self.token, self._next()
        return token

    def found(self, *symbols: str) -> bool:
        """Whether one of these symbols comes next; if so it is taken."""
        found = self.token.kind == "symbol" and self.token.text in symbols
        if found:
            self.take()
        return found

    def expect(self, symbol: str) -> None:
        """Take a symbol that must come next."""
        if not self.found(symbol):
            self.fail(f"{symbol!r} was expected, not {self.seen()}")

    def seen(self) -> str:
        """The next token, for a message."""
        return "the end of the file" if self.token.kind == "end" else self.token.text[:40]

    def string(self) -> bytes:
        """The text in quotes that comes next, with its escapes resolved; neighbours join."""
        parts = []
        while self.token.kind == "string":
            parts.append(_ESCAPE.sub(self._unescaped, self.token.text[1:-1]))
            self.take()
        return "".join(parts).encode("latin-1")

    def skip_value(self) -> None:
        """Pass over a field's value behind its name, whatever it is."""
        self.found(":")
        depth = 0
        while True:
            if self.token.kind == "end":
                self.fail("a value was expected, or a closing brace")
            token = self.take()
            symbol = token.text if token.kind == "symbol" else ""
            depth += (symbol in ("{", "<", "[")) - (symbol in ("}", ">", "]"))
            if depth <= 0 and symbol != "-" and not (token.kind == "string" and self.token.kind == "string"):
                return

    def fail(self, reason: str, at: int | None = None) -> NoReturn:
        """TextError with file, line and column, of the next token unless said otherwise."""
        start = self.token.start if at is None else at
        line = self._text.count("\n", 0, start) + 1
        column = start - self._text.rfind("\n", 0, start)
        raise TextError(f"{self.where}:{line}:{column}: not what Caffe can read: {reason}")

    def _next(self) -> Token:
        self._read += 1
        if self._read > limits.WORDS:
            raise TextError(f"{self.where}: more words than a net has ({limits.WORDS:,}). Is the file damaged?")
        found = _TOKEN.match(self._text, self._end) or self._behind_remarks()
        if found is None:
            if self._end < len(self._text):
                self._stray()
            return Token("end", "", self._end)
        self._end, kind = found.end(), found.lastgroup or ""
        return Token(kind, found[kind], found.start(kind))

    def _behind_remarks(self) -> re.Match[str] | None:
        space = _SPACE.match(self._text, self._end)
        self._end = space.end() if space else self._end
        return _TOKEN.match(self._text, self._end)

    def _stray(self) -> NoReturn:
        rest = self._text[self._end :]
        if rest[0] in "\"'":
            self.fail("a text that is not closed at the end of its line, or has 10,000 escapes", self._end)
        if rest[0] in "0123456789.":
            word = re.match(r"[\w.]+", rest)
            self.fail(f"{word[0] if word else rest[0]!r} is not a number, or runs into the next word", self._end)
        if rest[0] > "~":
            self.fail("a character that is not ASCII stands outside texts and comments", self._end)
        self.fail(f"{rest[0]!r} has no meaning here", self._end)

    def _unescaped(self, found: re.Match[str]) -> str:
        simple, octal, hexadecimal, short, long, wrong = found.groups()
        if wrong is not None:
            self.fail(f"\\{wrong} is no escape in a text; write \\\\ for a backslash")
        if simple is not None:
            return _ESCAPED[simple]
        if short or long:
            return chr(min(int(short or long, 16), 0x10FFFF)).encode("utf-8", "surrogatepass").decode("latin-1")
        return chr(int(octal, 8) & 0xFF if octal is not None else int(hexadecimal, 16))
