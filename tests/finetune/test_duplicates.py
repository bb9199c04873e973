"""Near-duplicates: saved again, resized, mirrored, turned are found; others are not; quickly, and kept together."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from random import Random

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from finetune.data import duplicates
from finetune.data.batches import Reader
from finetune.data.descriptions import LENGTH, describe, describe_parts, distance
from finetune.data.duplicates import groups_of, near_duplicates
from finetune.data.sets import read_sets
from finetune.data.source import name_of
from finetune.drawing.characters import CHARACTERS
from finetune.drawing.pictures import draw_face

Transpose = Image.Transpose


@pytest.fixture(scope="module")
def faces() -> list[Image.Image]:
    """Three drawings of each of four characters."""
    return [draw_face(CHARACTERS[number % 4], Random(f"{number}"), 64) for number in range(12)]


def described(pictures: list[Image.Image], size: tuple[int, int] = (48, 40)) -> np.ndarray:
    return describe(np.stack([np.array(picture.resize(size, Image.Resampling.BICUBIC)) for picture in pictures]))


def as_jpeg(picture: Image.Image) -> Image.Image:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=40)
    return Image.open(file).convert("RGB")


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "saved as JPEG": as_jpeg,
    "half as large": lambda picture: picture.resize((32, 32), Image.Resampling.BICUBIC),
    "less contrast": lambda picture: ImageEnhance.Contrast(picture).enhance(0.7),
    "mirrored": ImageOps.mirror,
    "turned to the left": lambda picture: picture.transpose(Transpose.ROTATE_90),
    "turned, mirrored and saved": lambda picture: as_jpeg(ImageOps.mirror(picture.transpose(Transpose.ROTATE_270))),
    "upside down": lambda picture: picture.transpose(Transpose.ROTATE_180),
    "transverse": lambda picture: picture.transpose(Transpose.TRANSVERSE),
}


@pytest.mark.parametrize("change", CHANGES)
def test_one_picture_in_other_guises(faces: list[Image.Image], change: str) -> None:
    both = described(faces + [CHANGES[change](face) for face in faces])
    groups = near_duplicates(both, [number % 4 for number in range(12)] * 2)
    assert groups.tolist() == list(range(12)) * 2


@pytest.mark.parametrize("box", [(2, 2, 62, 62), (0, 0, 61, 61), (3, 0, 64, 61), (3, 3, 61, 61)])
def test_cropped_ones_are_found_by_the_parts(faces: list[Image.Image], box: tuple[int, int, int, int]) -> None:
    """Of drawings of 64 x 64."""
    cut = [face.crop(box) for face in faces]
    every = [*faces, *cut, *map(ImageOps.mirror, cut)]
    pictures = np.stack([np.array(face.resize((64, 64))) for face in every])
    labels = [number % 4 for number in range(12)] * 3
    groups = near_duplicates(describe(pictures), labels, describe_parts(pictures))
    assert groups.tolist() == list(range(12)) * 3
    assert near_duplicates(describe(pictures[:12]), labels[:12], describe_parts(pictures[:12])).tolist() == [*range(12)]


def test_cropped_ones_among_thousands() -> None:
    """Noise of low frequency, 1,300 pictures of it and crops of 100, through cells."""
    random = np.random.default_rng(3)
    rough = random.integers(0, 256, (1300, 6, 6, 3)).astype(np.uint8)
    large = [Image.fromarray(each).resize((40, 40), Image.Resampling.BICUBIC) for each in rough]
    cut = [picture.crop((2, 2, 40, 40)).resize((40, 40)) for picture in large[:100]]
    pictures = np.stack([np.array(picture) for picture in large + cut])
    groups = near_duplicates(describe(pictures), [0] * 1400, describe_parts(pictures))
    assert groups[:1300].tolist() == list(range(1300))
    assert np.mean(groups[1300:] == np.arange(100)) > 0.95


def test_other_drawings_of_one_character_are_others(faces: list[Image.Image]) -> None:
    assert near_duplicates(described(faces), [0] * 12).tolist() == list(range(12))


def test_a_different_label_asks_for_more_likeness(faces: list[Image.Image]) -> None:
    changed = ImageEnhance.Brightness(faces[0]).enhance(0.8)
    both = described([faces[0], changed, faces[0]])
    assert 0.2 < distance(both[:1], both[1:2])[0] < 0.5
    assert near_duplicates(both, [3, 3, 4]).tolist() == [0, 0, 0]
    assert near_duplicates(both, [3, 4, 3]).tolist() == [0, 1, 0]


def test_flat_pictures_are_alike_by_colour() -> None:
    colours = [(255, 255, 255), (250, 254, 255), (0, 0, 0), (200, 30, 30)]
    both = described([Image.new("RGB", (9, 9), colour) for colour in colours])
    assert np.isfinite(both).all()
    assert near_duplicates(both, [0] * 4).tolist() == [0, 0, 2, 3]


def test_tiny_pictures_have_no_frequencies_they_cannot_have() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (30, 5, 3, 3), dtype=np.uint8)
    assert near_duplicates(describe(noise), [0] * 30).tolist() == list(range(30))


def test_pairs_among_thousands() -> None:
    """4,000 descriptions and turned, slightly changed copies of 400 of them, through cells of the nearest."""
    random = np.random.default_rng(0)
    many = np.zeros((4400, LENGTH), np.float32)
    many[:4000, :-3] = random.normal(0, 1 / 16, (4000, 256))
    many[:4000, -3:] = random.uniform(0, 1.8, (4000, 3))
    turned = many[:400, :-3].reshape(-1, 16, 16).transpose(0, 2, 1) * (-1.0) ** np.arange(16)
    many[4000:] = np.concatenate([turned.reshape(400, 256), many[:400, -3:]], axis=1)
    many[4000:] += random.normal(0, 0.2 / 16, (400, LENGTH))
    groups = near_duplicates(many.astype(np.float16), [0] * 4400)
    assert groups[:4000].tolist() == list(range(4000))
    assert np.mean(groups[4000:] == np.arange(400)) > 0.99


def test_many_of_one_picture() -> None:
    random = np.random.default_rng(1)
    many = np.zeros((3000, LENGTH), np.float16)
    many[:, -3:] = 1.5
    many += random.normal(0, 0.001, many.shape).astype(np.float16)
    assert set(near_duplicates(many, [0] * 3000).tolist()) == {0}
    assert groups_of([0, 1, 0, 3, 3, 0]) == [[0, 2, 5], [3, 4]]


def test_the_split_keeps_them_together_and_says_so(
    tmp_path: Path, faces: list[Image.Image], capsys: pytest.CaptureFixture[str]
) -> None:
    for number, face in enumerate(faces):
        folder = tmp_path / "data" / f"c{number % 4}"
        folder.mkdir(parents=True, exist_ok=True)
        face.save(folder / f"{number}.png")
        if number < 6:
            ImageOps.mirror(face).save(folder / f"{number}-mirrored.png")
    for name, face in (
        ("old", faces[7].rotate(90)),
        ("new", draw_face(CHARACTERS[3], Random(9), 64)),
    ):
        (tmp_path / "test" / "c3").mkdir(parents=True, exist_ok=True)
        face.save(tmp_path / "test" / "c3" / f"{name}.png")
    for seed in range(5):
        with Reader((48, 40), 0) as reader:
            sets = read_sets(tmp_path / "data", tmp_path / "test", 0.4, seed, reader)
        sides = [
            {name_of(path, tmp_path).split("/")[-1].split("-")[0].removesuffix(".png") for path in each.paths}
            for each in (sets.train, sets.validation)
        ]
        assert not sides[0] & sides[1]
        assert len(sets.near_duplicates) == 6
    said = capsys.readouterr().err
    assert (
        "near-duplicates: 12 pictures in 6 groups, each on one side of the split: c0/0-mirrored.png = c0/0.png" in said
    )
    assert "1 of 2 test pictures are much like one to train or validate on, which flatters the test" in said
    assert sets.to_json()["in_test"] == [["c3/old.png", "c3/7.png"]]
    assert ["c0/0-mirrored.png", "c0/0.png"] in sets.to_json()["near_duplicates"]


def test_crops_are_kept_together_up_to_a_number(
    tmp_path: Path, faces: list[Image.Image], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, face in enumerate(faces):
        folder = tmp_path / f"c{number % 2}"
        folder.mkdir(exist_ok=True)
        face.resize((160, 160)).save(folder / f"{number}.png")
        face.resize((160, 160)).crop((8, 8, 160, 160)).save(folder / f"{number}-cropped.png")
    with Reader((80, 80), 0) as reader:
        assert len(read_sets(tmp_path, None, 0.5, 0, reader).near_duplicates) == 12
        assert "not looked for" not in capsys.readouterr().err
        monkeypatch.setattr(duplicates, "MOST", 23)
        assert len(read_sets(tmp_path, None, 0.5, 0, reader).near_duplicates) < 12
    assert "those that were cropped are not looked for" in capsys.readouterr().err


def test_what_lies_densely_is_not_chained_together() -> None:
    """1,500 pictures whose nearest are about 0.3 apart, as digits are, and copies of 100 of them."""
    random = np.random.default_rng(2)
    many = np.zeros((1600, LENGTH), np.float32)
    many[:1500, :4] = random.uniform(0, 1.6, (1500, 4))
    many[1500:] = many[:100]
    many[1500:, 5] += 0.02
    groups = near_duplicates(many.astype(np.float16), [0] * 1600)
    assert np.mean(groups[1500:] == groups[:100]) > 0.95
    assert max(map(len, groups_of(groups.tolist()))) < 30
