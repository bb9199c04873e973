"""What the characters wear. Each is up to three layers: behind the head, on the hair, and around the neck."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from finetune.drawing import headwear
from finetune.drawing.canvas import Canvas, ellipse, lock, smooth
from finetune.drawing.characters import Character
from finetune.drawing.colours import Colour, darker, lighter, mix
from finetune.drawing.features import EYE_X, EYE_Y, face_depth, face_outline, far_width
from finetune.drawing.hair import surface
from finetune.drawing.view import View

Layer = Callable[[Canvas, Character, View], None]
WHITE: Colour = (250, 248, 246)


def behind(canvas: Canvas, character: Character, view: View) -> None:
    _draw(BEHIND, canvas, character, view)


def on_face(canvas: Canvas, character: Character, view: View) -> None:
    _draw(ON_FACE, canvas, character, view)


def on_head(canvas: Canvas, character: Character, view: View) -> None:
    _draw(ON_HEAD, canvas, character, view)


def around_neck(canvas: Canvas, character: Character, view: View) -> None:
    _draw(AROUND_NECK, canvas, character, view)


def _draw(layers: dict[str, Layer], canvas: Canvas, character: Character, view: View) -> None:
    for name in character.wears:
        if name in layers:
            layers[name](canvas, character, view)


def _ribbons(canvas: Canvas, character: Character, view: View) -> None:
    for side in (-1, 1):
        headwear.bow(canvas, side * 0.86, -0.74, 0.3, character.accent, 0.05, side * 0.7)


def _flower(canvas: Canvas, character: Character, view: View) -> None:
    x, y = -0.72, -0.42
    line = darker(character.accent, 0.5)
    for leaf in ((-0.26, 0.12), (0.12, 0.26)):
        canvas.shape(
            lock([(x, y), (x + leaf[0], y + leaf[1])], 0.16, belly=0.6, root=0.2), (92, 160, 108), depth=surface
        )
    for petal in range(5):
        angle = np.radians(72 * petal - 90)
        round_petal = ellipse(x + 0.155 * np.cos(angle), y + 0.155 * np.sin(angle), 0.135, 0.135)
        canvas.shape(round_petal, character.accent, line, surface, 0.02)
    canvas.shape(ellipse(x, y, 0.09, 0.09), (252, 222, 120), line, surface, 0.015)


def _hairpins(canvas: Canvas, character: Character, view: View) -> None:
    for tilt, y in ((0.35, -0.42), (0.1, -0.29)):
        x = 0.68
        bar = np.array([(-0.17, -0.035), (0.17, -0.035), (0.17, 0.035), (-0.17, 0.035)])
        turned = bar @ np.array([[np.cos(tilt), -np.sin(tilt)], [np.sin(tilt), np.cos(tilt)]])
        canvas.shape(np.add(turned, (x, y)), character.accent, darker(character.accent, 0.5), surface, 0.02)


def _glasses(canvas: Canvas, character: Character, view: View) -> None:
    frame = character.accent
    inner = []
    for side in (-1, 1):
        across = 0.31 * far_width(side, view.turn)
        x = side * (EYE_X - 0.05 * max(0.0, side * view.turn) / 0.3)
        corner, square = np.radians(np.linspace(0, 360, 40)), 0.72
        lens = np.stack([
            x + across * np.sign(np.cos(corner)) * np.abs(np.cos(corner)) ** square,
            EYE_Y + 0.04 + 0.27 * np.sign(np.sin(corner)) * np.abs(np.sin(corner)) ** square,
        ], axis=1)  # fmt: skip
        canvas.wash(lens, (216, 236, 250), 0.1, 0.92)
        shine = [(x - 0.16, EYE_Y + 0.2), (x + 0.0, EYE_Y - 0.15), (x + 0.08, EYE_Y - 0.15), (x - 0.08, EYE_Y + 0.2)]
        canvas.wash(shine, WHITE, 0.25, 0.92)
        canvas.stroke(np.concatenate([lens, lens[:2]]), frame, 0.045, 0.92)
        inner.append((x - side * across, EYE_Y))
        if side * view.turn < 0.2:
            hinge = canvas.frame([(x + side * across, EYE_Y - 0.02)], 0.92)
            ear = canvas.frame([(side * 0.9, EYE_Y - 0.06)], 0.3)
            canvas.between(hinge, ear, frame, 0.035)
    canvas.stroke(smooth([inner[0], (0.0, EYE_Y - 0.06), inner[1]]), frame, 0.04, 0.98)


def _eye_patch(canvas: Canvas, character: Character, view: View) -> None:
    """Over the right eye in the picture, held by straps that run under the hair."""
    x, y, line = EYE_X, EYE_Y + 0.02, (150, 150, 164)
    with canvas.inside(face_outline(view.turn), face_depth):
        canvas.stroke(smooth([(-0.9, -0.55), (-0.4, -0.36), (0.05, -0.1), (x - 0.1, y - 0.14)]), WHITE, 0.06, surface)
        canvas.stroke(smooth([(x + 0.2, y - 0.1), (0.7, 0.1), (1.0, -0.1)]), WHITE, 0.06, 0.5)
        canvas.stroke(smooth([(x + 0.2, y + 0.15), (0.68, 0.46), (1.0, 0.5)]), WHITE, 0.06, 0.5)
    across = 0.33 * far_width(1, view.turn)
    pad = smooth([(x - across, y - 0.2), (x, y - 0.3), (x + across, y - 0.2), (x + across * 0.9, y + 0.18),
                  (x, y + 0.33), (x - across * 0.9, y + 0.18)], closed=True)  # fmt: skip
    canvas.shape(pad, WHITE, line, 0.88)
    with canvas.inside(pad, 0.88):
        canvas.wash(np.add(pad, (-0.06 * view.light, 0.1)), (190, 194, 214), 0.35, 0.88)
    for row in (-0.1, 0.02, 0.14):
        canvas.stroke([(x - across * 0.55, y + row), (x + across * 0.55, y + row)], (214, 216, 228), 0.018, 0.88)


def _scarf(canvas: Canvas, character: Character, view: View) -> None:
    wool, line = character.accent, darker(character.accent, 0.55)
    hanging = smooth([(0.2, 0.3), (0.56, 0.4), (0.66, 1.5), (0.26, 1.55)])
    canvas.shape(hanging, darker(wool, 0.12), line)
    for row in range(2):
        stripe = [
            (0.27, 0.95 + 0.25 * row),
            (0.62, 0.92 + 0.25 * row),
            (0.63, 1.03 + 0.25 * row),
            (0.27, 1.06 + 0.25 * row),
        ]
        canvas.shape(stripe, lighter(wool, 0.6))
    wrap = smooth([(-0.62, 0.08), (-0.3, -0.12), (0, -0.06), (0.3, -0.12), (0.62, 0.08), (0.64, 0.36), (0.3, 0.56),
                   (0, 0.6), (-0.3, 0.56), (-0.64, 0.36)], closed=True)  # fmt: skip
    canvas.shape(wrap, wool, line)
    with canvas.inside(wrap):
        canvas.wash(ellipse(0, -0.06, 0.5, 0.24), mix(line, (60, 30, 40), 0.4), 0.35)
        canvas.stroke(smooth([(-0.6, 0.2), (0, 0.38), (0.6, 0.2)]), darker(wool, 0.3), 0.03)
        canvas.stroke(smooth([(-0.5, 0.4), (0, 0.52), (0.3, 0.46)]), darker(wool, 0.3), 0.03)


BEHIND: dict[str, Layer] = {"cat_ears": headwear.cat_ears}
ON_FACE: dict[str, Layer] = {"eye_patch": _eye_patch}
ON_HEAD: dict[str, Layer] = {
    "ribbons": _ribbons,
    "flower": _flower,
    "headbow": headwear.headbow,
    "headband": headwear.headband,
    "hairpins": _hairpins,
    "glasses": _glasses,
    "headphones": headwear.headphones,
    "beret": headwear.beret,
    "straw_hat": headwear.straw_hat,
}
AROUND_NECK: dict[str, Layer] = {"scarf": _scarf}
