"""One training run from a converted net and a folder of classes to the run's folder."""

from __future__ import annotations

import platform
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from caffe2torch import folder as converted_folder
from caffe2torch.folder import Converted
from caffe2torch.preprocess import Preprocessing
from caffe2torch.terminal import note
from finetune.checkpoint import BEST, FORMAT, check_free, load_head, unfinished, write_json
from finetune.data.batches import Reader, default_workers
from finetune.data.sets import read_sets
from finetune.devices import describe, open_device
from finetune.evaluate import Scores, predict_samples, score
from finetune.loop import Parts, run_epochs
from finetune.models.classifier import Classifier
from finetune.models.head import TutorialHead, parameters
from finetune.models.trunk import FrozenTrunk, cut_trunk, map_size, with_mean
from finetune.options import Options
from finetune.plots import plot_curves, plot_samples
from finetune.table import Epoch, progress

VERSIONS = ("torch", "lightning", "numpy", "pillow", "safetensors")


@dataclass(frozen=True)
class Trained:
    """What came of a run: its epochs, the best of them, scores on the test folder, whether Ctrl-C ended it."""

    run: Path
    epochs: list[Epoch]
    best: Epoch
    test: Scores | None
    interrupted: bool


def train(
    converted: Converted, data: Path, run: Path, options: Options, test: Path | None = None, force: bool = False
) -> Trained:
    """Train a head on a converted net's map for the folders of classes under ``data``; everything goes to ``run``.

    The same options and seed on the same CPU give the same run. Ctrl-C after an epoch or more ends the run there and
    keeps it (``Trained.interrupted``); earlier it leaves nothing. With ``test`` the best checkpoint is scored on that
    folder at the end (test.json).
    Raises OutputError where ``run`` exists (``force`` replaces a run), DeviceError, NetError, DataError, and
    ModelError when the loss is no longer finite.
    """
    check_free(run, force)
    fabric = open_device(options.device, options.precision)
    note(f"device: {describe(fabric)}; precision {options.precision}")
    trunk, at = cut_trunk(converted, options.at, options.size)
    (height, width), features = trunk.graph.inputs[0].shape[2:], map_size(trunk.graph.shape_of(at))
    note(f"trunk: {converted.path}, cut at {at}: {height}x{width} pictures, map {_times(features)}")
    size = (height, width)
    workers = default_workers(size, options.batch_size) if options.workers is None else options.workers
    options = replace(options, at=at, size=size, workers=workers)
    with Reader(size, workers, pin_memory=fabric.device.type == "cuda") as reader:
        sets = read_sets(data, test, options.validation, options.seed, reader)
        preprocessing = with_mean(trunk.preprocessing, sets.mean)
        _tell_mean(preprocessing, known=trunk.preprocessing.mean is not None)
        torch.manual_seed(options.seed)
        head = TutorialHead(features, len(sets.train.classes), options.hidden, options.dropout)
        _tell_head(head, features)
        classifier = Classifier(FrozenTrunk(trunk.module(), preprocessing), head)
        on_device, optimizer = fabric.setup(classifier, _sgd(head, options))
        parts = Parts(fabric, on_device, head, optimizer, reader, sets, options)
        with unfinished(run, force) as folder:
            write_json(folder / "config.json", _config(converted, features, preprocessing, parts))
            write_json(folder / "split.json", {"seed": options.seed, **sets.to_json()})
            converted_folder.save(trunk, folder / "trunk")
            lines, best, interrupted = run_epochs(folder, parts)
            scores = _finish(folder, parts, lines, best)
    return Trained(run, lines, best, scores, interrupted)


def _sgd(head: TutorialHead, options: Options) -> torch.optim.SGD:
    return torch.optim.SGD(
        head.parameters(), options.learning_rate, options.momentum, weight_decay=options.weight_decay, fused=True
    )


def _finish(folder: Path, parts: Parts, lines: list[Epoch], best: Epoch) -> Scores | None:
    """Draw the curves; draw samples of and test the best checkpoint."""
    plot_curves(folder, lines, best)
    load_head(folder, parts.head, BEST)
    sets = parts.sets
    shown = sets.validation if len(sets.validation) else sets.test or sets.train
    samples = predict_samples(parts.fabric, parts.classifier, shown, parts.reader.size, parts.options.seed)
    plot_samples(folder / "samples.png", samples)
    if sets.test is None:
        return None
    with progress("testing", len(sets.test)) as advance:
        scores = score(parts.fabric, parts.classifier, parts.in_order(sets.test), len(sets.test.classes), advance)
    about = {"data": str(sets.test.root), "checkpoint": BEST, "epoch": best.epoch}
    write_json(folder / "test.json", {**about, **scores.to_json(sets.test.classes)})
    return scores


def _config(
    converted: Converted, features: tuple[int, int, int], preprocessing: Preprocessing, parts: Parts
) -> dict[str, Any]:
    """config.json: all that the run's other files do not say, and what export needs."""
    options, classes = parts.options, parts.sets.train.classes
    return {
        "format": FORMAT,
        "recipe": "tutorial",
        "classes": list(classes),
        "size": list(parts.reader.size),
        "at": options.at,
        "preprocessing": preprocessing.to_json(),
        "head": {
            "name": "tutorial",
            "features": list(features),
            "pool": list(parts.head.pool) if parts.head.pool else None,
            "hidden": options.hidden,
            "dropout": options.dropout,
            "classes": len(classes),
        },
        "options": asdict(options),
        "device": describe(parts.fabric),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in VERSIONS}},
        "trunk": {"path": str(converted.path), "name": converted.config.get("name")},
    }


def _tell_mean(preprocessing: Preprocessing, known: bool) -> None:
    assert preprocessing.mean is not None
    values = ", ".join(f"{value:.2f}" for value in preprocessing.mean)
    source = "of the trunk" if known else "of the training pictures (the trunk's is not known)"
    note(f"mean pixel: {values} {preprocessing.channel_order}, {source}; scale {preprocessing.scale:g}")


def _tell_head(head: TutorialHead, features: tuple[int, int, int]) -> None:
    pooled = f", pooled to {_times(head.pool)}" if head.pool else ""
    count = parameters(head)
    note(
        f"head: map {_times(features)}{pooled}, fc7 {head.fc7.out_features}, fc8 {head.fc8.out_features}: "
        f"{count:,} parameters, {_size(4 * count)}"
    )


def _size(count: int) -> str:
    return f"{count / 1e6:,.1f} MB" if count >= 1e6 else f"{count / 1e3:,.0f} kB" if count >= 1e3 else f"{count} bytes"


def _times(numbers: tuple[int, ...]) -> str:
    return "x".join(map(str, numbers))
