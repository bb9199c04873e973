"""Recipes of `finetune train --recipe NAME`: each a module with its authors' settings as defaults.

Such a module imports no torch when it is imported, and has
- its docstring: the first line says what is trained on what, the rest is shown by --help;
- ``DEFAULTS``: a frozen dataclass of its settings, as its authors had them;
- ``KNOWS``: names of those fields of ``DEFAULTS`` that options of `finetune train` set (--epochs sets ``epochs``);
- ``EXTRA``: click options of its own, each for the field of ``DEFAULTS`` that it is named like;
- ``train(data, run, options, test, force) -> Finished``: the whole training, DATA to the folder RUN;
- ``resume(data, run, options, test) -> Finished``, where it can go on with a run that was killed or interrupted.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any

TUTORIAL = "tutorial"  # what `finetune train` does without --recipe
RECIPES = {
    "detector": "finetune.detector.recipe",
    "digits": "finetune.recipes.digits",
    "facemask": "finetune.recipes.facemask",
    "frgnet64": "finetune.recipes.frgnet64",
    "resnet50": "finetune.recipes.resnet50",
}
# Fields of finetune.options.Options that mean something where there is no trunk.
OF_ANY_NETWORK = (
    *("epochs", "batch_size", "accumulate", "learning_rate", "schedule", "lr_step", "lr_gamma", "momentum"),
    *("weight_decay", "label_smoothing", "class_weights", "early_stop", "mirror", "augment", "validation", "seed"),
    *("checkpoint_every", "tensorboard", "device", "devices", "nodes", "precision", "workers"),
)


@dataclass(frozen=True)
class Finished:
    """What came of a training: lines about it for stdout, and whether Ctrl-C ended it early."""

    said: tuple[str, ...]
    interrupted: bool = False


def load_recipe(name: str) -> Any:
    """The module of a recipe."""
    return import_module(RECIPES[name])
