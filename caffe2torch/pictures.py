"""Pictures from disk as arrays: the one reader that training and prediction share, so that both see the same pixels."""

from __future__ import annotations

import contextlib
import functools
import os
import stat
import struct
import threading
import warnings
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import BinaryIO, TypeVar

import numpy as np
from PIL import Image, UnidentifiedImageError

from caffe2torch.errors import DataError

JPEG_SUFFIXES = {".jpg", ".jpeg", ".jpe", ".jfif", ".jp2", ".j2k"}
PLAIN_SUFFIXES = {".bmp", ".dib", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm"}
PICTURE_SUFFIXES = frozenset({".png", ".apng", ".gif", ".webp", ".avif"} | JPEG_SUFFIXES | PLAIN_SUFFIXES)

# What Pillow may try. Not among them: what starts a program (EPS) or has no mark to be known by (TGA).
FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "DIB", "TIFF", "PPM", "AVIF", "JPEG2000")

MOST_PIXELS = 100_000_000
LARGE = 1 << 24  # pixels
TILE = 1 << 10  # pixels of a side, about: a large picture is made RGB in tiles
GAP = 2  # of Pillow's resize: what is far too large is reduced by whole numbers first, to this many times the size
ONE_LARGE = threading.Lock()  # a process's threads decode one large picture at a time

# EXIF orientation (CIPA DC-008, tag 0x0112) -> what turns the stored picture upright.
ORIENTATION = 0x0112
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
LYING = tuple(UPRIGHT[orientation] for orientation in (5, 6, 7, 8))  # width and height change places

Cut = Callable[[Image.Image], Image.Image]
Made = TypeVar("Made")

# Pillow warns of sizes (we have our own limit, and it is an error) and of odd metadata that we do not use.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
warnings.filterwarnings("ignore", module=r"PIL\.")

# Pillow keeps a picture in blocks of 16 MB. Freed ones stay with the thread that had them (glibc, up to 32 MB), so that
# each thread would hold as much as the largest picture takes; larger ones go back to the system at once.
Image.core.set_block_size(1 << 26)


def load_picture(
    path: Path, size: tuple[int, int] | None = None, max_pixels: int = MOST_PIXELS, cut: Cut | None = None
) -> np.ndarray:
    """One picture as uint8 (height, width, 3) RGB, upright, values 0..255.

    EXIF's orientation is applied; what is transparent is laid on white; 16-bit grey is scaled to 8 bits; of an
    animation the first frame is taken; ``cut`` makes of the upright picture the part that is wanted. ``size`` is
    (height, width): the whole picture, or part, is resized to it, bicubic with antialiasing (Pillow's), aspect not
    kept. Colour profiles are not applied.

    Raises DataError, naming file and reason, for a file that is missing, not to be read, empty, not a picture,
    damaged or truncated, or whose header claims more than ``max_pixels`` pixels (nothing is decoded then).
    Of pictures above 16 million pixels the threads of a process decode one at a time; it takes 8 bytes a pixel, 12 for
    one that is transparent and turned.
    """
    with _opened(Path(path)) as (file, alone):
        picture = _decoded(path, file, max_pixels, alone, lambda image: _whole(path, image, cut))
        if size is not None:
            picture = picture.resize((size[1], size[0]), Image.Resampling.BICUBIC)
        return np.array(picture)


def glance(path: Path, side: int, cut: Cut | None = None) -> tuple[tuple[int, int], np.ndarray]:
    """Width and height of what load_picture gives, and what it looks like, roughly: uint8 (side, side, 3).

    Errors are load_picture's. A large picture that is not cut takes 4 bytes a pixel.
    """

    def made(image: Image.Image) -> tuple[tuple[int, int], Image.Image]:
        if cut is None and _is_large(image):
            return _upright_size(image), _upright(_reduced(path, image, side), _turn(image))
        whole = _whole(path, image, cut)
        return whole.size, whole.resize((side, side), Image.Resampling.BICUBIC, reducing_gap=GAP)

    with _opened(Path(path)) as (file, alone):
        size, small = _decoded(path, file, MOST_PIXELS, alone, made)
        return size, np.array(small)


def picture_size(path: Path, max_pixels: int = MOST_PIXELS) -> tuple[int, int]:
    """Width and height of the upright picture, from its header. Errors are load_picture's."""
    with _opened(Path(path)) as (file, alone):
        return _decoded(path, file, max_pixels, alone, _upright_size, load=False)


def find_pictures(path: Path, suffixes: Collection[str] = PICTURE_SUFFIXES) -> list[Path]:
    """The pictures under a folder and its subfolders, sorted; a file is given back as it is, whatever its suffix.

    In folders, pictures are known by suffix (one of ``suffixes``, case does not matter). Hidden files and folders and
    ``__MACOSX`` are left out. Links are followed, every real folder is entered once, so a loop of links ends.
    Raises DataError if the path does not exist or a folder cannot be read.
    """
    path = Path(path)
    if not path.is_dir():
        if not os.path.lexists(path):
            raise DataError(f"{path}: no such file or folder")
        return [path]
    found: list[Path] = []
    entered: set[tuple[int, int]] = set()
    for folder, names, files in os.walk(path, onerror=_cannot_list, followlinks=True):
        status = os.stat(folder)
        if (status.st_dev, status.st_ino) in entered:
            names.clear()
            continue
        entered.add((status.st_dev, status.st_ino))
        names[:] = sorted(name for name in names if not name.startswith(".") and name != "__MACOSX")
        found += [
            Path(folder, name)
            for name in files
            if os.path.splitext(name)[1].lower() in suffixes and not name.startswith(".")
        ]
    return sorted(found)


