"""Backgrounds that are somewhere: skies, a park, a room, a classroom, a town."""

from __future__ import annotations

from random import Random

import numpy as np
from PIL import ImageDraw

from finetune.drawing.colours import PASTELS, STRONG, Colour, darker, lighter, mix


def fade(draw: ImageDraw.ImageDraw, width: int, top: int, bottom: int, first: Colour, last: Colour) -> None:
    for y in range(top, bottom):
        draw.line([(0, y), (width, y)], mix(first, last, (y - top) / max(1, bottom - top)))


def sky(draw: ImageDraw.ImageDraw, width: int, height: int, random: Random) -> None:
    clear = random.choice(
        (((92, 160, 228), (206, 232, 250)), ((250, 170, 110), (252, 226, 178)), ((120, 110, 190), (246, 190, 190)))
    )
    fade(draw, width, 0, height, *clear)
    for _ in range(random.randint(3, 6)):
        _cloud(
            draw, random.uniform(0, width), random.uniform(0, height * 0.8), height * random.uniform(0.06, 0.14), random
        )


def _cloud(draw: ImageDraw.ImageDraw, x: float, y: float, size: float, random: Random) -> None:
    puffs = [
        (x + size * u, y - size * random.uniform(0, 0.5) * (1 - abs(u) / 2), size * (1 - abs(u) * 0.3))
        for u in (-1.6, -0.8, 0, 0.8, 1.6)
    ]
    for colour, drop in (((216, 226, 240), 0.16), ((255, 255, 255), 0.0)):
        for u, v, radius in puffs:
            draw.ellipse(
                (u - radius, v - radius * 0.7 + drop * size, u + radius, v + radius * 0.7 + drop * size), colour
            )


def night(draw: ImageDraw.ImageDraw, width: int, height: int, random: Random) -> None:
    fade(draw, width, 0, height, (18, 22, 58), (84, 74, 132))
    for _ in range(60):
        x, y, radius = random.uniform(0, width), random.uniform(0, height), height * random.uniform(0.002, 0.008)
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), (255, 250, 220))
    x, y, radius = width * random.uniform(0.1, 0.9), height * random.uniform(0.1, 0.3), height * 0.1
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), (252, 238, 190))


def park(draw: ImageDraw.ImageDraw, width: int, height: int, random: Random) -> None:
    sky(draw, width, height, random)
    horizon = height * random.uniform(0.5, 0.68)
    for x in np.arange(random.uniform(-0.1, 0.1) * width, width * 1.1, height * 0.3):
        size, foot = height * random.uniform(0.12, 0.2), horizon + height * 0.05
        leaves = random.choice(((82, 150, 88), (104, 170, 92), (66, 128, 92), (238, 168, 190)))
        draw.rectangle((x - size * 0.12, foot - size, x + size * 0.12, foot), (126, 88, 62))
        for u, v, part in ((-0.6, -1.1, 0.75), (0.6, -1.1, 0.75), (0, -1.6, 0.9), (0, -0.9, 0.7)):
            radius = size * part
            draw.ellipse(
                (x + u * size - radius, foot + v * size - radius, x + u * size + radius, foot + v * size + radius),
                leaves,
            )
    fade(draw, width, int(horizon), height, (156, 204, 116), (96, 160, 84))


def room(draw: ImageDraw.ImageDraw, width: int, height: int, random: Random) -> None:
    """A wall with a window, curtains and a shelf of books."""
    wall = random.choice(PASTELS)
    floor = height * random.uniform(0.76, 0.9)
    draw.rectangle((0, 0, width, height), wall)
    for x in np.arange(0, width, height * 0.12):
        draw.line([(x, 0), (x, floor)], darker(wall, 0.05), max(1, height // 120))
    draw.rectangle((0, floor, width, height), (188, 140, 98))
    draw.rectangle((0, floor - height * 0.03, width, floor), lighter((188, 140, 98), 0.5))
    left, top, wide, high = width * random.uniform(0.04, 0.5), height * 0.08, height * 0.5, height * 0.46
    glass = random.choice(((168, 214, 246), (250, 204, 150), (52, 58, 104)))
    draw.rectangle((left, top, left + wide, top + high), glass, (250, 250, 250), max(2, height // 40))
    draw.line([(left + wide / 2, top), (left + wide / 2, top + high)], (250, 250, 250), max(2, height // 60))
    draw.line([(left, top + high / 2), (left + wide, top + high / 2)], (250, 250, 250), max(2, height // 60))
    cloth = random.choice(STRONG)
    for x in (left - wide * 0.12, left + wide * 0.86):
        draw.rectangle((x, top - height * 0.03, x + wide * 0.26, top + high * 1.1), cloth)
        for fold in (0.08, 0.16):
            draw.line(
                [(x + wide * fold, top), (x + wide * fold, top + high * 1.1)], darker(cloth, 0.2), max(1, height // 90)
            )
    x, shelf = (left + wide * 1.25) % width, height * random.uniform(0.3, 0.5)
    draw.rectangle((x, shelf, x + height * 0.4, shelf + height * 0.03), (140, 96, 66))
    while x < width and x < left + wide * 1.25 + height * 0.36:
        thick, tall = height * random.uniform(0.02, 0.045), height * random.uniform(0.1, 0.17)
        draw.rectangle((x, shelf - tall, x + thick, shelf - 1), random.choice(STRONG), (60, 50, 60))
        x += thick


def classroom(draw: ImageDraw.ImageDraw, width: int, height: int, random: Random) -> None:
    draw.rectangle((0, 0, width, height), (236, 226, 204))
    top, bottom = height * random.uniform(0.02, 0.12), height * random.uniform(0.5, 0.64)
    draw.rectangle((width * 0.06, top, width * 0.94, bottom), (58, 104, 84), (166, 120, 80), max(3, height // 40))
    for _ in range(7):
        x, y = width * random.uniform(0.1, 0.8), random.uniform(top * 1.5, bottom * 0.9)
        draw.line([(x, y), (x + width * random.uniform(0.03, 0.14), y)], (220, 232, 222), max(1, height // 90))
    draw.rectangle((0, height * 0.8, width, height), (198, 158, 112))


def town(draw: ImageDraw.ImageDraw, width: int, height: int, random: Random) -> None:
    sky(draw, width, height, random)
    x = -height * random.uniform(0, 0.1)
    while x < width:
        wide, high = height * random.uniform(0.16, 0.34), height * random.uniform(0.3, 0.75)
        wall = random.choice(((198, 186, 180), (170, 178, 196), (214, 190, 160), (140, 146, 168), (222, 206, 196)))
        draw.rectangle((x, height - high, x + wide, height), wall, darker(wall, 0.3), max(1, height // 150))
        pane = height * 0.035
        for row in np.arange(height - high + pane, height, pane * 2):
            for column in np.arange(x + pane, x + wide - pane, pane * 1.8):
                lit = (252, 230, 150) if random.random() < 0.25 else (110, 130, 160)
                draw.rectangle((column, row, column + pane, row + pane), lit)
        x += wide
