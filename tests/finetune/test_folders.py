"""A folder per class: what is found, what is left out and said, what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from caffe2torch.errors import DataError
from finetune.data.folders import check_trainable, read_folders


def put(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(root / name)


def test_classes_are_sorted_and_pictures_found_at_any_depth(tmp_path: Path) -> None:
    put(tmp_path, "b/1.png", "b/deep/er/2.jpg", "a/1.png")
    found, remarks = read_folders(tmp_path)
    assert found.classes == ("a", "b")
    assert [
        (path.relative_to(tmp_path).as_posix(), label) for path, label in zip(found.paths, found.labels, strict=True)
    ] == [
        ("a/1.png", 0),
        ("b/1.png", 1),
        ("b/deep/er/2.jpg", 1),
    ]
    assert found.counts() == [1, 2]
    assert remarks == []


def test_what_is_left_out_is_said(tmp_path: Path) -> None:
    put(tmp_path, "a/1.png", "b/1.png", "no/1.png", "loose.png", ".hidden/1.png")
    (tmp_path / "no/ignore").touch()
    (tmp_path / "empty").mkdir()
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts/notes.txt").touch()
    found, remarks = read_folders(tmp_path)
    assert found.classes == ("a", "b")
    said = "\n".join(remarks)
    assert "1 folder with a file named ignore left out: no\n" in said
    assert "2 folders without a picture left out: empty, texts\n" in said
    assert "1 picture beside the class folders left out: loose.png" in said
    assert "1 hidden folder left out: .hidden\n" in said


def test_a_folder_named_ignore_is_not_the_mark(tmp_path: Path) -> None:
    put(tmp_path, "a/ignore/1.png", "b/1.png")
    assert read_folders(tmp_path)[0].classes == ("a", "b")


def test_classes_of_a_run_keep_their_order(tmp_path: Path) -> None:
    put(tmp_path, "a/1.png", "b/1.png")
    found, remarks = read_folders(tmp_path, ["c", "b", "a"])
    assert found.classes == ("c", "b", "a")
    assert found.labels == (2, 1)
    assert remarks == [f"{tmp_path}: no folder for 1 class: c"]


def test_a_class_that_was_not_trained_is_an_error(tmp_path: Path) -> None:
    put(tmp_path, "a/1.png", "new/1.png")
    with pytest.raises(DataError, match="new: not among the 1 classes that were trained"):
        read_folders(tmp_path, ["a"])


def test_no_classes(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder"):
        read_folders(tmp_path / "nowhere")
    put(tmp_path, "loose.png")
    with pytest.raises(DataError, match=r"no folder with pictures in it.*loose\.png"):
        read_folders(tmp_path)
    with pytest.raises(DataError, match="not a folder"):
        read_folders(tmp_path / "loose.png")


def test_too_few_pictures_or_classes(tmp_path: Path) -> None:
    put(tmp_path, "a/1.png", "a/2.png", "b/1.png", "c/1.png")
    with pytest.raises(DataError, match="fewer than 2 readable pictures in b, c: add pictures"):
        check_trainable(read_folders(tmp_path)[0])
    put(tmp_path, "only/a/1.png", "only/a/2.png")
    with pytest.raises(DataError, match="only one class, a"):
        check_trainable(read_folders(tmp_path / "only")[0])
