"""Sources: whole files, boxes and idx files read, told apart and named."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from caffe2torch.errors import DataError
from caffe2torch.pictures import load_picture
from finetune.data.batches import Reader
from finetune.data.idx import is_idx, read_idx
from finetune.data.source import BoxSource, IdxSource, digest, file_of, name_of, read_source

DIGITS = np.random.default_rng(0).integers(0, 256, (5, 8, 6), dtype=np.uint8)


def write_idx(path: Path, array: np.ndarray) -> Path:
    content = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    Image.fromarray(np.random.default_rng(1).integers(0, 256, (20, 30, 3), dtype=np.uint8)).save(path)
    return path


def test_a_file_is_read_as_it_always_was(photo: Path) -> None:
    np.testing.assert_array_equal(read_source(photo, (8, 12)), load_picture(photo, (8, 12)))


def test_a_box_is_cut_out_and_clipped(photo: Path) -> None:
    whole = load_picture(photo)
    np.testing.assert_array_equal(read_source(BoxSource(photo, (3, 4, 13, 9))), whole[4:9, 3:13])
    np.testing.assert_array_equal(read_source(BoxSource(photo, (-5, 10.5, 7.2, 99))), whole[10:, :8])
    assert read_source(BoxSource(photo, (3, 4, 13, 9)), (6, 7)).shape == (6, 7, 3)
    with pytest.raises(DataError, match=r"photo\.png#40,0,50,9: no pixel of the picture \(30 x 20\)"):
        read_source(BoxSource(photo, (40, 0, 50, 9)))


@pytest.mark.parametrize("name", ["digits", "digits.gz"])
def test_pictures_of_an_idx_file(tmp_path: Path, name: str) -> None:
    path = write_idx(tmp_path / name, DIGITS)
    assert is_idx(path)
    picture = read_source(IdxSource(path, 3))
    assert picture.shape == (8, 6, 3) and picture.dtype == np.uint8
    for channel in range(3):
        np.testing.assert_array_equal(picture[:, :, channel], DIGITS[3])
    with pytest.raises(DataError, match="digits.*#5: the file holds 5 pictures"):
        read_source(IdxSource(path, 5))


def test_damaged_idx_files(tmp_path: Path) -> None:
    good = write_idx(tmp_path / "good", DIGITS).read_bytes()
    cases = {
        "promises 240 bytes": good[:-1],
        "type 0x0d": b"\0\0\x0d\3" + good[4:],
        "9 axes": b"\0\0\x08\x09" + good[4:] + bytes(99),
        "damaged or truncated": good[:7],
        "not an idx file": b"no" + good[2:],
        r"damaged or truncated: (Compressed|Error)": gzip.compress(good)[:60],
        "more than it can hold": gzip.compress(b"\0\0\x08\x03" + b"\xff" * 12),
    }
    for number, (message, content) in enumerate(cases.items()):
        path = tmp_path / str(number)
        path.write_bytes(content)
        with pytest.raises(DataError, match=message):
            read_idx(path)
    assert not is_idx(tmp_path / "missing")
    labels = write_idx(tmp_path / "labels", np.arange(5, dtype=np.uint8))
    with pytest.raises(DataError, match=r"holds no pictures: its shape is \(5,\)"):
        read_source(IdxSource(labels, 0))


def test_digests_follow_the_bytes_and_the_box(tmp_path: Path, photo: Path) -> None:
    copy = tmp_path / "copy.png"
    copy.write_bytes(photo.read_bytes())
    path = write_idx(tmp_path / "digits", DIGITS)
    packed = write_idx(tmp_path / "digits.gz", DIGITS)
    assert digest(photo) == digest(copy)
    assert digest(IdxSource(path, 1)) == digest(IdxSource(packed, 1))
    different = [photo, BoxSource(photo, (0, 0, 5, 5)), BoxSource(photo, (0, 0, 5, 6))]
    different += [IdxSource(path, 0), IdxSource(path, 1)]
    assert len({digest(source) for source in different}) == 5
    with pytest.raises(DataError, match=r"gone\.png: cannot be read: No such file"):
        digest(tmp_path / "gone.png")


def test_names_tell_sources_apart(tmp_path: Path) -> None:
    root = tmp_path / "data"
    assert name_of(root / "a" / "b.png", root) == "a/b.png"
    assert name_of(Path("/elsewhere/b.png"), root) == "/elsewhere/b.png"
    assert name_of(BoxSource(root / "b.png", (1, 2.5, 3, 123456.25)), root) == "b.png#1,2.5,3,123456.25"
    assert name_of(IdxSource(root / "digits", 7), root) == "digits#7"
    assert name_of(IdxSource(root, 7), root) == "data#7"
    assert file_of(IdxSource(root / "digits", 7)) == file_of(root / "digits") == root / "digits"


@pytest.mark.parametrize("workers", [0, 1])
def test_a_reader_decodes_all_kinds(tmp_path: Path, photo: Path, workers: int) -> None:
    digits = write_idx(tmp_path / "digits.gz", DIGITS)
    plan = [[photo, BoxSource(photo, (0, 0, 9, 9))], [IdxSource(digits, 0), IdxSource(digits, 9)]]
    with Reader((8, 12), workers) as reader:
        first, second = reader.read(plan)
    for place in range(2):
        np.testing.assert_array_equal(first.pictures[place].numpy(), read_source(plan[0][place], (8, 12)))
    assert len(second.pictures) == 1
    assert "holds 5 pictures" in second.unreadable[1]
