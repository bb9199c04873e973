"""Neck, shoulders and what they wear, around the pit of the neck."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from finetune.drawing.canvas import Canvas, Points, ellipse, mirrored, smooth
from finetune.drawing.characters import Character
from finetune.drawing.colours import darker, deeper, lighter
from finetune.drawing.view import View

HALF_TORSO = ((0.22, 0.2), (0.5, 0.34), (0.84, 0.46), (1.0, 0.72), (0.86, 1.3), (0.72, 1.9), (0.82, 2.3))
SLEEVE = ((0.8, 0.45), (1.08, 0.66), (1.2, 1.2), (1.22, 2.1), (0.92, 2.12), (0.88, 1.4), (0.8, 0.95))
HEIGHT = 4.75
"""From the pit of the neck to the soles."""
GOLD = (232, 190, 96)
SHOE = (74, 58, 62)


def body(canvas: Canvas, character: Character, view: View) -> None:
    """Neck and clothes; the head is drawn over the neck's upper end."""
    skin, line = character.skin, deeper(character.skin, 0.55)
    cloth_line = darker(view.cloth, 0.6)
    _legs(canvas, character, view)
    torso = both(smooth(HALF_TORSO), [(0.0, 2.34)])
    canvas.shape(torso, view.cloth, cloth_line)
    with canvas.inside(torso):
        dark = np.array([(1.5, 0.3), (0.7, 0.6), (0.5, 2.5), (1.5, 2.5)]) * [-view.light, 1]
        canvas.shape(smooth(dark, closed=True), darker(view.cloth, 0.18))
    for side in (-1, 1):
        canvas.shape(ellipse(side * 1.07, 2.2, 0.15, 0.2), skin, line)
        sleeve = smooth(np.array(SLEEVE) * [side, 1], closed=True)
        canvas.shape(sleeve, darker(view.cloth, 0.18 if side == -view.light else 0), cloth_line)
        cuff = np.array([(0.91, 1.98), (1.22, 1.96), (1.22, 2.12), (0.92, 2.12)]) * [side, 1]
        canvas.shape(cuff, view.trim, darker(view.trim, 0.5), width=0.02)
    neck = both(smooth([(0.25, -0.5), (0.22, 0.0), (0.28, 0.2), (0.2, 0.42)]), [(0.0, 0.6)])
    canvas.shape(neck, skin, line)
    with canvas.inside(neck):
        canvas.wash(ellipse(0.06 * view.light, -0.14, 0.5, 0.36), deeper(skin, 0.3), 0.8)
    COLLARS[view.clothes](canvas, view)


def _legs(canvas: Canvas, character: Character, view: View) -> None:
    """Legs with shoes under a pleated skirt, or trousers."""
    skirt, line = darker(view.trim, 0.12), darker(view.trim, 0.6)
    for side in (-1, 1):
        leg = np.array([(0.08, 2.3), (0.62, 2.3), (0.5, 3.4), (0.46, 4.5), (0.14, 4.5), (0.1, 3.4)]) * [side, 1]
        if character.lashes:
            canvas.shape(leg, character.skin, deeper(character.skin, 0.55))
            sock = np.array([(0.1, 3.6), (0.5, 3.6), (0.46, 4.5), (0.14, 4.5)]) * [side, 1]
            canvas.shape(sock, (246, 244, 246), (140, 132, 150))
        else:
            canvas.shape(leg, skirt, line)
        shoe = smooth([(0.1, 4.4), (0.5, 4.4), (0.64, 4.68), (0.1, 4.72)]) * [side, 1]
        canvas.shape(shoe, SHOE, darker(SHOE, 0.6))
    if character.lashes:
        flared = both([(0.74, 2.1), (1.0, 3.15), (0.66, 3.22), (0.34, 3.17)], [(0.0, 3.23)])
        canvas.shape(flared, skirt, line)
        for x in (-0.6, -0.3, 0.0, 0.3, 0.6):
            canvas.stroke([(x * 0.8, 2.4), (x * 1.15, 3.18)], line, 0.022)


