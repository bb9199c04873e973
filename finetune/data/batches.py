"""Pictures from disk in batches, decoded by worker processes; memory does not grow with the data set."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any, NamedTuple

import torch
from torch.utils.data import DataLoader, Dataset

from caffe2torch.errors import DataError
from finetune.data.folders import LabelledPictures
from finetune.data.source import Source
from finetune.data.views import View, read_view

MOST_WORKERS = 16
BATCHES_AHEAD = 2  # a worker


class Batch(NamedTuple):
    """Pictures uint8 [N, H, W, 3] RGB, labels int64 [N]."""

    pictures: torch.Tensor
    labels: torch.Tensor


class Decoded(NamedTuple):
    """The readable pictures of a list of sources, uint8 [N, H, W, 3] RGB, and reasons by place for the others."""

    pictures: torch.Tensor
    unreadable: dict[int, str]


class Reader:
    """Decodes pictures at one size (height, width) in worker processes; 0 workers: in this one.

    The workers are started by the first ``read`` and kept until ``close``. Read something before the network is
    made: a forked worker keeps alive whatever was in memory when it was started, and is started faster.
    """

    def __init__(self, size: tuple[int, int], workers: int, pin_memory: bool = False) -> None:
        self.size = size
        self.workers = workers
        self.pin_memory = pin_memory
        self._plan: list[Sequence[Source | View]] = []
        self._loader: DataLoader[Any] | None = None

    def read(self, plan: Sequence[Sequence[Source | View]]) -> Iterator[Decoded]:
        """Each list of sources decoded, in order. Raises DataError if a worker is killed. One ``read`` at a time."""
        self._plan[:] = plan
        if self._loader is None:
            self._loader = self._open()
        try:
            yield from self._loader
        except RuntimeError as error:
            if "DataLoader worker" not in str(error):
                raise
            raise DataError(
                "a process that decodes pictures was killed (is memory short?); fewer may do: --workers 1, or 0"
            ) from error

    def close(self) -> None:
        """End the workers now; another ``read`` starts new ones."""
        # A loader ends its workers when it is collected, which an exception's traceback may put off.
        iterator = getattr(self._loader, "_iterator", None)
        self._loader = None
        if iterator is not None:
            iterator._shutdown_workers()

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _open(self) -> DataLoader[Any]:
        return DataLoader(
            _Decoder(self.size),
            batch_sampler=self._plan,  # type: ignore[arg-type]  # sources are its keys; the list is filled anew a pass
            collate_fn=_stack,
            num_workers=self.workers,
            prefetch_factor=BATCHES_AHEAD if self.workers else None,
            persistent_workers=self.workers > 0,
            pin_memory=self.pin_memory,
            worker_init_fn=_leave_interrupts,
            generator=torch.Generator().manual_seed(0),  # its own: the number of workers must not move the global one
        )


def batches(reader: Reader, pictures: LabelledPictures, plan: Sequence[Sequence[int]]) -> Iterator[Batch]:
    """The pictures at each list of indices, with their labels. Raises DataError at one that cannot be read."""
    decoded = reader.read([[pictures.paths[i] for i in indices] for indices in plan])
    for indices, (stacked, unreadable) in zip(plan, decoded, strict=True):
        for reason in unreadable.values():
            raise DataError(f"{reason} (it could be read when the run began)")
        yield Batch(stacked, torch.tensor([pictures.labels[i] for i in indices]))


def plan_batches(length: int, size: int, random: torch.Generator | None = None, least: int = 2) -> list[list[int]]:
    """Indices 0..length-1 in lists of ``size``, in random order if ``random`` is given.

    A last list of fewer than ``least`` is joined to the one before: batch normalisation cannot train on a single
    picture.
    """
    order = list(range(length)) if random is None else torch.randperm(length, generator=random).tolist()
    starts = list(range(0, length, size))
    if len(starts) > 1 and length - starts[-1] < least:
        starts.pop()
    return [order[start:end] for start, end in zip(starts, [*starts[1:], length], strict=True)]


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


class _Decoder(Dataset[torch.Tensor | str]):
    """Source -> picture, or the reason why it cannot be read.

    A reason is given back, not raised: an exception out of a worker process arrives with the worker's traceback.
    """

    def __init__(self, size: tuple[int, int]) -> None:
        self.size = size

    def __getitem__(self, source: Source | View) -> torch.Tensor | str:
        try:
            return torch.from_numpy(read_view(source, self.size))
        except DataError as error:
            return str(error)


def _stack(results: list[torch.Tensor | str]) -> Decoded:
    pictures = [result for result in results if isinstance(result, torch.Tensor)]
    unreadable = {place: result for place, result in enumerate(results) if isinstance(result, str)}
    return Decoded(torch.stack(pictures) if pictures else torch.empty(0, dtype=torch.uint8), unreadable)


def _leave_interrupts(worker: int) -> None:
    """Ctrl-C at a terminal reaches the workers too; the process that trains answers it and ends them."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
