"""Training pictures in other colours, in grey, as line art, soft, noisy or badly compressed."""

from __future__ import annotations

import io
import math
from random import Random

import numpy as np
from PIL import Image, ImageFilter, ImageOps

LUMA = np.array([0.299, 0.587, 0.114])
# RGB to YIQ and back (NTSC 1953): a turn of I and Q turns the hue.
YIQ = np.array([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
MOST_PIXELS = 1280  # of a picture's side
NOISE = np.random.default_rng(0).standard_normal((MOST_PIXELS, MOST_PIXELS, 1)).astype(np.float32)


def recoloured(picture: Image.Image, random: Random) -> Image.Image:
    """An RGB picture of the same size, its faces where they were."""
    kind = random.random()
    if kind < 0.06:
        picture = _line_art(picture, random)
    elif kind < 0.16:
        picture = ImageOps.grayscale(picture).convert("RGB")
    if random.random() < 0.75:
        picture = picture.convert("RGB", _colours(random))
    if random.random() < 0.015:
        picture = ImageOps.invert(picture)
    if random.random() < 0.35:
        picture = _soft(picture, random)
    if random.random() < 0.15:
        picture = _noisy(picture, random)
    if random.random() < 0.3:
        picture = _compressed(picture, random)
    return picture


def _colours(random: Random) -> tuple[float, ...]:
    """Hue, saturation, contrast, brightness and a tint as one 3 x 4 matrix."""
    hue = random.gauss(0, 0.25) if random.random() < 0.8 else random.uniform(-math.pi, math.pi)
    cos, sin, saturation = math.cos(hue), math.sin(hue), random.uniform(0.4, 1.5)
    turn = np.array([[1, 0, 0], [0, cos * saturation, -sin * saturation], [0, sin * saturation, cos * saturation]])
    matrix = np.linalg.inv(YIQ) @ turn @ YIQ
    contrast, bright = random.uniform(0.6, 1.35), random.uniform(-45, 40)
    tint = np.array([random.uniform(0.85, 1.15) for _ in range(3)])
    whole = np.concatenate([matrix * contrast * tint[:, None], np.full((3, 1), 128 - 128 * contrast + bright)], axis=1)
    return tuple(whole.ravel().tolist())


def _line_art(picture: Image.Image, random: Random) -> Image.Image:
    """Grey divided by its blur leaves the lines."""
    grey = ImageOps.grayscale(picture)
    blurred = np.asarray(grey.filter(ImageFilter.BoxBlur(random.uniform(1.5, 4))), np.float32)
    lines = np.asarray(grey, np.float32) * 255 / np.maximum(blurred, 8)
    lines = 255 - (255 - np.clip(lines, 0, 255)) * random.uniform(1.0, 2.5)
    return Image.fromarray(np.clip(lines, 0, 255).astype(np.uint8)).convert("RGB")


def _soft(picture: Image.Image, random: Random) -> Image.Image:
    """As if enlarged from a smaller picture."""
    factor = random.uniform(1.3, 3.0)
    width, height = picture.size
    small = picture.resize((round(width / factor), round(height / factor)), Image.Resampling.BILINEAR)
    return small.resize((width, height), random.choice((Image.Resampling.BILINEAR, Image.Resampling.BICUBIC)))


def _noisy(picture: Image.Image, random: Random) -> Image.Image:
    height, width = picture.height, picture.width
    y, x = random.randrange(MOST_PIXELS + 1 - height), random.randrange(MOST_PIXELS + 1 - width)
    pixels = np.asarray(picture, np.float32) + NOISE[y : y + height, x : x + width] * random.uniform(2, 14)
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def _compressed(picture: Image.Image, random: Random) -> Image.Image:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=random.randint(20, 85))
    file.seek(0)
    with Image.open(file) as image:
        return image.convert("RGB")
