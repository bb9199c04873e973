"""Pictures that are small as files and large when decoded: a process's threads decode one of them at a time."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from caffe2torch import pictures
from caffe2torch.errors import DataError
from caffe2torch.pictures import load_picture


def test_large_pictures_are_decoded_one_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "LARGE", 100)
    for name, side in (("large.png", 11), ("small.png", 10)):
        Image.new("RGB", (side, side), "red").save(tmp_path / name)
    inside, most = 0, {"large.png": 0, "small.png": 0}
    together, counting = threading.Barrier(2), threading.Lock()
    upright = pictures._upright

    def slowly(image: Image.Image) -> Image.Image:
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
        return upright(image)

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
