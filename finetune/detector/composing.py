"""Training pictures put together by lot: a picture or background at some scale and turn, faces and things on it."""

from __future__ import annotations

import math
from random import Random

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from finetune.detector.colouring import recoloured
from finetune.detector.material import Material, Sheet

SMALLEST, TINY = 11.0, 8.0  # pixels: faces from SMALLEST are learnt, smaller ones count neither way
LARGEST = 1.05  # of the picture's side
VISIBLE = 0.55  # of a face's box that must be in the picture
MOST_ENLARGED = 6.0

Sample = tuple[np.ndarray, np.ndarray, np.ndarray]


class Composer:
    """Draws samples from ``material``."""

    def __init__(self, material: Material) -> None:
        self.material = material
        self.size = 0

    def sample(self, random: Random, size: int) -> Sample:
        """uint8 [S, S, 3], S = ``size``; boxes float32 [K, 4]; areas that count neither way, float32 [M, 4]."""
        self.size = size
        sheet = Placed(Image.new("RGB", (self.size, self.size), _any_colour(random)))
        kind = random.choices(("picture", "scene", "background", "empty"), self._shares())[0]
        if kind == "picture":
            self._lay_picture(sheet, self.material.pictures.draw(random), random)
        elif kind == "scene":
            self._lay_picture(sheet, self.material.scenes.draw(random), random)
        else:
            self._lay_background(sheet, random)
        for _ in range(random.choice((0, 0, 1, 2, 4) if kind != "empty" else (1, 2, 4, 6))):
            self._lay_other(sheet, random)
        if kind != "empty":
            least, most = (1, 4) if kind == "background" else (0, 1)
            for _ in range(random.randint(least, most)):
                self._lay_face(sheet, random)
        pixels = recoloured(sheet.picture, random)
        return np.asarray(pixels), *sheet.marked()

    def _shares(self) -> tuple[float, ...]:
        have = self.material
        return (0.45 if have.pictures else 0, 0.10 if have.scenes else 0, 0.27, 0.18)

    def _lay_picture(self, sheet: Placed, picture: Sheet, random: Random) -> None:
        """Around one of its faces, mostly; else the whole of it or any part."""
        size = self.size
        if random.random() < 0.3:
            self._lay_background(sheet, random)
        turn = _any_turn(random)
        if len(picture.boxes) and random.random() < 0.75:
            box = picture.boxes[random.randrange(len(picture.boxes))]
            across = float(max(box[2] - box[0], box[3] - box[1]))
            scale = min(max(_any_extent(random, size) / across, 0.8 * size / max(picture.size)), MOST_ENLARGED)
            middle = (float(box[0] + box[2]) / 2, float(box[1] + box[3]) / 2)
            at = (random.uniform(0.1, 0.9) * size, random.uniform(0.1, 0.9) * size)
        else:
            scale = size / max(picture.size) * random.uniform(0.9, 2.5)
            middle = (picture.size[0] * random.uniform(0.2, 0.8), picture.size[1] * random.uniform(0.2, 0.8))
            at = (size / 2, size / 2)
        sheet.lay(picture, scale, turn, random.random() < 0.5, middle, at, None)

    def _lay_background(self, sheet: Placed, random: Random) -> None:
        if not self.material.backgrounds or (self.material.others and random.random() < 0.35):
            for _ in range(random.randint(6, 16)):  # a collage
                self._lay_other(sheet, random, 0.7)
            return
        ground = self.material.backgrounds.draw(random)
        scale = self.size / min(ground.size) * random.uniform(1.0, 2.0)
        middle = (ground.size[0] * random.uniform(0.3, 0.7), ground.size[1] * random.uniform(0.3, 0.7))
        turn = random.choice((0, 0, 0, 90, 180, 270, random.uniform(-20, 20)))
        sheet.lay(ground, scale, turn, random.random() < 0.5, middle, (self.size / 2, self.size / 2), None)

    def _lay_other(self, sheet: Placed, random: Random, largest: float = 0.5) -> None:
        if not self.material.others:
            return
        other = self.material.others.draw(random)
        extent = math.exp(random.uniform(math.log(16), math.log(largest * self.size)))
        scale = min(extent / max(other.size), MOST_ENLARGED)
        reach = scale * max(other.size) / 2
        at = (random.uniform(0, self.size), random.uniform(0, self.size))
        if sheet.free((at[0] - reach, at[1] - reach, at[0] + reach, at[1] + reach)):
            middle = (other.size[0] / 2, other.size[1] / 2)
            sheet.lay(
                other, scale, _any_turn(random), random.random() < 0.5, middle, at, _any_mask(other, None, random)
            )

    def _lay_face(self, sheet: Placed, random: Random) -> None:
        face = self.material.faces.draw(random)
        box = face.boxes[0]
        across, down = float(box[2] - box[0]), float(box[3] - box[1])
        for _ in range(4):
            scale = min(_any_extent(random, self.size) / max(across, down), MOST_ENLARGED)
            at = (random.uniform(0.05, 0.95) * self.size, random.uniform(0.05, 0.95) * self.size)
            reach = scale * max(face.size) * 0.5
            if sheet.free((at[0] - reach, at[1] - reach, at[0] + reach, at[1] + reach)):
                middle = (float(box[0] + box[2]) / 2, float(box[1] + box[3]) / 2)
                mask = _any_mask(face, box, random)
                sheet.lay(face, scale, _any_turn(random), random.random() < 0.5, middle, at, mask)
                return


