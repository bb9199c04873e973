"""One look at every picture before training: which can be read, and what their mean pixel is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch.utils.data import DataLoader, Dataset

from caffe2torch.errors import DataError
from finetune.data.batches import leave_interrupts
from finetune.data.folders import LabelledPictures
from finetune.data.pictures import load_picture

PICTURES_AT_ONCE = 16

Sums = tuple[int, int, int]


@dataclass(frozen=True)
class Survey:
    """What the look found. ``sums[i]`` are the sums of R, G and B over picture ``readable[i]`` at ``size``."""

    readable: list[int]
    sums: list[Sums]
    unreadable: list[tuple[Path, str]]
    size: tuple[int, int]


class _Looked(Dataset[Sums | str]):
    def __init__(self, paths: Sequence[Path], size: tuple[int, int]) -> None:
        self.paths, self.size = paths, size

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Sums | str:
        try:
            red, green, blue = load_picture(self.paths[index], self.size).sum(axis=(0, 1), dtype=np.int64).tolist()
            return red, green, blue
        except DataError as error:
            return str(error)


def survey(
    pictures: LabelledPictures, size: tuple[int, int], workers: int, advance: Callable[[int], object] = lambda n: None
) -> Survey:
    """Decode every picture at ``size`` once, in ``workers`` processes; ``advance`` hears how many more are done."""
    found = Survey([], [], [], size)
    looked = _Looked(pictures.paths, size)
    # list: the results are passed on as they are, as plain numbers through a pipe.
    source = DataLoader(
        looked,
        batch_size=PICTURES_AT_ONCE,
        collate_fn=list,
        num_workers=workers,
        worker_init_fn=leave_interrupts,
    )
    index = 0
    for results in source:
        for result in results:
            if isinstance(result, str):
                found.unreadable.append((pictures.paths[index], result))
            else:
                found.readable.append(index)
                found.sums.append(result)
            index += 1
        advance(len(results))
    return found


def mean_pixel(found: Survey, chosen: Sequence[int]) -> tuple[float, float, float]:
    """The mean R, G, B (0..255) over pictures ``readable[i] for i in chosen``: exact sums, in no order's debt."""
    height, width = found.size
    pixels = len(chosen) * height * width
    red, green, blue = (sum(found.sums[i][channel] for i in chosen) / pixels for channel in range(3))
    return red, green, blue
