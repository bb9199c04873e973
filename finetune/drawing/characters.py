"""The characters: invented for this data set, told apart by hair, eyes, skin and what they wear."""

from __future__ import annotations

from dataclasses import dataclass

from finetune.drawing.colours import Colour

FAIR: Colour = (255, 228, 209)
ROSY: Colour = (255, 217, 197)
WARM: Colour = (244, 201, 168)
BROWN: Colour = (198, 142, 106)


@dataclass(frozen=True)
class Character:
    """What stays the same in every picture of a character.

    ``back`` and ``tails`` are names in hair_behind.py, ``fringe`` and ``sides`` in hair.py, ``wears`` in
    accessories.py.
    ``eye`` is (width, height, slant): slant > 0 lifts the outer corner.
    """

    name: str
    hair: Colour
    iris: Colour
    skin: Colour = FAIR
    back: str = "short"
    fringe: str = "choppy"
    sides: str = "short"
    tails: str = ""
    ahoge: bool = False
    eye: tuple[float, float, float] = (1.0, 1.0, 0.0)
    lashes: bool = True
    ears: bool = False
    freckles: bool = False
    wears: tuple[str, ...] = ()
    accent: Colour = (214, 48, 72)


PINK: Colour = (246, 150, 178)
BLOND: Colour = (246, 210, 116)
SILVER: Colour = (208, 212, 228)
BLUE: Colour = (98, 152, 222)
BLACK: Colour = (62, 60, 84)
BROWN_HAIR: Colour = (150, 100, 70)

CHARACTERS = (
    Character(
        "hinari", PINK, (206, 60, 110), back="tied", fringe="choppy", sides="long", tails="twin", wears=("ribbons",),
        eye=(1.0, 1.05, 0.05),
    ),
    Character(
        "kuroe", BLACK, (138, 88, 196), back="long", fringe="blunt", sides="hime", wears=("flower",),
        eye=(1.02, 0.92, 0.03), accent=(236, 92, 110),
    ),
    Character(
        "toru", BLUE, (232, 140, 44), ROSY, back="spiky", fringe="spiky", sides="none", ears=True, lashes=False,
        eye=(0.95, 0.84, 0.06), wears=("headphones",), accent=(60, 62, 74),
    ),
    Character(
        "rosalie", BLOND, (66, 150, 110), back="tied", fringe="parted", sides="none", tails="drills",
        wears=("headbow",), eye=(1.05, 1.0, 0.1), accent=(66, 78, 168),
    ),
    Character(
        "tamaki", BROWN_HAIR, (226, 168, 40), WARM, back="bob", fringe="choppy", sides="short", wears=("cat_ears",),
        eye=(1.05, 1.06, 0.1), accent=(240, 160, 160),
    ),
    Character(
        "ginka", SILVER, (224, 180, 52), back="short", fringe="swept", sides="short", ahoge=True,
        wears=("eye_patch",), eye=(1.0, 0.95, -0.02), accent=(250, 248, 244),
    ),
    Character(
        "momose", PINK, (76, 140, 220), ROSY, back="tied", fringe="blunt", sides="wisps", tails="odango",
        eye=(1.02, 1.1, -0.06), ears=True, wears=("hairpins",), accent=(252, 214, 84),
    ),
    Character(
        "ritsuo", BLACK, (70, 124, 150), WARM, back="crop", fringe="swept", sides="none", ears=True, lashes=False,
        eye=(0.95, 0.74, 0.03), wears=("glasses",), accent=(60, 54, 66),
    ),
    Character(
        "akane", (196, 62, 52), (104, 170, 84), BROWN, back="tied", fringe="spiky", sides="wisps", tails="pony",
        ears=True, eye=(1.0, 0.95, 0.1), wears=("scarf",), accent=(238, 196, 70),
    ),
    Character(
        "minamo", (120, 204, 196), (40, 132, 170), back="bob", fringe="blunt", sides="hime", wears=("beret",),
        eye=(1.0, 1.05, -0.05), accent=(196, 84, 96),
    ),
    Character(
        "shirase", SILVER, (198, 54, 66), back="wavy", fringe="parted", sides="long", wears=("headband",),
        eye=(1.0, 0.95, -0.05), accent=(58, 52, 78),
    ),
    Character(
        "yuzuha", BLOND, (176, 104, 50), ROSY, back="tied", fringe="choppy", sides="wisps", tails="braids",
        freckles=True, wears=("straw_hat",), eye=(1.0, 1.0, -0.04), accent=(226, 92, 70),
    ),
)  # fmt: skip
