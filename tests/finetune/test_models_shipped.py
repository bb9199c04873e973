"""The detector that comes with the package: small, whole, described, and it finds drawn faces."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest
from PIL import Image, ImageDraw

from finetune.detection.session import Detector, open_finder
from finetune.detector.scoring import score
from finetune.drawing.characters import CHARACTERS
from finetune.drawing.scenes import draw_scene
from finetune.models_shipped import default_model


@pytest.fixture(scope="module")
def finder() -> Detector:
    return open_finder(default_model(), "cpu", 1)


def test_it_is_small_and_described() -> None:
    assert default_model().stat().st_size < 3_000_000
    card = default_model().with_suffix(".md").read_text(encoding="utf-8")
    assert all(f"## {part}" in card for part in ("Figures", "What it was trained on", "Limits"))


def test_it_finds_drawn_faces_at_several_sizes_and_turns(finder: Detector) -> None:
    found, truth = [], []
    for number, (side, turn) in enumerate([(512, 0), (256, 15), (384, -15), (512, 20)]):
        scene, faces = draw_scene(CHARACTERS, Random(f"shipped {number}"), (640, 480), 2)
        factor = side / 640
        small = scene.resize((side, round(480 * factor)), Image.Resampling.BOX)
        angle, middle = np.radians(turn), np.array(small.size) / 2
        wanted = []
        for box, _ in faces:
            x0, y0, x1, y1 = (edge * factor for edge in box)
            x, y = np.array([(x0 + x1) / 2, (y0 + y1) / 2]) - middle
            place = np.array([x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)]) + middle
            half = np.array([x1 - x0, y1 - y0]) / 2
            wanted.append([*(place - half), *(place + half)])
        turned = np.array(small.rotate(turn, Image.Resampling.BILINEAR))
        boxes = finder.find(turned, finder.settings)
        found.append((boxes.boxes, boxes.scores))
        truth.append((np.array(wanted), np.zeros(len(wanted), bool)))
    scored = score(found, truth, finder.settings.confidence)
    assert scored.faces >= 6 and scored.recall >= 0.7 and scored.precision >= 0.7


def test_it_finds_nothing_in_patterns(finder: Detector) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)
    circle = Image.new("RGB", (256, 256), (240, 240, 235))
    ImageDraw.Draw(circle).ellipse((60, 60, 190, 190), fill=(200, 60, 60), outline=(30, 30, 30), width=4)
    for picture in (noise, np.array(circle), np.zeros((50, 70, 3), np.uint8)):
        assert len(finder.find(picture, finder.settings).boxes) == 0
