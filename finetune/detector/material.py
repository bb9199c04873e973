"""What training pictures are made of: pictures with boxes, cut-out faces, things that are no faces, backgrounds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import numpy as np
from PIL import Image

from caffe2torch.pictures import find_pictures, load_picture
from finetune.data.boxes import BoxedPicture
from finetune.drawing.backgrounds import background
from finetune.drawing.characters import CHARACTERS
from finetune.drawing.scenes import draw_scene
from finetune.drawing.things import THINGS, draw_thing

LARGEST = 640  # pixels of a picture's longer side that are kept
SURROUNDINGS = 0.45  # of a face's size, cut out around it
SMALLEST = 24  # pixels of a face worth cutting out
LEVELS = 3  # a sheet, its half, its quarter: what is shown smaller is taken from these

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Sheet:
    """A picture to lay down, RGB or RGBA, with its halves; boxes float32 [K, 4] in its pixels, ``ignored`` bool [K]."""

    levels: tuple[Image.Image, ...]
    boxes: np.ndarray
    ignored: np.ndarray

    @classmethod
    def of(cls, picture: Image.Image, boxes: Iterable[Sequence[float]] = (), ignored: Iterable[bool] = ()) -> Sheet:
        levels = [picture]
        while len(levels) < LEVELS and min(levels[-1].size) >= 16:
            levels.append(levels[-1].reduce(2))
        array = np.array(list(boxes), np.float32).reshape(-1, 4)
        flags = np.array(list(ignored) or [False] * len(array), bool)
        return cls(tuple(levels), array, flags)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return self.levels[0].size


class Sources:
    """Sheets of one use by where they come from; ``weight`` says how often a source is drawn from."""

    def __init__(self) -> None:
        self.sheets: list[list[Sheet]] = []
        self.weights: list[float] = []

    def __bool__(self) -> bool:
        return bool(self.sheets)

    def add(self, sheets: list[Sheet], weight: float) -> None:
        if sheets and weight > 0:
            self.sheets.append(sheets)
            self.weights.append(weight)

    def draw(self, random: Random) -> Sheet:
        return random.choice(random.choices(self.sheets, self.weights)[0])


@dataclass
class Material:
    """Everything that Composer draws from."""

    pictures: Sources = field(default_factory=Sources)
    scenes: Sources = field(default_factory=Sources)
    faces: Sources = field(default_factory=Sources)
    others: Sources = field(default_factory=Sources)
    backgrounds: Sources = field(default_factory=Sources)

    def add_pictures(self, boxed: Iterable[BoxedPicture], weight: float = 1.0) -> None:
        """Whole pictures, and the faces in them cut out."""
        whole, cut = [], []
        for one in boxed:
            picture = Image.fromarray(load_picture(one.path))
            scale = min(1.0, LARGEST / max(picture.size))
            picture = picture.resize(
                (round(picture.width * scale), round(picture.height * scale)), Image.Resampling.BOX
            )
            boxes = one.boxes * scale
            whole.append(Sheet.of(picture, boxes, one.difficult))
            alone = [box for box, difficult in zip(boxes, one.difficult, strict=True) if not difficult]
            cut += [cut_out(picture, box) for box in alone if min(box[2] - box[0], box[3] - box[1]) >= SMALLEST]
        self.pictures.add(whole, weight)
        self.faces.add(cut, weight)

    def add_faces(self, folder: Path, box: Box | None = None, weight: float = 1.0, size: int = 192) -> None:
        """Pictures of one face each; ``box`` says where it is in parts of the picture, None: it fills the picture."""
        sheets = []
        for path in find_pictures(folder):
            picture = _small(_open(path), size)
            x0, y0, x1, y1 = box or (0.0, 0.0, 1.0, 1.0)
            width, height = picture.size
            sheets.append(Sheet.of(picture, [(x0 * width, y0 * height, x1 * width, y1 * height)]))
        self.faces.add(sheets, weight)

    def add_others(self, pictures: Iterable[Path], weight: float = 1.0, size: int = 192) -> None:
        """Pictures of things that are no faces, laid down as faces are."""
        self.others.add([Sheet.of(_small(_open(path), size)) for path in pictures], weight)

    def add_backgrounds(self, pictures: Iterable[Path], weight: float = 1.0) -> None:
        """Pictures without a face, to lay things on."""
        self.backgrounds.add([Sheet.of(_small(_open(path).convert("RGB"), LARGEST)) for path in pictures], weight)

    def add_drawn(self, count: int, weight: float = 1.0, seed: int = 0) -> None:
        """``count`` scenes of drawn people, as many faces, things and backgrounds."""
        scenes, faces, things, empty = [], [], [], []
        kinds = list(THINGS)
        for number in range(count):
            random = Random(f"{seed} detector {number}")
            picture, found = draw_scene(CHARACTERS, random, (512, 384), 1 + number % 6)
            scenes.append(Sheet.of(picture, [box for box, _ in found]))
            things.append(Sheet.of(draw_thing(kinds[number % len(kinds)], random, 96)))
            empty.append(Sheet.of(background(random, (320, 320))))
            faces += [cut_out(picture, box) for box, _ in found if box[2] - box[0] >= SMALLEST]
        self.scenes.add(scenes, weight)
        self.faces.add(faces, weight)
        self.others.add(things, weight)
        self.backgrounds.add(empty, weight)


def cut_out(picture: Image.Image, box: Sequence[float]) -> Sheet:
    """The face in ``box`` with what surrounds it."""
    x0, y0, x1, y1 = (float(edge) for edge in box)
    across, down = SURROUNDINGS * (x1 - x0), SURROUNDINGS * (y1 - y0)
    left, top = max(0, round(x0 - across)), max(0, round(y0 - down))
    right, bottom = min(picture.width, round(x1 + across)), min(picture.height, round(y1 + down))
    return Sheet.of(picture.crop((left, top, right, bottom)), [(x0 - left, y0 - top, x1 - left, y1 - top)])


def _open(path: Path) -> Image.Image:
    """RGBA where the file is transparent, RGB otherwise."""
    picture = Image.fromarray(load_picture(path))
    if path.suffix.lower() != ".png":
        return picture
    with Image.open(path) as image:
        if image.has_transparency_data:
            picture.putalpha(image.convert("RGBA").getchannel("A"))
    return picture


def _small(picture: Image.Image, size: int) -> Image.Image:
    scale = min(1.0, size / max(picture.size))
    if scale == 1.0:
        return picture
    width, height = (max(1, round(edge * scale)) for edge in picture.size)
    return picture.resize((width, height), Image.Resampling.BOX)