def _cannot_list(error: OSError) -> None:
    raise DataError(f"{error.filename}: cannot be read: {error.strerror}") from error


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[tuple[BinaryIO, contextlib.ExitStack]]:
    """The file, and what is to be left with it; inside, an error of the system is a DataError."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # a folder; a pipe or device, which might never end
            raise DataError(f"{path}: not a file")
        with open(path, "rb") as file, contextlib.ExitStack() as alone:
            yield file, alone
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error


def _decoded(
    path: Path,
    file: BinaryIO,
    max_pixels: int,
    alone: contextlib.ExitStack,
    made: Callable[[Image.Image], Made],
    load: bool = True,
) -> Made:
    """What is made of the file's first picture as it is stored; if it is large, ``alone`` keeps all others waiting.

    Without ``load`` it is not decoded first.
    """
    try:
        with Image.open(file, formats=_formats()) as image:
            _check_size(path, image, max_pixels)
            if _is_large(image):
                alone.enter_context(ONE_LARGE)
            if load:
                image.load()
            return made(image)
    except DataError:
        raise
    except Image.DecompressionBombError as error:
        raise DataError(f"{path}: {error} (a decompression bomb?)") from error
    except UnidentifiedImageError as error:
        if os.path.getsize(path) == 0:
            raise DataError(f"{path}: the file is empty") from error
        raise DataError(f"{path}: not a picture, or damaged, or not one of {', '.join(_formats())}") from error
    except Exception as error:  # Pillow's decoders raise nearly anything on damaged files: struct.error, IndexError, …
        raise DataError(f"{path}: damaged or truncated: {error or type(error).__name__}") from error


@functools.cache
def _formats() -> tuple[str, ...]:
    """Those of FORMATS that this build of Pillow has."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _check_size(path: Path, image: Image.Image, max_pixels: int) -> None:
    width, height = image.size
    if width * height > max_pixels:
        raise DataError(
            f"{path}: {width} x {height} pixels are more than the limit of {max_pixels} (a decompression bomb?)"
        )


def _is_large(image: Image.Image) -> bool:
    return image.size[0] * image.size[1] > LARGE


def _whole(path: Path, image: Image.Image, cut: Cut | None) -> Image.Image:
    """The picture in mode RGB, upright, or the part of it that is wanted."""
    upright = _upright(_rgb(path, image), _turn(image))
    return upright if cut is None else cut(upright)


def _turn(image: Image.Image) -> Image.Transpose | None:
    """What turns the stored picture upright."""
    try:
        orientation = image.getexif().get(ORIENTATION, 1)
    except (
        SyntaxError,
        ValueError,
        LookupError,
        struct.error,
    ):  # a damaged EXIF block in a sound picture: shown as it is stored, as viewers do
        orientation = 1
    return UPRIGHT.get(orientation)


def _upright_size(image: Image.Image) -> tuple[int, int]:
    return image.size[::-1] if _turn(image) in LYING else image.size


def _upright(image: Image.Image, method: Image.Transpose | None) -> Image.Image:
    return image if method is None else image.transpose(method)


def _reduced(path: Path, image: Image.Image, side: int) -> Image.Image:
    """A large picture in mode RGB, resized to a square as ``resize`` does with GAP, but tile by tile."""
    across, down = (max(int(length / side / GAP), 1) for length in image.size)
    width, height = image.size
    small = Image.new("RGB", (-(-width // across), -(-height // down)))
    for box in _tiles(image, across, down):
        small.paste(_plain(path, image.crop(box)).reduce((across, down)), (box[0] // across, box[1] // down))
    return small.resize((side, side), Image.Resampling.BICUBIC, box=(0, 0, width / across, height / down))


def _rgb(path: Path, image: Image.Image) -> Image.Image:
    """Any mode of Pillow as RGB; transparent pixels on white. What is large is made tile by tile."""
    if not _is_large(image) or (image.mode == "RGB" and not image.has_transparency_data):
        return _plain(path, image)
    found = Image.new("RGB", image.size)
    for box in _tiles(image):
        found.paste(_plain(path, image.crop(box)), box)
    return found


def _tiles(image: Image.Image, across: int = 1, down: int = 1) -> Iterator[tuple[int, int, int, int]]:
    """Boxes of some million pixels that cover a picture; those at its right and bottom end may be smaller.

    The others' sides are multiples of ``across`` and ``down``.
    """
    width, height = image.size
    wide, high = (-(-TILE // step) * step for step in (across, down))
    for top in range(0, height, high):
        for left in range(0, width, wide):
            yield left, top, min(left + wide, width), min(top + high, height)


def _plain(path: Path, image: Image.Image) -> Image.Image:
    """As ``_rgb``, at once."""
    if image.mode.startswith("I"):
        return _from_16_bits(path, image)
    if image.mode == "F":
        raise DataError(f"{path}: floating-point pixels have no fixed range; save it with 8 or 16 bits")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _from_16_bits(path: Path, image: Image.Image) -> Image.Image:
    """Grey 0..65535 (modes I;16, I;16B, and I as PNG and PGM give it) to 0..255, rounded."""
    grey = np.array(image).astype(np.int64)
    if grey.min() < 0 or grey.max() > 65535:
        raise DataError(f"{path}: 32-bit pixels have no fixed range; save it with 8 or 16 bits")
    eight = ((grey + 128) // 257).astype(np.uint8)
    if isinstance(clear := image.info.get("transparency"), int):
        eight[grey == clear] = 255
    return Image.fromarray(eight).convert("RGB")
