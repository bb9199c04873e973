"""Near-duplicates: how many of a picture's guises are found, what is found besides, and how long it takes.

    OMP_NUM_THREADS=1 python benchmarks/duplicates.py [--data ../shared/data/animeface10/test] [--pictures 10000,100000]

Prints the README's table. DATA is any labelled set; each of its pictures is changed in each way, and must be found
among all others. For the times, pictures are pieced together of halves of those pictures, and a tenth is mirrored.
"""

from __future__ import annotations

import argparse
import datetime
import io
import platform
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

sys.path = [place for place in sys.path if Path(place) != Path(__file__).parent]  # finetune.py there is no package

from finetune.data.descriptions import describe, describe_parts  # noqa: E402
from finetune.data.duplicates import near_duplicates  # noqa: E402
from finetune.data.labelled import read_labelled  # noqa: E402
from finetune.data.source import read_source  # noqa: E402

SIDE = 64
MOST = 500  # pictures of the set that are changed
BICUBIC = Image.Resampling.BICUBIC
RANDOM = np.random.default_rng(0)


def as_jpeg(picture: Image.Image, quality: int) -> Image.Image:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=quality)
    return Image.open(file).convert("RGB")


def resized(picture: Image.Image, factor: float) -> Image.Image:
    return picture.resize((max(1, int(picture.width * factor)), max(1, int(picture.height * factor))), BICUBIC)


def cropped(picture: Image.Image, share: float, random: np.random.Generator | None = None) -> Image.Image:
    """A part of the picture, from its middle or from anywhere."""
    width, height = picture.size
    x, y = (0.5, 0.5) if random is None else random.random(2)
    x, y = x * width * share, y * height * share
    return picture.crop((round(x), round(y), round(x + width * (1 - share)), round(y + height * (1 - share))))


GUISES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "JPEG of quality 30": lambda picture: as_jpeg(picture, 30),
    "a quarter of the size": lambda picture: resized(picture, 0.25),
    "mirrored": ImageOps.mirror,
    "turned by 90°": lambda picture: picture.transpose(Image.Transpose.ROTATE_90),
    "turned, mirrored, half the size, JPEG 60": lambda picture: as_jpeg(
        resized(ImageOps.mirror(picture.transpose(Image.Transpose.ROTATE_270)), 0.5), 60
    ),
    "40 % less contrast": lambda picture: ImageEnhance.Contrast(picture).enhance(0.6),
    "30 % brighter": lambda picture: ImageEnhance.Brightness(picture).enhance(1.3),
    "grey": lambda picture: picture.convert("L").convert("RGB"),
    "cropped by 5 %": lambda picture: cropped(picture, 0.05),
    "cropped by 5 %, anywhere": lambda picture: cropped(picture, 0.05, RANDOM),
    "cropped by 10 %": lambda picture: cropped(picture, 0.1),
    "cropped by 10 %, anywhere": lambda picture: cropped(picture, 0.1, RANDOM),
}


def described(pictures: list[Image.Image]) -> tuple[np.ndarray, np.ndarray]:
    small = np.stack([np.array(picture.resize((SIDE, SIDE), BICUBIC)) for picture in pictures])
    return describe(small), describe_parts(small)


def invented(some: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Descriptions of ``count`` pictures pieced together, and of their parts, the last tenth mirrored ones; and whose
    mirror each is."""
    random = np.random.default_rng(0)
    found = []
    for start in range(0, count * 9 // 10, 1000):
        size = min(1000, count * 9 // 10 - start)
        one, other, third = (some[random.integers(0, len(some), size)].astype(np.float32) for _ in range(3))
        mask = random.random((size, 2, 2, 1)).repeat(SIDE // 2, 1).repeat(SIDE // 2, 2)
        pieced = 0.7 * (one * mask + other[:, ::-1] * (1 - mask)) + 0.3 * third.transpose(0, 2, 1, 3)
        found.append((describe(pieced), describe_parts(pieced)))
    originals, parts = (np.concatenate(each) for each in zip(*found, strict=True))
    whose = random.integers(0, len(originals), count - len(originals))
    turned = []
    for each in (originals[whose], parts[whose][:, [0, 2, 1, 4, 3, 5]]):  # the corners change sides
        waves = each[..., :-3].reshape(*each.shape[:-1], 16, 16) * (-1.0) ** np.arange(16)
        each[..., :-3] = waves.reshape(*each.shape[:-1], -1)
        turned.append(each)
    return np.concatenate([originals, turned[0]]), np.concatenate([parts, turned[1]]), whose


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/animeface10/test"))
    parser.add_argument("--pictures", default="10000,100000")
    given = parser.parse_args()
    known, _ = read_labelled(given.data)
    chosen = np.random.RandomState(0).permutation(len(known))[:MOST].tolist()
    pictures = [Image.fromarray(read_source(known.paths[i])) for i in chosen]
    labels = [known.labels[i] for i in chosen]
    originals, parts = described(pictures)
    alone = near_duplicates(originals, labels, parts)
    print(f"{given.data}, {len(pictures)} pictures; {platform.machine()}, {datetime.date.today()}\n")
    print("| the same picture | found |\n| --- | --- |")
    for name, change in GUISES.items():
        changed, of_changed = described([change(each) for each in pictures])
        both, of_both = np.concatenate([originals, changed]), np.concatenate([parts, of_changed])
        groups = near_duplicates(both, labels * 2, of_both)
        print(f"| {name} | {np.mean(groups[: len(pictures)] == groups[len(pictures) :]):.1%} |")
    print(f"\nwithout them {len(pictures) - len(set(alone.tolist()))} pictures are near-duplicates of an earlier one\n")
    print("| pictures | seconds | mirrored ones found | peak memory |\n| --- | --- | --- | --- |")
    some = np.stack([np.array(picture.resize((SIDE, SIDE), BICUBIC)) for picture in pictures])
    for count in map(int, given.pictures.split(",")):
        descriptions, parts, whose = invented(some, count)
        classes = np.arange(count) % 146
        classes[len(descriptions) - len(whose) :] = classes[whose]
        start = time.perf_counter()
        groups = near_duplicates(descriptions, classes.tolist(), parts)
        seconds = time.perf_counter() - start
        found = np.mean(groups[count - len(whose) :] == groups[whose])
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 if sys.platform == "darwin" else 1024) / 1e3
        print(f"| {count:,} | {seconds:.1f} | {found:.2%} | {peak:.1f} GB |")


if __name__ == "__main__":
    main()
