"""Pictures of every kind come out upright, in RGB, 8 bits, on white; what cannot be read is one clear error."""

from __future__ import annotations

import contextlib
import io
import os
import random
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from caffe2torch.errors import DataError
from caffe2torch.pictures import find_pictures, load_picture

# Pillow warns of what it meets in damaged files; the commands keep that off the terminal.
pytestmark = pytest.mark.filterwarnings("ignore:::PIL")

# orientation -> how an upright array must be stored to be upright after it (CIPA DC-008, tag 0x0112)
STORED = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, 1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a, -1),
}
FORMATS = {
    "jpg": {"format": "JPEG"},
    "progressive.jpg": {"format": "JPEG", "progressive": True},
    "png": {"format": "PNG"},
    "gif": {"format": "GIF"},
    "webp": {"format": "WEBP"},
    "bmp": {"format": "BMP"},
    "tif": {"format": "TIFF"},
    "ppm": {"format": "PPM"},
}


def noise(height: int = 20, width: int = 30, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, channels), dtype=np.uint8)


def encoded(image: Image.Image, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, **options)
    return file.getvalue()


def png(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds a few pixels."""
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)), (b"IDAT", zlib.compress(bytes(99)))]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("suffix", ["png", "tif", "webp"])
def test_turned_pictures_are_upright(tmp_path: Path, orientation: int, suffix: str) -> None:
    upright, exif = noise(), Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation](upright)))
    stored.save(tmp_path / f"a.{suffix}", exif=exif, **({"lossless": True} if suffix == "webp" else {}))
    np.testing.assert_array_equal(load_picture(tmp_path / f"a.{suffix}"), upright)


@pytest.mark.parametrize("orientation", STORED)
def test_turned_jpeg_is_upright_and_resized_after_turning(tmp_path: Path, orientation: int) -> None:
    upright, exif = np.kron(noise(3, 4), np.ones((16, 16, 1), np.uint8)), Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation](upright)))
    stored.save(tmp_path / "a.jpg", exif=exif, quality=100, subsampling=0)
    assert np.abs(load_picture(tmp_path / "a.jpg").astype(int) - upright).max() <= 4
    assert load_picture(tmp_path / "a.jpg", (24, 32)).shape == (24, 32, 3)


def test_damaged_exif_leaves_the_picture_as_stored(tmp_path: Path) -> None:
    for number, exif in enumerate([b"Exif\0\0nonsense", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0MM\0*\0\0"]):
        path = tmp_path / f"{number}.png"
        Image.fromarray(noise()).save(path, exif=exif)
        np.testing.assert_array_equal(load_picture(path), noise())


def test_transparency_is_laid_on_white(tmp_path: Path) -> None:
    rgba = noise(channels=4)
    Image.fromarray(rgba).save(tmp_path / "rgba.png")
    alpha = rgba[..., 3:].astype(float) / 255
    np.testing.assert_allclose(load_picture(tmp_path / "rgba.png"), rgba[..., :3] * alpha + 255 * (1 - alpha), atol=1)

    grey = noise(channels=2)
    Image.fromarray(grey, "LA").save(tmp_path / "la.png")
    alpha = grey[..., 1].astype(float) / 255
    np.testing.assert_allclose(
        load_picture(tmp_path / "la.png")[..., 0], grey[..., 0] * alpha + 255 * (1 - alpha), atol=1
    )


def test_palettes(tmp_path: Path) -> None:
    indices = Image.fromarray(np.arange(16, dtype=np.uint8).reshape(4, 4) % 4)
    indices.putpalette([200, 10, 20, 0, 255, 0, 0, 0, 255, 9, 9, 9])
    indices.save(tmp_path / "opaque.png")
    indices.save(tmp_path / "one.png", transparency=1)
    indices.save(tmp_path / "each.png", transparency=bytes([255, 0, 128, 255]))
    indices.save(tmp_path / "one.gif", transparency=1)
    row = [[200, 10, 20], [0, 255, 0], [0, 0, 255], [9, 9, 9]]
    assert load_picture(tmp_path / "opaque.png")[0].tolist() == row
    row[1] = [255, 255, 255]
    assert load_picture(tmp_path / "one.png")[0].tolist() == row
    assert load_picture(tmp_path / "one.gif")[0].tolist() == row
    row[2] = [127, 127, 255]
    assert load_picture(tmp_path / "each.png")[0].tolist() == row


def test_a_transparent_colour_of_rgb_and_grey(tmp_path: Path) -> None:
    Image.fromarray(np.array([[[1, 2, 3], [4, 5, 6]]], np.uint8)).save(tmp_path / "rgb.png", transparency=(1, 2, 3))
    assert load_picture(tmp_path / "rgb.png").tolist() == [[[255, 255, 255], [4, 5, 6]]]
    Image.fromarray(np.array([[7, 8]], np.uint8)).save(tmp_path / "grey.png", transparency=7)
    assert load_picture(tmp_path / "grey.png").tolist() == [[[255, 255, 255], [8, 8, 8]]]


def test_grey_and_one_bit(tmp_path: Path) -> None:
    grey = noise()[..., 0]
    Image.fromarray(grey).save(tmp_path / "grey.png")
    np.testing.assert_array_equal(load_picture(tmp_path / "grey.png"), np.repeat(grey[..., None], 3, 2))
    Image.fromarray(grey > 127).save(tmp_path / "bit.png")
    np.testing.assert_array_equal(load_picture(tmp_path / "bit.png")[..., 1], np.where(grey > 127, 255, 0))


@pytest.mark.parametrize("suffix", ["png", "tif", "pgm"])
def test_16_bit_grey_is_scaled(tmp_path: Path, suffix: str) -> None:
    values = np.random.default_rng(0).integers(0, 65536, (20, 30)).astype(np.uint16)
    values[0, :3] = 0, 65535, 300
    path = tmp_path / f"a.{suffix}"
    if suffix == "pgm":
        path.write_bytes(b"P5 30 20 65535\n" + values.astype(">u2").tobytes())
    else:
        Image.fromarray(values).save(path)
    picture = load_picture(path)
    np.testing.assert_array_equal(picture[..., 2], np.round(values / 257))
    assert picture[0, :3, 0].tolist() == [0, 255, 1]


def test_pixels_without_a_range_are_refused(tmp_path: Path) -> None:
    Image.fromarray(np.full((4, 4), 70000, np.int32)).save(tmp_path / "int.tif")
    Image.fromarray(np.full((4, 4), 0.5, np.float32)).save(tmp_path / "float.tif")
    for name in ("int.tif", "float.tif"):
        with pytest.raises(DataError, match="no fixed range"):
            load_picture(tmp_path / name)


def test_cmyk_jpeg(tmp_path: Path) -> None:
    Image.new("CMYK", (16, 16), (0, 255, 255, 0)).save(tmp_path / "a.jpg", quality=100)
    assert np.abs(load_picture(tmp_path / "a.jpg").astype(int) - (255, 0, 0)).max() <= 3


@pytest.mark.parametrize("suffix", ["gif", "webp", "png"])
def test_first_frame_of_an_animation(tmp_path: Path, suffix: str) -> None:
    red, blue = Image.new("RGB", (16, 16), (255, 0, 0)), Image.new("RGB", (16, 16), (0, 0, 255))
    options = {"lossless": True} if suffix == "webp" else {}
    red.save(tmp_path / f"a.{suffix}", save_all=True, append_images=[blue, red], duration=50, **options)
    with Image.open(tmp_path / f"a.{suffix}") as image:
        assert image.n_frames == 3
    np.testing.assert_array_equal(load_picture(tmp_path / f"a.{suffix}"), np.full((16, 16, 3), (255, 0, 0)))


def test_progressive_jpeg_is_the_same_picture(tmp_path: Path) -> None:
    image = Image.fromarray(noise(64, 80))
    image.save(tmp_path / "a.jpg")
    image.save(tmp_path / "b.jpg", progressive=True)
    np.testing.assert_array_equal(load_picture(tmp_path / "a.jpg"), load_picture(tmp_path / "b.jpg"))


def test_resize_is_bicubic_of_the_whole_picture(tmp_path: Path) -> None:
    """Not of a JPEG decoded at a fraction of its size, which is faster and looks different."""
    Image.fromarray(noise(200, 300)).save(tmp_path / "a.jpg")
    with Image.open(tmp_path / "a.jpg") as image:
        expected = np.asarray(image.convert("RGB").resize((24, 16), Image.Resampling.BICUBIC))
    picture = load_picture(tmp_path / "a.jpg", (16, 24))
    np.testing.assert_array_equal(picture, expected)
    assert picture.dtype == np.uint8
    assert picture.flags.writeable
    assert picture.flags.c_contiguous


def test_the_content_counts_not_the_name(tmp_path: Path) -> None:
    Image.fromarray(noise()).save(tmp_path / "a.jpg", format="PNG")
    np.testing.assert_array_equal(load_picture(tmp_path / "a.jpg"), noise())


def test_threads_see_the_same_pixels(tmp_path: Path) -> None:
    Image.fromarray(noise(64, 80)).save(tmp_path / "a.jpg")
    with ThreadPoolExecutor(8) as pool:
        pictures = list(pool.map(lambda _: load_picture(tmp_path / "a.jpg", (10, 10)), range(32)))
    assert all((picture == pictures[0]).all() for picture in pictures)


@pytest.mark.parametrize("name", FORMATS)
def test_truncated(tmp_path: Path, name: str) -> None:
    data = encoded(Image.fromarray(noise(64, 80)), **FORMATS[name])
    path = tmp_path / f"a.{name}"
    path.write_bytes(data)
    assert load_picture(path).shape == (64, 80, 3)
    for share in (0.3, 0.6, 0.95):
        path.write_bytes(data[: int(len(data) * share)])
        with pytest.raises(DataError, match=r"a\..*damaged"):
            load_picture(path)


def test_damage_is_always_a_data_error(tmp_path: Path) -> None:
    path = tmp_path / "a"
    for name, options in FORMATS.items():
        data = encoded(Image.fromarray(noise()), **options)
        chance = random.Random(name)
        for _ in range(60):
            changed = bytearray(data)
            for _ in range(3):
                changed[chance.randrange(min(len(data), 200))] = chance.randrange(256)
            path.write_bytes(changed)
            with contextlib.suppress(DataError):  # and nothing else
                picture = load_picture(path, max_pixels=1_000_000)
                assert picture.dtype == np.uint8
                assert picture.shape[2] == 3


def test_decompression_bomb_is_refused_from_its_header(tmp_path: Path) -> None:
    for side in (10_001, 13_000, 50_000, 2**31 - 1):  # Pillow itself is silent, warns, raises, raises
        (tmp_path / "a.png").write_bytes(png(side, side))
        with pytest.raises(DataError, match=r"a\.png: .*pixels.*bomb"):
            load_picture(tmp_path / "a.png")
    Image.fromarray(noise(20, 20)).save(tmp_path / "b.png")
    assert load_picture(tmp_path / "b.png", max_pixels=400).shape == (20, 20, 3)
    with pytest.raises(DataError, match="20 x 20 pixels are more than the limit of 399"):
        load_picture(tmp_path / "b.png", max_pixels=399)


def test_what_is_no_picture(tmp_path: Path) -> None:
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("hello")
    (tmp_path / "program.eps").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n")
    (tmp_path / "zero.png").write_bytes(png(0, 0))
    (tmp_path / "loop.png").symlink_to("loop.png")
    reasons = {
        "empty.png": "the file is empty",
        "text.png": "not a picture",
        "program.eps": "not a picture",
        "zero.png": "damaged",
        "missing.png": "No such file",
        "loop.png": "symbolic links",
        "": "not a file",
    }
    for name, reason in reasons.items():
        with pytest.raises(DataError, match=reason) as caught:
            load_picture(tmp_path / name)
        assert str(caught.value).startswith(f"{tmp_path / name}: ")
        assert "\n" not in str(caught.value)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes on this system")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.png")
    with pytest.raises(DataError, match="not a file"):
        load_picture(tmp_path / "a.png")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_no_permission(tmp_path: Path) -> None:
    Image.fromarray(noise()).save(tmp_path / "a.png")
    (tmp_path / "a.png").chmod(0)
    with pytest.raises(DataError, match="Permission denied"):
        load_picture(tmp_path / "a.png")
    tmp_path.chmod(0)
    try:
        with pytest.raises(DataError, match="Permission denied"):
            find_pictures(tmp_path)
    finally:
        tmp_path.chmod(0o700)


def test_find_pictures(tmp_path: Path) -> None:
    wanted = ["B.JPG", "a/1.png", "a/b/2.webp", "a10.png", "a2.png", "folder.jpg/x.tiff"]
    hidden = ["Thumbs.db", "._B.JPG", ".cache/x.png", "__MACOSX/x.png", "notes.txt", "a/noextension"]
    for name in wanted + hidden:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = find_pictures(tmp_path)
    assert found == sorted(found)
    assert {str(path.relative_to(tmp_path)) for path in found} == set(wanted)
    assert find_pictures(tmp_path / "notes.txt") == [tmp_path / "notes.txt"]
    assert find_pictures(tmp_path / "__MACOSX") == [tmp_path / "__MACOSX/x.png"]
    with pytest.raises(DataError, match="nowhere: no such file or folder"):
        find_pictures(tmp_path / "nowhere")


def test_find_pictures_follows_links_and_leaves_loops(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real/1.png").touch()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/2.png").touch()
    (tmp_path / "real/up").symlink_to(tmp_path / "real")
    (tmp_path / "real/there").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere/back").symlink_to(tmp_path / "real")
    (tmp_path / "real/gone.png").symlink_to(tmp_path / "nowhere")
    names = [path.relative_to(tmp_path / "real").as_posix() for path in find_pictures(tmp_path / "real")]
    assert names == ["1.png", "gone.png", "there/2.png"]
