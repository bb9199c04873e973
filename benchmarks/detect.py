"""Faces in the same pictures by the LBP cascade, FrgNet64's windows, its dense form, and the detector of the package.

usage: python benchmarks/detect.py [--shared ../shared] [--detector MODEL.onnx] [--windows FRGNET64.onnx]
                                   [--pictures half|all] [--rounds 3]

Pictures: the test half of boxes_cc_anime (odd positions of the sorted file names; nothing was trained or chosen on
them), the same turned by 20 and 40 degrees and mirrored, and negatives_photo, which hold no face. Without ../shared:
drawn scenes of `finetune sample`. FRGNET64.onnx comes of `finetune train face_patches --recipe frgnet64` and
`onnx export`. Every method runs in a process of its own with two threads, in turn, --rounds times; times are medians
over pictures and rounds. opencv-python-headless < 5 is installed into an environment made for it.
"""

from __future__ import annotations

import argparse
import datetime
import json
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

sys.path = [place for place in sys.path if Path(place) != Path(__file__).parent]  # finetune.py there is no package

from caffe2torch.pictures import load_picture  # noqa: E402
from finetune.data.boxes import BoxedPicture, read_boxes  # noqa: E402
from finetune.detection.evaluate import LEAST, truths_of  # noqa: E402
from finetune.detection.finder import Boxes  # noqa: E402
from finetune.detection.matching import average_precision, match_all, rates  # noqa: E402

TURNS = (20, -20, 40, -40)
OVERLAP = 0.4  # from which a box is right: they were drawn by hand
PIXELS = 512
FIND, TIME = "find", "time"
CLOCKS = ("alone", "decoded", "processor")  # from the decoded picture, from the file, and all threads' processor time


@dataclass(frozen=True)
class Method:
    """What is compared: a line of the table."""

    name: str
    words: tuple[str, ...]  # the program that looks at the pictures it reads from stdin
    threshold: float  # score from which a box is told
    by_all: bool = False  # whether average precision is over boxes of its own, "all"


def main() -> None:
    if len(sys.argv) > 1 and sys.argv[1] == "--one":
        return one(Path(sys.argv[2]), sys.argv[3], timed=sys.argv[4] == TIME)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shared", type=Path, default=Path(__file__).parents[2] / "shared")
    parser.add_argument("--detector", type=Path)
    parser.add_argument("--windows", type=Path)
    parser.add_argument("--pictures", choices=["half", "all"], default="half")
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        compare(asked, Path(folder))


def compare(asked: argparse.Namespace, folder: Path) -> None:
    pictures, negatives, where = material(asked, folder)
    found_by = methods(asked, folder)
    sets = {"upright": pictures, "mirrored": mirrored(pictures, folder / "mirrored")}
    sets |= {f"{turn:+d}°": turned(pictures, folder / f"turned{turn}", turn) for turn in TURNS}
    answers = {(method.name, name): look(method, of, FIND) for name, of in sets.items() for method in found_by}
    empty = {method.name: look(method, negatives, FIND) for method in found_by}
    taken = [{method.name: look(method, pictures, TIME) for method in found_by} for _ in range(asked.rounds)]
    times = "milliseconds from the decoded picture (alone) and from the file to boxes, and of both processors"
    print(f"{where}; {times}, medians, 2 threads, {datetime.date.today()}, {platform.machine()}\n")
    print(
        "| method | precision | recall | F1 | AP | ms, alone | ms, from file | processor ms | MB | false on negatives |"
    )
    print("|" + " --- |" * 10)
    for method in found_by:
        answer = answers[method.name, "upright"]
        precision, recall, f1, average = figures(method, answer, pictures)
        wrong = false_boxes(method, empty[method.name])
        all_times = {key: [ms for once in taken for ms in once[method.name][key]] for key in CLOCKS}
        speed = " | ".join(f"{statistics.median(of):.1f}" for of in all_times.values())
        memory = max(once[method.name]["memory"] for once in taken)
        print(
            f"| {method.name} | {precision:.3f} | {recall:.3f} | {f1:.3f} | {average:.3f} | {speed} "
            f"| {memory:.0f} | {wrong} of {len(negatives)} pictures |"
        )
    print("\n| recall | " + " | ".join(sets) + " |")
    print("| --- |" + " --- |" * len(sets))
    for method in found_by:
        recalls = [figures(method, answers[method.name, name], of)[1] for name, of in sets.items()]
        print(f"| {method.name} | " + " | ".join(f"{value:.3f}" for value in recalls) + " |")


def material(asked: argparse.Namespace, folder: Path) -> tuple[list[BoxedPicture], list[BoxedPicture], str]:
    """Pictures with boxes, pictures without faces, and what they are."""
    data = asked.shared / "data"
    if not (data / "boxes_cc_anime").is_dir():
        from finetune.sample import write_sample

        print(f"{data} is not there: drawn scenes are used", file=sys.stderr)
        write_sample(folder / "sample", pictures=1, test=0, scenes=30)
        pictures = read_boxes(folder / "sample" / "scenes")
        return pictures, [], f"{len(pictures)} drawn scenes"
    pictures = read_boxes(data / "boxes_cc_anime")
    pictures.sort(key=lambda picture: picture.path.name)
    if asked.pictures == "half":
        pictures = pictures[1::2]
    none = np.zeros((0, 4), np.float32), (), np.zeros(0, bool)
    negatives = [BoxedPicture(path, *none) for path in sorted((data / "negatives_photo").glob("*.JPEG"))]
    which = "test half of boxes_cc_anime" if asked.pictures == "half" else "boxes_cc_anime"
    faces = sum(int((~picture.difficult).sum()) for picture in pictures)
    return pictures, negatives, f"{which}: {len(pictures)} pictures, {faces} faces, IoU from {OVERLAP}"


