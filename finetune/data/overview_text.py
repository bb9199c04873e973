"""An overview of a data set as lines for people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from finetune.data.folders import count_of
from finetune.data.overview import Overview
from finetune.wording import printable

SHOWN = 5  # examples of each remark


def lines(found: Overview) -> Iterator[str]:
    """A table of the classes, then what is to be known of them."""
    rows = found.rows()
    counts = [row["pictures"] for row in rows]
    where, classes = printable(str(found.data)), count_of(rows, "class", "classes")
    yield f"{where}: {classes}, {sum(counts):,} pictures, {found.bytes / 1e6:,.1f} MB"
    table = [["class", "pictures", "smallest", "median", "largest"]]
    for row in [*rows, {"label": "all", **found.to_json()["sizes"]}]:
        table.append([printable(row["label"]), f"{row['pictures']:,}", *(_size(row[key]) for key in table[0][2:])])
    widths = [max(len(cells[column]) for cells in table) for column in range(5)]
    for cells in table:
        numbers = zip(cells[1:], widths[1:], strict=True)
        yield cells[0].ljust(widths[0]) + "".join(f"  {cell:>{width}}" for cell, width in numbers)
    if max(counts) > 3 * max(min(counts), 1):
        least = printable(rows[counts.index(min(counts))]["label"])
        yield f"unequal: {max(counts):,} pictures in the largest class, {min(counts):,} in the smallest, {least}"
    yield from map(printable, found.remarks)
    yield from _few("pictures that cannot be read", [f"{name}: {reason}" for name, reason in found.unreadable])
    yield from _few(
        "groups of the same bytes in different classes", [" = ".join(group[:3]) for group in found.conflicts]
    )
    extra = sum(len(group) - 1 for group in found.same)
    yield from _few(
        f"groups of the same bytes ({extra:,} pictures too many)", [" = ".join(group[:3]) for group in found.same]
    )
    near = sum(len(group) for group in found.near)
    yield from _few(
        f"groups of near-duplicates, {near:,} pictures (training keeps a group on one side of its split)",
        [" = ".join(group[:3]) + (f" = … ({len(group)})" if len(group) > 3 else "") for group in found.near],
    )


def _few(what: str, examples: Sequence[str]) -> Iterator[str]:
    if examples:
        yield f"{len(examples):,} {what}:"
        yield from (f"  {printable(example)}" for example in examples[:SHOWN])
        if len(examples) > SHOWN:
            yield f"  and {len(examples) - SHOWN:,} more (--json names all)"


def _size(size: Sequence[int] | None) -> str:
    return f"{size[0]} x {size[1]}" if size else "-"
