"""Kills `caffe2torch convert --force` at random moments: after each, the folder is the old or the new one, whole.

usage: python benchmarks/kill.py [--kills 100] [--model illust2vec.caffemodel] [--seed 0]

Two conversions of one file, with and without its last layers, replace each other. Each is killed (kill -9) at a random
moment, four of five while it writes; then what is in the folder is held against both, and it is looked for what was
left beside it. At the end a run that is not killed must leave nothing but the folder.
"""

from __future__ import annotations

import argparse
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from hashlib import sha256
from pathlib import Path

PROGRAM = "import sys; from caffe2torch.cli import main; main(sys.argv[1:])"


def command(model: Path, out: Path, whole: bool) -> list[str]:
    """One of the two conversions."""
    words = [sys.executable, "-c", PROGRAM, "convert", str(model), "-o", str(out), "--no-verify", "--force"]
    return words + (["--keep-all"] if whole else [])


def content(folder: Path) -> dict[str, str]:
    """SHA-256 of each file."""
    return {path.name: sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def started(child: subprocess.Popen[bytes], folder: Path) -> None:
    """Wait until it writes, or has ended."""
    while len(list(folder.iterdir())) < 2 and child.poll() is None:
        time.sleep(0.0005)


def run(model: Path, kills: int, seed: int, folder: Path) -> Counter[str]:
    """How often the old and the new folder was there; AssertionError for anything else."""
    out, generator = folder / "out", random.Random(seed)
    known, starts, writes = [], [], []
    for whole in (False, True, False, True):
        begin = time.perf_counter()
        with subprocess.Popen(command(model, out, whole), stdout=subprocess.DEVNULL) as child:
            started(child, folder)
            starts.append(time.perf_counter() - begin)
        writes.append(time.perf_counter() - begin - starts[-1])
        known.append(content(out))
    assert known[0] != known[1], "the two conversions must differ"
    last, found = 1, Counter[str]()
    for number in range(kills):
        other = 1 - last
        child = subprocess.Popen(command(model, out, bool(other)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        if number % 5:  # most while it writes, the others at any time
            started(child, folder)
            time.sleep(generator.uniform(0, 1.2) * writes[2 + other])
        else:
            time.sleep(generator.uniform(0, 1.1) * (starts[2 + other] + writes[2 + other]))
        child.send_signal(signal.SIGKILL)
        ended = child.wait() == 0
        now = content(out)
        assert now in known, f"kill {number}: the folder is neither the old nor the new one"
        replaced = now == known[other]
        assert replaced or not ended, f"kill {number}: it had ended, but the old folder is there"
        found["had ended" if ended else "new" if replaced else "old"] += 1
        found["of them with something left beside"] += len(list(folder.iterdir())) > 1
        last = other if replaced else last
    subprocess.run(command(model, out, False), check=True, stdout=subprocess.DEVNULL)
    assert content(out) == known[0], "a run after the kills does not give what it gave before"
    assert [path.name for path in folder.iterdir()] == ["out"], "a run after the kills left something beside"
    return found


def main() -> None:
    """Print what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, tempfile.TemporaryDirectory() as place:
        model = options.model or Path(name) / "illust2vec.caffemodel"
        if options.model is None:
            words = [sys.executable, "-c", PROGRAM, "sample", str(model), "--width", "4"]
            subprocess.run(words, check=True, stderr=subprocess.DEVNULL)
        found = run(model, options.kills, options.seed, Path(place))
    print(
        f"{options.kills} kills: {', '.join(f'{count} {what}' for what, count in sorted(found.items()))}; never broken"
    )


if __name__ == "__main__":
    main()
