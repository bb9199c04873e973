"""The training loop: epochs of steps, a line and a checkpoint each."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from caffe2torch.errors import ModelError
from caffe2torch.terminal import note
from finetune.checkpoint import save_head
from finetune.data.batches import Batch, Reader, batches, plan_batches
from finetune.data.folders import LabelledPictures
from finetune.data.sets import Sets
from finetune.evaluate import score
from finetune.models.head import TutorialHead
from finetune.options import Options
from finetune.table import Epoch, append_csv, print_epoch, print_header, progress

if TYPE_CHECKING:
    from lightning.fabric import Fabric


@dataclass(frozen=True)
class Parts:
    """What the loop works with; ``head`` is the part of ``classifier`` that ``optimizer`` trains."""

    fabric: Fabric
    classifier: nn.Module  # a Classifier, set up by fabric
    head: TutorialHead
    optimizer: Any
    reader: Reader
    sets: Sets
    options: Options

    def in_order(self, pictures: LabelledPictures) -> Iterator[Batch]:
        """The pictures in batches, as they come."""
        return batches(self.reader, pictures, plan_batches(len(pictures), self.options.batch_size))


def run_epochs(folder: Path, parts: Parts) -> tuple[list[Epoch], Epoch, bool]:
    """All epochs, with a line and a checkpoint each: the lines, the best one, and whether Ctrl-C came."""
    options, sets = parts.options, parts.sets
    random = torch.Generator().manual_seed(options.seed)
    lines: list[Epoch] = []
    best: Epoch | None = None
    print_header()
    try:
        for number in range(1, options.epochs + 1):
            title = f"epoch {number} of {options.epochs}"
            with progress(title, len(sets.train) + len(sets.validation)) as advance:
                line = _epoch(number, parts, random, advance)
            is_best = best is None or _better(line, best)
            with interrupts_wait():
                save_head(folder, parts.head, asdict(line), is_best)
                append_csv(folder / "metrics.csv", line)
                lines.append(line)
                best = line if is_best or best is None else best
                print_epoch(line, is_best)
    except KeyboardInterrupt:
        if best is None:
            raise
        parts.reader.close()  # its workers may have been cut off in the middle of a batch
        note(f"interrupted in epoch {len(lines) + 1}: the {len(lines)} before it are kept")
    assert best is not None
    return lines, best, len(lines) < options.epochs


def _epoch(number: int, parts: Parts, random: torch.Generator, advance: Callable[[int], None]) -> Epoch:
    start = time.perf_counter()
    sets, options = parts.sets, parts.options
    rate = options.rate(number)
    for group in parts.optimizer.param_groups:
        group["lr"] = rate
    source = batches(parts.reader, sets.train, plan_batches(len(sets.train), options.batch_size, random))
    mirroring = random if options.mirror else None
    loss, accuracy = train_epoch(parts.fabric, parts.classifier, parts.optimizer, source, mirroring, advance)
    if not math.isfinite(loss):
        raise ModelError(
            f"epoch {number}: the loss is {loss}: lower --lr (it is {rate:g}), "
            "or check that mean and channel order are those the trunk was trained with"
        )
    trained = time.perf_counter()
    scores = None
    if len(sets.validation):
        source = parts.in_order(sets.validation)
        scores = score(parts.fabric, parts.classifier, source, len(sets.train.classes), advance)
    return Epoch(
        epoch=number,
        train_loss=loss,
        train_accuracy=accuracy,
        validation_loss=scores.loss if scores else None,
        validation_accuracy=scores.accuracy if scores else None,
        learning_rate=rate,
        pictures_per_second=len(sets.train) / (trained - start),
        seconds=time.perf_counter() - start,
    )


def train_epoch(
    fabric: Fabric,
    classifier: nn.Module,
    optimizer: Any,
    source: Iterable[Batch],
    random: torch.Generator | None,
    advance: Callable[[int], None] = lambda done: None,
) -> tuple[float, float]:
    """One pass over ``source``: mean loss and accuracy as they were in training, dropout and all.

    Pictures are mirrored at random where ``random`` is given.
    """
    classifier.train()
    count = 0
    sums = torch.zeros(2, dtype=torch.float64, device=fabric.device)  # of losses, of right answers
    for batch in source:
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


@contextmanager
def interrupts_wait() -> Iterator[None]:
    """Ctrl-C in the block is answered at its end: what the block writes belongs together."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals are answered elsewhere
        return
    came: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: came.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if came:
        raise KeyboardInterrupt


def _better(line: Epoch, best: Epoch) -> bool:
    """More accurate in validation, at a tie of less loss; where nothing is validated, the later."""
    if line.validation_accuracy is None or best.validation_accuracy is None:
        return True
    assert line.validation_loss is not None and best.validation_loss is not None
    return (line.validation_accuracy, -line.validation_loss) > (best.validation_accuracy, -best.validation_loss)
