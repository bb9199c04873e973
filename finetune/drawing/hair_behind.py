"""The hair that hangs behind the face and the body: the back of the head, tails, buns, curls and plaits."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from finetune.drawing.canvas import Canvas, ellipse, lock, mirrored, smooth
from finetune.drawing.characters import Character
from finetune.drawing.colours import darker
from finetune.drawing.hair import SKULL_Y, Tones
from finetune.drawing.view import View

# Behind


def back(canvas: Canvas, character: Character, view: View) -> None:
    """The hair that the face and the body are drawn upon."""
    tones = Tones.of(character)
    if character.tails:
        TAILS[character.tails](canvas, tones, view)
    BACKS[character.back](canvas, tones)


def _skull(canvas: Canvas, tones: Tones) -> None:
    canvas.shape(ellipse(0, SKULL_Y, 1.08, 1.02), tones.deep, tones.line, -0.15)
    canvas.shape(ellipse(0, 0.2, 0.9, 0.85), tones.deep, depth=-0.15)


def _tied(canvas: Canvas, tones: Tones) -> None:
    canvas.shape(ellipse(0, SKULL_Y + 0.02, 1.06, 1.0), tones.deep, tones.line, -0.15)


def _short(canvas: Canvas, tones: Tones) -> None:
    half = [(0, 0.95), (0.3, 0.98), (0.55, 0.86), (0.8, 0.92), (0.86, 0.66), (1.06, 0.58), (1.08, 0.2), (1.08, -0.2)]
    _both_sides(canvas, tones, half)


def _bob(canvas: Canvas, tones: Tones) -> None:
    half = [(0, 0.98), (0.4, 1.02), (0.8, 1.0), (1.02, 0.88), (1.2, 0.55), (1.2, 0.1), (1.1, -0.3)]
    _both_sides(canvas, tones, half)


def _long(canvas: Canvas, tones: Tones) -> None:
    half = [(0, 2.3), (0.5, 2.32), (0.95, 2.22), (1.16, 1.7), (1.2, 1.0), (1.16, 0.4), (1.1, -0.1)]
    _both_sides(canvas, tones, half)
    for x in (-0.85, -0.6, 0.6, 0.85):
        canvas.stroke(smooth([(x, 0.6), (x * 1.1, 1.3), (x * 1.02, 2.25)]), tones.line, 0.02, -0.25)


def _wavy(canvas: Canvas, tones: Tones) -> None:
    half = [(0, 2.2), (0.4, 2.3), (0.85, 2.3), (1.25, 2.1), (1.2, 1.75), (1.42, 1.45), (1.24, 1.1), (1.36, 0.75),
            (1.16, 0.35), (1.12, -0.1)]  # fmt: skip
    _both_sides(canvas, tones, half)
    for x in (-0.9, -0.65, 0.65, 0.9):
        wave = [(x, 0.5), (x * 1.18, 0.9), (x * 1.0, 1.25), (x * 1.22, 1.6), (x * 1.05, 2.1)]
        canvas.stroke(smooth(wave), tones.line, 0.02, -0.25)


def _spiky(canvas: Canvas, tones: Tones) -> None:
    half = [(0, 0.8), (0.45, 0.9), (0.75, 1.12), (0.86, 0.72), (1.22, 0.78), (1.04, 0.4), (1.36, 0.3), (1.1, 0.0)]
    left = mirrored(half)[::-1]
    canvas.shape([*half, *left], tones.deep, tones.line, -0.15)


def _crop(canvas: Canvas, tones: Tones) -> None:
    _both_sides(canvas, tones, [(0, 0.6), (0.5, 0.66), (0.84, 0.62), (0.98, 0.4), (1.06, 0.1), (1.08, -0.2)])


def _both_sides(canvas: Canvas, tones: Tones, half: ArrayLike) -> None:
    left = mirrored(half)[1:]
    top = ellipse(0, SKULL_Y, 1.08, 1.02, -20, -160)
    outline = np.concatenate([smooth(half), top, smooth(left[::-1])])
    canvas.shape(outline, tones.deep, tones.line, -0.2)


BACKS = {"short": _short, "bob": _bob, "long": _long, "wavy": _wavy, "spiky": _spiky, "crop": _crop, "tied": _tied}


# Tails and buns


def _twin(canvas: Canvas, tones: Tones, view: View) -> None:
    for side in (-1, 1):
        sway = 0.1 * side - 0.35 * view.tilt
        spine = [(side * 0.85, -0.68), (side * 1.35, -0.45), (side * 1.55 + sway, 0.5), (side * 1.38 + sway, 1.6)]
        _tail(canvas, tones, spine, 0.62)


def _tail(canvas: Canvas, tones: Tones, spine: ArrayLike, width: float, depth: float = -0.3) -> None:
    body = lock(spine, width, root=0.35, tip=0.0, belly=0.6)
    canvas.shape(body, tones.base, tones.line, depth)
    with canvas.inside(body, depth):
        line = np.asarray(spine, float)
        canvas.shape(
            lock(np.add(line, (0.22 * width, 0.05)), width * 0.42, root=0.4, belly=0.5), tones.shade, depth=depth
        )
        canvas.stroke(smooth(line - [0.14 * width, 0]), tones.shade, 0.022, depth)
        gleam = smooth(line)[3:9] - [0.16 * width, 0]
        canvas.stroke(gleam, tones.gloss, 0.05, depth)


def _pony(canvas: Canvas, tones: Tones, view: View) -> None:
    sway = -0.3 * view.tilt
    spine = [(0.15, -0.9), (0.75, -1.3), (1.35, -0.75), (1.5 + sway, 0.3), (1.2 + sway, 1.35)]
    _tail(canvas, tones, spine, 0.72, -0.45)


def _odango(canvas: Canvas, tones: Tones, view: View) -> None:
    for side in (-1, 1):
        x, y = side * 0.8, -0.92
        canvas.shape(ellipse(x, y, 0.38, 0.36), tones.base, tones.line, -0.1)
        canvas.wash(ellipse(x + 0.06 * side, y + 0.12, 0.3, 0.22), tones.shade, 0.9, -0.1, 0.03)
        canvas.stroke(ellipse(x, y, 0.24, 0.22, 150, 330), tones.line, 0.02, -0.1)
        canvas.stroke(ellipse(x, y, 0.12, 0.11, -20, 200), tones.line, 0.02, -0.1)
        canvas.stroke(ellipse(x - 0.1, y - 0.12, 0.16, 0.14, 190, 260), tones.gloss, 0.045, -0.1)


def _drills(canvas: Canvas, tones: Tones, view: View) -> None:
    """Curls like corkscrews: rings that become narrower, each with its shadow below."""
    for side in (-1, 1):
        for ring in range(6, -1, -1):
            x = side * (0.98 + 0.055 * ring) - 0.12 * view.tilt * ring
            y = -0.16 + 0.3 * ring
            across = 0.36 - 0.038 * ring
            curl = ellipse(x, y, across, 0.24 - 0.015 * ring)
            canvas.shape(curl, tones.base, tones.line, -0.2)
            with canvas.inside(curl, -0.2):
                canvas.shape(ellipse(x + 0.06 * side, y + 0.16, across, 0.14), tones.shade, depth=-0.2)
                canvas.shape(ellipse(x - 0.12, y - 0.1, across * 0.4, 0.045), tones.gloss, depth=-0.2)


def _braids(canvas: Canvas, tones: Tones, view: View) -> None:
    """Plaits: hearts, each laid over the one below."""
    heart = smooth([(0, 0.24), (-0.2, 0.04), (-0.17, -0.18), (0, -0.1), (0.17, -0.18), (0.2, 0.04)], closed=True)
    for side in (-1, 1):
        sway = -0.12 * view.tilt
        end = (side * 1.16 + 6 * sway, 2.05)
        brush = [end, (end[0] + 0.03 * side, end[1] + 0.22), (end[0], end[1] + 0.45)]
        canvas.shape(lock(brush, 0.26, root=0.4, belly=0.6), tones.base, tones.line, 0.1)
        canvas.shape(ellipse(*end, 0.1, 0.06), (226, 92, 70), darker((226, 92, 70), 0.5), 0.1, 0.02)
        for knot in range(5, -1, -1):
            x, y = side * (0.98 + 0.03 * knot) + sway * knot, 0.5 + 0.27 * knot
            size = 1.08 - 0.05 * knot
            canvas.shape(heart * size + [x, y], tones.base, tones.line, 0.1, 0.024)
            canvas.stroke([(x, y - 0.1), (x, y + 0.2 * size)], tones.line, 0.018, 0.1)
            canvas.stroke([(x + 0.1, y - 0.06), (x + 0.06, y + 0.1)], tones.shade, 0.04, 0.1)
            canvas.stroke([(x - 0.11, y - 0.08), (x - 0.1, y + 0.02)], tones.gloss, 0.03, 0.1)


TAILS = {"twin": _twin, "pony": _pony, "odango": _odango, "drills": _drills, "braids": _braids}
