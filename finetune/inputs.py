"""What is trained on, batch by batch: features that are kept, or pictures that go through the trunk every time."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch

from caffe2torch.errors import DataError
from finetune.augmentation import augmented, chances, chosen_to_mirror, mirrored
from finetune.data.batches import Batch, Reader, batches
from finetune.data.folders import LabelledPictures
from finetune.data.source import Source
from finetune.features import Store, key_of
from finetune.table import progress
from finetune.trunk_pass import BATCH_SIZE, Pass

Plan = Sequence[Sequence[int]]  # indices of pictures, a list a batch


class Inputs(Protocol):
    """Gives batches. Of several processes each gets its ``part`` (place, of how many) of every batch."""

    part: tuple[int, int]
    passes: int  # pictures that went through the trunk for it

    def batches(self, pictures: LabelledPictures, plan: Plan, random: torch.Generator | None = None) -> Iterator[Batch]:
        """The pictures at each list of indices, with their labels; changed at random where ``random`` is given."""
        ...


@dataclass
class Pictures:
    """Pictures, decoded anew every time, uint8 [N, H, W, 3]; ``through`` is a trunk to put them through."""

    reader: Reader
    mirror: bool
    augment: tuple[str, ...] = ()
    through: Pass | None = None
    part: tuple[int, int] = (0, 1)
    passes: int = 0

    def batches(self, pictures: LabelledPictures, plan: Plan, random: torch.Generator | None = None) -> Iterator[Batch]:
        """As Inputs says."""
        place, of = self.part
        mine = [list(indices[place::of]) for indices in plan]
        for indices, batch in zip(plan, batches(self.reader, pictures, mine), strict=True):
            given = batch.pictures
            if random is not None and (self.mirror or self.augment):
                decided = chances(len(indices), random)[:, place::of]
                turned = mirrored(given, decided) if self.mirror else given
                given = augmented(turned, self.augment, decided) if self.augment else turned
            self.passes += len(given) if self.through else 0
            yield Batch(self.through(given) if self.through else given, batch.labels)


class Features:
    """Features from a store, [N, …], in its precision; ``passes`` counts what had to go through the trunk for it."""

    def __init__(self, store: Store, mirror: bool, open_trunk: Callable[[], Pass], reader: Reader) -> None:
        """``open_trunk`` is not called where nothing is missing."""
        self.store, self.mirror, self.reader = store, mirror, reader
        self.part = (0, 1)
        self.passes = 0
        self.missing = 0  # of all processes
        self.seconds = 0.0  # that they took
        self._open_trunk = open_trunk
        self._index: dict[Source, int] = {}
        self._places = np.empty((0, 2), np.int64)  # of picture and mirror image

    def prepare(
        self, digests: Mapping[Source, bytes], turned: Collection[Source], wait: Callable[[], Any] = lambda: None
    ) -> None:
        """Compute what the store lacks of the pictures with those digests, and of the mirror images of ``turned``.

        Of several processes each computes its part, and ``wait`` waits for all. Raises DataError, OutputError.
        """
        keys = {source: (key_of(digests[source], False), key_of(digests[source], True)) for source in digests}
        missing = self._missing(keys, set(turned))
        self.missing = sum(map(len, missing.values()))
        self.store.check_room(self.missing)
        place, of = self.part
        if mine := dict(list(missing.items())[place::of]):
            self._compute(mine)
        wait()
        self.store.reopen()
        self._index = {source: number for number, source in enumerate(keys)}
        self._places = np.stack([self.store.places([pair[flip] for pair in keys.values()]) for flip in (0, 1)], axis=1)
        if (self._places[:, 0] < 0).any():
            raise DataError(f"{self.store.folder}: features are missing that another process computed: no shared disk?")

    def batches(self, pictures: LabelledPictures, plan: Plan, random: torch.Generator | None = None) -> Iterator[Batch]:
        """As Inputs says; at random a picture is its mirror image or not."""
        place, of = self.part
        for indices in plan:
            mine = indices[place::of]
            places = self._places[[self._index[pictures.paths[i]] for i in mine]]
            flip = torch.zeros(len(mine), dtype=torch.bool)
            if random is not None and self.mirror:
                flip = chosen_to_mirror(chances(len(indices), random)[:, place::of])
            rows = self.store.rows(places[np.arange(len(mine)), flip.numpy().astype(int)])
            yield Batch(torch.from_numpy(rows), torch.tensor([pictures.labels[i] for i in mine]))

    def _missing(
        self, keys: Mapping[Source, tuple[bytes, bytes]], turned: set[Source]
    ) -> dict[Source, list[tuple[int, bytes]]]:
        """Of each picture that lacks any: whether it is the mirror image, and the key."""
        seen: set[bytes] = set()
        missing: dict[Source, list[tuple[int, bytes]]] = {}
        for source, pair in keys.items():
            for flip in (0, 1) if source in turned else (0,):
                if pair[flip] not in self.store and pair[flip] not in seen:
                    seen.add(pair[flip])
                    missing.setdefault(source, []).append((flip, pair[flip]))
        return missing

    def _compute(self, missing: Mapping[Source, list[tuple[int, bytes]]]) -> None:
        start = time.perf_counter()
        sources = list(missing)
        plan = [sources[first : first + BATCH_SIZE] for first in range(0, len(sources), BATCH_SIZE)]
        total = sum(map(len, missing.values()))
        run: Pass | None = None
        with progress("through the trunk", total) as advance, self.store.writing() as writer:
            for chosen, (pictures, unreadable) in zip(plan, self.reader.read(plan), strict=True):
                for reason in unreadable.values():
                    raise DataError(f"{reason} (it could be read when the run began)")
                run = run or self._open_trunk()
                wanted = [(place, *each) for place, source in enumerate(chosen) for each in missing[source]]
                for first in range(0, len(wanted), BATCH_SIZE):
                    some = wanted[first : first + BATCH_SIZE]
                    given = torch.stack(
                        [pictures[place].flip(1) if flip else pictures[place] for place, flip, _ in some]
                    )
                    writer.add([key for _, _, key in some], run(given).cpu().numpy())
                    advance(len(some))
        self.passes += total
        self.seconds += time.perf_counter() - start
