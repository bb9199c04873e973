"""Pictures with what was found drawn on them: boxes, scores, names."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from caffe2torch.files import beside
from finetune.detection.fonts import Fonts
from finetune.detection.results import Face, Seen

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw

# Told apart on most pictures, and by most people (Okabe and Ito's, and two more).
COLOURS = ("#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7", "#ff4d6d", "#9bdb4d")
NAMELESS = "#ff4d6d"
JPEG = (".jpg", ".jpeg")
LETTERS = {"#f0e442": "black", "#56b4e9": "black", "#9bdb4d": "black", "#e69f00": "black"}  # white on the others


def draw(picture: np.ndarray, seen: Seen, fonts: Fonts) -> Image:
    """The picture, uint8 (H, W, 3) RGB, with a box and a line of text for every face; the best one on top."""
    from PIL import Image, ImageDraw

    image = Image.fromarray(picture).copy()
    brush = ImageDraw.Draw(image)
    for face in reversed(seen.faces):
        _draw_face(brush, image.size, face, fonts)
    return image


def write_overlay(target: Path, image: Image) -> None:
    """Write the picture, whole or not at all: as JPEG if it is called so, else as PNG."""
    kind = "JPEG" if target.suffix.lower() in JPEG else "PNG"
    with beside(target) as part:
        image.save(part, kind, **({"quality": 92} if kind == "JPEG" else {"compress_level": 3}))


def colour_of(name: str | None) -> str:
    """The same for the same name, in every picture."""
    return NAMELESS if name is None else COLOURS[zlib.crc32(name.encode("utf-8", "replace")) % len(COLOURS)]


def _draw_face(brush: ImageDraw, size: tuple[int, int], face: Face, fonts: Fonts) -> None:
    longer = max(size)
    line = max(1, round(longer / 320))
    colour = colour_of(face.name)
    x0, y0, x1, y1 = face.box
    x1, y1 = max(x0, x1 - 1), max(y0, y1 - 1)
    brush.rectangle((x0, y0, x1, y1), outline=colour, width=line)
    text = f"{face.score:.2f}" if face.name is None else f"{face.name} {face.name_score:.2f}"
    text, font = fonts.of(text, max(10, round(longer / 40)))
    left, top, right, bottom = brush.textbbox((0, 0), text, font=font)
    wide, high = right - left + 2 * line + 2, bottom - top + 2 * line + 2
    x = min(max(0, x0), max(0, size[0] - wide))
    y = y0 - high if y0 >= high else min(y1 + 1, size[1] - high)  # above the box, or below where there is no room
    brush.rectangle((x, y, x + wide - 1, y + high - 1), fill=colour)
    letters = LETTERS.get(colour, "white")
    brush.text((x + line + 1 - left, y + line + 1 - top), text, font=font, fill=letters)
