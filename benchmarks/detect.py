"""Faces in the same pictures by the LBP cascade, FrgNet64's windows, its dense form, and the detector of the package.

usage: python benchmarks/detect.py [--shared ../shared] [--detector MODEL.onnx] [--windows FRGNET64.onnx]
           [--pictures test|even|all] [--arms ARM,…] [--sets SET,…] [--rounds 3] [--slow 8] [--keep FOLDER]

Pictures: the test half of boxes_cc_anime (odd positions of the sorted file names; nothing was trained or chosen on
them), the same turned by 20 and 40 degrees and mirrored, each of its faces cut out by itself, and negatives_photo,
which hold no face. Without ../shared: drawn scenes of `finetune sample`. FRGNET64.onnx comes of `finetune train
face_patches --recipe frgnet64` and `onnx export`. Each arm runs in a process of its own with --threads threads, in
turn, --rounds times (0: not timed); times are medians over pictures and rounds, of slow arms over --slow pictures. With
--keep, what was found and how long it took is kept in FOLDER: another run does only the arms and sets that it is asked
for and that are not there yet (times anew where --rounds is not 0), and tells all that is kept. opencv-python-headless
< 5 is installed into an environment made for it.
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
sys.path = [*(place for place in sys.path if Path(place) != HERE), str(HERE)]  # finetune.py there is no package

from detect_sets import CLOSE, HALVES, PHOTOS, UPRIGHT, sets  # noqa: E402

from caffe2torch.pictures import load_picture  # noqa: E402
from finetune.data.boxes import BoxedPicture  # noqa: E402
from finetune.detection.evaluate import LEAST, truths_of  # noqa: E402
from finetune.detection.finder import Boxes  # noqa: E402
from finetune.detection.matching import average_precision, match_all, rates  # noqa: E402

OVERLAP = 0.4  # from which a box is right: they were drawn by hand
PIXELS = 512
FIND, TIME = "find", "time"
CLOCKS = ("alone", "decoded", "processor")  # from the decoded picture, from the file, and all threads' processor time
NAMES = {  # of the arms, in the order of the table
    "cascade": "cascade",
    "cascade-512": f"cascade, pictures scaled to {PIXELS}",
    "windows-1": "FrgNet64, one window a call",
    "windows": "FrgNet64, windows in batches",
    "dense": "FrgNet64, dense",
    "packaged": "onnx detect",
}
AT_ONCE = 16  # pictures looked at before what was found is kept
SLOW = ("windows-1", "windows")  # timed on few pictures
SAME = {"windows-1": "windows"}  # arms that find what another finds


@dataclass(frozen=True)
class Arm:
    """What is compared: a line of the table."""

    name: str
    words: tuple[str, ...]  # the program that looks at the pictures it reads from stdin
    threshold: float  # score from which a box is told
    key: str  # what was found by another file is not kept for this one


def main() -> None:
    if len(sys.argv) > 1 and sys.argv[1] == "--one":
        return one(Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]), timed=sys.argv[5] == TIME)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shared", type=Path, default=HERE.parents[1] / "shared")
    parser.add_argument("--detector", type=Path)
    parser.add_argument("--windows", type=Path)
    parser.add_argument("--pictures", choices=list(HALVES), default="test")
    parser.add_argument("--arms", type=lambda text: text.split(","), default=list(NAMES))
    parser.add_argument("--sets", type=lambda text: text.split(","))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--slow", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--keep", type=Path)
    asked = parser.parse_args()
    if unknown := set(asked.arms) - set(NAMES):
        parser.error(f"--arms: {', '.join(sorted(unknown))} is none of {', '.join(NAMES)}")
    with tempfile.TemporaryDirectory() as temporary:
        compare(asked, Path(temporary), asked.keep or Path(temporary) / "kept")
    return None


def compare(asked: argparse.Namespace, folder: Path, kept: Path) -> None:
    kept.mkdir(parents=True, exist_ok=True)
    pictures, where = sets(asked.shared, asked.pictures, folder)
    arms = open_arms(asked, kept)
    for name, of in pictures.items():
        for arm in arms:
            if arm.name in asked.arms and arm.name not in SAME and (asked.sets is None or name in asked.sets):
                find(arm, of, kept / f"{arm.name}.{asked.pictures}.{name}.json")
    taken: dict[str, list[dict[str, Any]]] = {}
    for _ in range(asked.rounds):
        for arm in arms:
            if arm.name in asked.arms:
                taken.setdefault(arm.name, []).append(look(arm, some(pictures[UPRIGHT], arm, asked.slow), TIME))
    for arm in arms:
        if arm.name in taken:
            write(kept / f"{arm.name}.{asked.pictures}.times.json", arm, {"rounds": taken[arm.name]})
    tell(asked.pictures, arms, pictures, where, kept)


def open_arms(asked: argparse.Namespace, folder: Path) -> list[Arm]:
    """All arms whose files are there."""
    arms = []
    xml = asked.shared / "data" / "lbpcascade_animeface.xml"
    if not xml.exists():
        print(f"{xml} is not there: no cascade", file=sys.stderr)
    elif {"cascade", "cascade-512"} & set(asked.arms) or (folder / "opencv").exists():
        python = folder / "opencv" / "bin" / "python"
        if not python.exists():
            venv.create(folder / "opencv", with_pip=True)
            install = [str(python), "-m", "pip", "install", "-q", "opencv-python-headless<5"]
            subprocess.run(install, check=True, stdout=sys.stderr)
        for name, size in (("cascade", 0), ("cascade-512", PIXELS)):
            words = [str(python), str(HERE / "cascade.py"), str(xml), str(size), str(asked.threads)]
            arms.append(Arm(name, tuple(words), 0.0, digest(xml)))
    from finetune.detection.run import open_finder

    if asked.windows is None:
        print("no --windows FRGNET64.onnx: neither windows nor dense", file=sys.stderr)
    methods = {"windows-1": "windows", "windows": "windows", "dense": "dense"} if asked.windows else {}
    for name, method in {**methods, "packaged": "model"}.items():
        finder = open_finder(asked.windows if method != "model" else asked.detector, method, "cpu", 1)
        words = [sys.executable, __file__, "--one", str(finder.path), name, str(asked.threads)]
        arms.append(Arm(name, tuple(words), finder.settings.confidence, digest(finder.path)))
    return arms


def one(model: Path, name: str, threads: int, timed: bool) -> None:
    """In a process of its own: look at the pictures on stdin by one of our arms; print what is found, or times."""
    from finetune.detection.run import open_finder

    method = {"packaged": "model", "windows-1": "windows"}.get(name, name)
    finder: Any = open_finder(model, method, "cpu", threads)
    if name == "windows-1":
        finder = replace(finder, batch=1)
    paths = [Path(path) for path in json.load(sys.stdin)]
    answer: dict[str, Any] = {"boxes": [], **{key: [] for key in CLOCKS}}
    if not timed:
        wide = replace(finder.settings, confidence=LEAST)
        for path in paths:
            found = finder.find(load_picture(path), wide)
            answer["boxes"].append(np.column_stack([found.boxes, found.scores]).tolist())
        print(json.dumps(answer))
        return
    for path in paths[: 1 if name in SLOW else 3]:
        finder.find(load_picture(path), finder.settings)  # warm
    for path in paths:
        start = time.perf_counter()
        picture = load_picture(path)
        middle, before = time.perf_counter(), time.process_time()
        finder.find(picture, finder.settings)
        end = time.perf_counter()
        answer["processor"].append(1000 * (time.process_time() - before))
        answer["alone"].append(1000 * (end - middle))
        answer["decoded"].append(1000 * (end - start))
    answer["memory"] = peak_megabytes()
    print(json.dumps(answer))


def peak_megabytes() -> float:
    """The most memory that this process has had; not ru_maxrss, which a child has from its parent. Linux."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(found[1]) / 1024 if found else float("nan")


