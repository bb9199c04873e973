"""Python lines of at most 88 characters, broken where `ruff format` breaks them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import accumulate

WIDTH = 88
_OPEN, _CLOSE = "([{", ")]}"
_OPERATORS = (("+", "-"), ("*", "/"), ("**",))  # the weakest first
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"|' + r"'(?:[^'\\]|\\.)*'")


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
    start, close = _last_bracket(text), len(text) - 1
    if start is not None and (len(pad) + start + 1 > WIDTH or start + 1 == close):
        start, close = _first_bracket(text)
    several = len(split(text.partition(" = ")[2], ",")) > 1
    if start is None or len(pad) + start + 1 > WIDTH or several:
        return _targets(text, indent) or _parenthesised(text, indent, end)
    call = text[start - 1].isalnum() or text[start - 1] in "_)]"
    inner = _contents(text[start + 1 : close], indent + 4, call)
    return [f"{pad}{text[: start + 1]}", *inner, f"{pad}{text[close:]}{end}"]


def _targets(text: str, indent: int) -> list[str]:
    """An assignment to more targets than fit on a line: one a line, then the rest; [] for anything else."""
    pad = " " * indent
    left, _, right = text.partition(" = ")
    targets = split(left, ",")
    if not right or len(targets) < 2:
        return []
    return [f"{pad}(", *(f"{pad}    {target.strip()}," for target in targets), *_broken(f") = {right}", indent)]


def _contents(inner: str, indent: int, call: bool = True) -> list[str]:
    """What stands in brackets: on one line if it fits there, but the items of a tuple or list one a line."""
    items = [item.strip() for item in split(inner, ",")]
    if indent + len(inner) <= WIDTH and (call or len(items) == 1):
        return [" " * indent + inner]
    if len(items) == 1 and not inner.rstrip().endswith(","):
        return _operands(items[0], indent)
    return [line for item in items for line in _broken(item, indent, ",")]


def _parenthesised(text: str, indent: int, end: str) -> list[str]:
    """An assignment or return of a chain of operators or several values, inside parentheses of its own."""
    pad = " " * indent
    for sign in (" = ", "return "):
        place = bare(text).find(sign)
        if (place > 0 and sign == " = ") or place == 0:
            left, right = text[: place + len(sign)], text[place + len(sign) :]
            return [f"{pad}{left}(", *_operands(right, indent + 4), f"{pad}){end}"]
    return [f"{pad}{text}{end}"]


def _operands(text: str, indent: int) -> list[str]:
    values = split(text, ",")
    if len(values) > 1:
        return [line for value in values for line in _broken(value.strip(), indent, ",")]
    if indent + len(text) <= WIDTH:
        return [" " * indent + text]
    for signs in _OPERATORS:
        terms = split(text, signs, keep=True)
        if len(terms) > 1:
            return [line for term in terms for line in _operands(term.strip(), indent)]
    return _broken(text, indent)


def bare(text: str) -> str:
    """The text with every string literal blanked out, so that its brackets and signs do not count."""
    return _STRING.sub(lambda found: "_" * len(found[0]), text)


def split(text: str, signs: Sequence[str], keep: bool = False) -> list[str]:
    """Split at signs outside brackets and strings; ``keep`` leaves operators (spaces around) before what follows."""
    parts, depth, start = [], 0, 0
    code = bare(text)
    for index, character in enumerate(code):
        if character in _OPEN:
            depth += 1
        elif character in _CLOSE:
            depth -= 1
        elif not depth and any(
            code.startswith(f" {sign} ", index - 1) if keep else character == sign for sign in signs
        ):
            parts.append(text[start:index])
            start = index if keep else index + 1
    parts.append(text[start:])
    return [part for part in parts if part.strip()]


def _last_bracket(text: str) -> int | None:
    """Where the bracket opens that the last character closes; None where ruff would rather break at operators."""
    code = bare(text)
    if not code or code[-1] not in _CLOSE or _is_chain(code):
        return None
    depth = 0
    for index in range(len(code) - 1, -1, -1):
        if code[index] in _CLOSE:
            depth += 1
        elif code[index] in _OPEN:
            depth -= 1
            if not depth:
                return None if code[index] == "[" and _operators(code) else index
    return None


def _first_bracket(text: str) -> tuple[int | None, int]:
    """Where the first bracket with something in it opens and closes: ``x = self.a(…).b(…)`` if b's is too far."""
    code = bare(text)
    for start in (place for place, character in enumerate(code) if character == "("):
        depths = accumulate((character in _OPEN) - (character in _CLOSE) for character in code[start:])
        close = next(index for index, depth in enumerate(depths, start) if not depth)
        if close > start + 1:
            return start, close
    return None, 0


def _operators(code: str) -> int:
    """How many operators of the weakest kind stand outside all brackets."""
    counts = (len(split(code, signs, keep=True)) for signs in _OPERATORS)
    return next((count for count in counts if count > 1), 1) - 1


def _is_chain(code: str) -> bool:
    """Whether several of them do, as in ``x = a + b + f(c)``."""
    return _operators(code) > 1
