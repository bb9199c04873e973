"""Nothing that is made of one file takes the place of what is made of another, or of what is read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from finetune.detection.places import check_places
from finetune.detection.sources import list_sources
from tests.finetune.detection.conftest import squares
from tests.finetune.detection.test_detect import run, seen


def red(path: Path, *sides: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    squares(140, 100, [(8 + 40 * place, 20, side) for place, side in enumerate(sides)]).save(path)
    return path


def test_overlays_of_names_that_become_one(detector_file: Path, tmp_path: Path) -> None:
    pictures, made = tmp_path / "pictures", tmp_path / "made"
    red(pictures / "a.webp", 32)
    squares(50, 50, []).save(pictures / "a.webp.png")
    assert run("-m", detector_file, pictures, "--overlay", made).exit_code == 0
    sizes = {file.name: Image.open(file).size for file in made.iterdir()}
    assert sizes == {"a.webp.png": (140, 100), "a.webp-2.png": (50, 50)}


def test_videos_that_become_one_mp4(tmp_path: Path) -> None:
    for name in ("a.mkv", "a.mp4"):
        (tmp_path / name).write_bytes(b"")
    assert [str(source.shown) for source in list_sources([tmp_path])] == ["a.mp4", "a-2.mp4"]


def test_a_picture_called_as_the_list_of_classes(detector_file: Path, tmp_path: Path) -> None:
    pictures, labels = tmp_path / "pictures", tmp_path / "labels"
    red(pictures / "Classes.jpg", 32)
    result = run("-m", detector_file, pictures, "--format", "yolo", "-o", labels)
    assert result.exit_code == 1
    assert f"its labels would take the place of {labels / 'classes.txt'}" in result.stderr
    assert not labels.exists()
    assert run("-m", detector_file, pictures, "--format", "csv", "-o", tmp_path / "out.csv").exit_code == 0


def test_labels_are_found_by_the_pictures_name(detector_file: Path, tmp_path: Path) -> None:
    red(tmp_path / "one" / "x.png", 32)
    red(tmp_path / "two" / "x.jpg", 32)
    asked = ("-m", detector_file, "--format", "yolo", "-o", tmp_path / "labels")
    result = run(*asked, tmp_path / "one", tmp_path / "two")
    assert result.exit_code == 1 and "YOLO's are called as the picture" in result.stderr
    assert run(*asked, tmp_path).exit_code == 0
    assert (tmp_path / "labels" / "two" / "x.txt").read_text().startswith("0 ")


@pytest.mark.parametrize(("name", "wrong"), [("a-000012.png", True), ("a-12.png", False), ("b-000012.png", False)])
def test_a_picture_called_as_a_frame(tmp_path: Path, name: str, wrong: bool) -> None:
    (tmp_path / "a.mp4").write_bytes(b"")
    red(tmp_path / name, 32)
    sources = list_sources([tmp_path])
    check_places(sources, tmp_path / "made", None, None)
    for places in ((None, tmp_path / "cut", None), (None, None, tmp_path / "labels")):
        if wrong:
            with pytest.raises(Exception, match="is called as a frame of"):
                check_places(sources, *places)
        else:
            check_places(sources, *places)


def test_faces_and_pictures_with_boxes_in_one_folder(detector_file: Path, tmp_path: Path) -> None:
    pictures, made = tmp_path / "pictures", tmp_path / "made"
    red(pictures / "a.png", 32)
    asked = ("-m", detector_file, pictures, "--overlay", made, "--crops", made)
    assert run(*asked).exit_code == 0
    assert sorted(file.name for file in made.iterdir()) == ["a-1.png", "a.png"]
    red(pictures / "a-1.png")
    result = run(*asked)
    assert result.exit_code == 1 and "--overlay and --crops name two folders" in result.stderr


def test_what_is_read_is_never_replaced(detector_file: Path, tmp_path: Path) -> None:
    first, second = red(tmp_path / "a" / "x.png", 32), red(tmp_path / "b" / "x.png", 64)
    face = red(tmp_path / "a" / "x-1.png", 16)
    before = [path.read_bytes() for path in (second, face)]
    result = run("-m", detector_file, first, second, "--overlay", tmp_path / "b")
    assert result.exit_code == 1 and f"{second}: is what is read; --overlay names another" in result.stderr
    result = run("-m", detector_file, first, face, "--crops", tmp_path / "a")
    assert result.exit_code == 1 and f"{face}: is what is read, and called as a face" in result.stderr
    assert [path.read_bytes() for path in (second, face)] == before


def test_folders_that_pictures_are_written_to(detector_file: Path, tmp_path: Path) -> None:
    pictures = tmp_path / "pictures"
    red(pictures / "a.png", 32)
    red(pictures / "cut" / "old.png", 32, 32)
    asked = ("-m", detector_file, "--format", "jsonl")
    result = run(*asked, pictures, "--crops", pictures / "cut")
    assert [Path(entry["path"]).name for entry in seen(result)] == ["a.png"]
    assert f"{pictures / 'cut'}: the pictures in it are not looked at" in result.stderr
    result = run(*asked, pictures / "**" / "*.png", "--crops", pictures / "cut")
    assert [Path(entry["path"]).name for entry in seen(result)] == ["a.png"]
    for path in (pictures, pictures / "*.png"):
        result = run(*asked, path, "--crops", pictures)
        assert result.exit_code == 1 and f"{pictures}: is what is looked at" in result.stderr
    (tmp_path / "pictures" / "cut" / "old.png").unlink()
    result = run(*asked, pictures, "--overlay", tmp_path)
    assert result.exit_code == 0 and (tmp_path / "a.png").exists()


@pytest.mark.parametrize("option", ["--overlay", "--crops"])
def test_a_file_where_a_folder_is_wanted(detector_file: Path, tmp_path: Path, option: str) -> None:
    red(tmp_path / "a.png", 32)
    (tmp_path / "notes").write_text("mine")
    result = run("-m", detector_file, tmp_path / "a.png", option, tmp_path / "notes")
    assert result.exit_code == 1 and f"{tmp_path / 'notes'}: is a file; the name of a folder" in result.stderr
    assert (tmp_path / "notes").read_text() == "mine"


def test_labels_go_to_a_folder_always(detector_file: Path, tmp_path: Path) -> None:
    picture = red(tmp_path / "a.png", 32)
    asked = ("-m", detector_file, picture, "--format", "yolo", "-o")
    assert run(*asked, tmp_path / "labels").exit_code == 0
    assert sorted(file.name for file in (tmp_path / "labels").iterdir()) == ["a.txt", "classes.txt"]
    for name in ("labels.txt", "a.png"):
        result = run(*asked, tmp_path / name)
        assert result.exit_code == 1 and "with --format yolo, -o names one" in result.stderr
    assert not (tmp_path / "labels.txt").exists()
    assert run(*asked, "-").stdout.startswith("0 ")


def test_what_was_deleted_is_made_again(detector_file: Path, tmp_path: Path) -> None:
    pictures, cut, labels = tmp_path / "pictures", tmp_path / "cut", tmp_path / "labels"
    for number in range(3):
        red(pictures / f"{number}.png", 32, 16)
    asked = ("-m", detector_file, pictures, "--format", "yolo", "-o", labels, "--crops", cut, "--resume")
    assert run(*asked).exit_code == 0
    before = {file: file.stat().st_mtime_ns for file in cut.iterdir()}
    assert len(before) == 6
    (cut / "1-2.png").unlink()
    (labels / "2.txt").unlink()
    result = run(*asked)
    assert result.exit_code == 0 and "3 files were looked at before" in result.stderr
    changed = {file.name for file in cut.iterdir() if file.stat().st_mtime_ns != before[file]}
    assert changed == {"1-1.png", "1-2.png"}
    assert len((labels / "2.txt").read_text().splitlines()) == 2


def test_a_file_that_comes_before_takes_the_name(detector_file: Path, tmp_path: Path) -> None:
    """x.jpg is x no more when there is x.bmp: what was made of it as x is not taken for that of x-2, x.png's."""
    pictures, cut = tmp_path / "pictures", tmp_path / "cut"
    red(pictures / "x.jpg", 64)
    red(pictures / "x.png", 16)
    asked = ("-m", detector_file, pictures, "--crops", cut, "--margin", "0", "--resume")
    assert run(*asked).exit_code == 0
    red(pictures / "x.bmp", 32)
    assert run(*asked).exit_code == 0
    sides = {file.name: np.asarray(Image.open(file)).shape[0] for file in cut.iterdir() if file.suffix == ".png"}
    assert sides == {"x-1.png": 32, "x-2-1.png": 64, "x-3-1.png": 16}
