"""The pictures that benchmarks/detect.py looks at: a test half, changed in ways that are hard, and photos."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from caffe2torch.pictures import load_picture
from finetune.data.boxes import BoxedPicture, read_boxes

TURNS = (20, -20, 40, -40)
UPRIGHT, MIRRORED, CLOSE, PHOTOS = "upright", "mirrored", "close", "photos"
AROUND = 0.15  # of a face's longer side, left around it in a close-up
HALVES = {"test": slice(1, None, 2), "even": slice(0, None, 2), "all": slice(None)}
Changed = tuple[Image.Image, np.ndarray, np.ndarray]  # a picture, its boxes, which of them do not count


def sets(shared: Path, half: str, folder: Path) -> tuple[dict[str, list[BoxedPicture]], str]:
    """The sets by name, what is changed written below ``folder``, and a line that says what they are."""
    data = shared / "data"
    if (data / "boxes_cc_anime").is_dir():
        upright = sorted(read_boxes(data / "boxes_cc_anime"), key=lambda picture: picture.path.name)[HALVES[half]]
        what = f"boxes_cc_anime ({half})"
    else:
        from finetune.sample import write_sample

        print(f"{data} is not there: drawn scenes are used", file=sys.stderr)
        write_sample(folder / "sample", pictures=1, test=0, scenes=30)
        upright, what = read_boxes(folder / "sample" / "scenes"), "drawn scenes"
    makers: dict[str, Callable[[Path], list[BoxedPicture]]] = {
        UPRIGHT: lambda place: upright,
        **{f"{turn:+d}": lambda place, turn=turn: turned(upright, place, turn) for turn in TURNS},  # type: ignore[misc]
        MIRRORED: lambda place: mirrored(upright, place),
        CLOSE: lambda place: close_up(upright, place),
        PHOTOS: lambda place: without_faces(data / "negatives_photo"),
    }
    chosen = {name: make(folder / name) for name, make in makers.items()}
    faces = sum(int((~picture.difficult).sum()) for picture in upright)
    what += f": {len(upright)} pictures, {faces} faces"
    return {name: pictures for name, pictures in chosen.items() if pictures}, what


def without_faces(folder: Path) -> list[BoxedPicture]:
    none = np.zeros((0, 4), np.float32), (), np.zeros(0, bool)
    return [BoxedPicture(path, *none) for path in sorted(folder.glob("*.JPEG"))]


def mirrored(pictures: Sequence[BoxedPicture], folder: Path) -> list[BoxedPicture]:
    def mirror(picture: BoxedPicture, image: Image.Image) -> list[Changed]:
        x0, y0, x1, y1 = picture.boxes.T
        boxes = np.stack([image.width - x1, y0, image.width - x0, y1], axis=1)
        return [(image.transpose(Image.Transpose.FLIP_LEFT_RIGHT), boxes, picture.difficult)]

    return changed(pictures, folder, mirror)


def turned(pictures: Sequence[BoxedPicture], folder: Path, degrees: float) -> list[BoxedPicture]:
    """Turned counter-clockwise about the middle, the whole picture kept, on grey; boxes keep their size."""

    def turn(picture: BoxedPicture, old: Image.Image) -> list[Changed]:
        image = old.rotate(degrees, Image.Resampling.BICUBIC, expand=True, fillcolor=(128, 128, 128))
        angle = np.deg2rad(degrees)
        matrix = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])  # y points down
        centres = (picture.boxes[:, :2] + picture.boxes[:, 2:]) / 2 - np.array(old.size) / 2
        centres = centres @ matrix.T + np.array(image.size) / 2
        half = (picture.boxes[:, 2:] - picture.boxes[:, :2]) / 2
        return [(image, np.concatenate([centres - half, centres + half], axis=1), picture.difficult)]

    return changed(pictures, folder, turn)


def close_up(pictures: Sequence[BoxedPicture], folder: Path) -> list[BoxedPicture]:
    """Each face that counts cut out by itself, AROUND it; other faces that reach into it do not count."""

    def cut(picture: BoxedPicture, image: Image.Image) -> list[Changed]:
        cuts: list[Changed] = []
        for number in np.flatnonzero(~picture.difficult):
            x0, y0, x1, y1 = (float(edge) for edge in picture.boxes[number])
            margin = AROUND * max(x1 - x0, y1 - y0)
            left, top = max(0, round(x0 - margin)), max(0, round(y0 - margin))
            right, bottom = min(image.width, round(x1 + margin)), min(image.height, round(y1 + margin))
            moved = picture.boxes - np.array([left, top, left, top])
            inside = np.clip(moved, 0, [right - left, bottom - top] * 2)
            seen = (inside[:, 2] > inside[:, 0]) & (inside[:, 3] > inside[:, 1])
            other = np.arange(len(moved)) != number
            cuts.append((image.crop((left, top, right, bottom)), inside[seen], other[seen]))
        return cuts

    return changed(pictures, folder, cut)


def changed(
    pictures: Sequence[BoxedPicture], folder: Path, change: Callable[[BoxedPicture, Image.Image], list[Changed]]
) -> list[BoxedPicture]:
    """The pictures written as PNG after ``change``, with their new boxes."""
    folder.mkdir(parents=True, exist_ok=True)
    new: list[BoxedPicture] = []
    for picture in pictures:
        for image, boxes, difficult in change(picture, Image.fromarray(load_picture(picture.path))):
            path = folder / f"{len(new):03}.png"
            image.save(path)
            new.append(BoxedPicture(path, boxes.astype(np.float32), ("",) * len(boxes), difficult))
    return new
