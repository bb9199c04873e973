"""Reading boxes in every format, and what is said of those that cannot be read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from caffe2torch.errors import DataError
from finetune.data.boxes import BoxedPicture, only, read_boxes

BOX = [10.0, 4.0, 30.0, 28.0]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two pictures of 40 x 32 pixels."""
    for name in ("a.png", "b.png"):
        Image.new("RGB", (40, 32)).save(tmp_path / name)
    return tmp_path


def check(pictures: list[BoxedPicture], folder: Path, label: str = "") -> None:
    """``a.png`` has BOX, ``b.png`` none."""
    assert [picture.path for picture in pictures] == [folder / "a.png", folder / "b.png"]
    first, second = pictures
    assert first.boxes.dtype == np.float32 and np.allclose(first.boxes, [BOX], atol=1e-3)
    assert first.labels == (label,) and first.difficult.tolist() == [False]
    assert second.boxes.shape == (0, 4) and second.labels == () and second.difficult.shape == (0,)


def write_json(folder: Path, content: Any, name: str = "boxes.json") -> Path:
    (folder / name).write_text(json.dumps(content))
    return folder


@pytest.mark.parametrize(
    "content",
    [
        {"format": "xyxy", "images": [{"file": "a.png", "faces": [{"box": BOX}]}, {"file": "b.png", "faces": []}]},
        {"a.png": [{"box": BOX}], "b.png": []},
        {"b.png": [], "a.png": [BOX]},
        [{"path": "a.png", "faces": [{"box": BOX, "score": 0.5}]}, {"path": "b.png", "boxes": []}],
    ],
    ids=["images", "mapping", "plain mapping", "as detect writes"],
)
def test_json(folder: Path, content: Any) -> None:
    check(read_boxes(write_json(folder, content)), folder)
    check(read_boxes(folder / "boxes.json"), folder)


def test_labels_and_difficult_boxes(folder: Path) -> None:
    marks = [{"box": BOX, "label": "shana"}, {"bbox": [0, 0, 5, 5], "difficult": True}]
    (picture,) = read_boxes(write_json(folder, {"a.png": marks}))
    assert picture.labels == ("shana", "") and picture.difficult.tolist() == [False, True]


def test_coco(folder: Path) -> None:
    content = {
        "images": [{"id": 7, "file_name": "a.png"}, {"id": 8, "file_name": "b.png"}],
        "annotations": [{"image_id": 7, "bbox": [10, 4, 20, 24], "category_id": 1, "iscrowd": 0}],
        "categories": [{"id": 1, "name": "face"}],
    }
    check(read_boxes(write_json(folder, content, "_annotations.coco.json")), folder, "face")
    content["annotations"][0]["iscrowd"] = 1
    assert read_boxes(write_json(folder, content, "_annotations.coco.json"))[0].difficult.tolist() == [True]


def test_voc(folder: Path) -> None:
    thing = "<object><name>face</name><difficult>{}</difficult><bndbox><xmin>11</xmin><ymin>5</ymin><xmax>30</xmax>"
    thing += "<ymax>28</ymax></bndbox></object>"
    (folder / "a.xml").write_text(f"<annotation><filename>a.png</filename>{thing.format(0)}</annotation>")
    (folder / "b.xml").write_text("<annotation><filename>b.png</filename></annotation>")
    check(read_boxes(folder), folder, "face")
    (folder / "a.xml").write_text(f"<annotation><filename>a.png</filename>{thing.format(1)}</annotation>")
    assert read_boxes(folder / "a.xml")[0].difficult.tolist() == [True]


@pytest.mark.parametrize("place", ["beside", "labels"])
def test_yolo(folder: Path, place: str) -> None:
    texts, pictures = folder, folder
    if place == "labels":
        texts, pictures = folder / "labels", folder / "images"
        for new in (texts, pictures):
            new.mkdir()
        for name in ("a.png", "b.png"):
            (folder / name).rename(pictures / name)
    (texts / "a.txt").write_text("1 0.5 0.5 0.5 0.75\n")
    (folder / "classes.txt").write_text("hand\nface\n")
    check(read_boxes(folder), pictures, "face")


