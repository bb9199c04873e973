"""Recipe 1, 20 epochs, with the trunk run in every step and with features that are kept: time, passes, accuracy.

usage: python benchmarks/finetune.py [--shared ../shared] [--part 128] [--seeds 3]

The trunk is the stand-in for Illustration2Vec that `caffe2torch sample` writes (random weights), at 160 x 160, on the
training pictures of animeface10, a fifth of them for validation. Times are at full width: kept features from an empty
cache to the finished run; the trunk in every step on --part pictures for an epoch, multiplied (--part 0: all, an hour).
Accuracies are of both at width 4, over seeds. In both the frozen trunk runs in onnxruntime.
"""

from __future__ import annotations

import argparse
import csv
import datetime
import json
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

EPOCHS = 20


@dataclass(frozen=True)
class Timed:
    """One `finetune train`: seconds by the clock and of all processors, those of its epochs, passes, best accuracy."""

    wall: float
    processor: float
    epochs: list[float]
    passes: int
    pictures: int  # that an epoch trains and validates on
    accuracy: float


def command(*words: str | Path, cache: Path) -> None:
    """Run one of our commands; what it says goes to stderr."""
    print("$", *words, file=sys.stderr)
    program = Path(sys.executable).with_name(str(words[0]))
    environment = {**os.environ, "XDG_CACHE_HOME": str(cache)}
    subprocess.run([program, *words[1:]], check=True, stdout=sys.stderr, env=environment)


def train(data: Path, trunk: Path, run: Path, cache: Path, *more: str) -> Timed:
    """Time a training run."""
    wall, processor = time.perf_counter(), _processor()
    command("finetune", "train", data, "--trunk", trunk, "-o", run, *more, cache=cache)
    wall, processor = time.perf_counter() - wall, _processor() - processor
    with open(run / "metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    split = json.loads((run / "split.json").read_text())
    best = json.loads((run / "best.json").read_text())
    passes = json.loads((run / "config.json").read_text())["trunk_passes"]
    pictures = len(split["train"]) + len(split["validation"])
    seconds = [float(row["seconds"]) for row in rows]
    shutil.rmtree(run)
    return Timed(wall, processor, seconds, passes, pictures, best["validation_accuracy"])


def _processor() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def trunk_of(width: int, folder: Path) -> Path:
    """The stand-in at that width, converted."""
    model, trunk = folder / f"width{width}.caffemodel", folder / f"width{width}"
    command("caffe2torch", "sample", model, "--width", str(width), cache=folder)
    command("caffe2torch", "convert", model, "-o", trunk, "--no-verify", cache=folder)
    model.unlink()
    return trunk


def part_of(data: Path, count: int, folder: Path) -> Path:
    """About ``count`` of the pictures, the same share of every class; 0: all."""
    if not count:
        return data
    pictures = {each: sorted(path for path in each.iterdir()) for each in sorted(data.iterdir()) if each.is_dir()}
    share = count / sum(map(len, pictures.values()))
    for each, paths in pictures.items():
        (folder / "part" / each.name).mkdir(parents=True)
        for path in paths[: max(4, round(share * len(paths)))]:
            (folder / "part" / each.name / path.name).symlink_to(path.resolve())
    return folder / "part"


def measure_times(data: Path, folder: Path, part: int, width: int) -> None:
    """The table of times."""
    trunk = trunk_of(width, folder)
    kept = train(data, trunk, folder / "run", folder / "cache")
    again = train(data, trunk, folder / "run", folder / "cache")
    some = part_of(data, part, folder)
    once, slow = (
        train(some, trunk, folder / "run", folder / "cache", "--no-cache", "--epochs", str(epochs)) for epochs in (1, 2)
    )
    factor = EPOCHS * kept.pictures / slow.pictures
    before = again.wall - sum(again.epochs)  # all that is no epoch: the same in all
    wall = before + factor * slow.epochs[1]
    processor = again.processor + factor * (slow.processor - once.processor)  # what an epoch more takes
    size = "full width" if width == 1 else f"1/{width} of the width"
    print(f"\n| {EPOCHS} epochs, {size} | seconds | processor seconds | pictures/s | trunk passes |")
    print("| --- | --- | --- | --- | --- |")
    rows = (
        (
            f"trunk in every step (measured on {slow.pictures} pictures, multiplied)",
            wall,
            processor,
            factor * slow.pictures,
        ),
        ("features kept, first run", kept.wall, kept.processor, kept.passes),
        ("features kept, another run", again.wall, again.processor, again.passes),
    )
    for name, seconds, used, passes in rows:
        print(f"| {name} | {seconds:,.0f} | {used:,.0f} | {EPOCHS * kept.pictures / seconds:,.1f} | {passes:,.0f} |")
    print(f"\n{factor * slow.pictures / kept.passes:.1f} times fewer passes, {wall / kept.wall:.1f} times faster")


def measure_accuracies(data: Path, folder: Path, seeds: int, hidden: int) -> None:
    """The table of accuracies, at width 4."""
    trunk = trunk_of(4, folder)
    print(f"\n| validation accuracy, width 4, fc7 {hidden} | seeds | mean | spread |\n| --- | --- | --- | --- |")
    for name, more in (("trunk in every step", ("--no-cache",)), ("features kept", ())):
        options = ("--hidden", str(hidden), *more)
        found = [
            train(data, trunk, folder / "run", folder / "cache", "--seed", str(seed), *options).accuracy
            for seed in range(seeds)
        ]
        listed = " ".join(f"{accuracy:.4f}" for accuracy in found)
        print(f"| {name} | {listed} | {statistics.mean(found):.4f} | {max(found) - min(found):.4f} |", flush=True)


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--part", type=int, default=128, help="pictures that the slow way is timed on; 0: all")
    parser.add_argument("--width", type=int, choices=(1, 2, 4, 16), default=1, help="1/WIDTH, for the times")
    parser.add_argument("--seeds", type=int, default=3, help="0: no accuracies")
    parser.add_argument("--hidden", type=int, default=4096, help="units of fc7 for the accuracies")
    parser.add_argument("--no-times", action="store_true")
    options = parser.parse_args()
    data = options.shared / "data" / "animeface10" / "train"
    if not data.is_dir():
        print(f"{data} is not here: nothing measured")
        return
    cores = len(os.sched_getaffinity(0))
    print(
        f"{datetime.date.today()}, {platform.machine()}, {cores} cores, load {os.getloadavg()[0]:.1f} at the beginning"
    )
    with tempfile.TemporaryDirectory() as name:
        if not options.no_times:
            measure_times(data, Path(name), options.part, options.width)
        if options.seeds:
            measure_accuracies(data, Path(name), options.seeds, options.hidden)


if __name__ == "__main__":
    main()
