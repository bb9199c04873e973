"""A contact sheet: some pictures of every class with the class's name, on one PNG."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from caffe2torch.errors import DataError
from caffe2torch.files import beside
from finetune.data.folders import LabelledPictures
from finetune.data.source import read_source
from finetune.detection.fonts import Fonts

TILE, GAP, EDGE = 72, 4, 16
TITLE = 22  # pixels above a row of pictures
MOST = 400  # classes on a sheet
INK, QUIET = "#1c232b", "#5d6875"


def write_sheet(path: Path, pictures: LabelledPictures, seed: int = 0, font: Path | None = None) -> int:
    """Draw up to 12 pictures of each class, picked by the seed; gives how many classes found no room (of 400).

    Many classes stand in two or three columns with fewer pictures each. Pictures that cannot be read are left out.
    Raises DataError for a font that is none.
    """
    classes = pictures.classes[:MOST]
    columns = 1 if len(classes) <= 20 else 2 if len(classes) <= 60 else 3
    each = 12 // columns
    width, height = each * (TILE + GAP) + EDGE, TITLE + TILE + GAP + 6
    rows = -(-len(classes) // columns)
    sheet = Image.new("RGB", (EDGE + columns * width, 2 * EDGE + rows * height), "white")
    draw, fonts = ImageDraw.Draw(sheet), Fonts(font)
    chosen = _chosen(pictures, each, seed)
    counts = pictures.counts()
    for place, name in enumerate(classes):
        left, top = EDGE + (place // rows) * width, EDGE + (place % rows) * height
        _write(draw, fonts, (left, top), name, counts[place], width - EDGE)
        at = 0
        for index in chosen[place]:
            tile = _tile(pictures, index)
            if tile is not None:
                sheet.paste(tile, (left + at * (TILE + GAP), top + TITLE))
                at += 1
    with beside(path) as temporary:
        sheet.save(temporary, "PNG", optimize=True)
    return len(pictures.classes) - len(classes)


def _chosen(pictures: LabelledPictures, each: int, seed: int) -> dict[int, list[int]]:
    found: dict[int, list[int]] = defaultdict(list)
    for index in np.random.RandomState(seed).permutation(len(pictures)).tolist():
        if len(found[pictures.labels[index]]) < each:
            found[pictures.labels[index]].append(index)
    return found


def _write(draw: ImageDraw.ImageDraw, fonts: Fonts, place: tuple[int, int], name: str, count: int, room: int) -> None:
    """The class's name, cut where there is no room, and its number of pictures."""
    number, small = fonts.of(f"{count:,}", 12)
    room -= int(small.getlength(number)) + 10
    text, font = fonts.of(name, 14)
    cut = text
    while cut and font.getlength(cut + ("…" if cut != text else "")) > room:
        cut = cut[:-1]
    cut += "…" if cut != text else ""
    draw.text(place, cut, INK, font)
    draw.text((place[0] + font.getlength(cut) + 8, place[1] + 2), number, QUIET, small)


def _tile(pictures: LabelledPictures, index: int) -> Image.Image | None:
    """A picture in the middle of a square."""
    try:
        image = Image.fromarray(read_source(pictures.paths[index]))
    except DataError:
        return None
    if max(image.size) * 2 <= TILE:
        factor = TILE // max(image.size)
        image = image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)
    image.thumbnail((TILE, TILE), Image.Resampling.LANCZOS)
    tile = Image.new("RGB", (TILE, TILE), "#eef1f4")
    tile.paste(image, ((TILE - image.width) // 2, (TILE - image.height) // 2))
    return tile
