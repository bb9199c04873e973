"""Fixtures for all tests: the golden corpus, the shared material, seeds, and threads that fit a small machine."""

from __future__ import annotations

import hashlib
import os
import random
import signal
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

os.environ.setdefault("OMP_NUM_THREADS", "2")  # read by torch when it is first imported

# A shell that runs us in the background ignores Ctrl-C for all its children; the tests of Ctrl-C send it to theirs.
signal.signal(signal.SIGINT, signal.default_int_handler)

# The same examples in every run, and no example failed for a busy machine.
settings.register_profile("house", deadline=None, derandomize=True)
settings.load_profile("house")

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def golden() -> Path:
    """tests/golden: a folder per case, made with real Caffe."""
    return ROOT / "tests" / "golden"


@pytest.fixture(scope="session")
def golden_forks() -> Path:
    """tests/golden_forks: the same, made with the forks' own layers."""
    return ROOT / "tests" / "golden_forks"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder ``shared`` beside the checkout: real models and pictures that are not ours to publish."""
    folder = ROOT.parent / "shared"
    if not folder.is_dir():
        pytest.skip("no ../shared beside the checkout")
    return folder


@pytest.fixture(autouse=True)
def cache(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is kept for later runs is kept in a folder of each test's own."""
    name = hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:16]
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache" / name))


@pytest.fixture(autouse=True)
def seeds() -> None:
    """Every test starts from the same random state; one that uses torch seeds that itself."""
    random.seed(0)
    np.random.seed(0)
