"""Tables for the terminal: layers of a net, comparisons, layer types."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from caffe2torch import forks, known, readings, registry
from caffe2torch.errors import told
from caffe2torch.terminal import console, printable, say

if TYPE_CHECKING:
    from rich.table import Table

    from caffe2torch.inspection import Inspection
    from caffe2torch.net import Shape
    from caffe2torch.verify import Comparison

LAYERS = ("layer", "type", "top", "shape", "parameters", "multiply-adds")
MOST_AXES = 32  # of a shape that are shown, as many as a blob of Caffe can have
WIDEST = 40  # characters of a column that is printed plainly


def _table(*columns: str, right: Sequence[str] = ()) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", overflow="fold")
    return table


def _text(value: object) -> str:
    """Cell text in which nothing from a file is taken for markup."""
    from rich.markup import escape

    return escape(printable(str(value)))


def shape_text(shape: Shape | None) -> str:
    """``1 x 64 x 224 x 224``, ``?`` if it is not known."""
    if shape is None:
        return "?"
    if len(shape) > MOST_AXES:
        return f"{' x '.join(map(str, shape[:MOST_AXES]))} x … ({len(shape):,} axes)"
    return " x ".join(map(str, shape)) if shape else "scalar"


def show_inspection(found: Inspection) -> None:
    """The table of `caffe2torch inspect`."""
    net = found.net
    published = known.recognise(net)
    name = f"{published.title}" if published else net.name or "a net without a name"
    say(f"{net.weights_path or net.path}: {name}, {len(found.rows)} layers")
    for blob, shape in found.inputs.items():
        say(f"  input {blob}: {shape_text(shape)}")
    total = found.multiply_adds
    rows = [
        (
            row.layer.name,
            row.layer.type,
            ", ".join(row.layer.tops),
            ", ".join(shape_text(shape) for shape in row.shapes),
            f"{row.parameters:,}" if row.parameters else "",
            "?" if row.multiply_adds is None else f"{row.multiply_adds:,}" if row.multiply_adds else "",
        )
        for row in found.rows
    ]
    last = ("total", "", "", "", f"{found.parameters:,}", "?" if total is None else f"{total:,}")
    _show_plainly([LAYERS, *rows, last], right=2)
    for line in told(found.problems):
        say(f"  cannot be converted: {line}")
    for text in found.notes:
        say(f"  note: {text}")


def _show_plainly(rows: Sequence[Sequence[str]], right: int) -> None:
    """Heads, rows and a last one of totals, the last ``right`` columns set to the right, without rich, which takes a
    tenth of a second to begin and half a millisecond a row. What is wider than WIDEST pushes its own row to the right.
    """
    cells = [[printable(cell).replace("\n", "\\n") for cell in row] for row in rows]
    widths = [min(max(map(len, column)), WIDEST) for column in zip(*cells, strict=True)]
    put = [*[str.ljust] * (len(widths) - right), *[str.rjust] * right]
    lines = ["  ".join(f(c, w) for f, c, w in zip(put, row, widths, strict=True)).rstrip() for row in cells]
    rule = "-" * (sum(widths) + 2 * (len(widths) - 1))
    say("\n".join([lines[0], rule, *lines[1:-1], rule, lines[-1]]))


def show_comparisons(comparisons: Sequence[Comparison]) -> None:
    """What `caffe2torch verify` prints: every value of one comparison, and a line for each.

    The table is that of the first comparison that does not hold; of the first one, if all hold.
    """
    shown = next((entry for entry in comparisons if entry.first_difference), comparisons[0])
    table = _table("value", "layer", "shape", "largest", "difference", "", right=("largest", "difference"))
    for row in shown.rows:
        table.add_row(
            _text(row.value),
            _text(f"{row.layer} ({row.type})"),
            shape_text(row.shape),
            f"{row.largest:.4g}",
            f"{row.error:.2e}",
            "" if row.holds else "DIFFERS",
        )
    say(shown.title)
    console().print(table)
    for entry in comparisons:
        say(entry.summary())


def comparison_json(comparison: Comparison) -> dict[str, Any]:
    """A comparison as `verify --json` prints it."""
    return {
        "title": comparison.title,
        "holds": comparison.first_difference is None,
        "values": [
            {
                "value": row.value,
                "layer": row.layer,
                "type": row.type,
                "shape": list(row.shape),
                "largest": row.largest,
                "difference": row.error if row.error != float("inf") else None,
                "holds": row.holds,
            }
            for row in comparison.rows
        ],
    }


def show_layers(as_json: bool, as_markdown: bool) -> None:
    """The table of `caffe2torch layers`: type, family, forks, fields, ONNX operators, golden cases."""
    entries = [
        {
            "type": name,
            "family": operation.family,
            "fields": _fields(operation),
            **_covered(name),
            "forks": _forks(name),
        }
        for name, operation in registry.operations()
    ]
    if as_json:
        click.echo(json.dumps(entries, indent=1))
        return
    rows = [
        (
            *(entry["type"], entry["family"], ", ".join(entry["forks"]), " ".join(entry["fields"])),
            *(" ".join(entry["onnx"]), str(entry["golden"] or "")),
        )
        for entry in entries
    ]
    heads = ("type", "family", "forks", "fields", "ONNX operators", "golden cases")
    if as_markdown:
        click.echo("\n".join(f"| {' | '.join(row)} |" for row in (heads, ("---",) * len(heads), *rows)))
        return
    table = _table(*heads, right=("golden cases",))
    for row in rows:
        table.add_row(*row)
    console().print(table)


def _forks(name: str) -> list[str]:
    """The repositories whose layer it is: those whose fields are read, and those with a golden case; [] for BVLC's."""
    read = (fork for candidate in readings.candidates(name) for fork in candidate.forks if fork != forks.BVLC)
    repositories = [forks.title(fork).split()[0] for fork in read]
    return sorted({*repositories, *_covered(name)["forks"]})


def _covered(name: str) -> dict[str, Any]:
    from caffe2torch import coverage

    return coverage.table().get(name, {"onnx": [], "golden": 0, "forks": []})


def _fields(operation: type[registry.Operation]) -> list[str]:
    return list(dict.fromkeys(name for names in operation.understood.values() for name in names))
