"""What is worn over the hair: bows, bands, headphones, ears of a cat, hats."""

from __future__ import annotations

import numpy as np

from finetune.drawing.canvas import Canvas, Points, ellipse, lock, mirrored, smooth
from finetune.drawing.characters import Character
from finetune.drawing.colours import Colour, darker, lighter
from finetune.drawing.hair import SKULL_Y, surface
from finetune.drawing.view import View

WHITE: Colour = (250, 248, 246)


def bow(
    canvas: Canvas, x: float, y: float, size: float, colour: Colour, depth: float = 0.0, angle: float = 0.0
) -> None:
    """A ribbon's bow with two loops and two ends."""
    line = darker(colour, 0.55)
    cos, sin = np.cos(angle), np.sin(angle)

    def at(points: Points) -> Points:
        return np.asarray(points, float) @ np.array([[cos, sin], [-sin, cos]]) * size + [x, y]

    end = np.array([(0.0, 0.0), (0.5, 0.75), (0.28, 0.78), (0.2, 0.95), (-0.05, 0.2)])
    loop = smooth([(0.0, 0.0), (0.5, -0.5), (1.0, -0.42), (0.95, 0.3), (0.5, 0.36)], closed=True)
    fold = [(0.1, -0.02), (0.55, -0.12), (0.56, 0.1)]
    for half in (end, mirrored(end)):
        canvas.shape(at(half), darker(colour, 0.15), line, depth)
    for flip in (1, -1):
        canvas.shape(at(loop * [flip, 1]), colour, line, depth)
        canvas.shape(at(np.array(fold) * [flip, 1]), darker(colour, 0.28), depth=depth)
    canvas.shape(at(ellipse(0, 0, 0.2, 0.24)), lighter(colour, 0.15), line, depth)


def headbow(canvas: Canvas, character: Character, view: View) -> None:
    _band(canvas, character.accent, 0.11)
    bow(canvas, -0.45, -1.02, 0.36, character.accent, 0.15, -0.35)


def headband(canvas: Canvas, character: Character, view: View) -> None:
    for step in range(-6, 7):
        angle = np.radians(-90 + 13.5 * step)
        frill = ellipse(1.13 * np.cos(angle), SKULL_Y + 0.02 + 1.07 * np.sin(angle), 0.16, 0.14)
        canvas.shape(frill, WHITE, (150, 146, 170), 0.0, 0.02)
    _band(canvas, character.accent, 0.2)


def _band(canvas: Canvas, colour: Colour, width: float) -> None:
    """From ear to ear over the top, a little in front of the crown."""
    over = ellipse(0, SKULL_Y + 0.02, 1.1, 1.02, 172, 368)
    under = ellipse(0, SKULL_Y + 0.02 + width, 1.06, 1.02, 368, 172)
    canvas.shape(np.concatenate([over, under]), colour, darker(colour, 0.5), surface)


def headphones(canvas: Canvas, character: Character, view: View) -> None:
    arc = np.concatenate([ellipse(0, -0.06, 1.13, 1.15, 176, 364), ellipse(0, -0.06, 1.03, 1.0, 364, 176)])
    canvas.shape(arc, character.accent, darker(character.accent, 0.5), 0.02)
    gleam = ellipse(0, -0.06, 1.09, 1.09, 220, 300)
    canvas.stroke(gleam, lighter(character.accent, 0.5), 0.035, 0.02)
    for side in (-1, 1):
        near = max(0.0, -side * view.turn) / 0.3
        x, across = side * (1.02 - 0.12 * near), 0.13 + 0.09 * near
        canvas.shape(ellipse(x, 0.22, across + 0.05, 0.34), (230, 84, 84), darker((230, 84, 84), 0.5), 0.12)
        canvas.shape(
            ellipse(x + side * 0.03, 0.22, across, 0.27), character.accent, darker(character.accent, 0.5), 0.12
        )
        canvas.shape(ellipse(x + side * 0.03, 0.14, across * 0.45, 0.09), lighter(character.accent, 0.35), depth=0.12)


