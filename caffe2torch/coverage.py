"""Which ONNX operators each layer type becomes, and how many golden cases stand for it: gathered, not declared.

`python -m caffe2torch.coverage tests/golden tests/golden_forks` converts every golden case and writes coverage.json
beside this file; `caffe2torch layers` and the README's table show it.
"""

from __future__ import annotations

import json
import re
import sys
from collections import defaultdict
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from caffe2torch import registry
from caffe2torch.errors import CaffeError
from caffe2torch.terminal import note

TABLE = Path(__file__).with_name("coverage.json")


@cache
def table() -> dict[str, dict[str, Any]]:
    """Layer type -> {"onnx": operators, "golden": number of cases, "forks": repositories whose own code made some}."""
    found: dict[str, dict[str, Any]] = json.loads(TABLE.read_text(encoding="utf-8"))
    return found


def gather(*golden: Path) -> dict[str, dict[str, Any]]:
    """Convert every matching case and note each layer's operators, and the cases that a type occurs in.

    A case that cannot be converted counts for nothing, and is told.
    """
    operators: dict[str, set[str]] = defaultdict(set)
    cases: dict[str, set[str]] = defaultdict(set)
    forks: dict[str, set[str]] = defaultdict(set)
    for folder in sorted(path.parent for each in golden for path in each.glob("*/case.json")):
        case = json.loads((folder / "case.json").read_text(encoding="utf-8"))
        if case["expect"] != "match":
            continue
        try:
            found = _case(folder, case)
        except CaffeError as error:
            note(f"{folder}: {error}")
            continue
        for kind, names in found.items():
            operators[kind] |= names
            cases[kind].add(folder.name)
            if case.get("fork") and case.get("layer") == kind.partition(":")[0]:
                forks[kind].add(re.split("[ @]", case["fork"])[0])
    return {
        name: {"onnx": sorted(operators[name]), "golden": len(cases[name]), "forks": sorted(forks[name])}
        for name, _ in registry.operations()
    }


def _case(folder: Path, case: dict[str, Any]) -> dict[str, set[str]]:
    import numpy as np

    from caffe2torch.graph import resolve
    from caffe2torch.onnx_model import Nodes, add_graph
    from caffe2torch.reader import load_net
    from caffe2torch.weights import state_dict

    models = sorted(folder.glob("weights.*"))
    prototxt = None if case.get("no_prototxt") else folder / "deploy.prototxt"
    net = load_net(models[0] if models else None, prototxt, stages=case.get("stages", ()))
    blobs = [name for name in np.load(folder / "outputs.npz").files if name in net.blobs()]
    shapes = None
    if prototxt is None:
        shapes = {name: array.shape for name, array in np.load(folder / "inputs.npz").items()}
    graph = resolve(net, blobs, shapes)
    state = state_dict(graph)
    found: dict[str, set[str]] = defaultdict(set)
    for node in graph.nodes:
        alone = replace(graph, inputs=node.inputs, nodes=(node,), outputs=node.outputs, output_names=())
        nodes = Nodes()
        add_graph(nodes, alone, state, {value.blob: value.name for value in node.inputs})
        found[node.layer.type] |= nodes.operators()
    return found


def main() -> None:
    """Write coverage.json."""
    found = gather(*map(Path, sys.argv[1:]))
    lines = ",\n".join(f' "{name}": {json.dumps(entry)}' for name, entry in found.items())
    TABLE.write_text(f"{{\n{lines}\n}}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
