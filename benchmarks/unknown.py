"""onnx predict --unknown: how many strangers are refused, and how many right answers kept, by several scores.

usage: python benchmarks/unknown.py [--shared ../shared] [--draws 3] [--characters 7] [--at BLOB] [--hidden 256]

Of the ten characters of animeface10 seven are trained on open_nsfw (80 % of their training pictures, the others
validate), in several draws; all pictures of the other three are strangers. Every answer is that of the exported ONNX
file. Prints the README's table: thresholds are those that keep 95 % of the right answers in validation; no stranger was
used to choose anything. Tried too, and not better in every draw: energy, distances (Mahalanobis, cosine, nearest
neighbour) of logits, of fc7's output and of the trunk's features, alone and added to the probability.
Some minutes: the trunk runs on every picture once, and in the ONNX file once more.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

sys.path = [place for place in sys.path if Path(place) != Path(__file__).parent]  # finetune.py there is no package

from caffe2torch.pictures import find_pictures, load_picture  # noqa: E402
from finetune.calibration import KEPT  # noqa: E402
from finetune.runtime import Session, open_model  # noqa: E402

SCORES = ("best calibrated probability (what is used)", "lead of the best logit", "best logit above the mean of all")


def command(*words: str | Path) -> None:
    print("$", *words, file=sys.stderr)
    subprocess.run([Path(sys.executable).with_name(str(words[0])), *words[1:]], check=True, stdout=sys.stderr)


def linked(source: Path, names: list[str], folder: Path) -> Path:
    """A folder of links to some of the classes."""
    folder.mkdir()
    for name in names:
        os.symlink((source / name).resolve(), folder / name)
    return folder


def answers(session: Session, folder: Path, names: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities (N, classes) of all pictures of those classes, and their places in ``names``."""
    paths = [(path, place) for place, name in enumerate(names) for path in find_pictures(folder / name)]
    rows = [
        session.probabilities(
            np.stack([load_picture(path, session.info.size) for path, _ in paths[start : start + 16]])
        )
        for start in range(0, len(paths), 16)
    ]
    return np.concatenate(rows), np.array([place for _, place in paths])


def scores(session: Session, probabilities: np.ndarray) -> dict[str, np.ndarray]:
    calibration = session.info.calibration
    assert calibration is not None
    logs = np.log(np.maximum(probabilities.astype(np.float64), 1e-30))
    ordered = np.sort(logs, axis=1)
    best = calibration.apply(probabilities).max(axis=1)
    values = (best, ordered[:, -1] - ordered[:, -2], ordered[:, -1] - logs.mean(axis=1))
    return dict(zip(SCORES, values, strict=True))


def auroc(higher: np.ndarray, lower: np.ndarray) -> float:
    """How probably one of ``higher`` is above one of ``lower``."""
    return float((higher[:, None] > lower).mean() + 0.5 * (higher[:, None] == lower).mean())


def measure(data: Path, run: Path, strangers: list[str]) -> dict[str, tuple[float, float, float]]:
    """For each score: share of right test answers kept, of strangers refused, and AUROC."""
    session = open_model(run / "model.onnx", "cpu")
    names = list(session.info.classes)
    table = np.loadtxt(run / "predictions-validation.csv", str, delimiter=",", skiprows=1)
    held, truth = table[:, 3:].astype(float), np.array([names.index(name) for name in table[:, 1]])
    tested, labels = answers(session, data / "test", names)
    strange = np.concatenate([answers(session, data / part, strangers)[0] for part in ("train", "test")])
    by_held, by_tested, by_strange = (scores(session, given) for given in (held, tested, strange))
    right, right_held = tested.argmax(1) == labels, held.argmax(1) == truth
    found = {}
    for name in SCORES:
        threshold = np.quantile(by_held[name][right_held], 1 - KEPT, method="lower")
        kept, refused = (by_tested[name][right] >= threshold).mean(), (by_strange[name] < threshold).mean()
        found[name] = (float(kept), float(refused), auroc(by_tested[name], by_strange[name]))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--characters", type=int, default=7)
    parser.add_argument("--at", default="eltwise_stage2_block3")
    parser.add_argument("--hidden", default="256")
    given = parser.parse_args()
    data, net = given.shared / "data" / "animeface10", given.shared / "caffemodels" / "open_nsfw"
    if not data.is_dir():
        print(f"{data} is not here: nothing measured")
        return
    everyone = sorted(path.name for path in (data / "train").iterdir() if path.is_dir())
    found = []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        model = net / "resnet_50_1by2_nsfw.caffemodel"
        command("caffe2torch", "convert", model, "--prototxt", net / "deploy.prototxt", "-o", folder / "open_nsfw")
        for draw in range(given.draws):
            names = sorted(np.random.RandomState(draw).choice(everyone, given.characters, replace=False).tolist())
            pictures, run = linked(data / "train", names, folder / f"train{draw}"), folder / f"run{draw}"
            options = ("--at", given.at, "--hidden", given.hidden, "--seed", str(draw))
            command("finetune", "train", pictures, "--trunk", folder / "open_nsfw", "-o", run, *options)
            command("onnx", "export", run)
            found.append(measure(data, run, [name for name in everyone if name not in names]))
            print(names, {name: [round(share, 3) for share in row] for name, row in found[-1].items()}, file=sys.stderr)
    print(
        f"{given.characters} of {len(everyone)} characters known, mean of {given.draws} draws; {platform.machine()}, "
    )
    print(f"{datetime.date.today()}\n\n| score | right answers kept | strangers refused | AUROC | AUROC by draw |")
    print("| --- | --- | --- | --- | --- |")
    for name in SCORES:
        kept, refused, area = np.mean([row[name] for row in found], axis=0)
        each = " ".join(f"{row[name][2]:.3f}" for row in found)
        print(f"| {name} | {kept:.1%} | {refused:.1%} | {area:.3f} | {each} |")


if __name__ == "__main__":
    main()
