"""`finetune train --recipe detector`: from a set of boxes to the folder of a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from random import Random

import torch

from caffe2torch.errors import DataError
from caffe2torch.pictures import find_pictures
from caffe2torch.terminal import note
from finetune.checkpoint import FORMAT, unfinished, write_json
from finetune.data.boxes import BoxedPicture, only, read_boxes
from finetune.detector.composing import Composer
from finetune.detector.finding import find_faces
from finetune.detector.material import Material
from finetune.detector.network import ALIGNED, Detector, with_scores
from finetune.detector.packaged import packaged_network
from finetune.detector.recipe import DetectorOptions
from finetune.detector.training import BEST, Settings, Training, load_averaged
from finetune.detector.validating import LEAST, Validation
from finetune.devices import describe, open_device
from finetune.models_shipped import default_model
from finetune.recipes import Finished


def train_detector(data: Path, run: Path, options: DetectorOptions, test: Path | None, force: bool) -> Finished:
    """Train on the boxes of ``data``; all goes to ``run``. Raises DataError, OutputError, DeviceError."""
    if options.side % ALIGNED:
        raise DataError(f"--side {options.side}: a multiple of {ALIGNED} is wanted")
    pictures = only(read_boxes(data), options.label)
    learnt, held = _split(data, pictures, options)
    fabric = open_device(options.device, "32")
    settings = Settings(
        options.steps, options.batch_size, options.side, options.learning_rate, options.weight_decay,
        every=options.every, seed=options.seed, device=str(fabric.device), precision=options.precision,
    )  # fmt: skip
    note(f"device: {describe(fabric)}; precision {options.precision}")
    torch.manual_seed(options.seed)
    validation = Validation({"faces": (held, 1.0)})
    training = Training(Detector() if options.start == "scratch" else packaged_network(default_model()), settings)
    composer = Composer(_material(learnt, options))
    faces = sum(len(one.boxes) for one in learnt)
    note(f"{len(learnt)} pictures with {faces} faces to train on, {len(held)} to validate on")
    interrupted = False
    with unfinished(run, force) as folder:
        try:
            training.run(composer, folder, validation, note)
        except KeyboardInterrupt:
            if not (folder / BEST).exists():
                raise
            interrupted = True
            note("interrupted: the best weights until now are kept")
        network = load_averaged(folder / BEST)
        scores = validation.chances(network)
        best = validation(with_scores(network, *scores))
        write_json(folder / "config.json", _config(data, options, best["at"], scores))
        write_json(folder / "split.json", {"seed": options.seed, "train": _names(learnt), "validation": _names(held)})
    said = [f"best: validation AP {best['faces_ap']:.4f}, F1 {best['faces_f1']:.4f} at {best['at']:.2f}"]
    if test is not None:
        said.append(_tested(run, test, options.label, with_scores(network, *scores), best["at"]))
    return Finished(tuple(said), interrupted)


def _split(
    data: Path, pictures: Sequence[BoxedPicture], options: DetectorOptions
) -> tuple[list[BoxedPicture], list[BoxedPicture]]:
    """Pictures to train and to validate on, by lot; both have faces."""
    order = sorted(pictures, key=lambda one: one.path)
    Random(options.seed).shuffle(order)
    count = max(1, round(len(order) * options.validation))
    held, learnt = order[:count], order[count:]
    for part in (held, learnt):
        if not any((~one.difficult).any() for one in part):
            raise DataError(
                f"{data}: {len(pictures)} pictures, too few with faces in them to train and to validate on; "
                "give more pictures, or another --validation or --seed"
            )
    return learnt, held


def _material(pictures: Sequence[BoxedPicture], options: DetectorOptions) -> Material:
    material = Material()
    material.add_pictures(pictures)
    for folder in options.faces:
        material.add_faces(folder)
    material.add_drawn(options.drawn, 0.4, options.seed)
    for folder in options.without:
        material.add_backgrounds(find_pictures(folder))
    return material


def _config(data: Path, options: DetectorOptions, threshold: float, scores: tuple[float, float]) -> dict[str, object]:
    kept = {name: str(value) if name in ("faces", "without") else value for name, value in asdict(options).items()}
    return {
        "format": FORMAT,
        "recipe": "detector",
        "name": data.resolve().stem,
        "classes": ["face"],
        "conf": round(threshold, 3),
        "scores": list(scores),  # slope and offset of the logits
        "options": kept,
    }


def _names(pictures: Sequence[BoxedPicture]) -> list[str]:
    return [str(one.path) for one in pictures]


def _tested(run: Path, test: Path, labels: Sequence[str], network: Detector, threshold: float) -> str:
    """Score on other pictures at the validation's threshold; test.json."""
    pictures = Validation({"test": (only(read_boxes(test), labels), 1.0)})
    scored = pictures.together(pictures.find(lambda picture: find_faces(network, picture, LEAST)), threshold)
    write_json(run / "test.json", {"data": str(test), **asdict(scored)})
    return f"test: {scored}"