def look(arm: Arm, pictures: Sequence[BoxedPicture], what: str) -> dict[str, Any]:
    """What the arm finds in the pictures (FIND), or how long it takes (TIME)."""
    paths = json.dumps([str(picture.path) for picture in pictures])
    done = subprocess.run([*arm.words, what], input=paths, stdout=subprocess.PIPE, text=True, check=True)
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer | {"pictures": [picture.path.name for picture in pictures]}


def find(arm: Arm, pictures: Sequence[BoxedPicture], file: Path) -> None:
    """What the arm finds in all pictures is in the file when this returns; some at a time, so that little is lost."""
    said = read(file, arm) or {"pictures": [], "boxes": [], "all": []}
    while (done := len(said["pictures"])) < len(pictures):
        more = look(arm, pictures[done : done + AT_ONCE], FIND)
        said = {name: said[name] + more.get(name, []) for name in ("pictures", "boxes", "all")}
        write(file, arm, said)
        print(f"{arm.name}, {file.stem}: {len(said['pictures'])} of {len(pictures)}", file=sys.stderr)


def some(pictures: Sequence[BoxedPicture], arm: Arm, slow: int) -> list[BoxedPicture]:
    """All pictures; for slow arms a few, evenly out of them."""
    count = min(slow, len(pictures)) if arm.name in SLOW else len(pictures)
    return [pictures[int(place)] for place in np.linspace(0, len(pictures) - 1, count).round()]


