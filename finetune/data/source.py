"""Where one picture comes from: a file, a box of a file, or a place in an idx file."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np
from PIL import Image

from caffe2torch.errors import DataError
from caffe2torch.pictures import glance, load_picture
from finetune.data.idx import read_idx

PIECE = 1 << 20  # bytes of a file that are read at once


class BoxSource(NamedTuple):
    """A box of a picture; x0, y0, x1, y1 in pixels of the upright picture, what lies outside it is cut off."""

    path: Path
    box: tuple[float, float, float, float]

    def __str__(self) -> str:
        return f"{self.path}{_box_name(self.box)}"

    def cut(self, picture: Image.Image) -> Image.Image:
        """This part of the upright picture. Raises DataError where no pixel of it lies in the box."""
        width, height = picture.size
        x0, y0, x1, y1 = self.box
        left, top = max(math.floor(x0), 0), max(math.floor(y0), 0)
        right, bottom = min(math.ceil(x1), width), min(math.ceil(y1), height)
        if left >= right or top >= bottom:
            raise DataError(f"{self}: no pixel of the picture ({width} x {height}) lies in this box")
        return picture.crop((left, top, right, bottom))


class IdxSource(NamedTuple):
    """A picture of an idx file (MNIST's format), counted from 0."""

    path: Path
    place: int

    def __str__(self) -> str:
        return f"{self.path}#{self.place}"


Source: TypeAlias = Path | BoxSource | IdxSource


def read_source(source: Source, size: tuple[int, int] | None = None, max_pixels: int = 100_000_000) -> np.ndarray:
    """The picture as uint8 (height, width, 3) RGB, upright; with ``size`` (height, width) resized to it, bicubic.

    Raises DataError, naming file and reason, as load_picture does; for a box that no pixel lies in; for a place that
    the idx file has not.
    """
    if isinstance(source, Path):
        return load_picture(source, size, max_pixels)
    if isinstance(source, BoxSource):
        return load_picture(source.path, size, max_pixels, source.cut)
    pixels = _in_colour(_stored(source))
    if size is None:
        return pixels
    return np.array(Image.fromarray(pixels).resize((size[1], size[0]), Image.Resampling.BICUBIC))


def glance_at(source: Source, side: int) -> tuple[tuple[int, int], np.ndarray]:
    """Width and height of what read_source gives, and what it looks like, roughly: uint8 (side, side, 3).

    Errors are read_source's.
    """
    if isinstance(source, Path):
        return glance(source, side)
    if isinstance(source, BoxSource):
        return glance(source.path, side, source.cut)
    pixels = _in_colour(_stored(source))
    small = Image.fromarray(pixels).resize((side, side), Image.Resampling.BICUBIC, reducing_gap=2)
    return (pixels.shape[1], pixels.shape[0]), np.array(small)


def digest(source: Source) -> bytes:
    """SHA-256 of what is read: the file's bytes; those and the box; the pixels stored in the idx file.

    Two files of the same bytes have the same digest wherever they lie. Raises DataError if they cannot be read.
    """
    if isinstance(source, IdxSource):
        pixels = _stored(source)
        return hashlib.sha256(f"{pixels.shape}".encode() + pixels.tobytes()).digest()
    path = source if isinstance(source, Path) else source.path
    try:
        with open(path, "rb") as file:
            read = hashlib.sha256()
            while piece := file.read(PIECE):
                read.update(piece)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
    if isinstance(source, BoxSource):
        read.update(_box_name(source.box).encode())
    return read.digest()


def name_of(source: Source, root: Path) -> str:
    """A name that tells the source from all others of a data set: its path below ``root``, with slashes.

    A file elsewhere keeps its whole path; a box is added as ``#x0,y0,x1,y1``, a place in an idx file as ``#place``.
    """
    path = source if isinstance(source, Path) else source.path
    name = path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix()
    if name == ".":  # the data set is that one file
        name = path.name
    if isinstance(source, BoxSource):
        return name + _box_name(source.box)
    return f"{name}#{source.place}" if isinstance(source, IdxSource) else name


def source_named(name: str, root: Path) -> Source:
    """The source that name_of names so; a name that no file has may be any."""
    path = root / name
    before, mark, after = name.rpartition("#")
    if not mark or path.exists():
        return path
    path = root if root.is_file() and before == root.name else root / before
    try:
        edges = tuple(float(edge) for edge in after.split(","))
        return BoxSource(path, edges) if len(edges) == 4 else IdxSource(path, int(after))
    except ValueError:
        return root / name


def file_of(source: Source) -> Path:
    """The file that it is read from."""
    return source if isinstance(source, Path) else source.path


def _box_name(box: tuple[float, float, float, float]) -> str:
    return "#" + ",".join(f"{edge:.9g}" for edge in box)


def _stored(source: IdxSource) -> np.ndarray:
    """uint8 (height, width) or (height, width, 3)."""
    pictures = read_idx(source.path)
    if len(pictures.shape) not in (3, 4) or (len(pictures.shape) == 4 and pictures.shape[3] != 3):
        raise DataError(f"{source.path}: holds no pictures: its shape is {pictures.shape}")
    if not 0 <= source.place < len(pictures):
        raise DataError(f"{source}: the file holds {len(pictures)} pictures")
    return np.asarray(pictures[source.place])


def _in_colour(stored: np.ndarray) -> np.ndarray:
    """uint8 (height, width, 3), an array of its own."""
    return np.repeat(stored[:, :, None], 3, axis=2) if stored.ndim == 2 else np.array(stored)
