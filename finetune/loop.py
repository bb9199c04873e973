"""The training loop: epochs of steps, a line and a checkpoint each."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from caffe2torch.errors import ModelError
from caffe2torch.terminal import note
from finetune.checkpoint import LAST, load_head
from finetune.data.batches import Batch, Reader, plan_batches
from finetune.data.folders import LabelledPictures
from finetune.data.sets import Sets
from finetune.evaluate import score
from finetune.inputs import Inputs, Pictures, Plan
from finetune.keeping import Keeper
from finetune.models.head import NearestMeanHead
from finetune.optimization import class_weights, epoch_seed, grouped, right_answers, set_rate, summed_loss
from finetune.options import Options
from finetune.resume import load_state, save_state, states
from finetune.table import Epoch, append_csv, print_epoch, print_header, progress

if TYPE_CHECKING:
    from lightning.fabric import Fabric


@dataclass
class Parts:
    """What the loop works with; ``head`` is the part of ``classifier`` that ``optimizer`` trains."""

    fabric: Fabric
    classifier: Any  # a module that takes what ``inputs`` gives, set up by fabric
    head: nn.Module
    optimizer: Any
    reader: Reader
    sets: Sets
    options: Options
    inputs: Inputs | None = None  # None: pictures

    def __post_init__(self) -> None:
        if self.inputs is None:
            self.inputs = Pictures(self.reader, self.options.mirror, self.options.augment)
        self.inputs.part = (self.fabric.global_rank, self.fabric.world_size)

    @property
    def source(self) -> Inputs:
        """Where batches come from."""
        assert self.inputs is not None
        return self.inputs

    @property
    def scaler(self) -> Any:
        """What keeps gradients in the range of half precision, where that is used."""
        return getattr(self.fabric.strategy.precision, "scaler", None)

    def in_order(self, pictures: LabelledPictures, random: torch.Generator | None = None) -> Iterator[Batch]:
        """The pictures in batches, as they come."""
        plan = plan_batches(len(pictures), self.options.batch_size, least=self.fabric.world_size)
        return self.source.batches(pictures, plan, random)


def run_epochs(
    folder: Path, parts: Parts, watch: Callable[[Epoch], None] = lambda line: None
) -> tuple[list[Epoch], Epoch, bool]:
    """All epochs with a line each: the lines, the best one, and whether Ctrl-C came; the last and the best are kept.

    Where ``folder`` holds a state to go on from (resume.py), what is done is not done again. ``watch`` sees every line.
    """
    options, first = parts.options, parts.fabric.is_global_zero
    print_header()
    lines, best = _resumed(folder, parts)
    epochs = options.epochs if any(parameter.requires_grad for parameter in parts.head.parameters()) else 1
    keeper = Keeper(folder, options.checkpoint_every)
    interrupted = False
    try:
        for number in range(len(lines) + 1, epochs + 1):
            if best is not None and options.early_stop and number - best.epoch > options.early_stop:
                note(f"stopped: no better epoch in {options.early_stop}")
                break
            title = f"epoch {number} of {epochs}"
            with progress(title, len(parts.sets.train) + len(parts.sets.validation)) as advance:
                line = _epoch(number, parts, advance)
            is_best = best is None or _better(line, best, options.keep)
            with interrupts_wait():
                lines.append(line)
                best = line if is_best or best is None else best
                if first:
                    keeper.add(parts.head, line, is_best)
                    append_csv(folder / "metrics.csv", line)
                print_epoch(line, is_best)
                watch(line)
                if first and number < epochs and keeper.due:
                    keeper.write()
                    save_state(folder, parts.optimizer, lines, best, parts.scaler)
    except KeyboardInterrupt:
        if best is None:
            raise
        parts.reader.close()  # its workers may have been cut off in the middle of a batch
        note(f"interrupted in epoch {len(lines) + 1}: the {len(lines)} before it are kept")
        interrupted = len(lines) < epochs
    finally:
        with interrupts_wait():
            keeper.write()
    assert best is not None
    return lines, best, interrupted


def _resumed(folder: Path, parts: Parts) -> tuple[list[Epoch], Epoch | None]:
    """The lines there are and the best of them, weights and optimizer as they were then; none in a new run."""
    if not states(folder):
        return [], None
    first = parts.fabric.is_global_zero
    lines, best = load_state(folder, parts.optimizer, parts.scaler, put_back=first)
    parts.fabric.barrier()
    load_head(folder, parts.head, LAST)
    if first:
        (folder / "metrics.csv").unlink(missing_ok=True)
    for line in lines:
        if first:
            append_csv(folder / "metrics.csv", line)
        print_epoch(line, line is best)
    note(f"resumed after epoch {len(lines)}")
    return lines, best


def _epoch(number: int, parts: Parts, advance: Callable[[int], None]) -> Epoch:
    start = time.perf_counter()
    sets, options = parts.sets, parts.options
    rate = options.rate(number)
    set_rate(parts.optimizer, rate)
    torch.manual_seed(epoch_seed(options.seed, number, "dropout", parts.fabric.global_rank))
    random = torch.Generator().manual_seed(epoch_seed(options.seed, number, "order"))
    world = parts.fabric.world_size
    plan = plan_batches(len(sets.train), options.batch_size, random, least=2 * world)
    if isinstance(nearest := getattr(parts.head, "head", None), NearestMeanHead):
        _fit_means(parts, nearest, plan)
    loss, accuracy = train_epoch(parts, plan, random, advance)
    if not math.isfinite(loss):
        raise ModelError(
            f"epoch {number}: the loss is {loss}: lower --lr (it is {rate:g}), "
            "or check that mean and channel order are those the trunk was trained with"
        )
    trained = time.perf_counter()
    scores = None
    if len(sets.validation):
        turned = torch.Generator().manual_seed(epoch_seed(options.seed, number, "validation"))
        source = parts.in_order(sets.validation, turned if options.mirrors_validation else None)
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
    parts: Parts, plan: Plan, random: torch.Generator, advance: Callable[[int], None] = lambda done: None
) -> tuple[float, float]:
    """One pass over the batches of ``plan``: mean loss and accuracy as they were in training, dropout and all.

    ``random`` decides what is mirrored and otherwise changed. A step takes options.accumulate batches.
    """
    fabric, options = parts.fabric, parts.options
    parts.classifier.train()
    weights = class_weights(parts.sets.train).to(fabric.device) if options.class_weights else None
    learning = any(parameter.requires_grad for parameter in parts.head.parameters())
    count = 0
    sums = torch.zeros(2, dtype=torch.float64, device=fabric.device)  # of losses, of right answers
    given = parts.source.batches(parts.sets.train, plan, random)
    for (total, more), indices, batch in zip(grouped(plan, options.accumulate), plan, given, strict=True):
        inputs, labels = fabric.to_device(batch)
        # With several processes gradients are averaged over them, and only with the last batch of a step.
        waiting = fabric.no_backward_sync(parts.classifier) if more and fabric.world_size > 1 else nullcontext()
        with waiting:
            logits = parts.classifier(inputs)
            loss = summed_loss(logits, labels, options.label_smoothing, weights)
            if learning:
                fabric.backward(loss * (fabric.world_size / total))
        if learning and not more:
            parts.optimizer.step()
            parts.optimizer.zero_grad()
        right = right_answers(logits.detach(), labels)
        sums += torch.stack([loss.detach(), right]).double()
        count += len(indices)
        advance(len(indices))
    sums = fabric.all_reduce(sums, reduce_op="sum")  # type: ignore[assignment]
    total_loss, total_right = sums.tolist()
    return total_loss / count, total_right / count


def _fit_means(parts: Parts, head: NearestMeanHead, plan: Plan) -> None:
    """Give nearest-mean its means: of all training pictures."""
    top = parts.head
    sums = torch.zeros(head.classes, head.features[0] + 1, device=parts.fabric.device)  # the last: how many
    with torch.no_grad():
        top.eval()
        for inputs, labels in map(parts.fabric.to_device, parts.source.batches(parts.sets.train, plan)):
            means = top.maps(inputs).float().mean((2, 3))  # type: ignore[operator]
            sums.index_add_(0, labels, nn.functional.pad(means, (0, 1), value=1.0))
    sums = parts.fabric.all_reduce(sums, reduce_op="sum")  # type: ignore[assignment]
    head.fit(sums[:, :-1], sums[:, -1])


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


def chosen_by(parts: Parts) -> str:
    """By what the epoch is chosen that is kept as the best, in words."""
    if not len(parts.sets.validation):
        return "nothing: no picture was held out, the last epoch is kept"
    return "validation loss" if parts.options.keep == "loss" else "validation accuracy"


def _better(line: Epoch, best: Epoch, keep: str = "accuracy") -> bool:
    """More accurate in validation, at a tie of less loss; ``keep`` "loss": of less loss; nothing validated: later."""
    if line.validation_accuracy is None or best.validation_accuracy is None:
        return True
    assert line.validation_loss is not None and best.validation_loss is not None
    if keep == "loss":
        return line.validation_loss < best.validation_loss
    return (line.validation_accuracy, -line.validation_loss) > (best.validation_accuracy, -best.validation_loss)