def test_lines(folder: Path) -> None:
    (folder / "gt.txt").write_text("# faces\na.png 10 4 30 28\nb.png\n")
    check(read_boxes(folder), folder)
    (folder / "other.csv").write_text("a.png,10,4,30,28,shana\nb.png\n")
    check(read_boxes(folder / "other.csv"), folder, "shana")
    (folder / "more.txt").write_text("a.png 1 2 3 4\n")
    with pytest.raises(DataError, match=r"gt.txt, more.txt"):
        read_boxes(folder)


def test_several_lines_are_one_picture(folder: Path) -> None:
    (folder / "gt.txt").write_text("a.png 10 4 30 28\na.png 0 0 4.5 4\n")
    (picture,) = read_boxes(folder / "gt.txt")
    assert picture.boxes.tolist() == [BOX, [0, 0, 4.5, 4]]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({"a.png": [[1, 2, 3]]}, "x0, y0, x1, y1"),
        ({"a.png": [[5, 5, 5, 9]]}, "is empty"),
        ({"a.png": [[1, 2, "x", 9]]}, "no number of pixels"),
        ({"a.png": [[1, 2, float("nan"), 9]]}, "no number of pixels"),
        ({"a.png": [[1, 2, 10**400, 9]]}, "no number of pixels"),
        ({"a.png": [[False, 2, 3, 9]]}, "no number of pixels"),
        ({"c.png": []}, r"'c.png' is not in"),
        ({"a\0.png": []}, "is not in"),
        ({"a.png" * 5000: []}, "is not in"),
        ({"images": [{"faces": []}]}, "picture 0: has no file name"),
        ([5], "picture 0"),
        (5, "neither a list nor a mapping"),
        ([], "names no picture"),
        ({"annotations": [{}]}, "entry 0: has no id"),
        ({"annotations": [{"image_id": 1}]}, "image_id 1 is no picture's"),
        ({"annotations": [], "images": [{"id": []}]}, "entry 0 has no file_name"),
        ({"annotations": [], "images": [{"id": [], "file_name": "a.png"}]}, "has no id"),
    ],
)
def test_json_that_is_refused(folder: Path, content: Any, says: str) -> None:
    with pytest.raises(DataError, match=says):
        read_boxes(write_json(folder, content))


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe\x00", b"[" * 200_000, b"[1" + b"0" * 5000 + b"]"])
def test_damaged_json(folder: Path, content: bytes) -> None:
    (folder / "boxes.json").write_bytes(content)
    with pytest.raises(DataError, match="boxes.json"):
        read_boxes(folder)


BOMB = '<!DOCTYPE a [<!ENTITY x "ha"><!ENTITY y "&x;&x;">]><annotation><filename>&y;</filename></annotation>'
OUTSIDE = '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><annotation><filename>&x;</filename></annotation>'


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (BOMB, "DOCTYPE"),
        (OUTSIDE, "DOCTYPE"),
        ("<annotation>", "not XML, or damaged"),
        ('<?xml version="1.0" encoding="no-such"?><annotation/>', "not XML, or damaged"),
        ("", "not XML, or damaged"),
        ("<annotation><filename>a.png</filename><object/></annotation>", "object 0: None is no number"),
        ("<annotation/>", "is not in"),
    ],
)
def test_xml_that_is_refused(folder: Path, content: str, says: str) -> None:
    (folder / "a.xml").write_text(content)
    with pytest.raises(DataError, match=says):
        read_boxes(folder)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("0 0.5 0.5 0.2", "line 1: 4 values"),
        ("0 10 4 30 28", "not parts of the picture"),
        ("0 .5 .5 0 .1", "is empty"),
        ("0 a b c d", "no number"),
    ],
)
def test_yolo_that_is_refused(folder: Path, line: str, says: str) -> None:
    (folder / "a.txt").write_text(line)
    with pytest.raises(DataError, match=says):
        read_boxes(folder)


