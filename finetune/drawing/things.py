"""Things that are not faces, some of them round or with two dots like one: a detector has to tell them apart."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import numpy as np
from PIL import Image

from finetune.drawing.canvas import Canvas, Frame, ellipse, lock, smooth
from finetune.drawing.colours import STRONG, Colour, darker, lighter

WHITE: Colour = (250, 248, 244)
FURS: tuple[Colour, ...] = ((240, 178, 104), (92, 84, 92), (240, 234, 226), (168, 140, 120))


def draw_thing(kind: str, random: Random, size: int) -> Image.Image:
    """One of THINGS on a transparent square of ``size`` pixels."""
    canvas = Canvas((size, size), Frame((size / 2, size / 2), size / 3.2, random.uniform(-0.15, 0.15)))
    THINGS[kind](canvas, random)
    return canvas.finished()


def _ball(canvas: Canvas, random: Random) -> None:
    first, second = random.sample(STRONG, 2)
    whole = ellipse(0, 0, 1.2, 1.2)
    canvas.shape(whole, WHITE, darker(first, 0.6))
    with canvas.inside(whole):
        for turn, colour in ((0, first), (120, second), (240, first)):
            wedge = np.concatenate([[(0.1, -0.15)], ellipse(0, 0, 1.4, 1.4, turn, turn + 62)])
            canvas.shape(wedge, colour)
        canvas.wash(ellipse(0.5, 0.6, 1.2, 1.0), (60, 40, 90), 0.22, blur=0.2)
    canvas.wash(ellipse(-0.45, -0.5, 0.3, 0.2), WHITE, 0.8, blur=0.05)
    canvas.stroke(ellipse(0, 0, 1.2, 1.2), darker(first, 0.6))


def _bottle(canvas: Canvas, random: Random) -> None:
    glass, label = random.sample(STRONG, 2)
    half = [(0.16, -1.3), (0.17, -0.85), (0.45, -0.5), (0.48, 0.4), (0.46, 1.4)]
    outline = np.concatenate([smooth(half), smooth(np.array(half)[::-1] * [-1, 1])])
    canvas.shape(outline, glass, darker(glass, 0.6))
    with canvas.inside(outline):
        canvas.shape([(-0.5, -0.1), (0.5, -0.1), (0.5, 0.75), (-0.5, 0.75)], lighter(label, 0.7))
        canvas.shape(ellipse(0, 0.32, 0.26, 0.26), label)
        canvas.wash([(0.2, -1.4), (0.6, -1.4), (0.6, 1.5), (0.2, 1.5)], (40, 30, 60), 0.25)
        canvas.wash([(-0.36, -0.4), (-0.26, -0.4), (-0.26, 1.2), (-0.36, 1.2)], WHITE, 0.55)
    canvas.shape([(-0.22, -1.45), (0.22, -1.45), (0.22, -1.2), (-0.22, -1.2)], label, darker(label, 0.6))


def _balloon(canvas: Canvas, random: Random) -> None:
    rubber = random.choice(STRONG)
    canvas.stroke(smooth([(0, 0.75), (0.1, 1.0), (-0.08, 1.25), (0.05, 1.55)]), (110, 110, 120), 0.03)
    skin = smooth([(0, 0.72), (-0.62, 0.2), (-0.75, -0.5), (0, -1.3), (0.75, -0.5), (0.62, 0.2)], closed=True)
    canvas.shape([(0, 0.6), (-0.12, 0.85), (0.12, 0.85)], rubber, darker(rubber, 0.5))
    canvas.shape(skin, rubber, darker(rubber, 0.5))
    canvas.wash(ellipse(-0.28, -0.72, 0.16, 0.26), WHITE, 0.75, blur=0.03)


def _clock(canvas: Canvas, random: Random) -> None:
    rim = random.choice(STRONG)
    canvas.shape(ellipse(0, 0, 1.25, 1.25), rim, darker(rim, 0.6))
    canvas.shape(ellipse(0, 0, 1.02, 1.02), WHITE, darker(rim, 0.6))
    for hour in range(12):
        angle = np.radians(30 * hour)
        mark = np.array([np.cos(angle), np.sin(angle)])
        canvas.stroke([mark * 0.82, mark * 0.94], (60, 60, 70), 0.06)
    for length, width in ((0.5, 0.1), (0.76, 0.06)):
        angle = random.uniform(0, 2 * np.pi)
        canvas.stroke([(0, 0), (length * np.cos(angle), length * np.sin(angle))], (60, 60, 70), width)
    canvas.shape(ellipse(0, 0, 0.08, 0.08), (60, 60, 70))


def _cat(canvas: Canvas, random: Random) -> None:
    fur, line = (coat := random.choice(FURS)), darker(coat, 0.6)
    canvas.shape(lock([(0.5, 1.2), (1.1, 1.1), (1.15, 0.5), (0.9, 0.2)], 0.24, tip=0.6), fur, line)
    canvas.shape(smooth([(0, -0.1), (0.55, 0.3), (0.7, 1.4), (-0.7, 1.4), (-0.55, 0.3)], closed=True), fur, line)
    canvas.shape(ellipse(0, 0.9, 0.3, 0.45), lighter(fur, 0.5))
    for side in (-1, 1):
        canvas.shape(np.array([(0.12, -0.95), (0.62, -1.42), (0.72, -0.6)]) * [side, 1], fur, line)
        canvas.shape(np.array([(0.3, -0.95), (0.56, -1.2), (0.6, -0.75)]) * [side, 1], (238, 160, 160))
    canvas.shape(ellipse(0, -0.45, 0.78, 0.62), fur, line)
    for side in (-1, 1):
        canvas.shape(ellipse(side * 0.32, -0.5, 0.14, 0.16), (236, 214, 110), line, width=0.02)
        canvas.shape(ellipse(side * 0.32, -0.5, 0.05, 0.13), (30, 26, 34))
        for slope in (-0.08, 0.04):
            canvas.stroke([(side * 0.45, -0.28), (side * 1.0, -0.3 + slope)], line, 0.02)
    canvas.shape([(-0.08, -0.32), (0.08, -0.32), (0, -0.24)], (226, 130, 130))
    canvas.stroke(smooth([(-0.16, -0.17), (-0.08, -0.13), (0, -0.22), (0.08, -0.13), (0.16, -0.17)]), line, 0.03)


def _bear(canvas: Canvas, random: Random) -> None:
    """A toy with button eyes."""
    plush = random.choice(((190, 140, 92), (226, 196, 160), (150, 110, 90), (236, 170, 184)))
    line, pale = darker(plush, 0.55), lighter(plush, 0.45)
    for side in (-1, 1):
        canvas.shape(ellipse(side * 0.75, 0.5, 0.26, 0.4), plush, line)
        canvas.shape(ellipse(side * 0.5, 1.3, 0.34, 0.26), plush, line)
        canvas.shape(ellipse(side * 0.62, -1.05, 0.28, 0.28), plush, line)
        canvas.shape(ellipse(side * 0.62, -1.05, 0.15, 0.15), pale)
    canvas.shape(ellipse(0, 0.7, 0.66, 0.75), plush, line)
    canvas.shape(ellipse(0, 0.78, 0.4, 0.48), pale)
    canvas.shape(ellipse(0, -0.5, 0.85, 0.74), plush, line)
    canvas.shape(ellipse(0, -0.28, 0.36, 0.28), pale, line, width=0.02)
    canvas.shape(ellipse(0, -0.38, 0.12, 0.08), (70, 50, 50))
    for side in (-1, 1):
        canvas.shape(ellipse(side * 0.36, -0.58, 0.09, 0.1), (50, 40, 44))
        canvas.shape(ellipse(side * 0.36 - 0.03, -0.61, 0.03, 0.03), WHITE)


def _plant(canvas: Canvas, random: Random) -> None:
    pot = random.choice(STRONG)
    for angle in np.radians([-150, -125, -100, -75, -50, -25]):
        reach = random.uniform(1.0, 1.4)
        x, y = reach * np.cos(angle), reach * np.sin(angle) + 0.3
        leaf = random.choice(((84, 154, 92), (110, 178, 100), (64, 132, 96)))
        canvas.shape(
            lock([(0, 0.4), (x * 0.55, y * 0.55 - 0.1), (x, y)], 0.4, root=0.2, belly=0.8), leaf, darker(leaf, 0.45)
        )
    canvas.shape([(-0.55, 0.35), (0.55, 0.35), (0.4, 1.4), (-0.4, 1.4)], pot, darker(pot, 0.6))
    canvas.shape([(-0.65, 0.25), (0.65, 0.25), (0.62, 0.5), (-0.62, 0.5)], lighter(pot, 0.2), darker(pot, 0.6))


def _cup(canvas: Canvas, random: Random) -> None:
    clay = random.choice(STRONG)
    canvas.stroke(ellipse(0.72, 0.2, 0.36, 0.4, -100, 100), darker(clay, 0.3), 0.16)
    body = np.concatenate(
        [
            ellipse(0, -0.5, 0.75, 0.2, 180, 360),
            smooth([(0.75, -0.5), (0.66, 0.8), (0, 1.0), (-0.66, 0.8), (-0.75, -0.5)]),
        ]
    )
    canvas.shape(body, clay, darker(clay, 0.6))
    canvas.shape(ellipse(0, -0.5, 0.75, 0.2), darker(clay, 0.2), darker(clay, 0.6))
    canvas.shape(ellipse(0, -0.46, 0.6, 0.14), (96, 60, 44))
    canvas.wash([(-0.5, -0.2), (-0.36, -0.18), (-0.3, 0.7), (-0.44, 0.66)], WHITE, 0.6)


THINGS: dict[str, Callable[[Canvas, Random], None]] = {
    "ball": _ball,
    "bottle": _bottle,
    "balloon": _balloon,
    "clock": _clock,
    "cat": _cat,
    "bear": _bear,
    "plant": _plant,
    "cup": _cup,
}
