"""The pictures of a run: written, of a sensible size, for few and many epochs, for names in any script."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from finetune.plots import RIGHT, WRONG, Sample, _short, plot_curves, plot_samples
from finetune.table import Epoch


def epoch(number: int, validated: bool = True) -> Epoch:
    return Epoch(number, 1 / number, 0.5, 1.0 if validated else None, 0.5 if validated else None, 0.01, 100, 1)


@pytest.mark.parametrize(("count", "validated"), [(1, True), (20, True), (20, False), (300, True)])
def test_curves(tmp_path: Path, count: int, validated: bool) -> None:
    epochs = [epoch(number, validated) for number in range(1, count + 1)]
    plot_curves(tmp_path, epochs, epochs[-1])
    for name in ("loss.png", "accuracy.png"):
        with Image.open(tmp_path / name) as image:
            assert image.size == (840, 504)


def colours(path: Path) -> set[tuple[int, ...]]:
    with Image.open(path) as image:
        return set(image.convert("RGB").get_flattened_data())


def rgb(text: str) -> tuple[int, ...]:
    return tuple(bytes.fromhex(text[1:]))


def test_samples_are_framed_by_right_and_wrong(tmp_path: Path) -> None:
    picture = np.full((16, 16, 3), 128, np.uint8)
    right, wrong = Sample(picture, "a", "a", 0.9), Sample(picture, "a", "b", 0.6)
    plot_samples(tmp_path / "both.png", [right, wrong])
    assert {rgb(RIGHT), rgb(WRONG), (128, 128, 128)} <= colours(tmp_path / "both.png")
    plot_samples(tmp_path / "right.png", [right] * 10)
    assert rgb(RIGHT) in colours(tmp_path / "right.png")
    assert rgb(WRONG) not in colours(tmp_path / "right.png")


def test_any_class_name_can_be_drawn_without_a_warning(tmp_path: Path) -> None:
    picture = np.zeros((8, 8, 3), np.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plot_samples(
            tmp_path / "names.png", [Sample(picture, name, name, 1.0) for name in ("初音ミク", "$x_2$", "a" * 99)]
        )


def test_long_names_are_cut_by_the_room_they_take() -> None:
    assert _short("a" * 24) == "a" * 24
    assert _short("a" * 25) == "a" * 23 + "…"
    assert _short("初" * 12) == "初" * 12
    assert _short("初" * 13) == "初" * 11 + "…"
