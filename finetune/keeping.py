"""The last and the best weights of a run: kept in memory at every epoch's end, written now and then and at the end."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path

import torch
from torch import nn

from finetune.checkpoint import save_tensors, tensors_of
from finetune.table import Epoch

Weights = tuple[dict[str, torch.Tensor], Epoch]


class Keeper:
    """Writes a folder's checkpoints at most every ``seconds``: a large head would else be written at every epoch.

    What was not written when the process is killed is trained again by --resume, with the same result.
    """

    def __init__(self, folder: Path, seconds: float) -> None:
        self.folder, self.seconds = folder, seconds
        self._last: Weights | None = None
        self._best: Weights | None = None
        self._written = time.monotonic()

    @property
    def due(self) -> bool:
        """Whether the last writing was that long ago."""
        return time.monotonic() - self._written >= self.seconds

    def add(self, head: nn.Module, line: Epoch, best: bool) -> None:
        """Take over the head's weights as they are after the epoch of ``line``."""
        found = {name: tensor.detach() for name, tensor in tensors_of(head).items()}
        if self._last is None or self._last is self._best:
            kept = {name: tensor.to("cpu", copy=True).contiguous() for name, tensor in found.items()}
        else:  # the room of weights that are of no more use
            kept = {name: self._last[0][name].copy_(tensor) for name, tensor in found.items()}
        self._last = (kept, line)
        if best:
            self._best = self._last

    def write(self) -> None:
        """Write what is not written yet."""
        if self._best is not None and self._best is not self._last:
            save_tensors(self.folder, self._best[0], asdict(self._best[1]), best=True)
        if self._last is not None:
            save_tensors(self.folder, self._last[0], asdict(self._last[1]), best=self._last is self._best)
            self._written = time.monotonic()
        self._last = self._best = None
