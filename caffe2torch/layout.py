"""Python lines of at most 88 characters, broken where `ruff format` breaks them."""

from __future__ import annotations

WIDTH = 88
_OPEN, _CLOSE = "([{", ")]}"


def statement(text: str, indent: int, comment: str = "") -> list[str]:
    """One statement as lines; the comment behind it where both fit, else above it."""
    pad = " " * indent
    if comment and len(pad) + len(text) + len(comment) + 4 <= WIDTH:
        return [f"{pad}{text}  # {comment}"]
    above = [f"{pad}# {comment}"] if comment else []
    return above + _broken(text, indent)


def _broken(text: str, indent: int, end: str = "") -> list[str]:
    pad = " " * indent
    if len(pad) + len(text) + len(end) <= WIDTH:
        return [f"{pad}{text}{end}"]
    start = _last_bracket(text)
    if start is None:
        return _parenthesised(text, indent, end)
    inner = text[start + 1 : -1]
    return [f"{pad}{text[: start + 1]}", *_contents(inner, indent + 4), f"{pad}{text[-1]}{end}"]


def _contents(inner: str, indent: int) -> list[str]:
    if indent + len(inner) <= WIDTH:
        return [" " * indent + inner]
    lines = []
    for item in split(inner, ","):
        lines += _broken(item.strip(), indent, ",")
    return lines


def _parenthesised(text: str, indent: int, end: str) -> list[str]:
    """An assignment or return of a chain of operators, inside parentheses of its own."""
    pad = " " * indent
    for sign in (" = ", "return "):
        left, found, right = text.partition(sign)
        if found and (sign == " = " or not left):
            inner = " " * (indent + 4)
            if len(inner) + len(right) <= WIDTH:
                return [f"{pad}{left}{found}(", f"{inner}{right}", f"{pad}){end}"]
            terms = split(right, "+-*", keep=True)
            return [f"{pad}{left}{found}(", *(f"{inner}{term.strip()}" for term in terms), f"{pad}){end}"]
    return [f"{pad}{text}{end}"]


def split(text: str, signs: str, keep: bool = False) -> list[str]:
    """Split at signs outside brackets and strings; ``keep`` leaves operators (spaces around) before what follows."""
    parts, depth, quote, start = [], 0, "", 0
    for index, character in enumerate(text):
        if quote:
            quote = "" if character == quote and text[index - 1] != "\\" else quote
        elif character in "\"'":
            quote = character
        elif character in _OPEN:
            depth += 1
        elif character in _CLOSE:
            depth -= 1
        elif character in signs and not depth and (not keep or text[index - 1 : index + 2] == f" {character} "):
            parts.append(text[start:index])
            start = index if keep else index + 1
    parts.append(text[start:])
    return [part for part in parts if part.strip()]


def _last_bracket(text: str) -> int | None:
    """Where the bracket opens that the last character closes."""
    if not text or text[-1] not in _CLOSE:
        return None
    depth = 0
    for index in range(len(text) - 1, -1, -1):
        if text[index] in _CLOSE:
            depth += 1
        elif text[index] in _OPEN:
            depth -= 1
            if not depth:
                return index if index + 1 < len(text) - 1 else None
    return None
