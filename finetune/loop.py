"""The training loop: epochs of steps, a line and a checkpoint each."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.utils.data import DataLoader

from caffe2torch.errors import ModelError
from caffe2torch.terminal import note
from finetune.checkpoint import save_head
from finetune.data.batches import Batch, batches, loader
from finetune.data.folders import LabelledPictures
from finetune.data.sets import Sets
from finetune.evaluate import score
from finetune.models.head import TutorialHead
from finetune.options import Options
from finetune.table import Epoch, append_csv, print_epoch, print_header, progress

if TYPE_CHECKING:
    from lightning.fabric import Fabric


@dataclass
class Parts:
    """What the loop works with; ``head`` is the part of ``classifier`` that ``optimizer`` trains."""

    fabric: Fabric
    classifier: nn.Module  # a Classifier, set up by fabric
    head: TutorialHead
    optimizer: Any
    sets: Sets
    size: tuple[int, int]
    workers: int
    options: Options

    def load(self, pictures: LabelledPictures, seed: int | None = None) -> DataLoader[Batch]:
        pinned = self.fabric.device.type == "cuda"
        return loader(pictures, self.size, self.options.batch_size, self.workers, seed, pinned)


def run_epochs(folder: Path, parts: Parts) -> tuple[list[Epoch], Epoch, bool]:
    """All epochs, with a line and a checkpoint each: the lines, the best one, and whether Ctrl-C came."""
    options, sets = parts.options, parts.sets
    training = parts.load(sets.train, seed=options.seed)
    validating = parts.load(sets.validation) if len(sets.validation) else None
    random = torch.Generator().manual_seed(options.seed) if options.mirror else None
    lines: list[Epoch] = []
    best: Epoch | None = None
    print_header()
    try:
        for number in range(1, options.epochs + 1):
            title = f"epoch {number} of {options.epochs}"
            with progress(title, len(sets.train) + len(sets.validation)) as advance:
                line = _epoch(number, parts, training, validating, random, advance)
            is_best = best is None or _better(line, best)
            save_head(folder, parts.head, asdict(line), is_best)
            append_csv(folder / "metrics.csv", line)
            lines.append(line)
            best = line if is_best or best is None else best
            print_epoch(line, is_best)
    except KeyboardInterrupt:
        if best is None:
            raise
        note(f"interrupted in epoch {len(lines) + 1}: the {len(lines)} before it are kept")
    assert best is not None
    return lines, best, len(lines) < options.epochs


def _epoch(
    number: int,
    parts: Parts,
    training: DataLoader[Batch],
    validating: DataLoader[Batch] | None,
    random: torch.Generator | None,
    advance: Callable[[int], object],
) -> Epoch:
    start = time.perf_counter()
    rate = parts.options.rate(number)
    for group in parts.optimizer.param_groups:
        group["lr"] = rate
    loss, accuracy = train_epoch(parts.fabric, parts.classifier, parts.optimizer, training, random, advance)
    if not math.isfinite(loss):
        raise ModelError(
            f"epoch {number}: the loss is {loss}: lower --lr (it is {rate:g}), "
            "or check that mean and channel order are those the trunk was trained with"
        )
    trained = time.perf_counter()
    scores = None
    if validating is not None:
        classes = len(parts.sets.train.classes)
        scores = score(parts.fabric, parts.classifier, validating, classes, advance)
    return Epoch(
        epoch=number,
        train_loss=loss,
        train_accuracy=accuracy,
        validation_loss=scores.loss if scores else None,
        validation_accuracy=scores.accuracy if scores else None,
        learning_rate=rate,
        pictures_per_second=len(parts.sets.train) / (trained - start),
        seconds=time.perf_counter() - start,
    )


def train_epoch(
    fabric: Fabric,
    classifier: nn.Module,
    optimizer: Any,
    source: DataLoader[Batch],
    random: torch.Generator | None,
    advance: Callable[[int], object] = lambda done: None,
) -> tuple[float, float]:
    """One pass over ``source``: mean loss and accuracy as they were in training, dropout and all.

    Pictures are mirrored at random where ``random`` is given.
    """
    classifier.train()
    count = 0
    sums = torch.zeros(2, dtype=torch.float64, device=fabric.device)  # of losses, of right answers
    for batch in batches(source):
        pictures, labels = fabric.to_device(batch)
        if random is not None:
            pictures = mirrored(pictures, random)
        logits = classifier(pictures)
        loss = nn.functional.cross_entropy(logits, labels)
        optimizer.zero_grad()
        fabric.backward(loss)
        optimizer.step()
        right = (logits.detach().argmax(1) == labels).sum()
        sums += torch.stack([loss.detach() * len(labels), right]).double()
        count += len(labels)
        advance(len(labels))
    total_loss, total_right = sums.tolist()
    return total_loss / count, total_right / count


def mirrored(pictures: torch.Tensor, random: torch.Generator) -> torch.Tensor:
    """Pictures [N, H, W, 3], each turned left to right with probability a half."""
    turned = (torch.rand(len(pictures), generator=random) < 0.5).to(pictures.device)
    return torch.where(turned[:, None, None, None], pictures.flip(2), pictures)


def _better(line: Epoch, best: Epoch) -> bool:
    """More accurate in validation, at a tie of less loss; where nothing is validated, the later."""
    if line.validation_accuracy is None or best.validation_accuracy is None:
        return True
    assert line.validation_loss is not None and best.validation_loss is not None
    return (line.validation_accuracy, -line.validation_loss) > (best.validation_accuracy, -best.validation_loss)
