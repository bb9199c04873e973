"""Ten anime characters by face: accuracy of a fine-tuned trunk, and onnxruntime's answers beside torch's.

usage: python benchmarks/animeface10.py [--shared ../shared] [--seeds 3] [--unfrozen] [--run RUN]

Converts open_nsfw and trains on all training pictures, 20 epochs, the trunk cut where cross-validation on them says
(`--at auto`); once for each seed. With --unfrozen also once with the trunk's layers from stage 1 on trained too, on
augmented pictures (some 12 minutes on two idle cores). The last run, or --run, is exported, and the 185 test pictures
are predicted in torch and in onnxruntime.
"""

from __future__ import annotations

import argparse
import datetime
import json
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

sys.path = [place for place in sys.path if Path(place) != Path(__file__).parent]  # finetune.py there is no package

FROZEN = ("--at", "auto", "--hidden", "1024")
UNFROZEN = (
    *("--at", "eltwise_stage3_block2", "--size", "160", "--head", "gap", "--dropout", "0.2"),
    *("--unfreeze", "eltwise_stage0_block2", "--unfreeze-lr", "0.003", "--lr", "0.01", "--schedule", "cosine"),
    *("--epochs", "16", "--batch-size", "32", "--label-smoothing", "0.1", "--augment", "crop,colour,rotation"),
)


def command(*words: str | Path) -> str:
    """Run one of our commands, show its progress, give its output."""
    print("$", *words[:12], "…" if len(words) > 12 else "", file=sys.stderr)
    program = Path(sys.executable).with_name(str(words[0]))
    return subprocess.run([program, *words[1:]], check=True, stdout=subprocess.PIPE, text=True).stdout


def convert(shared: Path, folder: Path) -> Path:
    """The trunk's folder."""
    net = shared / "caffemodels" / "open_nsfw"
    model = net / "resnet_50_1by2_nsfw.caffemodel"
    command("caffe2torch", "convert", model, "--prototxt", net / "deploy.prototxt", "-o", folder / "open_nsfw")
    return folder / "open_nsfw"


def train(shared: Path, trunk: Path, run: Path, seed: int, options: tuple[str, ...]) -> float:
    """Train a run; its accuracy on the test pictures."""
    data = shared / "data" / "animeface10"
    command(
        *("finetune", "train", data / "train", "--trunk", trunk, "--validation", "0", "--test", data / "test"),
        *("-o", run, "--seed", str(seed), *options),
    )
    return float(json.loads((run / "test.json").read_text())["accuracy"])


def torch_scores(run: Path, paths: list[Path]) -> np.ndarray:
    """Probabilities, (pictures, classes), from torch."""
    import torch

    from caffe2torch.pictures import load_picture
    from finetune.models.classifier import open_run

    classifier, config, _ = open_run(run)
    size = (config["size"][0], config["size"][1])
    rows = []
    with torch.no_grad():
        for path in paths:
            picture = torch.from_numpy(load_picture(path, size))[None]
            rows.append(classifier.eval()(picture).softmax(dim=1).numpy())
    return np.concatenate(rows)


def onnx_scores(model: Path, paths: list[Path], classes: list[str]) -> np.ndarray:
    """The same from `onnx predict`."""
    answers = json.loads(
        command("onnx", "predict", "-m", model, "--top-k", str(len(classes)), "--format", "json", *paths)
    )
    table = np.zeros((len(paths), len(classes)))
    for row, answer in enumerate(answers):
        for entry in answer["predictions"]:
            table[row, classes.index(entry["label"])] = entry["score"]
    return table


def measure(shared: Path, folder: Path, seeds: int, unfrozen: bool) -> Path:
    """Print the table of accuracies; gives the last run."""
    trunk = convert(shared, folder)
    print("| test accuracy | by seed | mean |\n| --- | --- | --- |")
    found = [train(shared, trunk, folder / f"run{seed}", seed, FROZEN) for seed in range(seeds)]
    run = folder / f"run{seeds - 1}"
    cut = json.loads((run / "config.json").read_text())["at"]
    listed = " ".join(f"{accuracy:.4f}" for accuracy in found)
    print(f"| frozen, --at auto ({cut}) | {listed} | {statistics.mean(found):.4f} |", flush=True)
    if unfrozen:
        run = folder / "unfrozen"
        accuracy = train(shared, trunk, run, 0, UNFROZEN)
        print(f"| trained from stage 1 on, augmented | {accuracy:.4f} | |", flush=True)
    return run


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--unfrozen", action="store_true")
    parser.add_argument("--run", type=Path, help="a finished run: nothing is trained")
    options = parser.parse_args()
    test = options.shared / "data" / "animeface10" / "test"
    if not test.is_dir():
        print(f"{test} is not here: nothing measured")
        return
    with tempfile.TemporaryDirectory() as name:
        run = options.run or measure(options.shared, Path(name), options.seeds, options.unfrozen)
        model = Path(name) / "model.onnx"
        command("onnx", "export", run, "-o", model)
        classes = json.loads((run / "config.json").read_text())["classes"]
        paths = sorted(test.glob("*/*.png"))
        truth = np.array([classes.index(path.parent.name) for path in paths])
        torch_table, onnx_table = torch_scores(run, paths), onnx_scores(model, paths, classes)
    same = int((torch_table.argmax(1) == onnx_table.argmax(1)).sum())
    print(f"\n{datetime.date.today()}, {platform.machine()}, {len(paths)} test pictures")
    print("| | accuracy |\n| --- | --- |")
    print(f"| torch | {(torch_table.argmax(1) == truth).mean():.4f} |")
    print(f"| onnxruntime | {(onnx_table.argmax(1) == truth).mean():.4f} |")
    print(f"\nsame class: {same} of {len(paths)}")
    print(f"largest difference of a score: {abs(torch_table - onnx_table).max():.1e}")


if __name__ == "__main__":
    main()
