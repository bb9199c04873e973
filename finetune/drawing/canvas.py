"""A sheet to draw on: smooth shapes in units of the head, turned and tilted, anti-aliased by drawing large."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw, ImageFilter

from finetune.drawing.colours import Colour

Points = NDArray[np.float64]
Depth = float | Callable[[Points], NDArray[np.float64]]

OVERSAMPLING = 3


@dataclass(frozen=True)
class Frame:
    """Where the head is: units of the head (x right, y down, face about 2 units) -> pixels.

    ``turn`` and ``nod`` move a point by its depth: 0 on the outline of the skull, 1 at the tip of the nose, negative
    behind. That is all the perspective there is, and it holds up to about a third of a right angle.
    """

    origin: tuple[float, float]
    scale: float
    tilt: float = 0.0
    turn: float = 0.0
    nod: float = 0.0

    def __call__(self, points: ArrayLike, depth: Depth = 0.0) -> Points:
        points = np.asarray(points, float).reshape(-1, 2)
        near = depth(points) if callable(depth) else depth
        x, y = points[:, 0] + self.turn * near, points[:, 1] + self.nod * near
        cos, sin = math.cos(self.tilt), math.sin(self.tilt)
        turned = np.stack([x * cos - y * sin, x * sin + y * cos], axis=1)
        return turned * self.scale + self.origin


class Canvas:
    """Shapes in ``frame``'s units on a transparent sheet of ``size`` (width, height) pixels."""

    def __init__(self, size: tuple[int, int], frame: Frame, weight: float = 1.0) -> None:
        large = (size[0] * OVERSAMPLING, size[1] * OVERSAMPLING)
        self.size = size
        self.frame = frame
        self.weight = weight
        self._show(Image.new("RGB", large), Image.new("L", large), (0, 0))

    def _show(self, picture: Image.Image, cover: Image.Image, corner: tuple[int, int]) -> None:
        self.picture, self.cover, self.corner = picture, cover, corner
        self._draw, self._draw_cover = ImageDraw.Draw(picture), ImageDraw.Draw(cover)

    def pixels(self, points: ArrayLike, depth: Depth = 0.0) -> list[tuple[float, float]]:
        """Where points fall on the sheet that is being drawn on."""
        return [(x, y) for x, y in (self.frame(points, depth) * OVERSAMPLING - self.corner).tolist()]

    def shape(
        self, points: ArrayLike, fill: Colour, line: Colour | None = None, depth: Depth = 0.0, width: float = 0.028
    ) -> None:
        """A filled outline, with a line around it if ``line`` is given."""
        corners = self.pixels(points, depth)
        self._draw.polygon(corners, fill)
        self._draw_cover.polygon(corners, 255)
        if line is not None:
            self._line([*corners, corners[0], corners[1]], line, width)

    def stroke(self, points: ArrayLike, colour: Colour, width: float = 0.028, depth: Depth = 0.0) -> None:
        self._line(self.pixels(points, depth), colour, width)

    def between(self, start: Points, end: Points, colour: Colour, width: float) -> None:
        """A straight line between two points that ``frame`` has placed already, each at its own depth."""
        self._line(
            [tuple(point) for point in (np.concatenate([start, end]) * OVERSAMPLING - self.corner).tolist()],
            colour,
            width,
        )

    def _line(self, corners: list[tuple[float, float]], colour: Colour, width: float) -> None:
        thick = max(1, round(width * self.weight * self.frame.scale * OVERSAMPLING))
        self._draw.line(corners, colour, thick, joint="curve" if thick > 2 else None)
        self._draw_cover.line(corners, 255, thick)

    def wash(self, points: ArrayLike, colour: Colour, strength: float, depth: Depth = 0.0, blur: float = 0.0) -> None:
        """A translucent shape on what is there already; ``blur`` in units of the head."""
        soft = round(blur * self.frame.scale * OVERSAMPLING)
        box, mask = self._mask("L", self.pixels(points, depth), round(255 * strength), 2 * soft)
        if soft:
            mask = mask.filter(ImageFilter.BoxBlur(soft))
        self.picture.paste(colour, box, mask)

    def _mask(
        self, mode: str, corners: list[tuple[float, float]], value: int, margin: int = 0
    ) -> tuple[tuple[int, int, int, int], Image.Image]:
        """A polygon as a mask no larger than it must be, and the mask's box on the sheet."""
        x, y = np.asarray(corners).T
        left, right = np.clip([x.min() - margin, x.max() + margin + 2], 0, self.picture.width).astype(int).tolist()
        top, bottom = np.clip([y.min() - margin, y.max() + margin + 2], 0, self.picture.height).astype(int).tolist()
        mask = Image.new(mode, (max(right - left, 1), max(bottom - top, 1)))
        ImageDraw.Draw(mask).polygon([(u - left, v - top) for u, v in corners], value)
        return (left, top, left + mask.width, top + mask.height), mask

    @contextmanager
    def inside(self, points: ArrayLike, depth: Depth = 0.0) -> Iterator[None]:
        """Only what falls into the shape is kept of what is drawn meanwhile."""
        outer, (x, y) = (self.picture, self.cover, self.corner), self.corner
        box, mask = self._mask("1", self.pixels(points, depth), 1)
        self._show(self.picture.crop(box), self.cover.crop(box), (x + box[0], y + box[1]))
        yield
        picture, cover = self.picture, self.cover
        self._show(*outer)
        self.picture.paste(picture, box, mask)
        self.cover.paste(cover, box, mask)

    def finished(self) -> Image.Image:
        """The sheet as RGBA at its real size."""
        sheet = self.picture.copy()
        sheet.putalpha(self.cover)
        return sheet.resize(self.size, Image.Resampling.BOX)


