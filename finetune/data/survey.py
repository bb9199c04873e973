"""One look at every picture before training: which can be read, their mean pixel, what they look like in short."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from finetune.data import duplicates
from finetune.data.batches import Reader, plan_batches
from finetune.data.descriptions import LENGTH, PARTS, describe, describe_parts
from finetune.data.folders import LabelledPictures
from finetune.data.source import Source

PICTURES_AT_ONCE = 32


@dataclass(frozen=True)
class Survey:
    """What the look found. ``sums[i]`` are the sums of R, G and B over picture ``readable[i]`` at ``size``, and
    ``descriptions[i]`` is what duplicates.describe says of it, float16 (259,), ``parts[i]``
    what it says of its parts, (6, 259); of more than 20,000 pictures there are none.
    """

    readable: list[int]
    sums: list[list[int]]
    unreadable: list[tuple[Source, str]]
    size: tuple[int, int]
    descriptions: np.ndarray
    parts: np.ndarray


def survey(pictures: LabelledPictures, reader: Reader, advance: Callable[[int], None] = lambda done: None) -> Survey:
    """Decode every picture once; ``advance`` hears how many more are done."""
    cut = len(pictures) <= duplicates.MOST
    descriptions = np.empty((len(pictures), LENGTH), np.float16)
    parts = np.empty((len(pictures) if cut else 0, len(PARTS), LENGTH), np.float16)
    found = Survey([], [], [], reader.size, descriptions, parts)
    plan = plan_batches(len(pictures), PICTURES_AT_ONCE)
    decoded = reader.read([[pictures.paths[i] for i in indices] for indices in plan])
    for indices, (stacked, unreadable) in zip(plan, decoded, strict=True):
        found.readable.extend(index for place, index in enumerate(indices) if place not in unreadable)
        found.unreadable.extend((pictures.paths[indices[place]], reason) for place, reason in unreadable.items())
        if len(stacked):
            place = len(found.sums)
            found.descriptions[place : place + len(stacked)] = describe(stacked.numpy())
            if cut:
                found.parts[place : place + len(stacked)] = describe_parts(stacked.numpy())
            found.sums.extend(stacked.sum(dim=(1, 2), dtype=torch.int64).tolist())
        advance(len(indices))
    readable = len(found.readable)
    return replace(found, descriptions=found.descriptions[:readable], parts=found.parts[:readable])


def mean_pixel(found: Survey, chosen: Sequence[int]) -> tuple[float, float, float]:
    """The mean R, G, B (0..255) over pictures ``readable[i] for i in chosen``, of exact sums."""
    height, width = found.size
    pixels = len(chosen) * height * width
    red, green, blue = (sum(found.sums[i][channel] for i in chosen) / pixels for channel in range(3))
    return red, green, blue
