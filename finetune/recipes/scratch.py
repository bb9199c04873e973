"""Training a network from scratch: the loop of `finetune train`, its trunk nothing but the preprocessing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from caffe2torch.errors import DataError
from caffe2torch.preprocess import LUMA, Preprocessing
from caffe2torch.terminal import note
from finetune.checkpoint import FORMAT, check_free
from finetune.data.batches import Batch, Reader, default_workers
from finetune.data.folders import LabelledPictures
from finetune.data.sets import Sets, read_sets
from finetune.data.views import RandomCrop, Turned, centres
from finetune.devices import describe, open_device
from finetune.inputs import Pictures, Plan
from finetune.loop import Parts
from finetune.models.head import parameters
from finetune.models.networks import Whole, build
from finetune.options import Options
from finetune.recipes import Finished
from finetune.run_config import digests_of, hash_of_data, versions
from finetune.table import Epoch, kept_line
from finetune.train import run_folder, run_to_end

if TYPE_CHECKING:
    from finetune.evaluate import Scores


@dataclass(frozen=True)
class Network:
    """What a recipe trains: the network of its name (finetune.models.networks), made with ``arguments``."""

    recipe: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    channel_order: str = "RGB"  # or GRAY
    scale: float = 1.0  # of the pixels, 0..255
    subtract_mean: bool = True  # the mean pixel of the training pictures
    decay_with_rate: bool = False  # the weight decay is lowered in step with the learning rate
    turns: bool = False  # every training picture in its four quarter turns
    crop: int | None = None  # random crops in training; else the centre, where the shorter side is scaled to this


def train_network(
    network: Network,
    data: Path,
    run: Path,
    options: Options,
    test: Path | None,
    force: bool = False,
    resume: bool = False,
) -> Finished:
    """Train ``network`` on the pictures under ``data`` with ``options``, whose ``size`` is set; all goes to ``run``.

    Raises as finetune.train.train does, and DataError for pictures larger than the crops' scale.
    """
    if not resume:
        check_free(run, force)
    assert options.size is not None  # every recipe's DEFAULTS have one
    size = options.size
    if network.crop and max(size) > network.crop:
        raise DataError(f"--size {max(size)} is more than --scale {network.crop}: no centre is as large")
    fabric = open_device(options.device, options.precision, options.devices, options.nodes)
    note(f"device: {describe(fabric)}; precision {options.precision}")
    workers = default_workers(size, options.batch_size) if options.workers is None else options.workers
    options = replace(options, workers=workers)
    with Reader(size, workers, pin_memory=fabric.device.type == "cuda") as reader:
        sets = read_sets(data, test, options.validation, options.seed, reader)
        preprocessing = _preprocessing(network, sets)
        torch.manual_seed(options.seed)
        description = {"name": network.recipe, "classes": len(sets.train.classes), **network.arguments}
        whole = Whole(build(description), preprocessing)
        note(f"network: {network.recipe}, {parameters(whole):,} parameters")
        classifier, optimizer = fabric.setup(whole, sgd(whole, options))
        if network.decay_with_rate:
            lower_decay(optimizer, options)
        pictures = Pictures(reader, options.mirror, options.augment)
        inputs = Crops(reader, options.mirror, options.augment, scale=network.crop) if network.crop else pictures
        parts = Parts(fabric, classifier, whole, optimizer, reader, sets, options, inputs)
        config = config_of(description, preprocessing, parts, {"scale": network.crop} if network.crop else None)
        with run_folder(fabric, run, force, resume) as folder:
            if network.turns:
                parts.sets = replace(sets, train=turned(sets.train))
            _, best, scores, interrupted = run_to_end(folder, parts, config, sets)
    return Finished(_said(best, scores), interrupted)


def turned(pictures: LabelledPictures) -> LabelledPictures:
    """Every picture four times: upright, and turned by one, two and three quarters."""
    views = tuple(Turned(source, quarters) for source in pictures.paths for quarters in range(4))
    labels = tuple(label for label in pictures.labels for _ in range(4))
    return replace(pictures, paths=views, labels=labels)  # type: ignore[arg-type]  # a Reader takes views


@dataclass
class Crops(Pictures):
    """Random parts of the pictures where they are changed at random; else their centres."""

    scale: int = 256

    def batches(self, pictures: LabelledPictures, plan: Plan, random: torch.Generator | None = None) -> Iterator[Batch]:
        """As Inputs says."""
        if random is None:
            return super().batches(centres(pictures, {"scale": self.scale}), plan)
        seeds = torch.randint(2**31, (len(pictures),), generator=random).tolist()
        views = tuple(RandomCrop(source, seed) for source, seed in zip(pictures.paths, seeds, strict=True))
        return super().batches(replace(pictures, paths=views), plan, random)  # type: ignore[arg-type]


def lower_decay(optimizer: Any, options: Options) -> None:
    """Keep weight decay to learning rate as they are at the beginning, whatever the rate becomes."""

    def follow(optimizer: torch.optim.Optimizer, *arguments: Any) -> None:
        for group in optimizer.param_groups:
            group["weight_decay"] = options.weight_decay * float(group["lr"]) / options.learning_rate

    optimizer.register_step_pre_hook(follow)


def _preprocessing(network: Network, sets: Sets) -> Preprocessing:
    mean: tuple[float, ...] = sets.mean if network.subtract_mean else (0.0, 0.0, 0.0)
    if network.channel_order == "GRAY":
        mean = (sum(weight * value for weight, value in zip(LUMA, mean, strict=True)),)
    return Preprocessing(network.channel_order, mean, network.scale)


def sgd(whole: Whole, options: Options) -> torch.optim.SGD:
    """Of all of a network."""
    return torch.optim.SGD(
        whole.parameters(), options.learning_rate, options.momentum, weight_decay=options.weight_decay, fused=True
    )


def config_of(
    description: Mapping[str, Any], preprocessing: Preprocessing, parts: Parts, crop: Mapping[str, int] | None = None
) -> dict[str, Any]:
    """config.json, as finetune.run_config has it for a head on a trunk."""
    config = {
        "format": FORMAT,
        "recipe": description["name"],
        "network": dict(description),
        "classes": list(parts.sets.train.classes),
        "size": list(parts.reader.size),
        "preprocessing": preprocessing.to_json(),
        "options": asdict(parts.options),
        "device": describe(parts.fabric),
        "versions": versions(),
        "data": {"sha256": hash_of_data(parts.sets, digests_of(parts.sets))},
    }
    return config if crop is None else {**config, "crop": dict(crop)}


def _said(best: Epoch, test: Scores | None) -> tuple[str, ...]:
    said = [kept_line(best)]
    if test is not None:
        said.append(f"test: accuracy {test.accuracy:.4f} ({sum(test.right)} of {sum(test.pictures)})")
    return tuple(said)