class Placed:
    """A picture that is being put together, and the boxes of the faces in it."""

    def __init__(self, picture: Image.Image) -> None:
        self.picture = picture
        self.boxes: list[tuple[float, float, float, float]] = []
        self.ignored: list[tuple[float, float, float, float]] = []

    def free(self, area: tuple[float, float, float, float]) -> bool:
        """Whether nothing marked lies in ``area``."""
        return all(_shared(area, other) <= 0 for other in [*self.boxes, *self.ignored])

    def lay(
        self,
        sheet: Sheet,
        scale: float,
        turn: float,
        mirror: bool,
        middle: tuple[float, float],
        at: tuple[float, float],
        mask: Image.Image | None,
    ) -> None:
        """Lay ``sheet`` down so that its point ``middle`` comes to ``at``, ``scale`` times as large, turned by degrees.

        The box of a turned face is one of the same size around the turned middle (its sides swapped beyond 45°).
        """
        angle = math.radians(turn)
        cos, sin, flip = math.cos(angle) * scale, math.sin(angle) * scale, -1.0 if mirror else 1.0
        forward = np.array([[cos * flip, -sin], [sin * flip, cos]])
        shift = np.array(at) - forward @ np.array(middle)
        self._paste(sheet, forward, shift, scale, mask)
        swap = abs(math.sin(angle)) > math.sqrt(0.5)
        for box, ignored in zip(sheet.boxes.tolist(), sheet.ignored.tolist(), strict=True):
            x, y = forward @ np.array([(box[0] + box[2]) / 2, (box[1] + box[3]) / 2]) + shift
            half = np.array([box[2] - box[0], box[3] - box[1]]) * scale / 2
            across, down = half[::-1] if swap else half
            self._mark((x - across, y - down, x + across, y + down), ignored)

    def _paste(
        self, sheet: Sheet, forward: np.ndarray, shift: np.ndarray, scale: float, mask: Image.Image | None
    ) -> None:
        level = 0
        while level + 1 < len(sheet.levels) and scale * 2**level < 0.7:
            level += 1
        source = sheet.levels[level]
        if mask is not None:
            source = source.copy()
            source.putalpha(mask.resize(source.size))
        corners = np.array([(0, 0), (1, 0), (0, 1), (1, 1)]) * sheet.size @ forward.T + shift
        left, top = np.floor(np.clip(corners.min(0), 0, self.picture.size)).astype(int).tolist()
        right, bottom = np.ceil(np.clip(corners.max(0), 0, self.picture.size)).astype(int).tolist()
        if right <= left or bottom <= top:
            return
        factor = np.array(source.size) / sheet.size
        back = np.diag(factor) @ np.linalg.inv(forward)
        offset = back @ (np.array([left, top]) - shift)
        data = (*back[0].tolist(), float(offset[0]), *back[1].tolist(), float(offset[1]))
        if source.mode == "RGB":
            source = source.copy()
            source.putalpha(255)
        laid = source.transform((right - left, bottom - top), Image.Transform.AFFINE, data, Image.Resampling.BILINEAR)
        self.picture.paste(laid, (left, top), laid)

    def _mark(self, box: tuple[float, float, float, float], ignored: bool) -> None:
        width, height = self.picture.size
        x0, y0, x1, y1 = max(0.0, box[0]), max(0.0, box[1]), min(float(width), box[2]), min(float(height), box[3])
        if x1 - x0 < 2 or y1 - y0 < 2:
            return
        shown = (x1 - x0) * (y1 - y0) / ((box[2] - box[0]) * (box[3] - box[1]))
        small = max(x1 - x0, y1 - y0) < SMALLEST or min(x1 - x0, y1 - y0) < TINY
        place = self.ignored if ignored or small or shown < VISIBLE else self.boxes
        place.append((x0, y0, x1, y1))

    def marked(self) -> tuple[np.ndarray, np.ndarray]:
        """Boxes and areas that count neither way, float32 [K, 4] and [M, 4]."""
        return np.array(self.boxes, np.float32).reshape(-1, 4), np.array(self.ignored, np.float32).reshape(-1, 4)


