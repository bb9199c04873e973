"""The features of a face: eyes, brows, nose, mouth, blush. Each is drawn around its place and moved by its depth."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from finetune.drawing.canvas import Canvas, Points, ellipse, lock, mirrored, smooth
from finetune.drawing.characters import Character
from finetune.drawing.colours import Colour, darker, deeper, mix
from finetune.drawing.view import View

EYE_X, EYE_Y = 0.41, 0.29
EYE_HALF_WIDTH, EYE_HALF_HEIGHT = 0.25, 0.285
WHITE: Colour = (255, 255, 255)
INK: Colour = (58, 38, 48)
LIPS: Colour = (176, 74, 78)

HALF_FACE = ((0.0, -0.8), (0.55, -0.7), (0.84, -0.25), (0.85, 0.15), (0.8, 0.45), (0.66, 0.72), (0.42, 0.92),
             (0.16, 1.05), (0.0, 1.08))  # fmt: skip


def face_depth(points: Points) -> np.ndarray:
    return np.interp(points[:, 1], [-0.8, 0.1, 0.6, 1.08], [0.15, 0.28, 0.42, 0.72])


def face_outline(turn: float) -> Points:
    """From the forehead to the chin; when turned, the far eye lies in a hollow and the far cheek stands out."""
    outline = smooth([*HALF_FACE, *mirrored(HALF_FACE[-2:0:-1])], closed=True)
    far = np.clip(outline[:, 0] * np.sign(turn) / 0.85, 0, 1) * abs(turn) / 0.3
    relief = np.interp(outline[:, 1], [-0.2, 0.18, 0.5, 0.8], [0.0, -0.07, 0.035, 0.0])
    outline[:, 0] += np.sign(turn) * far * relief
    return outline


def far_width(side: int, turn: float) -> float:
    """How narrow a feature at ``side`` becomes by the turn: the far one more than the near one."""
    away = max(0.0, side * turn)
    return 1 - 0.75 * away - 0.12 * abs(turn)


def brows(canvas: Canvas, character: Character, view: View) -> None:
    """Drawn over the fringe, as is the custom, in a darker tone of the hair."""
    lift = 0.03 * view.brow + (0.05 if view.happy else 0)
    colour = darker(character.hair, 0.5)
    width = 0.042 if character.lashes else 0.062
    for side in (-1, 1):
        stretch = far_width(side, view.turn)
        x = side * EYE_X
        angle = -0.05 * view.brow
        line = [(-0.21, -0.0 + angle), (-0.03, -0.065 - 0.3 * angle), (0.22, 0.03 - angle)]
        y = EYE_Y - 0.42 * (0.6 + 0.4 * character.eye[1]) - lift
        spine = [(x + side * u * stretch, y + v) for u, v in line]
        canvas.shape(lock(spine, width, tip=0.15, root=0.7, belly=0.5), colour, depth=0.84)


def nose(canvas: Canvas, character: Character, view: View) -> None:
    side = 1 if view.turn > 0.05 else -1 if view.turn < -0.05 else -view.light
    shade = deeper(character.skin, 0.3)
    canvas.shape([(0.0, 0.5), (0.045 * side, 0.575), (-0.02 * side, 0.58)], shade, depth=1.02)


def mouth(canvas: Canvas, character: Character, view: View) -> None:
    line = mix(LIPS, deeper(character.skin, 0.6), 0.5)
    squeeze = 1 - 0.6 * abs(view.turn)

    def at(points: ArrayLike) -> Points:
        return np.asarray(points, float) * [squeeze, 1] + [0, 0.775]

    def curve(points: ArrayLike) -> Points:
        return at(smooth(points))

    kind = view.mouth
    if kind in ("open", "grin"):
        wide, deep = (0.19, 0.2) if kind == "open" else (0.26, 0.14)
        lips = at(smooth([(-wide, -0.03), (0, 0.015), (wide, -0.03), (wide * 0.62, deep * 0.75), (0, deep),
                          (-wide * 0.62, deep * 0.75)], closed=True))  # fmt: skip
        canvas.shape(lips, (146, 46, 58), depth=0.9)
        with canvas.inside(lips, 0.9):
            canvas.shape(at(ellipse(0, deep + 0.02, wide * 0.62, deep * 0.55)), (232, 120, 122), depth=0.9)
            if kind == "grin":
                canvas.shape(
                    at([(-wide, -0.1), (wide, -0.1), (wide * 0.8, 0.035), (-wide * 0.8, 0.035)]), WHITE, depth=0.9
                )
        canvas.stroke([*lips, lips[0]], line, 0.024, 0.9)
    elif kind == "small":
        canvas.shape(at(ellipse(0, 0.02, 0.065, 0.08)), (166, 60, 68), line, 0.9, 0.02)
    elif kind == "cat":
        half = [(0.0, -0.02), (0.06, 0.035), (0.13, 0.03), (0.17, -0.03)]
        canvas.stroke(curve([*mirrored(half[:0:-1]), *half]), line, 0.028, 0.9)
    else:
        lines = {
            "smile": [(-0.19, -0.035), (-0.09, 0.03), (0.09, 0.03), (0.19, -0.035)],
            "flat": [(-0.12, 0.0), (0, -0.006), (0.12, 0.0)],
            "pout": [(-0.11, 0.035), (-0.05, -0.01), (0.05, -0.01), (0.11, 0.035)],
            "smirk": [(-0.12, 0.01), (0, 0.025), (0.1, 0.005), (0.17, -0.05)],
        }
        canvas.stroke(curve(lines[kind]), line, 0.03, 0.9)
        if kind in ("smile", "flat"):
            canvas.stroke(curve([(-0.04, 0.105), (0.04, 0.105)]), deeper(character.skin, 0.22), 0.02, 0.9)


def blush(canvas: Canvas, character: Character, view: View) -> None:
    """Soft cheeks, and short strokes where it is strong; freckles."""
    for side in (-1, 1):
        x = side * 0.53
        stretch = far_width(side, view.turn)
        if view.blush:
            spot = ellipse(x, 0.6, 0.19 * stretch, 0.1)
            canvas.wash(spot, (244, 112, 112), 0.75 * view.blush, 0.72, 0.05)
        if view.blush > 0.5:
            for step in (-0.07, 0.01, 0.09):
                canvas.stroke([(x + step + 0.025, 0.56), (x + step - 0.025, 0.64)], (222, 104, 104), 0.018, 0.72)
        if character.freckles:
            for u, v in ((-0.07, 0.6), (0.01, 0.64), (0.08, 0.59)):
                canvas.shape(ellipse(x + u * stretch, v, 0.016, 0.016), (206, 130, 96), depth=0.74)
