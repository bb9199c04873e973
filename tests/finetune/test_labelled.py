"""Data sets as lists, CSV, Stanford's lists, idx files and boxes: the same pictures and labels out of each."""

from __future__ import annotations

import gzip
import json
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from caffe2torch.errors import DataError
from finetune.data.labelled import read_labelled
from finetune.data.source import name_of, read_source


def put(root: Path, *names: str) -> None:
    for number, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (20, 10), (number * 30, 0, 0)).save(root / name)


def told(data: Path, classes: list[str] | None = None) -> dict[str, str]:
    found, _ = read_labelled(data, classes)
    return {
        name_of(path, found.root): found.classes[label] for path, label in zip(found.paths, found.labels, strict=True)
    }


def test_a_folder_per_class_still(tmp_path: Path) -> None:
    put(tmp_path, "a/1.png", "b/1.png")
    assert told(tmp_path) == {"a/1.png": "a", "b/1.png": "b"}


def test_lines_of_path_and_label(tmp_path: Path) -> None:
    put(tmp_path, "in here/one two.png", "x.png")
    (tmp_path / "list.txt").write_text("# mine\nin here/one two.png  cat\n\nx.png\tdog\r\n")
    assert told(tmp_path / "list.txt") == {"in here/one two.png": "cat", "x.png": "dog"}
    found, _ = read_labelled(tmp_path / "list.txt")
    assert [read_source(path).shape for path in found.paths] == [(10, 20, 3)] * 2


def test_numbers_as_labels_are_sorted_by_value(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text("".join(f"{n}.png {n}\n" for n in (10, 9, 2)))
    assert read_labelled(tmp_path / "train.txt")[0].classes == ("2", "9", "10")


def test_csv_with_and_without_boxes(tmp_path: Path) -> None:
    put(tmp_path, "a,b.png", "c.png")
    (tmp_path / "plain.csv").write_text('\ufeffLabel,path\ncat,"a,b.png"\ndog,c.png\n', encoding="utf-8")
    assert told(tmp_path / "plain.csv") == {"a,b.png": "cat", "c.png": "dog"}
    (tmp_path / "boxed").write_text('path,label,x0,y0,x1,y1\n"a,b.png",cat,1,2,9.5,8\nc.png,dog,,,,\n')
    assert told(tmp_path / "boxed") == {"a,b.png#1,2,9.5,8": "cat", "c.png": "dog"}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "file,label\nx.png,1\n", "line 1 names no column path"),
        ("a.csv", "path,label\nx.png\n", "line 2: no label"),
        ("a.csv", "path,label,x0,y0\n", "line 1 names x0, y0; a box takes"),
        ("a.csv", "path,label,x0,y0,x1,y1\nx.png,a,1,2,3,b\n", "line 2: the box 1, 2, 3, b is not four numbers"),
        ("a.csv", "path,label,x0,y0,x1,y1\nx.png,a,5,2,3,9\n", "line 2: the box 5, 2, 3, 9 is empty"),
        ("a.txt", "x.png 1\ny.png\n", "line 2: 'y.png' has no label"),
        ("a.txt", "x.png\0 1\n", "line 1 is no text"),
        ("a.txt", "\n# nothing\n", "names no picture"),
        ("a.txt", "image_id class_id super_class_id path\n1 1 1\n", "line 2: 3 fields"),
    ],
)
def test_what_is_wrong_with_a_list(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=f"{name}.*{message}"):
        read_labelled(tmp_path / name)


