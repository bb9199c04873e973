"""The seeds of each target: the golden cases, what real files hold that is small, and cases found before."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
CASES = ROOT / "tests" / "fuzz_cases"
LONGEST = 1 << 14  # bytes of a seed: mutations of longer ones mostly change weights
SOLVER = b"""base_lr: 0.01 lr_policy: "multistep" gamma: 0.1 stepvalue: 10 stepvalue: 20 momentum: 0.9
weight_decay: 0.0005 type: "Nesterov" max_iter: 30 clip_gradients: 5 regularization_type: "L1" net: "net.prototxt"
"""


def seeds(target: str) -> Iterator[bytes]:
    """What a target starts from."""
    if target == "solver":
        yield SOLVER
        for policy in ("fixed", "step", "exp", "inv", "poly", "sigmoid"):
            yield SOLVER.replace(b"multistep", policy.encode()).replace(b"Nesterov", b"Adam")
        return
    pattern = "deploy.prototxt" if target in ("text", "net") else "weights.caffemodel"
    for folder in ("golden", "golden_forks"):
        for path in sorted((ROOT / "tests" / folder).glob(f"*/{pattern}")):
            if path.stat().st_size <= LONGEST:
                yield path.read_bytes()


def found(target: str) -> Iterator[Path]:
    """The cases that were found before, each once a crash, a hang or an error of the wrong kind."""
    return iter(sorted((CASES / target).glob("*")))


def write(target: str, folder: Path) -> int:
    """All of these as files in ``folder``; gives how many there are."""
    folder.mkdir(parents=True, exist_ok=True)
    every = [*seeds(target), *(path.read_bytes() for path in found(target))]
    for data in every:
        (folder / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)
    return len(every)
