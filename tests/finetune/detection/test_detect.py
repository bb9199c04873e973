"""The command `onnx detect` as a user meets it: forms, names, overlays, crops, tiles, wrong use."""

from __future__ import annotations

import csv
import io
import json
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from finetune.calibration import Calibration
from finetune.onnx_cli import onnx_main
from tests.finetune.conftest import METADATA as CLASSIFIER
from tests.finetune.conftest import colour_classifier
from tests.finetune.detection.conftest import squares

SQUARES = [(20, 40, 32), (120, 20, 64)]
BOXES = [[20, 40, 52, 72], [120, 20, 184, 84]]


def run(*arguments: str | Path) -> Result:
    words = [str(argument) for argument in arguments]
    provider = [] if "--provider" in words else ["--provider", "cpu"]
    return CliRunner().invoke(onnx_main, ["detect", *words, *provider], prog_name="onnx")


def seen(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two pictures with two squares, one without, one that is none."""
    pictures = tmp_path / "pictures"
    (pictures / "below").mkdir(parents=True)
    squares(240, 160, SQUARES).save(pictures / "a.png")
    squares(240, 160, SQUARES).save(pictures / "below" / "b.png")
    squares(240, 160, []).save(pictures / "empty.png")
    (pictures / "torn.jpg").write_bytes(b"no picture")
    return pictures


@pytest.fixture
def characters(tmp_path: Path) -> Path:
    """A classifier of colours that says its margin."""
    path = tmp_path / "characters.onnx"
    onnx.save(colour_classifier(CLASSIFIER | {"margin": 0.0}, 0.5), path)
    return path


def test_json_is_what_the_design_says(detector_file: Path, folder: Path) -> None:
    result = run("-m", detector_file, folder, "--format", "json")
    assert result.exit_code == 1
    first, second, empty, torn = json.loads(result.stdout)
    assert first.keys() == {"path", "width", "height", "faces"}
    assert (first["path"], first["width"], first["height"]) == (str(folder / "a.png"), 240, 160)
    assert sorted(face["box"] for face in first["faces"]) == BOXES
    assert all(face.keys() == {"box", "score"} and face["score"] == 1 for face in first["faces"])
    assert second["faces"] == first["faces"]
    assert empty["faces"] == []
    assert torn.keys() == {"path", "error"}
    assert result.stderr.splitlines()[-1].startswith(f"error: {folder / 'torn.jpg'}: not a picture")
    assert result.stderr.endswith("(1 of 4 files could not be read)\n")


def test_all_forms_say_the_same(detector_file: Path, folder: Path, tmp_path: Path) -> None:
    said = {}
    for form in ("table", "json", "jsonl", "csv", "coco"):
        said[form] = run("-m", detector_file, folder, "--format", form).stdout
        to_file = run("-m", detector_file, folder, "--format", form, "-o", tmp_path / "out")
        assert to_file.stdout == ""
        assert (tmp_path / "out").read_text() == said[form]
        assert not list(tmp_path.glob(".out*"))  # no journal is left
    as_json = json.loads(said["json"])
    assert [json.loads(line) for line in said["jsonl"].splitlines()] == as_json
    boxes = [(entry["path"], *face["box"]) for entry in as_json if "faces" in entry for face in entry["faces"]]
    rows = list(csv.DictReader(io.StringIO(said["csv"])))
    assert [(r["path"], *(float(r[n]) for n in ("x0", "y0", "x1", "y1"))) for r in rows if r["x0"]] == boxes
    assert [row["path"] for row in rows if not row["x0"]] == [entry["path"] for entry in as_json[2:]]
    table = [line.split("\t") for line in said["table"].splitlines()]
    assert [(row[0], *map(float, row[1].split())) for row in table[:4]] == boxes
    assert (table[4][1], table[5][1][:6]) == ("no faces", "error:")
    coco = json.loads(said["coco"])
    names = {image["id"]: image["file_name"] for image in coco["images"]}
    as_corners = [
        (names[a["image_id"]], *a["bbox"][:2], a["bbox"][0] + a["bbox"][2], a["bbox"][1] + a["bbox"][3])
        for a in coco["annotations"]
    ]
    assert as_corners == boxes
    assert len(coco["images"]) == 3 and len(coco["errors"]) == 1
    assert coco["categories"] == [{"id": 1, "name": "face"}]


def test_yolo_is_read_back(detector_file: Path, folder: Path, tmp_path: Path) -> None:
    from finetune.data.boxes import read_boxes

    one = run("-m", detector_file, folder / "a.png", "--format", "yolo")
    assert [line.split()[0] for line in one.stdout.splitlines()] == ["0", "0"]
    (folder / "torn.jpg").unlink()
    assert run("-m", detector_file, folder, "--format", "yolo", "-o", folder).exit_code == 0
    assert (folder / "classes.txt").read_text() == "face\n"
    read = {picture.path.name: picture for picture in read_boxes(folder)}
    assert sorted(read["a.png"].boxes.round().tolist()) == BOXES
    assert read["empty.png"].boxes.shape == (0, 4)
    several = run("-m", detector_file, folder, "--format", "yolo").stdout
    assert several.startswith(f"# {folder / 'a.png'}\n0 ")


def test_boxes_are_of_the_upright_picture(detector_file: Path, tmp_path: Path) -> None:
    upright = squares(240, 160, [(40, 20, 64)])
    exif = Image.Exif()
    exif[0x0112] = 6  # stored turned; to be shown turned back by 90° clockwise
    upright.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.png", exif=exif)
    (entry,) = seen(run("-m", detector_file, tmp_path / "turned.png", "--format", "jsonl"))
    assert (entry["width"], entry["height"]) == (240, 160)
    assert [face["box"] for face in entry["faces"]] == [[40, 20, 104, 84]]


def test_names_in_every_form(detector_file: Path, characters: Path, folder: Path) -> None:
    (folder / "torn.jpg").unlink()
    asked = ("-m", detector_file, folder, "--classify", characters, "--format")
    result = run(*asked, "jsonl")
    faces = [face for entry in seen(result) for face in entry["faces"]]
    assert len(faces) == 4
    assert all(face["name"] == "red" and face["name_score"] > 0.99 for face in faces)
    assert "does not say" not in result.stderr
    assert run(*asked, "csv").stdout.count(",red,") == 4
    assert run(*asked, "table").stdout.count("\tred\t") == 4
    assert json.loads(run(*asked, "coco").stdout)["categories"] == [{"id": 1, "name": "red"}]
    assert run(*asked, "yolo").stdout.count("\n0 ") == 4


def test_a_classifier_that_does_not_say_its_margin(detector_file: Path, model: Path, folder: Path) -> None:
    result = run("-m", detector_file, folder / "a.png", "--classify", model)
    assert f"{model} does not say how its pictures were cut: a margin of 0.55, 0.9, 0.55, 0.05" in result.stderr
    result = run("-m", detector_file, folder / "a.png", "--classify", model, "--classify-margin", "0")
    assert "does not say" not in result.stderr
    result = run("-m", detector_file, folder / "a.png", "--classify", model, "--unknown")
    assert result.exit_code == 1 and "does not say below which score" in result.stderr
    result = run("-m", detector_file, folder / "a.png", "--classify", detector_file)
    assert result.exit_code == 1 and "a 'detector', not a classifier" in result.stderr


def test_a_class_called_unknown(detector_file: Path, folder: Path, tmp_path: Path) -> None:
    """What is unknown could be told from it by nothing."""
    calibration = Calibration(1.0, 0.5, 10, 0.1, 0.1).to_json()
    path = tmp_path / "unknown.onnx"
    said = CLASSIFIER | {"classes": ["red", "unknown", "blue"], "calibration": calibration, "margin": 0}
    onnx.save(colour_classifier(said, 0.5), path)
    asked = ("-m", detector_file, folder / "a.png", "--classify", path)
    assert run(*asked).exit_code == 0
    result = run(*asked, "--unknown")
    assert result.exit_code == 1 and "one of its classes is called 'unknown'" in result.stderr


def test_a_margin_measured_on_the_classifiers_pictures(detector_file: Path, model: Path, tmp_path: Path) -> None:
    """Pictures of 100 x 80 with a square of 32 at (20, 40): a margin of 20, 40, 48, 8 pixels."""
    trained = tmp_path / "trained" / "red"
    trained.mkdir(parents=True)
    for number in range(5):
        squares(100, 80, [(20, 40, 32)]).save(trained / f"{number}.png")
    asked = ("-m", detector_file, trained, "--classify", model, "--classify-margin")
    assert "a margin of 0.62, 1.25, 1.5, 0.25 (left, top, right, bottom)" in run(*asked, trained.parent).stderr
    assert run(*asked, "0.5,1,0.5,0").exit_code == 0
    (trained / "0.png").unlink()
    result = run(*asked, trained)
    assert result.exit_code == 1 and "a face is found in 4 of its pictures; too few" in result.stderr
    assert run(*asked, "0.5,1").exit_code == run(*asked, "missing").exit_code == 2


def test_overlay_and_crops(detector_file: Path, characters: Path, folder: Path, tmp_path: Path) -> None:
    squares(240, 160, SQUARES).save(folder / "c.webp", lossless=True)
    made, cut = tmp_path / "made", tmp_path / "cut"
    asked = ("-m", detector_file, folder, "--overlay", made, "--crops", cut, "--margin", "0")
    assert run(*asked).exit_code == 1
    assert sorted(file.relative_to(made).as_posix() for file in made.rglob("*.png")) == [
        "a.png", "below/b.png", "c.webp.png", "empty.png"
    ]  # fmt: skip
    before, after = np.asarray(Image.open(folder / "a.png")), np.asarray(Image.open(made / "a.png"))
    assert before.shape == after.shape
    changed = np.argwhere((before != after).any(axis=2))
    assert changed[:, 0].max() == 83 and changed[:, 1].max() <= 190  # the lower edge of the larger box; its text
    assert (np.asarray(Image.open(made / "empty.png")) == 255).all()
    sizes = {file.name: Image.open(file).size for file in cut.iterdir() if file.is_file()}
    assert sorted(sizes.values()) == [(32, 32), (32, 32), (64, 64), (64, 64)]
    assert (np.asarray(Image.open(cut / "a-1.png")) == (255, 0, 0)).all()
    assert (cut / "below" / "b-1.png").exists()
    assert run(*asked, "--classify", characters).exit_code == 1
    assert (cut / "red" / "a-1.png").exists()


def test_a_picture_is_never_overwritten(detector_file: Path, folder: Path) -> None:
    before = (folder / "a.png").read_bytes()
    result = run("-m", detector_file, folder / "a.png", "--overlay", folder)
    assert (result.exit_code, result.stderr.splitlines()[-1]) == (
        1,
        f"error: {folder / 'a.png'}: is what is read; --overlay names another folder",
    )
    result = run("-m", detector_file, folder / "a.png", "-o", folder / "a.png")
    assert result.exit_code == 1 and "is what is read" in result.stderr
    assert (folder / "a.png").read_bytes() == before


def test_an_overlay_below_what_is_looked_at_is_not_looked_at(detector_file: Path, folder: Path) -> None:
    asked = ("-m", detector_file, folder, "--overlay", folder / "made", "--format", "jsonl")
    assert len(seen(run(*asked))) == len(seen(run(*asked))) == 4


def test_large_pictures_are_cut_into_tiles(detector_file: Path, tmp_path: Path) -> None:
    """Squares of 32 in a picture of 1100 are 7 pixels large when it is shrunk to 256; in tiles they are found."""
    places = [(180, 200), (500, 20), (1060, 356), (228, 212)]
    picture = squares(1100, 400, [(x, y, 32) for x, y in places])
    picture.paste((255, 0, 0), (600, 50, 876, 326))  # a face larger than a tile is found in the whole
    picture.save(tmp_path / "large.png")
    asked = ("-m", detector_file, tmp_path / "large.png", "--format", "jsonl")

    def boxes(*more: str) -> list[list[float]]:
        return [face["box"] for face in seen(run(*asked, *more))[0]["faces"]]

    assert len(boxes("--tile", "none")) == 1
    found = boxes("--tile", "256")
    small = [box for box in found if box[2] - box[0] < 100]
    assert len(small) == len(places)
    for (x0, y0, _, _), (x, y) in zip(sorted(small), sorted(places), strict=True):
        assert abs(x0 - x) <= 2 and abs(y0 - y) <= 2  # tiles begin anywhere, the detector sees a grid of 4
    assert [box for box in found if box[2] - box[0] > 200] == boxes("--tile", "none")
    assert boxes("--tile", "auto") != boxes("--tile", "none")  # 1100 is more than 4 · 256


def test_globs(detector_file: Path, folder: Path) -> None:
    result = run("-m", detector_file, folder / "**" / "?.png", folder / "none*", "--format", "jsonl")
    assert [Path(entry["path"]).name for entry in seen(result)] == ["a.png", "b.png", "none*"]
    assert seen(result)[-1]["error"] == "nothing has such a name"


def test_files_of_one_name_are_told_apart(detector_file: Path, folder: Path, tmp_path: Path) -> None:
    squares(100, 100, [(20, 20, 32)]).save(tmp_path / "a.png")
    made = tmp_path / "made"
    assert run("-m", detector_file, folder / "a.png", tmp_path / "a.png", "--overlay", made).exit_code == 0
    assert [Image.open(made / name).size for name in ("a.png", "a-2.png")] == [(240, 160), (100, 100)]


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        ([], 2, "give pictures, folders or videos, or --camera; one of both"),
        (["a.png", "--camera", "0"], 2, "one of both"),
        (["a.png", "--resume"], 2, "--resume goes with"),
        (["a.png", "--unknown"], 2, "--unknown goes with --classify"),
        (["a.png", "--tile", "7"], 2, "none of auto, none and a number"),
        (["a.png", "--conf", "2"], 2, "--conf"),
        (["a.png", "--conf", "nan"], 2, "'nan' is not in the range 0<=x<=1"),
        (["a.png", "--iou", "NaN"], 2, "not in the range"),
        (["a.png", "--margin", "-nan"], 2, "not in the range 0<=x<=4"),
        (["a.png", "--margin", "inf"], 2, "not in the range"),
        (["a.png", "--classify-margin", "0,nan,0,0"], 2, "of 0 to 4, are wanted"),
        (["a.png", "-m", "missing.onnx"], 1, "error: missing.onnx: no such file"),
        (["a.png", "--method", "windows"], 1, "error: --method windows wants -m"),
        (["a.png", "--classify", "missing.onnx"], 1, "error: missing.onnx: No such file"),
        (["missing.png"], 1, "error: missing.png: cannot be read"),
        (["a.png", "empty.png", "-o", "no/such/out.json"], 1, "error: no/such/out.json: the folder"),
        (["a.png", "-o", "no/such/out.json"], 1, "error: no/such/out.json: the folder"),
        (["a.png", "--overlay", "ov", "--font", "a.png"], 1, "error: a.png: not a font"),
    ],
)
def test_wrong_use(
    detector_file: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], code: int, reason: str
) -> None:
    monkeypatch.chdir(folder)
    model = [] if "-m" in arguments or "--method" in arguments else ["-m", str(detector_file)]
    result = run(*arguments, *model)
    assert result.exit_code == code
    assert reason in result.stderr
    assert "Traceback" not in result.output
    assert sorted(os.listdir(folder)) == ["a.png", "below", "empty.png", "torn.jpg"]


def test_hostile_pictures_are_told_one_by_one(detector_file: Path, tmp_path: Path) -> None:
    def png(width: int, height: int) -> bytes:
        header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
        parts = ((b"IHDR", header), (b"IDAT", zlib.compress(b"")), (b"IEND", b""))
        chunks = (struct.pack(">I", len(b)) + t + b + struct.pack(">I", zlib.crc32(t + b)) for t, b in parts)
        return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)

    folder = tmp_path / "hostile"
    folder.mkdir()
    (folder / "bomb.png").write_bytes(png(60000, 60000))
    (folder / "zero.png").write_bytes(png(0, 0))
    (folder / "short.png").write_bytes(png(100, 100))
    (folder / "empty.png").write_bytes(b"")
    Image.new("RGB", (1, 1)).save(folder / "one.png")
    Image.new("RGB", (3000, 1)).save(folder / "strip.png")
    Image.new("LA", (30, 40), (5, 0)).save(folder / "clear.png")
    made = ("--overlay", tmp_path / "made", "--crops", tmp_path / "cut")
    result = run("-m", detector_file, folder, "--format", "jsonl", *made)
    assert result.exit_code == 1 and "(4 of 7 files could not be read)" in result.stderr
    errors = {Path(entry["path"]).name: entry["error"] for entry in seen(result) if "error" in entry}
    assert set(errors) == {"bomb.png", "zero.png", "short.png", "empty.png"}
    assert "decompression bomb" in errors["bomb.png"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk(detector_file: Path, folder: Path) -> None:
    result = run("-m", detector_file, folder, "-o", "/dev/full")
    assert result.exit_code == 1
    assert "the disk is full" in result.stderr.splitlines()[-1]


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="no pseudo-terminals here")
def test_names_of_files_do_nothing_to_a_terminal(detector_file: Path, tmp_path: Path) -> None:
    """CSV in a pipe has the very name, quoted; on a terminal it is shown, as it is before YOLO's labels everywhere."""
    name = "red\x1b[31m\nline.png"
    squares(100, 100, [(20, 40, 32)]).save(tmp_path / name)
    squares(100, 100, []).save(tmp_path / "a.png")
    asked = ("-m", detector_file, tmp_path, "--format")
    rows = csv.DictReader(io.StringIO(run(*asked, "csv").stdout, newline=""))
    assert [Path(row["path"]).name for row in rows] == ["a.png", name]
    yolo = run(*asked, "yolo").stdout
    assert yolo.splitlines()[1] == f"# {tmp_path}/red\\x1b[31m\\nline.png" and len(yolo.splitlines()) == 3
    ours, theirs = os.openpty()
    program = [sys.executable, "-c", "from finetune.onnx_cli import onnx_main; onnx_main(prog_name='onnx')"]
    words = ["detect", *map(str, asked), "csv", "--provider", "cpu"]
    subprocess.run([*program, *words], stdout=theirs, stderr=subprocess.DEVNULL, timeout=60, check=True)
    os.close(theirs)
    shown = os.read(ours, 10_000)
    os.close(ours)
    assert b"red\\x1b[31m" in shown and b"\x1b" not in shown


def test_no_torch_on_the_way(detector_file: Path, characters: Path, folder: Path) -> None:
    program = (
        "import sys\nfrom finetune.onnx_cli import onnx_main\n"
        "try:\n    onnx_main(sys.argv[1:], standalone_mode=False)\nexcept Exception:\n    pass\n"
        "heavy = {'torch', 'onnx', 'matplotlib', 'lightning', 'scipy'} & set(sys.modules)\nassert not heavy, heavy\n"
        "assert ('numpy' in sys.modules) == (sys.argv[1] == 'detect')"
    )
    asked = ["detect", "-m", detector_file, folder, "--classify", characters, "--overlay", folder / "ov"]
    for arguments in (asked, ["--help"]):
        words = [sys.executable, "-c", program, *map(str, arguments)]
        result = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
        assert result.returncode == 0, result.stderr
