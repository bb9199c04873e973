"""Hair in layers: what hangs behind the body, the tails, the cap with its fringe, and the locks beside the face."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike

from finetune.drawing.canvas import Canvas, Points, ellipse, lock, smooth
from finetune.drawing.characters import Character
from finetune.drawing.colours import Colour, darker, deeper, lighter, mix
from finetune.drawing.features import face_depth, face_outline
from finetune.drawing.view import View

SKULL_Y = -0.12
CROWN = (0.0, -1.08)


def surface(points: Points) -> np.ndarray:
    """Depth on the front of the skull: 1 in the middle of the face, 0 on the outline."""
    x, y = points.T
    return np.clip(1 - (x / 1.1) ** 2 - (np.minimum(y - SKULL_Y, 0) / 1.0) ** 2, -0.12, 1)


@dataclass(frozen=True)
class Tones:
    """The colours of one head of hair."""

    base: Colour
    shade: Colour
    deep: Colour
    line: Colour
    gloss: Colour

    @classmethod
    def of(cls, character: Character) -> Tones:
        base = character.hair
        return cls(base, darker(base, 0.2), darker(base, 0.36), darker(base, 0.6), lighter(base, 0.5))


# In front

# The lower edge of the fringe from left to right: gaps between strands and their tips in turn.
FRINGES: dict[str, tuple[tuple[float, float], ...]] = {
    "blunt": ((-0.84, -0.06), (-0.7, 0.0), (-0.62, -0.14), (-0.44, -0.08), (-0.33, -0.25), (-0.14, -0.09),
              (-0.05, -0.23), (0.14, -0.08), (0.24, -0.25), (0.44, -0.08), (0.58, -0.21), (0.7, 0.0), (0.84, -0.06)),
    "choppy": ((-0.84, -0.08), (-0.62, 0.06), (-0.52, -0.39), (-0.24, -0.07), (-0.2, -0.43), (0.06, -0.03),
               (0.16, -0.45), (0.4, -0.05), (0.5, -0.39), (0.66, 0.08), (0.84, -0.08)),
    "parted": ((-0.88, 0.09), (-0.78, 0.24), (-0.72, -0.16), (-0.52, -0.15), (-0.06, -0.79), (0, -0.83), (0.06, -0.79),
               (0.52, -0.15), (0.72, -0.16), (0.78, 0.24), (0.88, 0.09)),
    "swept": ((-0.86, -0.01), (-0.76, 0.14), (-0.5, -0.63), (-0.1, -0.21), (-0.14, -0.47), (0.3, -0.03), (0.2, -0.39),
              (0.66, 0.14), (0.62, -0.18), (0.8, 0.18), (0.88, -0.01)),
    "spiky": ((-0.86, -0.06), (-0.68, 0.16), (-0.6, -0.36), (-0.34, -0.03), (-0.28, -0.47), (0.02, 0.03), (0.08, -0.49),
              (0.26, -0.11), (0.34, -0.47), (0.64, 0.14), (0.7, -0.26), (0.86, -0.06)),
}  # fmt: skip


def fringe_outline(character: Character) -> Points:
    """The cap of hair from temple to temple with the fringe as its lower edge."""
    over = _crown(character)
    edge = np.asarray(FRINGES[character.fringe])
    lower = [(-1.0, 0.3), (-0.92, 0.34)]
    curved = [edge[0]]
    for start, end in pairwise(edge):
        middle = (start + end) / 2
        outward = np.array([0.0, 0.05 if end[1] > start[1] else 0.03])
        curved += [middle + outward, end]
    return np.concatenate([over, lower, curved, [(0.92, 0.34), (1.0, 0.3)]])


# Tufts that stand off the crown: where (degrees from the right over the top), how high, and how far they lean.
TUFTS: dict[str, tuple[tuple[float, float, float], ...]] = {
    "choppy": ((62, 0.07, 10), (118, 0.08, -12)),
    "swept": ((66, 0.1, -10), (90, 0.09, -12)),
    "spiky": ((78, 0.1, 8), (104, 0.08, -10)),
    "all round": ((8, 0.3, 10), (30, 0.26, 8), (52, 0.36, 6), (74, 0.3, 6), (98, 0.4, -4), (122, 0.32, -8),
                  (146, 0.34, -8), (170, 0.28, -10)),
}  # fmt: skip


def _crown(character: Character) -> Points:
    """The outline of the cap from the right temple over the top to the left one."""
    angle = np.linspace(-20, 200, 111)
    reach = np.ones(111)
    lean = np.zeros(111)
    for middle, height, drift in TUFTS.get("all round" if character.back == "spiky" else character.fringe, ()):
        half = 8 + 16 * height
        near = np.clip(1 - np.abs(angle - middle) / half, 0, 1)
        reach += height * near
        lean += drift * near**2
    radians = np.radians(angle - lean)
    return np.stack([1.08 * reach * np.cos(radians), SKULL_Y - 1.02 * reach * np.sin(radians)], axis=1)


def front(canvas: Canvas, character: Character, view: View) -> None:
    """Cap, fringe, gloss, and the locks beside the face."""
    tones = Tones.of(character)
    outline = fringe_outline(character)
    SIDES[character.sides](canvas, tones)
    canvas.shape(outline, tones.base, tones.line, surface)
    with canvas.inside(outline, surface):
        away = -view.light
        crescent = np.concatenate([ellipse(0, SKULL_Y, 1.2, 1.2, -90, 60), ellipse(-0.3, SKULL_Y, 1.02, 1.2, 60, -90)])
        canvas.shape(crescent * [away, 1], tones.shade, depth=surface)
        _strands(canvas, character, tones)
        _gloss(canvas, tones)
    if character.ahoge:
        curl = [(0.0, -1.06), (-0.06, -1.38), (0.22, -1.55), (0.44, -1.36)]
        canvas.shape(lock(curl, 0.14, root=0.8, belly=0.4), tones.base, tones.line)


def _strands(canvas: Canvas, character: Character, tones: Tones) -> None:
    """Wedges of shadow that run from the gaps of the fringe towards the crown."""
    edge = FRINGES[character.fringe]
    crown = CROWN if character.fringe != "swept" else (-0.4, -0.95)
    gaps = [
        point
        for before, point, after in zip(edge, edge[1:], edge[2:], strict=False)
        if point[1] < min(before[1], after[1])
    ]
    for x, y in gaps:
        top = (x + (crown[0] - x) * 0.55, y + (crown[1] - y) * 0.55)
        bend = ((x + top[0]) / 2 * 1.12, (y + top[1]) / 2)
        canvas.shape(lock([(x, y + 0.02), bend, top], 0.075), tones.shade, depth=surface)
    for x in (-0.97, 0.97):
        canvas.stroke(smooth([(x * 0.98, 0.25), (x * 0.96, -0.2), (x * 0.72, -0.65)]), tones.shade, 0.03, surface)


def _gloss(canvas: Canvas, tones: Tones) -> None:
    """The ring of light: a band around the skull with teeth below."""
    angles = np.radians(np.linspace(-150, -30, 25))
    above = np.stack([0.86 * np.cos(angles), SKULL_Y + 0.06 + 0.74 * np.sin(angles)], axis=1)
    depth = np.where(np.arange(25) % 4 == 2, 0.16, np.where(np.arange(25) % 2 == 0, 0.05, 0.09))
    fade = np.sin(np.linspace(0, np.pi, 25)) ** 0.5
    below = above + np.stack([-0.15 * np.cos(angles), np.ones(25)], axis=1) * (depth * fade)[:, None]
    band = np.concatenate([above, below[::-1]])
    canvas.shape(band, tones.gloss, depth=surface)


def _side_pair(canvas: Canvas, tones: Tones, spine: ArrayLike, width: float, tip: float) -> None:
    for side in (-1, 1):
        strand = lock(np.asarray(spine) * [side, 1], width, tip=tip, belly=0.25)
        canvas.shape(strand, tones.base, tones.line, 0.3)
        with canvas.inside(strand, 0.3):
            inner = np.asarray(spine) * [side, 1] + [-side * 0.34 * width, 0]
            canvas.shape(lock(inner, width * 0.4, root=1, tip=0.6), tones.shade, depth=0.3)


def _sides_long(canvas: Canvas, tones: Tones) -> None:
    _side_pair(canvas, tones, [(0.88, -0.2), (0.95, 0.4), (0.88, 0.95), (0.8, 1.45)], 0.24, 0.0)


def _sides_short(canvas: Canvas, tones: Tones) -> None:
    _side_pair(canvas, tones, [(0.9, -0.2), (0.96, 0.3), (0.84, 0.78)], 0.26, 0.0)


def _sides_hime(canvas: Canvas, tones: Tones) -> None:
    _side_pair(canvas, tones, [(0.9, -0.2), (0.93, 0.3), (0.9, 0.86)], 0.3, 0.9)


def _sides_wisps(canvas: Canvas, tones: Tones) -> None:
    _side_pair(canvas, tones, [(0.9, -0.1), (0.93, 0.3), (0.84, 0.62)], 0.13, 0.0)


SIDES = {
    "long": _sides_long,
    "short": _sides_short,
    "hime": _sides_hime,
    "wisps": _sides_wisps,
    "none": lambda canvas, tones: None,
}


def shadow(canvas: Canvas, character: Character, view: View) -> None:
    """What the fringe throws on the forehead."""
    with canvas.inside(face_outline(view.turn), face_depth):
        moved = np.add(fringe_outline(character), (0.0, 0.09))
        canvas.wash(moved, mix(deeper(character.skin, 0.3), (200, 80, 90), 0.15), 0.65, surface)
