"""The pictures that benchmarks/detect.py looks at: a test half, changed in ways that are hard, and photos."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from caffe2torch.pictures import load_picture
from finetune.data.boxes import BoxedPicture, read_boxes
from finetune.detector.ways import Shown, close_up, mirrored, turned

TURNS = (20, -20, 40, -40)
UPRIGHT, MIRRORED, CLOSE, PHOTOS = "upright", "mirrored", "close", "photos"
HALVES = {"test": slice(1, None, 2), "even": slice(0, None, 2), "all": slice(None)}


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
        **{f"{turn:+d}": partial(changed, upright, partial(turned, degrees=turn)) for turn in TURNS},
        MIRRORED: partial(changed, upright, mirrored),
        CLOSE: partial(changed, upright, close_up),
        PHOTOS: lambda place: without_faces(data / "negatives_photo"),
    }
    chosen = {name: make(folder / name) for name, make in makers.items()}
    faces = sum(int((~picture.difficult).sum()) for picture in upright)
    what += f": {len(upright)} pictures, {faces} faces"
    return {name: pictures for name, pictures in chosen.items() if pictures}, what


def without_faces(folder: Path) -> list[BoxedPicture]:
    none = np.zeros((0, 4), np.float32), (), np.zeros(0, bool)
    return [BoxedPicture(path, *none) for path in sorted(folder.glob("*.JPEG"))]


def changed(
    pictures: Sequence[BoxedPicture], way: Callable[[np.ndarray, np.ndarray, np.ndarray], list[Shown]], folder: Path
) -> list[BoxedPicture]:
    """The pictures shown in another way, written as PNG."""
    folder.mkdir(parents=True, exist_ok=True)
    new: list[BoxedPicture] = []
    for picture in pictures:
        for pixels, boxes, difficult in way(load_picture(picture.path), picture.boxes, picture.difficult):
            path = folder / f"{len(new):03}.png"
            Image.fromarray(pixels).save(path)
            new.append(BoxedPicture(path, boxes.astype(np.float32), ("",) * len(boxes), difficult))
    return new
