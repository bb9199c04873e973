"""Views of pictures that training wants: a quarter turn, a random crop, the centre of the picture scaled."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
from PIL import Image

from finetune.data.source import Source, read_source

if TYPE_CHECKING:
    from finetune.data.folders import LabelledPictures

AREA = (0.08, 1.0)  # of a random crop, as a share of the picture's
ASPECT = (3 / 4, 4 / 3)  # of a random crop, width to height
TRIES = 10


class Turned(NamedTuple):
    """A picture turned to the left by ``quarters`` of a turn."""

    source: Source
    quarters: int

    def read(self, size: tuple[int, int]) -> np.ndarray:
        """uint8 (*size, 3)"""
        height, width = size
        pixels = read_source(self.source, (width, height) if self.quarters % 2 else size)
        return np.ascontiguousarray(np.rot90(pixels, self.quarters))


class RandomCrop(NamedTuple):
    """A part of a picture, resized: its area 8 to 100 % of the picture's, its aspect 3:4 to 4:3, by ``seed``.

    As Inception's training crops it (Szegedy et al. 2014, section 6); where ten tries fit nowhere in the picture, it
    is the largest square in the middle.
    """

    source: Source
    seed: int

    def read(self, size: tuple[int, int]) -> np.ndarray:
        """uint8 (*size, 3)"""
        picture = Image.fromarray(read_source(self.source))
        box = crop_box(picture.width, picture.height, np.random.default_rng(self.seed))
        return np.array(picture.resize((size[1], size[0]), Image.Resampling.BICUBIC, box=box))


class CentreCrop(NamedTuple):
    """The middle of a picture whose shorter side is scaled to ``scale`` pixels."""

    source: Source
    scale: int

    def read(self, size: tuple[int, int]) -> np.ndarray:
        """uint8 (*size, 3); raises ValueError for a size larger than ``scale``."""
        picture = Image.fromarray(read_source(self.source))
        box = centre_box(picture.width, picture.height, self.scale, size)
        return np.array(picture.resize((size[1], size[0]), Image.Resampling.BICUBIC, box=box))


View: TypeAlias = Turned | RandomCrop | CentreCrop


def read_view(source: Source | View, size: tuple[int, int]) -> np.ndarray:
    """What a source or a view of one shows, uint8 (*size, 3). Raises DataError as read_source does."""
    return source.read(size) if isinstance(source, (Turned, RandomCrop, CentreCrop)) else read_source(source, size)


def centres(pictures: LabelledPictures, crop: Mapping[str, Any]) -> LabelledPictures:
    """The middles of pictures, as the "crop" of a run or a model has it: {"scale": pixels of the shorter side}."""
    views = tuple(CentreCrop(source, int(crop["scale"])) for source in pictures.paths)
    return replace(pictures, paths=views)  # type: ignore[arg-type]  # a Reader takes views


def crop_box(width: int, height: int, random: np.random.Generator) -> tuple[int, int, int, int]:
    """A random part (left, top, right, bottom) of a picture, as RandomCrop takes it."""
    for _ in range(TRIES):
        area = width * height * random.uniform(*AREA)
        aspect = math.exp(random.uniform(math.log(ASPECT[0]), math.log(ASPECT[1])))
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            left, top = int(random.integers(width - w + 1)), int(random.integers(height - h + 1))
            return left, top, left + w, top + h
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    return left, top, left + side, top + side


def centre_box(width: int, height: int, scale: int, size: tuple[int, int]) -> tuple[float, float, float, float]:
    """The middle (left, top, right, bottom) of a picture that is ``size`` when its shorter side is ``scale``."""
    if max(size) > scale:
        raise ValueError(f"a crop of {size} out of pictures scaled to {scale}")
    factor = min(width, height) / scale
    w, h = size[1] * factor, size[0] * factor
    left, top = (width - w) / 2, (height - h) / 2
    return left, top, left + w, top + h