def read(file: Path, arm: Arm) -> dict[str, Any] | None:
    """What was kept, if it was made by the same file."""
    said: dict[str, Any] = json.loads(file.read_bytes()) if file.exists() else {}
    return said if said.get("key") == arm.key else None


def whole(said: dict[str, Any] | None, pictures: Sequence[BoxedPicture]) -> dict[str, Any] | None:
    """What was kept, if it is of all those pictures."""
    same = said is not None and said["pictures"] == [picture.path.name for picture in pictures]
    return said if same else None


def write(file: Path, arm: Arm, said: dict[str, Any]) -> None:
    part = file.with_suffix(f".part{os.getpid()}")
    part.write_text(json.dumps(said | {"key": arm.key}))
    part.replace(file)


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def tell(half: str, arms: Sequence[Arm], pictures: dict[str, list[BoxedPicture]], where: str, kept: Path) -> None:
    """The tables of all that is kept."""
    machine = f"{datetime.date.today()}, {platform.machine()}"
    print(f"{where}, IoU from {OVERLAP}; ms a picture: medians; processor: of all threads; {machine}\n")
    turns = [name for name in pictures if name not in (UPRIGHT, CLOSE, PHOTOS)]
    heads = ["", "precision", "recall", "F1", "AP", *(f"recall {turn}" for turn in turns), "found close up"]
    heads += ["ms, model alone", "ms, from the file", "processor ms", "peak MB", "false boxes on photos"]
    print(f"| {' | '.join(heads)} |\n|{' --- |' * len(heads)}")
    times = {}
    for arm in arms:
        said = {
            name: whole(read(kept / f"{SAME.get(arm.name, arm.name)}.{half}.{name}.json", arm), of)
            for name, of in pictures.items()
        }
        shares = figures(arm, said[UPRIGHT], pictures[UPRIGHT])
        shares += [figures(arm, said[name], pictures[name])[1] for name in (*turns, CLOSE)]
        times[arm.name] = (read(kept / f"{arm.name}.{half}.times.json", arm) or {"rounds": []})["rounds"]
        cells = ["–" if np.isnan(share) else f"{share:.3f}" for share in shares]
        cells += [_median(times[arm.name], clock) for clock in CLOCKS]
        cells.append(f"{max(once['memory'] for once in times[arm.name]):.0f}" if times[arm.name] else "–")
        on_photos = said.get(PHOTOS)
        cells.append("–" if on_photos is None else str(told(arm, on_photos)))
        print(f"| {NAMES[arm.name]} | {' | '.join(cells)} |")
    print()
    for fast, slow in (("dense", "windows"), ("dense", "windows-1"), ("packaged", "cascade-512")):
        if times.get(fast) and times.get(slow):
            print(_ratio(times[fast], times[slow], fast, slow))


def _median(rounds: list[dict[str, Any]], clock: str) -> str:
    return f"{statistics.median(ms for once in rounds for ms in once[clock]):.1f}" if rounds else "–"


def _ratio(fast: list[dict[str, Any]], slow: list[dict[str, Any]], *names: str) -> str:
    """How many times one arm is faster, on the pictures that both were timed on."""

    def by_picture(rounds: list[dict[str, Any]], clock: str) -> dict[str, float]:
        return {
            name: statistics.median(once[clock][once["pictures"].index(name)] for once in rounds)
            for name in rounds[0]["pictures"]
        }

    said = []
    for clock in ("alone", "processor"):
        left, right = by_picture(fast, clock), by_picture(slow, clock)
        both = [right[name] / left[name] for name in left if name in right]
        said.append(f"{statistics.median(both):.2f} by {clock}")
    return f"{names[0]} is faster than {names[1]}: {', '.join(said)} (median over {len(both)} pictures)"


def figures(arm: Arm, answer: dict[str, Any] | None, pictures: list[BoxedPicture]) -> list[float]:
    """Precision, recall, F1 at the arm's threshold; average precision; NaN where nothing is known."""
    if answer is None:
        return [float("nan")] * 4
    matches = match_all(as_boxes(answer["boxes"]), truths_of(pictures), OVERLAP)
    shares = rates(*(counts.sum() for counts in matches.counts(arm.threshold)))
    wide = match_all(as_boxes(answer["all"]), truths_of(pictures), OVERLAP) if answer["all"] else matches
    return [*(float(share) for share in shares), average_precision(wide)]


def told(arm: Arm, answer: dict[str, Any]) -> int:
    """Boxes from the arm's threshold on."""
    return sum(row[4] >= arm.threshold for rows in answer["boxes"] for row in rows)


def as_boxes(answers: list[list[list[float]]]) -> list[Boxes]:
    arrays = [np.array(rows, np.float64).reshape(-1, 5) for rows in answers]
    return [Boxes(array[:, :4], array[:, 4]) for array in arrays]


if __name__ == "__main__":
    main()
