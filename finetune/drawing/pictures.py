"""Whole pictures: a person before a background, under some light, a little noisy or soft as found pictures are."""

from __future__ import annotations

from random import Random

import numpy as np
from PIL import Image, ImageFilter

from finetune.drawing.backgrounds import background
from finetune.drawing.characters import Character
from finetune.drawing.faces import draw_person
from finetune.drawing.view import random_view

TINTS = ((1.0, 1.0, 1.0), (1.1, 0.98, 0.84), (0.86, 0.97, 1.12), (1.08, 0.92, 0.98), (0.94, 1.04, 0.9),
         (1.12, 0.86, 0.7), (0.74, 0.84, 1.14))  # fmt: skip
GREY = 0.04
"""One picture in twenty-five is without colour, as most comics are."""


def draw_face(character: Character, random: Random, size: int) -> Image.Image:
    """One RGB picture of ``size`` by ``size`` pixels, with the head somewhere about the middle."""
    scale = size * random.uniform(0.25, 0.37)
    middle = (size * random.uniform(0.41, 0.59), size * random.uniform(0.42, 0.56))
    person, _ = draw_person(character, random_view(random), (size, size), middle, scale)
    picture = background(random, (size, size))
    if random.random() < 0.3:
        picture = picture.filter(ImageFilter.GaussianBlur(size * 0.012))
    picture.paste(person, mask=person)
    return in_light(picture, random)


def in_light(picture: Image.Image, random: Random) -> Image.Image:
    """Brightness, tint, a slope of light across the picture, contrast; then mild blur and noise."""
    width, height = picture.size
    pixels = np.asarray(picture, np.float32)
    tint = np.asarray(random.choice(TINTS), np.float32) ** random.uniform(0.3, 1.0)
    if random.random() < GREY:
        pixels = np.repeat(pixels @ np.array([[0.3], [0.59], [0.11]], np.float32), 3, axis=2)
    x, y = np.linspace(-1, 1, width, dtype=np.float32), np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    slope = 1 + random.uniform(-0.2, 0.2) * x + random.uniform(-0.2, 0.2) * y
    pixels = pixels * slope[..., None] * (tint * random.uniform(0.72, 1.12))
    contrast, lift = random.uniform(0.84, 1.08), random.uniform(-4, 12)
    pixels = 128 + (pixels - 128) * contrast + lift
    rng = np.random.default_rng(random.getrandbits(32))
    noise = rng.standard_normal((height, width, 1), np.float32) * random.uniform(0, 5)
    lit = Image.fromarray(np.clip(pixels + noise, 0, 255).astype(np.uint8))
    if random.random() < 0.25:
        lit = lit.filter(ImageFilter.GaussianBlur((min(width, height) / 160) ** 0.5 * random.uniform(0.3, 0.8)))
    return lit
