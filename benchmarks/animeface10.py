"""Ten anime characters by face: accuracy of a fine-tuned trunk, and onnxruntime's answers beside torch's.

usage: python benchmarks/animeface10.py [--shared ../shared] [--run RUN]

Converts open_nsfw, trains the tutorial's head on `eltwise_stage2_block5` with all training pictures (20 epochs, about
half an hour on two cores; --run takes a finished run instead), exports it and predicts the 185 test pictures with both.
"""

from __future__ import annotations

import argparse
import datetime
import json
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

BLOB = "eltwise_stage2_block5"


def command(*words: str | Path) -> str:
    """Run one of our commands, show its progress, give its output."""
    print("$", *words[:8], "…" if len(words) > 8 else "", file=sys.stderr)
    program = Path(sys.executable).with_name(str(words[0]))
    return subprocess.run([program, *words[1:]], check=True, stdout=subprocess.PIPE, text=True).stdout


def train(shared: Path, run: Path, folder: Path) -> None:
    """Convert the trunk and train on it."""
    net = shared / "caffemodels" / "open_nsfw"
    data = shared / "data" / "animeface10"
    trunk = folder / "open_nsfw"
    model = net / "resnet_50_1by2_nsfw.caffemodel"
    command("caffe2torch", "convert", model, "--prototxt", net / "deploy.prototxt", "-o", trunk)
    command(
        "finetune", "train", data / "train", "--trunk", trunk, "--at", BLOB, "--validation", "0",
        "--test", data / "test", "-o", run,
    )  # fmt: skip


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


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--run", type=Path)
    options = parser.parse_args()
    test = options.shared / "data" / "animeface10" / "test"
    if not test.is_dir():
        print(f"{test} is not here: nothing measured")
        return
    with tempfile.TemporaryDirectory() as name:
        run = options.run or Path(name) / "run"
        if options.run is None:
            train(options.shared, run, Path(name))
        model = Path(name) / "model.onnx"
        command("onnx", "export", run, "-o", model)
        classes = json.loads((run / "config.json").read_text())["classes"]
        paths = sorted(test.glob("*/*.png"))
        truth = np.array([classes.index(path.parent.name) for path in paths])
        torch_table, onnx_table = torch_scores(run, paths), onnx_scores(model, paths, classes)
    same = int((torch_table.argmax(1) == onnx_table.argmax(1)).sum())
    print(f"{datetime.date.today()}, {platform.machine()}, {len(paths)} test pictures")
    print("| | accuracy |\n| --- | --- |")
    print(f"| torch | {(torch_table.argmax(1) == truth).mean():.4f} |")
    print(f"| onnxruntime | {(onnx_table.argmax(1) == truth).mean():.4f} |")
    print(f"\nsame class: {same} of {len(paths)}")
    print(f"largest difference of a score: {abs(torch_table - onnx_table).max():.1e}")


if __name__ == "__main__":
    main()
