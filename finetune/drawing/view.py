"""What changes from picture to picture: pose, expression, light from one side, clothes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from random import Random

from finetune.drawing.colours import Colour

MOUTHS = ("smile", "grin", "open", "small", "flat", "cat", "pout", "smirk")
CLOTHES = ("sailor", "hoodie", "shirt", "kimono", "dress", "jacket")
CLOTH_COLOURS: tuple[Colour, ...] = (
    (62, 82, 130), (196, 70, 80), (244, 240, 232), (86, 140, 110), (236, 186, 90),
    (120, 96, 160), (70, 70, 84), (230, 150, 170), (120, 180, 210), (150, 110, 80),
)  # fmt: skip


@dataclass(frozen=True)
class View:
    """One moment of a character.

    ``turn`` and ``nod`` in units of the head (see canvas.Frame), ``tilt`` in radians, ``open`` the two eyes' openness
    from 0 to 1 (left and right in the picture), ``light`` the side from which light comes, -1 or 1.
    """

    turn: float = 0.0
    nod: float = 0.0
    tilt: float = 0.0
    open: tuple[float, float] = (1.0, 1.0)
    happy: bool = False
    gaze: tuple[float, float] = (0.0, 0.0)
    mouth: str = "smile"
    brow: float = 0.0
    blush: float = 0.3
    light: int = 1
    weight: float = 1.0
    clothes: str = "sailor"
    cloth: Colour = CLOTH_COLOURS[0]
    trim: Colour = CLOTH_COLOURS[2]


def random_view(random: Random) -> View:
    """A pose, an expression and clothes, each drawn on its own."""
    eyes = random.choices(("open", "half", "closed", "happy", "wink"), (70, 6, 6, 9, 9))[0]
    openness = {"open": (1.0, 1.0), "half": (0.62, 0.62), "closed": (0.0, 0.0), "happy": (0.0, 0.0)}.get(eyes)
    cloth, trim = random.sample(CLOTH_COLOURS, 2)
    return View(
        turn=random.uniform(-0.3, 0.3),
        nod=random.triangular(-0.12, 0.12, 0.0),
        tilt=math.radians(max(-25.0, min(25.0, random.gauss(0, 12)))),
        open=openness or random.choice(((1.0, 0.0), (0.0, 1.0))),
        happy=eyes in ("happy", "wink"),
        gaze=(random.uniform(-0.16, 0.16), random.uniform(-0.08, 0.1)),
        mouth=random.choice(MOUTHS),
        brow=random.uniform(-1, 1),
        blush=random.choice((0.0, 0.25, 0.4, 0.7)),
        light=random.choice((-1, 1)),
        weight=random.uniform(0.75, 1.35),
        clothes=random.choice(CLOTHES),
        cloth=cloth,
        trim=trim,
    )
