"""Names and JSON as text that is safe to show, whatever a file is called: no control character, valid UTF-8."""

from __future__ import annotations

import json


def printable(text: str) -> str:
    """On one line, whatever it is: tabs, line ends, control characters and stray bytes as Python escapes."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def json_text(said: object, indent: int | None = None) -> str:
    """JSON in which all that is not printable is a JSON escape: json.loads gives it back, stray bytes too."""
    lines = json.dumps(said, indent=indent, ensure_ascii=False).split("\n")
    return "\n".join(line if line.isprintable() else "".join(map(_escaped, line)) for line in lines)


def _escaped(letter: str) -> str:
    return letter if letter.isprintable() else json.dumps(letter)[1:-1]