def test_stanford_online_products(tmp_path: Path) -> None:
    text = "image_id class_id super_class_id path\n1 1 1 bicycle_final/11_0.JPG\n2 7 12 toaster_final/2 b.JPG\n"
    (tmp_path / "Ebay_train.txt").write_text(text + "3 8 5 other/1.JPG\n")
    assert told(tmp_path / "Ebay_train.txt") == {
        "bicycle_final/11_0.JPG": "bicycle",
        "toaster_final/2 b.JPG": "toaster",
        "other/1.JPG": "5",
    }


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_mnists_files(tmp_path: Path, suffix: str) -> None:
    pack = gzip.compress if suffix else bytes
    pictures = np.random.default_rng(0).integers(0, 256, (4, 6, 5), dtype=np.uint8)
    images = tmp_path / f"train-images-idx3-ubyte{suffix}"
    images.write_bytes(pack(struct.pack(">HBB3I", 0, 8, 3, 4, 6, 5) + pictures.tobytes()))
    with pytest.raises(DataError, match="no train-labels-idx1-ubyte.* beside it"):
        read_labelled(images)
    labels = tmp_path / "train-labels-idx1-ubyte"
    labels.write_bytes(struct.pack(">HBBI", 0, 8, 1, 4) + bytes([7, 10, 7, 1]))
    expected = {f"{images.name}#{place}": label for place, label in enumerate(["7", "10", "7", "1"])}
    assert told(images) == told(tmp_path) == expected
    assert read_labelled(tmp_path)[0].classes == ("1", "7", "10")
    labels.write_bytes(struct.pack(">HBBI", 0, 8, 1, 3) + bytes(3))
    with pytest.raises(DataError, match=r"labels \(3,\) for 4 pictures"):
        read_labelled(tmp_path)


def test_boxes_are_pictures_of_their_labels(tmp_path: Path) -> None:
    put(tmp_path, "one.png", "two.png")
    boxes = {
        "one.png": [{"box": [1, 1, 9, 9], "label": "Ann"}, {"box": [10, 1, 19, 9], "label": "Bo"}],
        "two.png": [{"box": [0, 0, 5, 5], "label": "Ann"}, {"box": [6, 6, 9, 9]}],
    }
    (tmp_path / "boxes.json").write_text(json.dumps(boxes))
    expected = {"one.png#1,1,9,9": "Ann", "one.png#10,1,19,9": "Bo", "two.png#0,0,5,5": "Ann"}
    assert told(tmp_path) == told(tmp_path / "boxes.json") == expected
    found, remarks = read_labelled(tmp_path)
    assert remarks == [f"{tmp_path}: 1 boxes without a label left out"]
    assert read_source(found.paths[0]).shape == (8, 8, 3)


def test_what_onnx_detect_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    put(tmp_path, "one.png")
    (tmp_path / "boxes.csv").write_text("path,x0,y0,x1,y1,score,name,name_score\none.png,1,1,9,9,0.9,Ann,0.8\n")
    (tmp_path / "boxes.jsonl").write_text(
        '{"path": "one.png", "faces": [{"box": [1, 1, 9, 9], "score": 0.9, "name": "Ann"}]}\n'
    )
    assert told(tmp_path / "boxes.csv") == told(tmp_path / "boxes.jsonl") == {"one.png#1,1,9,9": "Ann"}


def test_yolo_beside_its_pictures(tmp_path: Path) -> None:
    put(tmp_path, "one.png")
    (tmp_path / "one.txt").write_text("0 0.5 0.5 0.5 1\n1 0.25 0.5 0.5 0.5\n")
    (tmp_path / "classes.txt").write_text("face\nhand\n")
    assert sorted(told(tmp_path).values()) == ["face", "hand"]


def test_classes_of_a_run(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("x.png b\ny.png a\n")
    found, remarks = read_labelled(tmp_path / "list.txt", ["c", "b", "a"])
    assert (found.classes, found.labels) == (("c", "b", "a"), (1, 2))
    assert remarks == [f"{tmp_path}: no picture of 1 of 3 classes: c"]
    with pytest.raises(DataError, match="b: not among the 1 classes that were trained"):
        read_labelled(tmp_path / "list.txt", ["a"])
    with pytest.raises(DataError, match="no such file or folder; wanted is a folder per class; a list"):
        read_labelled(tmp_path / "nowhere")
