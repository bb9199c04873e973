"""finetune data: what it tells of a data set, as text and JSON, and the contact sheet."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image, ImageOps

from finetune.cli import main
from finetune.data.labelled import read_labelled
from finetune.data.sheet import EDGE, TILE, TITLE, write_sheet


@pytest.fixture
def messy(painted: Path) -> Path:
    """Thirty painted pictures, and: a broken one, a copy, a copy under another class, a mirrored one, a large one."""
    (painted / "blue/broken.png").write_bytes(b"no picture")
    (painted / "blue/copy.png").write_bytes((painted / "blue/00.png").read_bytes())
    (painted / "red/blue.png").write_bytes((painted / "blue/01.png").read_bytes())
    ImageOps.mirror(Image.open(painted / "green/03.png")).save(painted / "green/mirrored.png")
    Image.fromarray(np.random.default_rng(5).integers(0, 256, (90, 200, 3), dtype=np.uint8)).save(painted / "red/l.png")
    return painted


def test_as_json(messy: Path) -> None:
    result = CliRunner().invoke(main, ["data", str(messy), "--json"])
    assert result.exit_code == 0, result.stderr
    said = json.loads(result.stdout)
    assert said["pictures"] == 34
    assert [(row["label"], row["pictures"]) for row in said["classes"]] == [("blue", 11), ("green", 11), ("red", 12)]
    assert said["classes"][2]["largest"] == [200, 90] and said["sizes"]["smallest"] == [28, 20]
    assert said["unreadable"][0]["name"] == "blue/broken.png"
    assert said["unreadable"][0]["reason"].startswith("not a picture")
    assert said["same"] == [["blue/00.png", "blue/copy.png"], ["blue/01.png", "red/blue.png"]]
    assert said["conflicts"] == [["blue/01.png", "red/blue.png"]]
    assert ["green/03.png", "green/mirrored.png"] in said["near_duplicates"]
    assert len(said["near_duplicates"]) == 3
    files = list(messy.rglob("*.png"))
    assert said["bytes"] == sum(path.stat().st_size for path in files)


def test_as_text(messy: Path) -> None:
    result = CliRunner().invoke(main, ["data", str(messy)])
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0].startswith(f"{messy}: 3 classes, 34 pictures, ")
    assert lines[1].split() == ["class", "pictures", "smallest", "median", "largest"]
    assert lines[4].split()[:2] == ["red", "12"] and lines[4].endswith("200 x 90")
    text = result.stdout
    assert "1 pictures that cannot be read:\n  blue/broken.png: not a picture" in text
    assert "1 groups of the same bytes in different classes:\n  blue/01.png = red/blue.png" in text
    assert "2 groups of the same bytes (2 pictures too many)" in text
    assert "3 groups of near-duplicates, 6 pictures" in text


def test_a_list_and_what_is_not_there(painted: Path, tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("path,label\npainted/blue/00.png,a\npainted/red/00.png,b\ngone.png,b\n")
    result = CliRunner().invoke(main, ["data", str(tmp_path / "list.csv")])
    assert result.exit_code == 0
    assert "2 classes, 2 pictures" in result.stdout and "gone.png: cannot be read: No such file" in result.stdout
    result = CliRunner().invoke(main, ["data", str(tmp_path / "nowhere")])
    assert result.exit_code == 1 and "no such file or folder; wanted is a folder per class" in result.stderr


def test_the_contact_sheet(painted: Path, tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.png"
    result = CliRunner().invoke(main, ["data", str(painted), "--sheet", str(sheet)])
    assert result.exit_code == 0, result.stderr
    assert f"{sheet}: a contact sheet" in result.stderr
    pixels = np.array(Image.open(sheet))
    middles = [pixels[EDGE + row * (TITLE + TILE + 10) + TITLE + TILE // 2, EDGE + TILE // 2] for row in range(3)]
    for middle, colour in zip(middles, ((60, 90, 200), (70, 180, 60), (210, 60, 70)), strict=True):
        assert np.abs(middle.astype(int) - colour).max() < 90
    assert (pixels[EDGE : EDGE + TITLE, EDGE : EDGE + 60] < 128).any()  # the class's name
    result = CliRunner().invoke(main, ["data", str(painted), "--sheet", str(sheet)])
    assert result.exit_code == 1 and "exists already; --force replaces it" in result.stderr


def test_a_sheet_of_many_classes_and_hostile_names(tmp_path: Path) -> None:
    for number in range(70):
        folder = (
            tmp_path / "data" / f"{number:02} 初音ミク \x1b[31m and a name that is much too long to be shown in full"
        )
        folder.mkdir(parents=True)
        Image.new("RGB", (9, 9), (number, 0, 0)).save(folder / "a.png")
    pictures, _ = read_labelled(tmp_path / "data")
    assert write_sheet(tmp_path / "sheet.png", pictures) == 0
    width, height = Image.open(tmp_path / "sheet.png").size
    assert 900 < width < 1100 and height < 3000
    result = CliRunner().invoke(main, ["data", str(tmp_path / "data")])
    assert "\x1b" not in result.stdout and "\\x1b[31m" in result.stdout


def test_torch_is_not_imported(painted: Path) -> None:
    code = "import sys, pathlib; from finetune.data.overview import overview; overview(pathlib.Path(sys.argv[1])); "
    subprocess.run([sys.executable, "-c", code + "assert 'torch' not in sys.modules", str(painted)], check=True)
