"""How well a classifier does on labelled pictures: loss and accuracy, overall and a class."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from caffe2torch.terminal import note
from finetune.checkpoint import BEST, read_config
from finetune.data.batches import Batch, Reader, batches, default_workers, plan_batches
from finetune.data.labelled import read_labelled
from finetune.data.sets import read_once
from finetune.data.views import centres
from finetune.devices import describe, open_device
from finetune.intervals import of_counts
from finetune.models.classifier import open_run
from finetune.table import progress

if TYPE_CHECKING:
    from lightning.fabric import Fabric

SAMPLES = 10  # predictions shown as a picture


@dataclass(frozen=True)
class Scores:
    """Mean loss a picture, and a class's pictures and how many of them were recognised."""

    loss: float
    pictures: list[int]
    right: list[int]

    @property
    def accuracy(self) -> float:
        return sum(self.right) / sum(self.pictures)

    @property
    def interval(self) -> tuple[float, float]:
        return of_counts(sum(self.right), sum(self.pictures))

    def to_json(self, classes: tuple[str, ...]) -> dict[str, Any]:
        """Intervals are 95 % bootstrap intervals of the accuracies (finetune.intervals)."""
        rows = zip(classes, self.pictures, self.right, strict=True)
        return {
            "pictures": sum(self.pictures),
            "accuracy": self.accuracy,
            "interval": list(self.interval),
            "loss": self.loss,
            "classes": [
                {
                    "label": label,
                    "pictures": count,
                    "right": right,
                    "accuracy": right / count if count else None,
                    "interval": list(of_counts(right, count)) if count else None,
                }
                for label, count, right in rows
            ],
        }


@torch.no_grad()
def score(
    fabric: Fabric,
    classifier: nn.Module,
    source: Iterable[Batch],
    classes: int,
    advance: Callable[[int], None] = lambda done: None,
) -> Scores:
    """Scores over the batches of ``source``, in eval mode; ``classifier`` is set up by ``fabric``."""
    classifier.eval()
    loss = torch.zeros((), dtype=torch.float64, device=fabric.device)
    counts = torch.zeros(2, classes, dtype=torch.int64, device=fabric.device)
    for batch in source:
        pictures, labels = fabric.to_device(batch)
        logits = classifier(pictures)
        loss += nn.functional.cross_entropy(logits, labels, reduction="sum")
        counts[0] += torch.bincount(labels.flatten(), minlength=classes)  # of masks: pixels
        counts[1] += torch.bincount(labels[logits.argmax(1) == labels], minlength=classes)
        advance(len(labels))
    counts, loss = fabric.all_reduce(counts, reduce_op="sum"), fabric.all_reduce(loss, reduce_op="sum")  # type: ignore[assignment]
    total, right = counts.tolist()
    return Scores(loss.item() / sum(total), total, right)


def evaluate_run(
    run: Path,
    data: Path,
    checkpoint: str = BEST,
    batch_size: int = 64,
    device: str = "auto",
    precision: str = "32",
    workers: int | None = None,
) -> dict[str, Any]:
    """Scores of a run's checkpoint on a folder of classes, as JSON data.

    Raises ModelError if ``run`` is no run, DataError for folders that are not classes of the run, DeviceError.
    """
    fabric = open_device(device, precision)
    config = read_config(run)
    if config["recipe"] == "facemask":
        from finetune.recipes.mask_training import evaluate_mask

        return evaluate_mask(fabric, run, data, checkpoint, batch_size, workers)
    size = (config["size"][0], config["size"][1])
    found, remarks = read_labelled(data, config["classes"])
    for remark in remarks:
        note(remark)
    workers = default_workers(size, batch_size) if workers is None else workers
    with Reader(size, workers, pin_memory=fabric.device.type == "cuda") as reader:
        pictures, _, unreadable = read_once(found, reader)
        classifier, _, metrics = open_run(run, checkpoint)
        note(f"device: {describe(fabric)}; {checkpoint} checkpoint, epoch {metrics['epoch']}")
        if "crop" in config:
            pictures = centres(pictures, config["crop"])
        source = batches(reader, pictures, plan_batches(len(pictures), batch_size))
        with progress("evaluating", len(pictures)) as advance:
            scores = score(fabric, fabric.setup_module(classifier), source, len(pictures.classes), advance)
    return {
        "run": str(run),
        "data": str(data),
        "checkpoint": checkpoint,
        "epoch": metrics["epoch"],
        **scores.to_json(pictures.classes),
        "unreadable": [str(path) for path in unreadable],
    }
