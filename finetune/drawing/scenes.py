"""Pictures of several people among things, with the box of every face."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import numpy as np
from PIL import Image

from finetune.drawing.backgrounds import PLACES, background
from finetune.drawing.characters import Character
from finetune.drawing.faces import draw_person
from finetune.drawing.pictures import in_light
from finetune.drawing.things import THINGS, draw_thing
from finetune.drawing.view import random_view

Box = tuple[float, float, float, float]
BODY = 8.0
"""From above the hair to below the feet, in units of the head."""
GROUND = 0.72
"""People stand no higher than this part of the picture's height."""
INDOORS = ("room", "classroom", "checks")
VISIBLE = 0.85
"""How much of a face's box those in front must leave uncovered."""


@dataclass(frozen=True)
class Layer:
    """A sheet laid on the picture with its corner at ``place``; ``box`` and ``label`` if it shows a face."""

    sheet: Image.Image
    place: tuple[int, int]
    box: Box | None = None
    label: str = ""

    def cover(self, box: Box) -> float:
        """The part of ``box`` that this sheet hides."""
        left, top, right, bottom = (round(edge) for edge in box)
        x, y = self.place
        hidden = self.sheet.getchannel("A").crop((left - x, top - y, right - x, bottom - y))
        return float(np.asarray(hidden).mean()) / 255


def draw_scene(
    characters: Sequence[Character], random: Random, size: tuple[int, int], faces: int
) -> tuple[Image.Image, list[tuple[Box, str]]]:
    """An RGB picture of ``size`` (width, height) with 1 to ``faces`` people: boxes and names of their faces.

    Boxes (x0, y0, x1, y1) lie inside the picture, from hairline to chin and cheek to cheek; at least VISIBLE of each
    is uncovered, and fewer people are drawn than asked for where there is no room.
    """
    place = random.choice(PLACES)
    picture = background(random, size, place)
    kinds = [kind for kind in THINGS if kind != ("balloon" if place in INDOORS else "clock")]
    for kind in random.sample(kinds, random.randint(1, 4)):
        thing = _thing(kind, random, size)
        picture.paste(thing.sheet, thing.place, thing.sheet)
    people = _people(characters, random, size, faces)
    shown: list[Layer] = []
    for layer in [*people, *(_thing(kind, random, size, low=True) for kind in random.sample(kinds, 2))]:
        if all(_uncovered(other, [*shown[shown.index(other) + 1 :], layer]) for other in shown if other.box):
            shown.append(layer)
    for layer in shown:
        picture.paste(layer.sheet, layer.place, layer.sheet)
    return in_light(picture, random), [(layer.box, layer.label) for layer in shown if layer.box]


def _uncovered(face: Layer, above: list[Layer]) -> bool:
    return face.box is not None and sum(layer.cover(face.box) for layer in above) <= 1 - VISIBLE


def _people(characters: Sequence[Character], random: Random, size: tuple[int, int], faces: int) -> list[Layer]:
    """People whose heads have room beside one another, from the back (high in the picture) to the front."""
    width, height = size
    largest = height * {1: 0.27, 2: 0.21, 3: 0.17}.get(faces, 0.135)
    heads: list[tuple[float, float, float]] = []
    for _ in range(60 * faces):
        scale = largest * random.uniform(0.42, 1.0) ** (0.7 if faces > 1 else 0.5)
        x, y = random.uniform(1.0 * scale, width - 1.0 * scale), random.uniform(1.35 * scale, height - 1.25 * scale)
        if y + 5.6 * scale < GROUND * height:
            continue
        if all(np.hypot((x - u) * 0.85, y - v) > 1.25 * (scale + other) for u, v, other in heads):
            heads.append((x, y, scale))
        if len(heads) == faces:
            break
    heads.sort(key=lambda head: head[1] + head[2])
    cast = random.sample(list(characters), min(faces, len(characters)))
    people = (_person(cast[i % len(cast)], random, head, size) for i, head in enumerate(heads))
    return [person for person in people if person is not None]


def _person(
    character: Character, random: Random, head: tuple[float, float, float], size: tuple[int, int]
) -> Layer | None:
    """None if the face would leave the picture."""
    x, y, scale = head
    left, top = round(x - 2.2 * scale), round(y - 2.1 * scale)
    sheet_size = (round(4.4 * scale), min(size[1] - top, round(BODY * scale)))
    sheet, box = draw_person(character, random_view(random), sheet_size, (x - left, y - top), scale)
    x0, y0, x1, y1 = box[0] + left, box[1] + top, box[2] + left, box[3] + top
    if x0 < 0 or y0 < 0 or x1 > size[0] or y1 > size[1]:
        return None
    return Layer(sheet, (left, top), (x0, y0, x1, y1), character.name)


def _thing(kind: str, random: Random, size: tuple[int, int], low: bool = False) -> Layer:
    """A thing anywhere, or ``low`` in the picture's foreground."""
    width, height = size
    across = round(height * random.uniform(0.14, 0.34))
    y = random.uniform(0.72, 0.9) if low or kind not in ("clock", "balloon") else random.uniform(0.05, 0.4)
    return Layer(
        draw_thing(kind, random, across), (round(random.uniform(-0.1, 0.9) * width), round(y * height) - across // 2)
    )
