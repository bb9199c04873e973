"""Pictures from disk in batches, decoded by worker processes; memory does not grow with the data set."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from caffe2torch.errors import DataError
from finetune.data.pictures import load_picture

if TYPE_CHECKING:
    from finetune.data.folders import LabelledPictures

MOST_WORKERS = 16
BATCHES_AHEAD = 2  # a worker


class Batch(NamedTuple):
    """Pictures uint8 [N, H, W, 3] RGB, labels int64 [N]."""

    pictures: torch.Tensor
    labels: torch.Tensor


class Decoded(Dataset[tuple[torch.Tensor, int] | str]):
    """Picture i at the run's size as uint8 (H, W, 3) RGB with its label; or the reason why it cannot be read.

    A reason is given back, not raised: an exception out of a worker process arrives with the worker's traceback.
    """

    def __init__(self, pictures: LabelledPictures, size: tuple[int, int]) -> None:
        self.paths: Sequence[Path] = pictures.paths
        self.labels: Sequence[int] = pictures.labels
        self.size = size

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int] | str:
        try:
            return torch.from_numpy(load_picture(self.paths[index], self.size)), self.labels[index]
        except DataError as error:
            return str(error)


class Batches(Sampler[list[int]]):
    """Indices 0..length-1 in lists of ``size``; in a new random order every epoch if there is a seed.

    A last batch of one picture is joined to the batch before it: BatchNorm cannot train on a single picture.
    """

    def __init__(self, length: int, size: int, seed: int | None = None) -> None:
        self.length, self.size = length, size
        self.random = None if seed is None else torch.Generator().manual_seed(seed)

    def __iter__(self) -> Iterator[list[int]]:
        if self.random is None:
            order = list(range(self.length))
        else:
            order = torch.randperm(self.length, generator=self.random).tolist()
        starts = list(range(0, self.length, self.size))
        if len(starts) > 1 and self.length - starts[-1] == 1:
            starts.pop()
        for start, end in zip(starts, [*starts[1:], self.length], strict=True):
            yield order[start:end]

    def __len__(self) -> int:
        full, rest = divmod(self.length, self.size)
        return full + (rest > 1 or (rest == 1 and full == 0))


def loader(
    pictures: LabelledPictures,
    size: tuple[int, int],
    batch_size: int,
    workers: int,
    seed: int | None = None,
    pin_memory: bool = False,
) -> DataLoader[Batch]:
    """Batches of ``pictures`` at ``size`` (height, width), shuffled anew every epoch if there is a seed.

    The order depends on the seed alone, not on the number of workers. 0 workers: decoded in this process. An
    iteration raises DataError at a picture that cannot be read (any more).
    """
    sampler = Batches(len(pictures), batch_size, seed)
    return DataLoader(
        Decoded(pictures, size),  # type: ignore[arg-type]  # _stack makes Batches of what it gives
        batch_sampler=sampler,
        collate_fn=_stack,
        num_workers=min(workers, len(sampler)),
        prefetch_factor=BATCHES_AHEAD if workers else None,
        persistent_workers=workers > 0,
        pin_memory=pin_memory,
        worker_init_fn=leave_interrupts,
        generator=torch.Generator().manual_seed(0),  # its own: the number of workers must not move the global one
    )


def batches(source: DataLoader[Batch]) -> Iterator[Batch]:
    """One epoch of a loader's batches. Raises DataError at a picture that cannot be read."""
    for batch in source:
        if isinstance(batch, str):
            raise DataError(f"{batch} (it could be read when the run began)")
        yield batch


def leave_interrupts(worker: int) -> None:
    """Ctrl-C at a terminal reaches the workers too; the process that trains answers it and ends them."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def default_workers(size: tuple[int, int], batch_size: int) -> int:
    """Worker processes for pictures of ``size``: one a core, at most 16, fewer where /dev/shm would overflow.

    Batches travel through shared memory, of which a container often has 64 MB; a worker killed for want of it
    takes the run along.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    workers = min(cores, MOST_WORKERS)
    if os.path.isdir("/dev/shm"):
        batch_bytes = size[0] * size[1] * 3 * (batch_size + 1)
        room = shutil.disk_usage("/dev/shm").free // 2
        workers = min(workers, room // (batch_bytes * (BATCHES_AHEAD + 1)))
    return workers


def _stack(examples: list[tuple[torch.Tensor, int] | str]) -> Batch | str:
    """A batch, or the reason why one of its pictures cannot be read."""
    read: list[tuple[torch.Tensor, int]] = []
    for example in examples:
        if isinstance(example, str):
            return example
        read.append(example)
    return Batch(torch.stack([picture for picture, _ in read]), torch.tensor([label for _, label in read]))
