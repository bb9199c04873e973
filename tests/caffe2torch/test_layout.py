"""Lines that ruff leaves alone, whatever names and strings stand in them."""

from __future__ import annotations

import random
import subprocess
import sys

import pytest

from caffe2torch.calls import literal
from caffe2torch.layout import WIDTH, split, statement


def word(drawn: random.Random) -> str:
    return "v" + "".join(drawn.choice("abcdefgh_") for _ in range(drawn.choice([3, 8, 15, 25, 40])))


def words(drawn: random.Random, *counts: int) -> list[str]:
    return [word(drawn) for _ in range(drawn.choice(counts))]


def string(drawn: random.Random) -> str:
    pieces = ["a", "b", "(", ")", "[", ",", " = ", " + ", "\\", "'", '"', "return ", "é", "/", "#", "\n"]
    return literal("".join(drawn.choice(pieces) for _ in range(drawn.choice([2, 6, 20]))))


def text(drawn: random.Random, kind: int) -> str:
    """A statement of the kinds that the printed source has."""
    a, b, c, d = (word(drawn) for _ in range(4))
    short = a[:12].strip("_")
    strings = [string(drawn) for _ in range(drawn.choice([1, 2, 3, 8]))]
    return [
        f"self.{a} = nn.Conv2d({drawn.randrange(9999)}, {drawn.randrange(9999)}, (5, 3), stride=(2, 1), bias=False)",
        f"self.{a} = nn.MaxPool2d(3, stride=2, ceil_mode=True)",
        f"output_names = ({', '.join(strings)}{',' if len(strings) == 1 else ''})",
        f"{a} = torch.cat([{', '.join(words(drawn, 2, 3, 4, 8))}], dim=1)",
        f"{a} = {drawn.choice([' + ', ' * ', ' - ']).join(words(drawn, 2, 3, 5))}",
        f"{a} = {b} + 0.5 * {c} - {d}",
        f"{a} = self.{b}({c})",
        f"return {', '.join(words(drawn, 1, 2, 3, 6, 12))}",
        f"{a} = torch.maximum(torch.maximum({b}, {c}), {d})",
        f"{a}, {b} = self.{c}({', '.join(words(drawn, 1, 3))})",
        f"{a} = self.{b}({c}.flatten(0, 1)).unflatten(0, {c}.shape[:2])",
        f"{', '.join(words(drawn, 2, 3, 9))} = {a}.chunk({drawn.randrange(20)}, dim=1)",
        f"return {a}.clone(), {b}",
        f"{short} = ({short} - {short}.mean((1, 2), keepdim=True)) / ({short}.std((1, 2), correction=0) + 1e-09)",
        f'{a} = F.mse_loss({b}, {c}.reshape({b}.shape), reduction="sum") / (2 * len({b}))',
        f"{a} = {short} / (1 + 2.0 * F.avg_pool2d({short}.square(), 3, stride=1, padding=1)) ** 0.75",
        f"{a} = {b} * {c}[..., None, None] + {d}",
        f"{a} = self.{b}({c} * {d}[..., None, None])",
        f"{a} = torch.log({b} + 0.5) / 1.25",
    ][kind]


def test_ruff_leaves_random_statements_alone() -> None:
    drawn = random.Random(0)
    functions = []
    for index in range(570):
        comment = drawn.choice(["", "", "conv 1", "(N, 64, 224, 224)"])
        body = "\n".join(statement(text(drawn, index % 19), 4, comment))
        functions.append(f"def f():\n{body}\n")
    command = [sys.executable, "-m", "ruff", "format", "--isolated", "--diff", "--stdin-filename", "model.py", "-"]
    result = subprocess.run(command, input="\n\n".join(functions), capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr + result.stdout[:4000]


@pytest.mark.parametrize("value", ["a(", 'b"', "c\\", "d'", ", ", " = ", "e]", "'\"", '"""', "\\'", "\n"])
def test_brackets_and_quotes_in_strings_do_not_count(value: str) -> None:
    names = (value, "x" * 60, value, "y" * 30)
    lines = statement(f"names = {literal(names)}", 4)
    namespace: dict[str, object] = {}
    exec("if True:\n" + "\n".join(lines), namespace)
    assert namespace["names"] == names
    assert all(len(line) <= WIDTH for line in lines)


def test_a_comment_stands_behind_where_it_fits_else_above() -> None:
    assert statement("x = 1", 4, "one") == ["    x = 1  # one"]
    assert statement("x = 1", 4, "y" * 80) == [f"    # {'y' * 80}", "    x = 1"]


def test_split_outside_brackets_and_strings() -> None:
    assert split("a, f(b, c), 'd, e', [g, h]", ",") == ["a", " f(b, c)", " 'd, e'", " [g, h]"]
    assert split("a + b * (c + d) - -e", ("+", "-"), keep=True) == ["a ", "+ b * (c + d) ", "- -e"]
