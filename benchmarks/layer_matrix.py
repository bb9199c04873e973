"""The README's table of layer types: ours from the registry, beside OpenCV 4 and the best tool that ends in PyTorch.

usage: python benchmarks/layer_matrix.py

The others' columns (layer_matrix.csv) were read in their sources in 2026: OpenCV 4.x's Caffe importer, which covers the
most of all importers and is gone from OpenCV 5, and MMdnn's PyTorch emitter. "yes" there means that code exists for the
layer, not that it was run; ours is "yes" where a registered operation has golden cases of real Caffe or its forks,
"own tests" where it has none.
"""

from __future__ import annotations

import csv
from pathlib import Path

from caffe2torch import coverage, registry
from caffe2torch.layers import DATA_TYPES

TABLE = Path(__file__).with_name("layer_matrix.csv")
RESOLVED = frozenset({"Input", "Split", "Silence"}) | DATA_TYPES  # what the graph resolves by itself
OTHER_NAMES = {"SELU": "SeLU"}


def ours(name: str) -> str:
    """Our cell for a layer type."""
    if name in RESOLVED:
        return "yes"
    if name == "Python":
        return "Proposal, plugins"
    name = OTHER_NAMES.get(name, name)
    if registry.find(name) is None:
        return ""
    return "yes" if coverage.table().get(name, {}).get("golden") else "own tests"


def markdown() -> str:
    """The table, with the counts in its last line."""
    with TABLE.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    lines = ["| layer | caffe2torch | OpenCV 4 | MMdnn to PyTorch |", "| --- | --- | --- | --- |"]
    counts = [0, 0, 0]
    section = ""
    for row in rows:
        if row["section"] != section:
            section = row["section"]
            lines.append(f"| **{section}** | | | |")
        cells = [ours(row["layer"]), row["OpenCV 4"], row["MMdnn to PyTorch"]]
        counts = [count + bool(cell) for count, cell in zip(counts, cells, strict=True)]
        lines.append(f"| {' | '.join([row['layer'], *(cell or '–' for cell in cells)])} |")
    lines.append(f"| **of {len(rows)}** | **{counts[0]}** | **{counts[1]}** | **{counts[2]}** |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(markdown())