# Curves


def smooth(points: ArrayLike, closed: bool = False, steps: int = 8) -> Points:
    """A Catmull-Rom curve through the points."""
    knots = np.asarray(points, float)
    if closed:
        knots = np.concatenate([knots[-1:], knots, knots[:2]])
    else:
        knots = np.concatenate([2 * knots[:1] - knots[1:2], knots, 2 * knots[-1:] - knots[-2:-1]])
    before, start, end, after = (knots[i : len(knots) - 3 + i, None] for i in range(4))
    t = np.linspace(0, 1, steps, endpoint=False)[None, :, None]
    curve = start + t / 2 * (
        end - before + t * (2 * before - 5 * start + 4 * end - after + t * (3 * (start - end) + after - before))
    )
    curve = curve.reshape(-1, 2)
    return curve if closed else np.concatenate([curve, knots[-2:-1]])


def ellipse(x: float, y: float, across: float, down: float, start: float = 0.0, stop: float = 360.0) -> Points:
    """An ellipse, or an arc of it, by its half axes; degrees run clockwise from the right."""
    angle = np.radians(np.linspace(start, stop, 36))
    return np.stack([x + across * np.cos(angle), y + down * np.sin(angle)], axis=1)


def lock(spine: ArrayLike, width: float, tip: float = 0.0, root: float = 1.0, belly: float = 0.0) -> Points:
    """A strand along ``spine``: ``width`` at its widest, of which ``root`` is at its start and ``tip`` at its end."""
    line = smooth(spine)
    t = np.linspace(0, 1, len(line))
    half = width / 2 * (root + (tip - root) * t**2 + belly * np.sin(math.pi * t))
    along = np.gradient(line, axis=0)
    normal = np.stack([-along[:, 1], along[:, 0]], axis=1) / np.maximum(np.linalg.norm(along, axis=1), 1e-9)[:, None]
    return np.concatenate([line + normal * half[:, None], (line - normal * half[:, None])[::-1]])


def mirrored(points: ArrayLike) -> Points:
    return np.asarray(points, float) * [-1, 1]