def test_nothing_there(folder: Path) -> None:
    with pytest.raises(DataError, match="no boxes found"):
        read_boxes(folder)
    with pytest.raises(DataError, match="no such file or folder"):
        read_boxes(folder / "none")
    (folder / "gt.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="not a text file"):
        read_boxes(folder)


def test_shared_sets(shared: Path) -> None:
    pictures = read_boxes(shared / "data" / "boxes_cc_anime")
    assert len(pictures) == 93 and all(len(picture.boxes) for picture in pictures)
    lines = read_boxes(shared / "data" / "boxes_scooby_val" / "task1_gt_validare.txt")
    assert sum(len(picture.boxes) for picture in lines) == 332


def test_lines_of_json_and_csv_by_hand(folder: Path) -> None:
    one = {"path": "a.png", "faces": [{"box": [10, 4, 30, 28], "name": "shana", "score": 1}]}
    for content in (json.dumps(one), json.dumps(one) + "\n\n" + json.dumps({"path": "b.png", "faces": []})):
        (folder / "found.anything").write_text(content)
        first, *others = read_boxes(folder / "found.anything")
        assert (first.boxes.tolist(), first.labels) == ([[10, 4, 30, 28]], ("shana",))
        assert [len(other.boxes) for other in others] == [0] * ("b.png" in content)
    (folder / "more.csv").write_text("x0,y0,x1,y1,file,label\n10,4,30,28,a.png,shana\n,,,,b.png,\n")
    check(read_boxes(folder / "more.csv"), folder, "shana")
    (folder / "more.csv").write_text("x0,y0,x1,y1,file\n10,4,30,28,a.png\n10,4,,28,b.png\n")
    with pytest.raises(DataError, match=r"more\.csv: row 2: '' is no number of pixels"):
        read_boxes(folder / "more.csv")
    (folder / "torn.jsonl").write_text(json.dumps(one) + '\n{"path": "b.p')
    with pytest.raises(DataError, match=r"torn\.jsonl: not JSON, or damaged"):
        read_boxes(folder / "torn.jsonl")


def test_labels_apart_from_their_pictures(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("0 0.5 0.5 0.1 0.1\n")
    (tmp_path / "b.txt").write_text("")
    (tmp_path / "classes.txt").write_text("face\n")
    with pytest.raises(DataError, match="YOLO's labels without pictures; they are read beside them, or in a folder"):
        read_boxes(tmp_path)


def test_a_picture_in_two_places(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    (folder / "shown").mkdir()
    (folder / "shown" / "boxes.json").write_text(json.dumps({"a.png": [BOX]}))
    (one,) = read_boxes(folder / "shown" / "boxes.json")  # as seen from the working folder
    assert one.path.samefile(folder / "a.png")
    Image.new("RGB", (40, 32), "red").save(folder / "shown" / "a.png")  # such as the picture with boxes drawn on it
    with pytest.raises(DataError, match=r"'a\.png' may be .*shown/a\.png or a\.png; move one of them"):
        read_boxes(folder / "shown" / "boxes.json")


def test_a_backslash_is_a_letter_or_parts_folders(folder: Path) -> None:
    (folder / "in").mkdir()
    for name in ("b\\s.png", "in/c.png"):
        Image.new("RGB", (40, 32)).save(folder / name)
    (folder / "boxes.json").write_text(json.dumps({"b\\s.png": [BOX], "in\\c.png": [BOX]}))
    assert [one.path for one in read_boxes(folder / "boxes.json")] == [folder / "b\\s.png", folder / "in" / "c.png"]


def test_boxes_of_some_labels_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.new("RGB", (50, 50)).save(tmp_path / "a.png")
    Image.new("RGB", (50, 50)).save(tmp_path / "b.png")
    (tmp_path / "boxes.txt").write_text("a.png 1 2 3 4 face\na.png 5 6 7 8 bottle\nb.png 9 9 12 12\n")
    pictures = read_boxes(tmp_path)
    first, second = only(pictures, ["face", ""])
    assert (first.boxes.tolist(), first.labels, first.difficult.tolist()) == ([[1, 2, 3, 4]], ("face",), [False])
    assert second.labels == ("",)
    assert capsys.readouterr().err == ""
    assert only(pictures) == pictures
    assert "3 labels (face 1, bottle 1, (none) 1)" in capsys.readouterr().err
    with pytest.raises(DataError, match="no box has the label 'cup'"):
        only(pictures, ["cup"])
