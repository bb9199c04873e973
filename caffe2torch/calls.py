"""PyTorch code as data: what a layer is in torch, without importing torch.

The printed source and the live module are made from the same Step, so they cannot differ.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


class Call:
    """A constructor call: ``Call("nn.Conv2d", 3, 64, 3, padding=1)``; a target without a dot is of modules/."""

    __slots__ = ("args", "kwargs", "target")

    def __init__(self, target: str, *args: Any, **kwargs: Any) -> None:
        self.target = target
        self.args = args
        self.kwargs = kwargs

    def __str__(self) -> str:
        parts = [literal(value) for value in self.args]
        parts += [f"{name}={literal(value)}" for name, value in self.kwargs.items()]
        return f"{self.target}({', '.join(parts)})"


@dataclass(frozen=True)
class Step:
    """One line of ``forward``: an expression of the bottoms {0}, {1}, … and of {self}, the layer's own submodule."""

    expression: str = "{self}({0})"
    module: Call | None = None


def literal(value: Any) -> str:
    """A number, bool, string or tuple of those as Python source that ruff leaves alone."""
    if isinstance(value, float):
        if value != value or value in (float("inf"), float("-inf")):
            return f'float("{value}")'
        return repr(value).replace("e+", "e")
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, tuple):
        inner = ", ".join(literal(item) for item in value)
        return f"({inner},)" if len(value) == 1 else f"({inner})"
    return repr(value)


def quoted(text: str) -> str:
    """Any string as an ASCII literal, in double quotes unless single ones need fewer escapes, as ruff has it."""
    inner = "".join(character if character in "'\"" else ascii(character)[1:-1] for character in text)
    quote = "'" if text.count('"') > text.count("'") else '"'
    return quote + inner.replace(quote, f"\\{quote}") + quote


def number(value: float) -> str:
    """A number as a person writes it: 2 rather than 2.0."""
    return str(int(value)) if float(value).is_integer() and abs(value) < 1e6 else literal(value)


def same(values: tuple[int, ...]) -> int | tuple[int, ...]:
    """(3, 3) as 3, as a person writes it."""
    return values[0] if len(set(values)) == 1 else values
