"""What a trained classifier says of whole sets of pictures: scores, the file of all probabilities, a few samples."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import torch

from caffe2torch.files import beside
from finetune.calibration import calibrate, softmax
from finetune.checkpoint import BEST, load_head, write_json
from finetune.data.folders import LabelledPictures
from finetune.data.source import name_of, read_source
from finetune.evaluate import SAMPLES, Scores
from finetune.loop import Parts
from finetune.plots import Sample, plot_curves, plot_samples
from finetune.table import Epoch, progress

VALIDATION, TEST = "predictions-validation.csv", "predictions-test.csv"


def finish(folder: Path, parts: Parts, lines: list[Epoch], best: Epoch) -> Scores | None:
    """All that is made of the best checkpoint at the end of a run; gives the scores on the test pictures, if any.

    loss.png and accuracy.png; predictions-validation.csv and calibration.json where pictures were held out;
    predictions-test.csv and test.json where there are pictures to test on; samples.png.
    """
    sets = parts.sets
    parts.source.part = (0, 1)
    plot_curves(folder, lines, best)
    load_head(folder, parts.head, BEST)
    shown, logits, scores = None, None, None
    if len(sets.validation):
        shown, logits = sets.validation, logits_of(parts, sets.validation, "validating")
        write_predictions(folder / VALIDATION, shown, logits)
        write_json(folder / "calibration.json", calibrate(logits, np.array(shown.labels)).to_json())
    if sets.test is not None:
        tested = logits_of(parts, sets.test, "testing")
        write_predictions(folder / TEST, sets.test, tested)
        scores = scores_of(tested, sets.test)
        about = {"data": str(sets.test.root), "checkpoint": BEST, "epoch": best.epoch}
        write_json(folder / "test.json", {**about, **scores.to_json(sets.test.classes)})
        if shown is None:
            shown, logits = sets.test, tested
    _draw_samples(folder / "samples.png", parts, shown, logits)
    return scores


@torch.no_grad()
def logits_of(parts: Parts, pictures: LabelledPictures, title: str = "") -> np.ndarray:
    """Logits float32 (N, classes) of every picture, by the present weights; one process does all."""
    parts.head.eval()
    found = []
    with progress(title, len(pictures)) as advance, parts.fabric.autocast():
        for inputs, labels in parts.in_order(pictures):
            found.append(parts.head(parts.fabric.to_device(inputs)).float().cpu().numpy())
            advance(len(labels))
    return np.concatenate(found)


def scores_of(logits: np.ndarray, pictures: LabelledPictures) -> Scores:
    """Mean cross-entropy, and pictures and right answers of each class."""
    labels = np.array(pictures.labels)
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    losses = np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(labels)), labels]
    right = labels[logits.argmax(axis=1) == labels]
    classes = len(pictures.classes)
    counts = (np.bincount(each, minlength=classes).tolist() for each in (labels, right))
    return Scores(float(losses.mean()), *counts)


def write_predictions(path: Path, pictures: LabelledPictures, logits: np.ndarray) -> None:
    """A line a picture: path, label, predicted, and the probability of each class, headed by the class's name.

    A name that is no UTF-8 stands there in its own bytes.
    """
    names = pictures.classes
    with beside(path) as place, open(place, "w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "predicted", *names])
        for source, label, row in zip(pictures.paths, pictures.labels, softmax(logits), strict=True):
            probabilities = [f"{probability:.6g}" for probability in row]
            writer.writerow([name_of(source, pictures.root), names[label], names[int(row.argmax())], *probabilities])


def _draw_samples(path: Path, parts: Parts, shown: LabelledPictures | None, logits: np.ndarray | None) -> None:
    """Ten pictures picked by the seed, with what the classifier says to them."""
    pictures = shown or parts.sets.train
    chosen = np.random.RandomState(parts.options.seed).permutation(len(pictures))[:SAMPLES].tolist()
    some = pictures.subset(chosen)
    table = softmax(logits_of(parts, some) if logits is None else logits[chosen])
    names = some.classes
    samples = [
        Sample(read_source(source, parts.reader.size), names[label], names[int(row.argmax())], float(row.max()))
        for source, label, row in zip(some.paths, some.labels, table, strict=True)
    ]
    plot_samples(path, samples)
