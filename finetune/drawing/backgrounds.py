"""What stands behind a person: patterns of comics and posters, skies, rooms, a park."""

from __future__ import annotations

import math
from collections.abc import Callable
from random import Random

import numpy as np
from PIL import Image, ImageDraw

from finetune.drawing import places
from finetune.drawing.colours import PASTELS, STRONG, Colour, darker, lighter, mix
from finetune.drawing.places import fade

Painter = Callable[[ImageDraw.ImageDraw, int, int, Random], None]
OVERSAMPLING = 2


def background(random: Random, size: tuple[int, int], kind: str | None = None) -> Image.Image:
    """A picture of ``size`` (width, height) without anybody; ``kind`` is one of PAINTERS, else drawn by lot."""
    width, height = size[0] * OVERSAMPLING, size[1] * OVERSAMPLING
    picture = Image.new("RGB", (width, height))
    PAINTERS[kind or random.choice(list(PAINTERS))](ImageDraw.Draw(picture), width, height, random)
    return picture.resize(size, Image.Resampling.BOX)


def _any(random: Random) -> Colour:
    return random.choice(random.choice((PASTELS, STRONG)))


def _gradient(draw: ImageDraw.ImageDraw, width: int, height: int, random: Random) -> None:
    fade(draw, width, 0, height, _any(random), _any(random))


def _dots(draw: ImageDraw.ImageDraw, width: int, height: int, random: Random) -> None:
    ground, spot = random.sample(PASTELS + STRONG, 2)
    draw.rectangle((0, 0, width, height), ground)
    step = height / random.uniform(5, 9)
    radius = step * random.uniform(0.18, 0.34)
    for row in range(-1, int(height / step * 2) + 2):
        for column in range(-1, int(width / step) + 2):
            x, y = (column + row % 2 / 2) * step, row * step / 2
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), spot)


def _stripes(draw: ImageDraw.ImageDraw, width: int, height: int, random: Random) -> None:
    ground, stripe = random.sample(PASTELS + STRONG, 2)
    draw.rectangle((0, 0, width, height), ground)
    step, lean = height / random.uniform(5, 10), random.choice((-1, 0, 1)) * height
    for x in np.arange(-height, width + height, step):
        draw.polygon([(x, 0), (x + step / 2, 0), (x + step / 2 + lean, height), (x + lean, height)], stripe)


def _checks(draw: ImageDraw.ImageDraw, width: int, height: int, random: Random) -> None:
    ground = _any(random)
    other = random.choice((darker(ground, 0.2), lighter(ground, 0.5), _any(random)))
    step = height / random.randint(4, 8)
    draw.rectangle((0, 0, width, height), ground)
    for row in range(math.ceil(height / step)):
        for column in range(row % 2, math.ceil(width / step), 2):
            draw.rectangle((column * step, row * step, (column + 1) * step - 1, (row + 1) * step - 1), other)


def _rays(draw: ImageDraw.ImageDraw, width: int, height: int, random: Random) -> None:
    """Focus lines, black on white as in a comic or in colour."""
    ground, ray = random.choice((((250, 250, 250), (40, 40, 46)), tuple(random.sample(PASTELS + STRONG, 2))))
    draw.rectangle((0, 0, width, height), ground)
    x, y, far = width * random.uniform(0.35, 0.65), height * random.uniform(0.35, 0.6), width + height
    angle, near = 0.0, height * random.uniform(0.1, 0.35)
    while angle < 2 * math.pi:
        wide = random.uniform(0.01, 0.07)
        start = near * random.uniform(0.8, 1.6)
        tip = (x + start * math.cos(angle), y + start * math.sin(angle))
        ends = [
            (x + far * math.cos(angle + side * wide / 2), y + far * math.sin(angle + side * wide / 2))
            for side in (-1, 1)
        ]
        draw.polygon([tip, *ends], ray)
        angle += wide + random.uniform(0.02, 0.1)


def _screentone(draw: ImageDraw.ImageDraw, width: int, height: int, random: Random) -> None:
    """Dots that grow from one edge to the other."""
    ink = random.choice(((60, 60, 66), *STRONG))
    draw.rectangle((0, 0, width, height), (250, 249, 246))
    step = height / random.uniform(18, 28)
    upwards = random.random() < 0.5
    for row in range(int(height / step * 1.5) + 2):
        for column in range(int(width / step) + 2):
            x, y = (column + row % 2 / 2) * step, row * step * 0.7
            part = y / height if upwards else 1 - y / height
            radius = step * 0.52 * min(1.0, max(0.0, part))
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), ink)


def _bokeh(draw: ImageDraw.ImageDraw, width: int, height: int, random: Random) -> None:
    ground = random.choice(STRONG)
    fade(draw, width, 0, height, darker(ground, 0.5), darker(ground, 0.1))
    for _ in range(26):
        x, y, radius = random.uniform(0, width), random.uniform(0, height), height * random.uniform(0.02, 0.1)
        colour = mix(ground, random.choice(PASTELS), random.uniform(0.2, 0.7))
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), colour)


def _petals(draw: ImageDraw.ImageDraw, width: int, height: int, random: Random) -> None:
    fade(draw, width, 0, height, random.choice(PASTELS), random.choice(PASTELS))
    colour = random.choice(((244, 158, 184), (250, 200, 210), (252, 220, 120), (255, 255, 255)))
    for _ in range(40):
        x, y, size = random.uniform(0, width), random.uniform(0, height), height * random.uniform(0.02, 0.05)
        angle = random.uniform(0, math.pi)
        leaf = [(math.cos(t) * size, math.sin(t) * size * 0.5) for t in np.linspace(0, 2 * math.pi, 12)]
        cos, sin = math.cos(angle), math.sin(angle)
        draw.polygon([(x + u * cos - v * sin, y + u * sin + v * cos) for u, v in leaf], colour)


PAINTERS: dict[str, Painter] = {
    "gradient": _gradient,
    "dots": _dots,
    "stripes": _stripes,
    "checks": _checks,
    "rays": _rays,
    "screentone": _screentone,
    "bokeh": _bokeh,
    "petals": _petals,
    "sky": places.sky,
    "night": places.night,
    "park": places.park,
    "room": places.room,
    "classroom": places.classroom,
    "town": places.town,
}
PLACES = ("sky", "night", "park", "room", "classroom", "town", "gradient", "petals", "bokeh", "checks")
"""The kinds that suit a picture of several people."""
