"""--folds: the whole training, once for each fold of the pictures, before the run itself."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import click

from caffe2torch.terminal import note
from finetune.checkpoint import write_json
from finetune.data.folders import LabelledPictures
from finetune.data.sets import Sets
from finetune.data.split import folds
from finetune.loop import Parts, run_epochs

KEPT = "cross-validation.json"


def cross_validate(sets: Sets, count: int, seed: int, make: Callable[[Sets], Parts], folder: Path) -> None:
    """Train on all folds but one and validate on that, for each of ``count``; cross-validation.json is the outcome.

    Near-duplicates stay in one fold. The accuracy of a fold is that of its last epoch: the best would be chosen on
    what it is measured on. ``make`` gives what trains on other sets than the run's. Raises DataError for too many
    folds, KeyboardInterrupt at Ctrl-C.
    """
    whole = together(sets)
    found = []
    for number, (train, held) in enumerate(folds(whole.labels, whole.groups, count, seed), start=1):
        note(f"fold {number} of {count}: {len(train)} pictures to train, {len(held)} to validate")
        parts = make(replace(sets, train=whole.subset(train), validation=whole.subset(held)))
        with tempfile.TemporaryDirectory(dir=folder, prefix="fold-") as place:
            lines, _, interrupted = run_epochs(Path(place), parts)
        if interrupted:
            raise KeyboardInterrupt
        accuracy = lines[-1].validation_accuracy
        found.append({"pictures": len(held), "accuracy": accuracy, "loss": lines[-1].validation_loss})
    accuracies = [float(fold["accuracy"] or 0) for fold in found]
    mean, spread = statistics.mean(accuracies), statistics.stdev(accuracies)
    if parts.fabric.is_global_zero:
        write_json(folder / KEPT, {"folds": found, "mean": mean, "standard_deviation": spread})
    click.echo(f"cross-validation: accuracy {mean:.4f}, standard deviation {spread:.4f}, of {count} folds")


def together(sets: Sets) -> LabelledPictures:
    """The pictures to train and to validate on, as one set."""
    train, held = sets.train, sets.validation
    groups = None
    if train.groups is not None and held.groups is not None:
        groups = train.groups + held.groups
    paths = tuple(train.paths) + tuple(held.paths)
    return replace(train, paths=paths, labels=train.labels + held.labels, groups=groups)
