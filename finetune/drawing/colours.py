"""Colours: two palettes, and what light and shade make of a colour."""

from __future__ import annotations

Colour = tuple[int, int, int]
"""Red, green, blue, 0 to 255."""

PASTELS: tuple[Colour, ...] = (
    (250, 214, 220), (214, 232, 250), (220, 244, 224), (252, 240, 204), (232, 220, 248), (250, 226, 204),
    (196, 224, 226), (240, 240, 244),
)  # fmt: skip
STRONG: tuple[Colour, ...] = (
    (232, 92, 106), (74, 134, 206), (96, 176, 122), (246, 188, 76), (140, 108, 192), (240, 140, 84),
    (62, 74, 110), (64, 160, 168), (200, 204, 212), (110, 80, 70),
)  # fmt: skip


def mix(first: Colour, second: Colour, part: float) -> Colour:
    """``part`` 0 gives the first colour, 1 the second."""
    red, green, blue = (round(a + (b - a) * part) for a, b in zip(first, second, strict=True))
    return red, green, blue


def darker(colour: Colour, part: float = 0.25) -> Colour:
    """A shadow as painters mix it: darker, more saturated, and a little towards violet."""
    red, green, blue = (round(value * (1 - 0.85 * part) * (value / 255) ** (0.6 * part)) for value in colour)
    return mix((red, green, blue), (86, 46, 110), 0.12 * part)


def deeper(skin: Colour, part: float) -> Colour:
    """Skin in the shade: what is lost of the light is mostly green and blue."""
    red, green, blue = skin
    return round(red * (1 - 0.45 * part)), round(green * (1 - 0.88 * part)), round(blue * (1 - 0.8 * part))


def lighter(colour: Colour, part: float = 0.4) -> Colour:
    return mix(colour, (255, 255, 255), part)
