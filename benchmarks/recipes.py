"""The recipes that train a whole network, each to its end on data that can be had: figures beside their authors'.

    OMP_NUM_THREADS=2 python benchmarks/recipes.py [--data ../shared/data] [--only NAME]...

Prints the README's table. What differs from the authors' settings stands in it. The digits are scikit-learn's
(`pip install scikit-learn`), the scenes are drawn, face_patches and emoji_faces lie in --data; what is not there is
left out, with a note. On a GPU frgnet64 is trained as published.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

sys.path = [place for place in sys.path if Path(place) != Path(__file__).parent]  # finetune.py there is no package

from finetune.sample import write_sample  # noqa: E402

FINETUNE = [sys.executable, "-c", "from finetune.cli import main; main()"]
EVERY = 5  # digits: of five pictures one is tested on


@dataclass(frozen=True)
class Recipe:
    """``prepare(folder, data)`` gives what `finetune train` is told beside the recipe, or None without the data."""

    name: str
    about: str  # the data
    changed: str  # from the authors' settings
    authors: str
    prepare: Callable[[Path, Path], list[str] | None]
    figure: Callable[[Path], str]  # of the run's folder


def digits(folder: Path, data: Path) -> list[str] | None:
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        return None
    found = load_digits()
    for number, (picture, label) in enumerate(zip(found.images, found.target, strict=True)):
        place = folder / ("test" if number % EVERY == 0 else "train") / str(label)
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.rint(picture * (255 / 16)).astype(np.uint8)).save(place / f"{number:04}.png")
    less = ["--batch-size", "32", "--epochs", "100", "--validation", "0", "--workers", "0"]
    return [str(folder / "train"), "--test", str(folder / "test"), *less]


def frgnet64(folder: Path, data: Path) -> list[str] | None:
    import torch

    less = [] if torch.cuda.is_available() else ["--epochs", "2", "--no-turns"]
    return [str(data / "face_patches"), *less] if (data / "face_patches").is_dir() else None


def facemask(folder: Path, data: Path) -> list[str] | None:
    write_sample(folder / "drawn", 2, 1, 32, 120, 0, False, 1)
    return [str(folder / "drawn" / "scenes"), "--size", "128", "--workers", "0"]


def resnet50(folder: Path, data: Path) -> list[str] | None:
    """Of each emoji's drawings, one a vendor, the first by name is tested on."""
    if not (data / "emoji_faces").is_dir():
        return None
    lists: dict[str, list[str]] = {"train": [], "test": []}
    for emoji in sorted(path for path in (data / "emoji_faces").iterdir() if path.is_dir()):
        for place, picture in enumerate(sorted(emoji.iterdir())):
            lists["train" if place else "test"].append(f"{picture.resolve()} {emoji.name}\n")
    for name, lines in lists.items():
        (folder / f"{name}.txt").write_text("".join(lines))
    small = ["--width", "16", "--size", "64", "--scale", "72", "--batch-size", "16", "--epochs", "10"]
    steps = ["--lr-step", "6,8", "--validation", "0", "--workers", "0"]
    return [str(folder / "train.txt"), "--test", str(folder / "test.txt"), *small, *steps]


def validated(run: Path) -> str:
    best = json.loads((run / "best.json").read_text())
    return f"{best['validation_accuracy']:.1%} of a fifth held out, epoch {best['epoch']}"


def tested(run: Path) -> str:
    found = json.loads((run / "test.json").read_text())
    return f"{found['accuracy']:.1%} of {found['pictures']} test pictures"


def masked(run: Path) -> str:
    found = json.loads((run / "validation.json").read_text())
    return f"{found['pixel_accuracy']:.1%} of the pixels, overlap of faces {found['face_overlap']:.2f}"


RECIPES = (
    Recipe(
        "frgnet64",
        "face_patches, 7,800",
        "CPU: 2 epochs, no turns",
        "95.5 % on an unseen series",
        frgnet64,
        validated,
    ),
    Recipe("facemask", "120 drawn scenes", "128 × 128 pixels", "none told", facemask, masked),
    Recipe(
        "resnet50",
        "emoji_faces, 100 classes of 6 to 7, by a list file",
        "width 16, 64 × 64 of 72, batch 16, 10 epochs",
        "none told",
        resnet50,
        tested,
    ),
    Recipe("digits", "scikit-learn's 1,797 of 8 × 8", "batch 32, 100 epochs", "97.5 % on MNIST", digits, tested),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared" / "data")
    parser.add_argument("--only", action="append", choices=[recipe.name for recipe in RECIPES], default=[])
    parser.add_argument("--keep", type=Path, help="folder for the runs, to look at them")
    arguments = parser.parse_args()
    print(f"{datetime.date.today()}, {_machine()}\n")
    print("| recipe | data | other settings than its authors' | authors | here | time |")
    print("| --- | --- | --- | --- | --- | --- |")
    for recipe in RECIPES:
        if not arguments.only or recipe.name in arguments.only:
            with tempfile.TemporaryDirectory() as folder:
                _train(recipe, Path(folder), arguments.keep, arguments.data)


def _train(recipe: Recipe, folder: Path, keep: Path | None, data: Path) -> None:
    told = recipe.prepare(folder, data)
    if told is None:
        print(f"{recipe.name}: {recipe.about}: not here", file=sys.stderr)
        return
    run = (keep or folder) / recipe.name
    start = time.perf_counter()
    subprocess.run(
        [*FINETUNE, "train", "--recipe", recipe.name, *told, "-o", str(run), "--force"], check=True, stdout=sys.stderr
    )
    minutes = (time.perf_counter() - start) / 60
    row = (f"`{recipe.name}`", recipe.about, recipe.changed, recipe.authors, recipe.figure(run), f"{minutes:.1f} min")
    print(f"| {' | '.join(row)} |", flush=True)


def _machine() -> str:
    import torch

    threads = f"{torch.get_num_threads()} threads of {os.cpu_count()} cores"
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return f"{platform.system()} {platform.machine()}, {threads}{gpu}, torch {torch.__version__}"


if __name__ == "__main__":
    main()
