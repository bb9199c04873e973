"""The table of families says what their files register, and only the files that a net needs are imported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from caffe2torch import layers, registry

LOADED = """
import sys
from caffe2torch import load_net
from caffe2torch.inspection import inspect

inspect(load_net(sys.argv[1]))
print(*sorted(name.rpartition(".")[2] for name in sys.modules if name.startswith("caffe2torch.layers.")))
"""


def test_the_table_is_what_the_files_register() -> None:
    found: dict[str, set[str]] = {}
    for name, operation in registry.operations():
        if operation.__module__.startswith(f"{layers.__name__}."):
            found.setdefault(operation.family, set()).add(name)
    assert {family: set(types.split()) for family, types in layers.FAMILIES.items()} == found
    assert not layers.WITHOUT_FAMILY & set(registry.load_all())


def test_a_net_loads_its_own_families(golden: Path) -> None:
    model = golden / "illust2vec_mini" / "weights.caffemodel"
    run = subprocess.run([sys.executable, "-c", LOADED, model], capture_output=True, text=True, check=True)
    assert {"activation", "convolution", "inner_product", "pooling"} <= set(run.stdout.split())
    assert not {"recurrent", "yolo", "detection_output"} & set(run.stdout.split())