def both(half: ArrayLike, end: ArrayLike) -> Points:
    """The right half of an outline and its mirror image; ``end`` closes it on the middle."""
    right = np.concatenate([np.asarray(half, float), np.asarray(end, float)])
    return np.concatenate([right, mirrored(right)[::-1]])


def _sailor(canvas: Canvas, view: View) -> None:
    for side in (-1, 1):
        collar = np.array([(0.24, 0.12), (0.72, 0.36), (0.6, 0.78), (0.02, 1.0)]) * [side, 1]
        canvas.shape(collar, view.trim, darker(view.trim, 0.6))
        canvas.stroke(np.array([(0.62, 0.38), (0.52, 0.7), (0.1, 0.86)]) * [side, 1], view.cloth, 0.035)
    for side in (-1, 1):
        wing = np.array([(0, 0.98), (0.3, 0.82), (0.36, 1.08)]) * [side, 1]
        canvas.shape(wing, lighter(view.cloth, 0.25), darker(view.cloth, 0.6))
    canvas.shape(ellipse(0, 0.98, 0.08, 0.08), lighter(view.cloth, 0.25), darker(view.cloth, 0.6))


def _hoodie(canvas: Canvas, view: View) -> None:
    line = darker(view.cloth, 0.6)
    for side in (-1, 1):
        half = [(0.26, 0.05), (0.62, 0.16), (0.66, 0.45), (0.36, 0.66), (0.02, 0.72), (0.16, 0.46)]
        hood = smooth(np.array(half) * [side, 1], closed=True)
        canvas.shape(hood, darker(view.cloth, 0.1), line)
        canvas.stroke([(side * 0.18, 0.66), (side * 0.2, 1.2)], view.trim, 0.04)


def _shirt(canvas: Canvas, view: View) -> None:
    tie = view.trim
    canvas.shape([(-0.09, 0.5), (0.09, 0.5), (0.16, 1.3), (0.0, 1.5), (-0.16, 1.3)], tie, darker(tie, 0.6))
    canvas.shape([(-0.11, 0.42), (0.11, 0.42), (0.08, 0.6), (-0.08, 0.6)], tie, darker(tie, 0.6))
    for side in (-1, 1):
        collar = np.array([(0.25, 0.08), (0.45, 0.24), (0.34, 0.66), (0.03, 0.46)]) * [side, 1]
        canvas.shape(collar, lighter(view.cloth, 0.35), darker(view.cloth, 0.6))


def _kimono(canvas: Canvas, view: View) -> None:
    line = darker(view.trim, 0.6)
    canvas.shape([(-0.26, 0.06), (-0.46, 0.24), (0.12, 1.3), (0.34, 1.1)], view.trim, line)
    canvas.shape([(0.26, 0.06), (0.46, 0.24), (-0.2, 1.4), (-0.38, 1.2)], view.trim, line)


def _dress(canvas: Canvas, view: View) -> None:
    canvas.stroke(smooth([(-0.36, 0.3), (-0.22, 0.56), (0, 0.66), (0.22, 0.56), (0.36, 0.3)]), view.trim, 0.1)
    for step in range(-3, 4):
        canvas.shape(
            ellipse(step * 0.1, 0.7 - 0.035 * step**2, 0.07, 0.06), view.trim, darker(view.trim, 0.4), width=0.015
        )
    canvas.shape(ellipse(0, 0.88, 0.06, 0.06), GOLD, darker(GOLD, 0.5), width=0.015)


def _jacket(canvas: Canvas, view: View) -> None:
    canvas.shape([(-0.2, 0.45), (0.2, 0.45), (0.1, 1.6), (-0.1, 1.6)], lighter(view.trim, 0.3), darker(view.trim, 0.5))
    for side in (-1, 1):
        lapel = np.array([(0.26, 0.1), (0.5, 0.26), (0.56, 0.8), (0.08, 1.5)]) * [side, 1]
        canvas.shape(lapel, darker(view.cloth, 0.16), darker(view.cloth, 0.6))


COLLARS = {
    "sailor": _sailor,
    "hoodie": _hoodie,
    "shirt": _shirt,
    "kimono": _kimono,
    "dress": _dress,
    "jacket": _jacket,
}
