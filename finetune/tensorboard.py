"""The lines of a run for TensorBoard, in the folder ``tensorboard`` of the run. Needs the package tensorboard."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from finetune.table import Epoch


@contextmanager
def watching(folder: Path, wanted: bool) -> Iterator[Callable[[Epoch], None]]:
    """A function that logs a line, if it is wanted; one that does nothing otherwise."""
    if not wanted:
        yield lambda line: None
        return
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(folder / "tensorboard")) as writer:

        def log(line: Epoch) -> None:
            for name, value in asdict(line).items():
                if name != "epoch" and value is not None:
                    writer.add_scalar(name, value, line.epoch)

        yield log
