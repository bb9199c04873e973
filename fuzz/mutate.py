"""Try many damaged real files: python fuzz/mutate.py [--count 100000] [--seed 0].

Golden caffemodels and prototxts, and the heads of the caffemodels in ../shared where they are, each with one to four
steps of damage, go the whole way of `convert` but for torch. Prints how many there were, what became of them, the
longest run and the memory; a finding ends it with its bytes in build/fuzz/findings.
"""

from __future__ import annotations

import argparse
import random
import resource
import sys
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from fuzz import corpus, targets  # noqa: E402
from fuzz.mutations import KINDS, mutated  # noqa: E402

HEAD = 1 << 16  # bytes of a real file: its net and the first weights
LARGE = 1 << 20  # places and numbers that are drawn; places count around
SLOW, MEMORY = 2.0, 1 << 20  # seconds of a run; kilobytes
ROOM = 3 << 30  # bytes of addresses, libraries and all


def files() -> list[tuple[str, bytes]]:
    """Target and content."""
    found = [(target, data) for target in ("caffemodel", "net") for data in corpus.seeds(target)]
    for path in sorted((ROOT.parent / "shared" / "caffemodels").glob("*/*")):
        target = {".caffemodel": "caffemodel", ".prototxt": "net"}.get(path.suffix)
        if target:
            with path.open("rb") as file:
                found.append((target, file.read(HEAD)))
    return found


def main() -> None:
    """Draw, damage, try, count."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_AS, (ROOM, ROOM))  # beyond it a MemoryError, which is a finding
    draw, every = random.Random(given.seed), files()
    became: Counter[str] = Counter()
    kinds = list(KINDS)
    longest, begin = 0.0, time.monotonic()
    for _ in range(given.count):
        target, data = draw.choice(every)
        steps = [(draw.choice(kinds), draw.randrange(LARGE), draw.randrange(LARGE)) for _ in range(draw.randint(1, 4))]
        damaged = mutated(data, steps)
        start = time.process_time()
        try:
            became[f"{target}: {targets.TARGETS[target](damaged) or 'converted'}"] += 1
        except BaseException:
            _keep(damaged, target)
            raise
        longest = max(longest, time.process_time() - start)
        if longest > SLOW or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss > MEMORY:
            _keep(damaged, target)
            sys.exit(f"too slow, or too large: {longest:.1f} s")
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{given.count:,} damaged files of {len(every)} in {time.monotonic() - begin:.0f} s")
    print(f"longest run {longest:.2f} s, memory {memory:.0f} MB")
    for what, count in became.most_common():
        print(f"{count:8,}  {what}")


def _keep(data: bytes, target: str) -> None:
    folder = ROOT / "build" / "fuzz" / "findings"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{target}-mutated").write_bytes(data)


if __name__ == "__main__":
    main()
