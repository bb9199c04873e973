"""Pictures with what was found drawn on them: boxes, scores, names."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from caffe2torch.files import beside
from finetune.detection.fonts import Fonts
from finetune.detection.labels import letter_size, place_labels
from finetune.detection.results import Face, Seen

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw

# Told apart on most pictures, and by most people (Okabe and Ito's, and two more).
COLOURS = ("#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7", "#ff4d6d", "#9bdb4d")
NAMELESS = "#ff4d6d"
JPEG = (".jpg", ".jpeg")
TRIED = 40  # pixels: letters at which a text's width is measured
LETTERS = {"#f0e442": "black", "#56b4e9": "black", "#9bdb4d": "black", "#e69f00": "black"}  # white on the others


def draw(picture: np.ndarray, seen: Seen, fonts: Fonts) -> Image:
    """The picture, uint8 (H, W, 3) RGB, with a box and a line of text for every face; the best one on top."""
    from PIL import Image, ImageDraw

    image = Image.fromarray(picture).copy()
    brush = ImageDraw.Draw(image)
    boxes = np.array([face.box for face in seen.faces], np.float32).reshape(-1, 4)
    for face in reversed(seen.faces):
        _draw_box(brush, image.size, face)
    labels = [_label(brush, image.size, face, fonts) for face in seen.faces]
    places = place_labels(boxes, [label.size for label in labels], image.size)
    for label, place in reversed(list(zip(labels, places, strict=True))):
        _draw_label(brush, label, place)
    return image


def write_overlay(target: Path, image: Image) -> None:
    """Write the picture, whole or not at all: as JPEG if it is called so, else as PNG."""
    kind = "JPEG" if target.suffix.lower() in JPEG else "PNG"
    with beside(target) as part:
        image.save(part, kind, **({"quality": 92} if kind == "JPEG" else {"compress_level": 3}))


def colour_of(name: str | None) -> str:
    """The same for the same name, in every picture."""
    return NAMELESS if name is None else COLOURS[zlib.crc32(name.encode("utf-8", "replace")) % len(COLOURS)]


class Label(NamedTuple):
    """A line of text as it is drawn."""

    text: str
    font: Any
    colour: str
    size: tuple[int, int]  # width and height of its ground
    start: tuple[int, int]  # of the text in it


def _line(size: tuple[int, int], face: Face) -> int:
    """The width of a box's line in pixels."""
    x0, y0, x1, y1 = face.box
    return round(min(max(1, min(x1 - x0, y1 - y0) / 40), max(1, max(size) / 320)))


def _draw_box(brush: ImageDraw, size: tuple[int, int], face: Face) -> None:
    x0, y0, x1, y1 = face.box
    corners = (x0, y0, max(x0, x1 - 1), max(y0, y1 - 1))
    brush.rectangle(corners, outline=colour_of(face.name), width=_line(size, face))


def _label(brush: ImageDraw, size: tuple[int, int], face: Face, fonts: Fonts) -> Label:
    said = f"{face.score:.2f}" if face.name is None else f"{face.name} {face.name_score:.2f}"
    text, font = fonts.of(said, TRIED)
    width = brush.textlength(text, font=font) / TRIED
    text, font = fonts.of(said, letter_size(face.box, size, width))
    left, top, right, bottom = (round(edge) for edge in brush.textbbox((0, 0), text, font=font))
    edge = _line(size, face) + 1
    ground = right - left + 2 * edge, bottom - top + 2 * edge
    return Label(text, font, colour_of(face.name), ground, (edge - left, edge - top))


def _draw_label(brush: ImageDraw, label: Label, place: tuple[int, int]) -> None:
    x, y = place
    brush.rectangle((x, y, x + label.size[0] - 1, y + label.size[1] - 1), fill=label.colour)
    letters = LETTERS.get(label.colour, "white")
    brush.text((x + label.start[0], y + label.start[1]), label.text, font=label.font, fill=letters)