def methods(asked: argparse.Namespace, folder: Path) -> list[Method]:
    chosen: list[Method] = []
    xml = asked.shared / "data" / "lbpcascade_animeface.xml"
    if xml.exists():
        venv.create(folder / "opencv", with_pip=True)
        python = folder / "opencv" / "bin" / "python"
        subprocess.run(
            [python, "-m", "pip", "install", "-q", "opencv-python-headless<5"], check=True, stdout=sys.stderr
        )
        script = str(Path(__file__).with_name("cascade.py"))
        for name, size in (("cascade", 0), (f"cascade at {PIXELS}", PIXELS)):
            chosen.append(Method(name, (str(python), script, str(xml), str(size)), 0.0, by_all=True))
    else:
        print(f"{xml} is not there: no cascade", file=sys.stderr)
    from finetune.detection.run import open_finder

    if asked.windows is None:
        print("no --windows FRGNET64.onnx: neither windows nor dense", file=sys.stderr)
    wanted = [("windows", asked.windows), ("dense", asked.windows)] if asked.windows else []
    for name, model in [*wanted, ("model", asked.detector)]:
        finder = open_finder(model, name, "cpu", 2)
        words = (sys.executable, __file__, "--one", str(finder.path), name)
        label = "detector" if name == "model" else f"FrgNet64, {name}"
        chosen.append(Method(label, words, finder.settings.confidence))
    return chosen


def one(model: Path, method: str, timed: bool) -> None:
    """In a process of its own: look at the pictures on stdin by one of our methods; print what is found, or times."""
    from dataclasses import replace

    from finetune.detection.run import open_finder

    finder = open_finder(model, method, "cpu", 2)
    paths = [Path(path) for path in json.load(sys.stdin)]
    answer: dict[str, Any] = {"boxes": [], **{key: [] for key in CLOCKS}}
    if not timed:
        wide = replace(finder.settings, confidence=LEAST)
        for path in paths:
            found = finder.find(load_picture(path), wide)
            answer["boxes"].append(np.column_stack([found.boxes, found.scores]).tolist())
        print(json.dumps(answer))
        return
    for path in paths[:3]:
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


def look(method: Method, pictures: list[BoxedPicture], what: str) -> dict[str, Any]:
    """What the method finds in the pictures (FIND), or how long it takes (TIME)."""
    paths = json.dumps([str(picture.path) for picture in pictures])
    done = subprocess.run([*method.words, what], input=paths, stdout=subprocess.PIPE, text=True, check=True)
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def figures(method: Method, answer: dict[str, Any], pictures: list[BoxedPicture]) -> tuple[float, float, float, float]:
    """Precision, recall, F1 at the method's threshold; average precision."""
    matches = match_all(as_boxes(answer["boxes"]), truths_of(pictures), OVERLAP)
    precision, recall, f1 = rates(*(counts.sum() for counts in matches.counts(method.threshold)))
    wide = match_all(as_boxes(answer["all"]), truths_of(pictures), OVERLAP) if method.by_all else matches
    return float(precision), float(recall), float(f1), average_precision(wide)


def false_boxes(method: Method, answer: dict[str, Any]) -> int:
    """Boxes told on pictures that hold no face."""
    return sum(row[4] >= method.threshold for rows in answer["boxes"] for row in rows)


def as_boxes(answers: list[list[list[float]]]) -> list[Boxes]:
    arrays = [np.array(rows, np.float64).reshape(-1, 5) for rows in answers]
    return [Boxes(array[:, :4], array[:, 4]) for array in arrays]


def mirrored(pictures: list[BoxedPicture], folder: Path) -> list[BoxedPicture]:
    def mirror(picture: BoxedPicture) -> tuple[Image.Image, np.ndarray]:
        image = Image.fromarray(load_picture(picture.path)).transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        x0, y0, x1, y1 = picture.boxes.T
        return image, np.stack([image.width - x1, y0, image.width - x0, y1], axis=1)

    return changed(pictures, folder, mirror)


def turned(pictures: list[BoxedPicture], folder: Path, degrees: float) -> list[BoxedPicture]:
    """Turned counter-clockwise about the middle, the whole picture kept, on grey; boxes keep their size."""

    def turn(picture: BoxedPicture) -> tuple[Image.Image, np.ndarray]:
        old = Image.fromarray(load_picture(picture.path))
        image = old.rotate(degrees, Image.Resampling.BICUBIC, expand=True, fillcolor=(128, 128, 128))
        angle = np.deg2rad(degrees)
        matrix = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])  # y points down
        centres = (picture.boxes[:, :2] + picture.boxes[:, 2:]) / 2 - np.array(old.size) / 2
        centres = centres @ matrix.T + np.array(image.size) / 2
        half = (picture.boxes[:, 2:] - picture.boxes[:, :2]) / 2
        return image, np.concatenate([centres - half, centres + half], axis=1)

    return changed(pictures, folder, turn)


def changed(pictures: list[BoxedPicture], folder: Path, change: Any) -> list[BoxedPicture]:
    """The pictures written as PNG after ``change``, with their new boxes."""
    folder.mkdir()
    new = []
    for number, picture in enumerate(pictures):
        image, boxes = change(picture)
        path = folder / f"{number:03}.png"
        image.save(path)
        new.append(BoxedPicture(path, boxes.astype(np.float32), picture.labels, picture.difficult))
    return new


if __name__ == "__main__":
    main()
