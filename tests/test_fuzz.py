"""Damaged files: each is a CaffeError or a net. Cases that fuzzing found, and seeded mutations of the golden files."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fuzz import corpus
from fuzz.mutations import KINDS, Step, mutated
from fuzz.targets import TARGETS

STEPS = st.lists(st.tuples(st.sampled_from(list(KINDS)), st.integers(0, 1 << 15), st.integers(0, 1 << 15)), max_size=4)
EXAMPLES = {"wire": 150, "text": 200, "caffemodel": 150, "net": 150, "solver": 100}


@cache
def seeds(target: str) -> list[bytes]:
    return sorted(corpus.seeds(target), key=len)


@pytest.mark.parametrize("target", TARGETS)
def test_every_seed_is_a_net_or_refused(target: str) -> None:
    assert len(seeds(target)) > 6
    became = [TARGETS[target](data) for data in seeds(target)[::7]]
    assert "" in became or target == "wire", "some are converted"


FOUND = [path for target in TARGETS for path in corpus.found(target)]


@pytest.mark.parametrize("case", FOUND, ids=[f"{path.parent.name}-{path.name}" for path in FOUND])
def test_what_fuzzing_found(case: Path) -> None:
    """Each was a crash, a hang or an error of the wrong kind; now it is none."""
    TARGETS[case.parent.name](case.read_bytes())


@pytest.mark.parametrize("target", TARGETS)
def test_damaged_golden_files(target: str) -> None:
    @settings(max_examples=EXAMPLES[target], suppress_health_check=list(HealthCheck))
    @given(st.integers(0, 1 << 10), STEPS)
    def damaged(which: int, steps: list[Step]) -> None:
        TARGETS[target](mutated(seeds(target)[which % len(seeds(target))], steps))

    damaged()
