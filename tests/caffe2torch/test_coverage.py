"""coverage.json says what converting the golden cases gives today."""

from __future__ import annotations

from pathlib import Path

from caffe2torch import coverage, registry


def test_the_table_is_up_to_date(golden: Path, golden_forks: Path) -> None:
    found = coverage.gather(golden, golden_forks)
    assert coverage.table() == found, "run python -m caffe2torch.coverage tests/golden tests/golden_forks"


def test_every_type_is_in_the_table() -> None:
    assert set(coverage.table()) == {name for name, _ in registry.operations()}