def _any_colour(random: Random) -> tuple[int, int, int]:
    return random.choice(((0, 0, 0), (255, 255, 255), tuple(random.randrange(256) for _ in range(3))))  # type: ignore[return-value]


def _any_turn(random: Random) -> float:
    """Degrees: mostly up to 45, often slight or none, rarely on the side."""
    kind = random.random()
    if kind < 0.2:
        return 0.0
    if kind < 0.4:
        return random.gauss(0, 12)
    if kind < 0.92:
        return random.uniform(-45, 45)
    return random.choice((-90.0, 90.0)) + random.uniform(-20, 20)


def _any_extent(random: Random, size: int) -> float:
    """Pixels of a face's longer side: from the smallest to all of the picture, mostly between."""
    if random.random() < 0.3:
        return size * random.uniform(0.35, LARGEST)
    return math.exp(random.triangular(math.log(SMALLEST + 1), math.log(LARGEST * size), math.log(size / 5)))


def _any_mask(sheet: Sheet, box: np.ndarray | None, random: Random) -> Image.Image | None:
    """How much of the sheet shows where: all of it, its middle in an ellipse, or with a soft border."""
    source = sheet.levels[0]
    if source.mode == "RGBA" or random.random() < 0.25:
        return None
    width, height = (max(8, edge // 2) for edge in source.size)
    mask = Image.new("L", (width, height))
    draw = ImageDraw.Draw(mask)
    soft = random.choice((1.0, 2.0, 4.0)) * max(width, height) / 48
    if random.random() < 0.5:
        edge = 1.5 * soft
        draw.rectangle((edge, edge, width - edge, height - edge), fill=255)
    else:
        x0, y0, x1, y1 = (0, 0, *source.size) if box is None else box.tolist()
        x, y, grown = (x0 + x1) / 4, (y0 + y1) / 4, random.uniform(0.55, 0.8)
        across, down = (x1 - x0) / 2 * grown, (y1 - y0) / 2 * grown * 1.05
        draw.ellipse((x - across, y - down, x + across, y + down), fill=255)
    return mask.filter(ImageFilter.BoxBlur(soft))


def _shared(a: tuple[float, float, float, float], b: tuple[float, float, float, float]) -> float:
    across, down = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    return max(0.0, across) * max(0.0, down)