def cat_ears(canvas: Canvas, character: Character, view: View) -> None:
    base, line = character.hair, darker(character.hair, 0.6)
    for side in (-1, 1):
        ear = smooth([(0.24, -0.98), (0.5, -1.3), (0.88, -1.58), (0.98, -1.2), (0.96, -0.62)]) * [side, 1]
        inside = smooth([(0.46, -1.02), (0.6, -1.22), (0.82, -1.42), (0.87, -1.15), (0.85, -0.78)]) * [side, 1]
        canvas.shape(ear, base, line, 0.05)
        canvas.shape(inside, character.accent, darker(character.accent, 0.35), 0.05, 0.02)
        for root, tip in (((0.5, -0.92), (0.66, -1.2)), ((0.64, -0.84), (0.78, -1.12)), ((0.8, -0.72), (0.86, -0.98))):
            fluff = lock(np.array([root, tip]) * [side, 1], 0.14)
            canvas.shape(fluff, lighter(base, 0.25), depth=0.05)


def beret(canvas: Canvas, character: Character, view: View) -> None:
    cloth, line = character.accent, darker(character.accent, 0.55)
    top = smooth([(-1.08, -0.5), (-1.2, -0.85), (-0.7, -1.32), (0.1, -1.46), (0.85, -1.3), (1.25, -0.95), (1.14, -0.62),
                  (0.6, -0.78), (0, -0.84), (-0.6, -0.72)], closed=True)  # fmt: skip
    canvas.shape(top, cloth, line, 0.1)
    with canvas.inside(top, 0.1):
        canvas.shape(top * [1, 0.9] + [0.16 * -view.light, 0.2], darker(cloth, 0.2), depth=0.1)
        canvas.wash(ellipse(0.35 * view.light, -1.2, 0.5, 0.14), lighter(cloth, 0.5), 0.5, 0.1, 0.04)
    canvas.shape(lock([(0.06, -1.42), (0.12, -1.6)], 0.09, tip=0.8), cloth, line, 0.1)
    above = smooth([(-1.07, -0.5), (-0.6, -0.74), (0, -0.83), (0.6, -0.78), (1.12, -0.6)])
    below = smooth([(1.08, -0.46), (0.6, -0.64), (0, -0.69), (-0.6, -0.6), (-1.05, -0.38)])
    canvas.shape(np.concatenate([above, below]), darker(cloth, 0.3), line, 0.15)


def straw_hat(canvas: Canvas, character: Character, view: View) -> None:
    straw, line = (240, 204, 130), (150, 108, 56)
    brim = ellipse(0, -0.6, 1.7, 0.42)
    canvas.shape(brim, straw, line, 0.05)
    with canvas.inside(brim, 0.05):
        canvas.shape(ellipse(0, -0.64, 1.28, 0.28), darker(straw, 0.12), depth=0.05)
        for row in (0.34, 0.38):
            canvas.stroke(ellipse(0, -0.6, 1.7 * row / 0.42, row), darker(straw, 0.18), 0.016, 0.05)
    dome = np.concatenate(
        [ellipse(0, -0.66, 0.98, 0.92, 180, 360), smooth([(0.98, -0.66), (0, -0.46), (-0.98, -0.66)])]
    )
    canvas.shape(dome, straw, line)
    with canvas.inside(dome):
        shade = np.array([(0.35, -1.8), (1.2, -1.8), (1.2, 0), (0.55, 0), (0.72, -0.8)]) * [-view.light, 1]
        canvas.shape(smooth(shade, closed=True), darker(straw, 0.14))
        for row in range(5):
            canvas.stroke(ellipse(0, -1.5 + 0.14 * row, 1.02, 0.3, 15, 165), darker(straw, 0.22), 0.014)
        above, below = [(-1.0, -0.94), (0, -0.72), (1.0, -0.94)], [(1.0, -0.64), (0, -0.44), (-1.0, -0.64)]
        ribbon = np.concatenate([smooth(above), smooth(below)])
        canvas.shape(ribbon, character.accent, darker(character.accent, 0.5))
