"""Training a network from scratch: the loop of `finetune train`, its trunk nothing but the preprocessing."""

from __future__ import annotations

import platform
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import nn

from caffe2torch.preprocess import LUMA, Preprocessing
from caffe2torch.terminal import note
from finetune.checkpoint import BEST, FORMAT, check_free, load_head, unfinished, write_json
from finetune.data.batches import Reader, default_workers
from finetune.data.folders import LabelledPictures
from finetune.data.sets import Sets, read_sets
from finetune.devices import describe, open_device
from finetune.evaluate import Scores, predict_samples, score
from finetune.loop import Parts, run_epochs
from finetune.models.classifier import Classifier
from finetune.models.head import parameters
from finetune.models.trunk import FrozenTrunk
from finetune.options import Options
from finetune.plots import plot_curves, plot_samples
from finetune.recipes import Finished
from finetune.table import Epoch, progress
from finetune.train import VERSIONS


@dataclass(frozen=True)
class Network:
    """What a recipe trains. ``build(classes)`` gives a module: float32 [N, C, H, W] -> logits [N, classes]."""

    recipe: str
    build: Callable[[int], nn.Module]
    channel_order: str = "RGB"  # or GRAY
    scale: float = 1.0  # of the pixels, 0..255
    subtract_mean: bool = True  # the mean pixel of the training pictures
    decay_with_rate: bool = False  # the weight decay is lowered in step with the learning rate
    views: Callable[[LabelledPictures], LabelledPictures] = lambda pictures: pictures  # of the training pictures


def train_network(
    network: Network, data: Path, run: Path, options: Options, test: Path | None, force: bool
) -> Finished:
    """Train ``network`` on the pictures under ``data`` with ``options``, whose ``size`` is set; all goes to ``run``.

    Raises as finetune.train.train does.
    """
    check_free(run, force)
    assert options.size is not None  # every recipe's DEFAULTS have one
    size = options.size
    fabric = open_device(options.device, options.precision)
    note(f"device: {describe(fabric)}; precision {options.precision}")
    workers = default_workers(size, options.batch_size) if options.workers is None else options.workers
    options = replace(options, workers=workers)
    with Reader(size, workers, pin_memory=fabric.device.type == "cuda") as reader:
        sets = read_sets(data, test, options.validation, options.seed, reader)
        preprocessing = _preprocessing(network, sets)
        torch.manual_seed(options.seed)
        trained = network.build(len(sets.train.classes))
        note(f"network: {network.recipe}, {parameters(trained):,} parameters")
        classifier, optimizer = fabric.setup(without_trunk(trained, preprocessing), _sgd(trained, options))
        if network.decay_with_rate:
            lower_decay(optimizer, options)
        views = replace(sets, train=network.views(sets.train))
        parts = Parts(fabric, classifier, trained, optimizer, reader, views, options)  # type: ignore[arg-type]
        with unfinished(run, force) as folder:
            write_json(folder / "config.json", _config(network, preprocessing, parts))
            write_json(folder / "split.json", {"seed": options.seed, **sets.to_json()})
            lines, best, interrupted = run_epochs(folder, parts)
            scores = _finish(folder, parts, lines, best)
    return Finished(_said(best, scores), interrupted)


def without_trunk(network: nn.Module, preprocessing: Preprocessing) -> Classifier:
    """Preprocessing and network as one classifier of uint8 pictures."""
    return Classifier(FrozenTrunk(nn.Identity(), preprocessing), network)  # type: ignore[arg-type]


def _preprocessing(network: Network, sets: Sets) -> Preprocessing:
    mean = sets.mean if network.subtract_mean else (0.0, 0.0, 0.0)
    if network.channel_order == "GRAY":
        mean = (sum(weight * value for weight, value in zip(LUMA, mean, strict=True)),)  # type: ignore[assignment]
    return Preprocessing(network.channel_order, mean, network.scale)


def _sgd(network: nn.Module, options: Options) -> torch.optim.SGD:
    return torch.optim.SGD(
        network.parameters(), options.learning_rate, options.momentum, weight_decay=options.weight_decay, fused=True
    )


def lower_decay(optimizer: Any, options: Options) -> None:
    """Keep weight decay to learning rate as they are at the beginning, whatever the rate becomes."""

    def follow(optimizer: torch.optim.Optimizer, *arguments: Any) -> None:
        for group in optimizer.param_groups:
            group["weight_decay"] = options.weight_decay * float(group["lr"]) / options.learning_rate

    optimizer.register_step_pre_hook(follow)


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


def _config(network: Network, preprocessing: Preprocessing, parts: Parts) -> dict[str, Any]:
    classes = parts.sets.train.classes
    return {
        "format": FORMAT,
        "recipe": network.recipe,
        "classes": list(classes),
        "size": list(parts.reader.size),
        "preprocessing": preprocessing.to_json(),
        "options": asdict(parts.options),
        "device": describe(parts.fabric),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in VERSIONS}},
    }


def _said(best: Epoch, test: Scores | None) -> tuple[str, ...]:
    said = []
    if best.validation_accuracy is not None:
        said.append(f"best: epoch {best.epoch}, validation accuracy {best.validation_accuracy:.4f}")
    if test is not None:
        said.append(f"test: accuracy {test.accuracy:.4f} ({sum(test.right)} of {sum(test.pictures)})")
    return tuple(said)
