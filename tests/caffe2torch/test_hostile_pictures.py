"""Pictures that are small as files and large when decoded: a process's threads decode one of them at a time."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from caffe2torch import pictures
from caffe2torch.errors import DataError
from caffe2torch.pictures import glance, load_picture


def test_large_pictures_are_decoded_one_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "LARGE", 100)
    for name, side in (("large.png", 11), ("small.png", 10)):
        Image.new("RGB", (side, side), "red").save(tmp_path / name)
    inside, most = 0, {"large.png": 0, "small.png": 0}
    together, counting = threading.Barrier(2), threading.Lock()
    upright = pictures._upright

    def slowly(image: Image.Image, method: Image.Transpose | None) -> Image.Image:
        nonlocal inside
        name = "large.png" if image.size[0] > 10 else "small.png"
        with counting:
            inside += 1
            most[name] = max(most[name], inside)
        try:
            together.wait(0.2 if name == "large.png" else 20)  # for another thread to get here
        except threading.BrokenBarrierError:
            together.reset()
        with counting:
            inside -= 1
        return upright(image, method)

    monkeypatch.setattr(pictures, "_upright", slowly)
    with ThreadPoolExecutor(2) as threads:
        for name in most:
            for found in threads.map(lambda path: load_picture(path, (4, 4)), [tmp_path / name] * 2):
                np.testing.assert_array_equal(found, np.full((4, 4, 3), (255, 0, 0), np.uint8))
    assert most == {"large.png": 1, "small.png": 2}


def test_a_damaged_large_picture_lets_the_next_one_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "LARGE", 100)
    path = tmp_path / "large.png"
    Image.effect_noise((40, 40), 50).save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-200])
    with pytest.raises(DataError, match="damaged or truncated"):
        load_picture(path)
    path.write_bytes(whole)
    assert load_picture(path).shape == (40, 40, 3)


@pytest.mark.parametrize("orientation", [1, 3, 6, 7])
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "L", "LA", "I;16"])
def test_large_pictures_are_the_same_in_tiles(
    mode: str, orientation: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (300, 415, 4), np.uint8)
    image = Image.fromarray(noise)
    if mode == "I;16":
        image = Image.fromarray(noise[..., 0].astype(np.uint16) * 200)
    elif mode == "P":
        image = image.convert("RGB").quantize(20)
        image.info["transparency"] = 3
    else:
        image = image.convert(mode)
    exif = Image.Exif()
    exif[pictures.ORIENTATION] = orientation
    image.save(tmp_path / "picture.png", exif=exif)
    whole, resized = load_picture(tmp_path / "picture.png"), load_picture(tmp_path / "picture.png", (30, 41))
    size, small = glance(tmp_path / "picture.png", 16)
    monkeypatch.setattr(pictures, "LARGE", 100)
    monkeypatch.setattr(pictures, "TILE", 64)
    np.testing.assert_array_equal(load_picture(tmp_path / "picture.png"), whole)
    np.testing.assert_array_equal(load_picture(tmp_path / "picture.png", (30, 41)), resized)
    large, again = glance(tmp_path / "picture.png", 16)
    assert large == size == (whole.shape[1], whole.shape[0])
    apart = np.abs(again.astype(int) - small)
    assert apart.max() <= (0 if orientation == 1 else 12), "turned, the reduced rows begin at the other end"


def test_looking_at_many_large_pictures_takes_the_memory_of_one(tmp_path: Path) -> None:
    """Four of 17 million pixels, in four threads: 67 MB each as Pillow keeps them."""
    resource = pytest.importorskip("resource")
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    Image.new("RGBA", (4100, 4100), (1, 2, 3, 4)).save(tmp_path / "a" / "0.png", compress_level=1)
    for name in ("a/1.png", "b/0.png", "b/1.png"):
        os.link(tmp_path / "a" / "0.png", tmp_path / name)
    code = (
        "import resource, sys; from pathlib import Path; from finetune.data.overview import overview\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "assert len(overview(Path(sys.argv[1]), threads=4).sizes) == 4\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    assert resource
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=True)
    assert int(done.stdout) * (1 if sys.platform == "darwin" else 1024) < 110e6
