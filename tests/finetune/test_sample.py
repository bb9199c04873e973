"""The drawn data set: what it holds, the same by seed, boxes with faces in them, and nothing overwritten."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from PIL import Image

from caffe2torch.errors import DataError, OutputError
from finetune.drawing.backgrounds import PAINTERS, background
from finetune.drawing.characters import CHARACTERS
from finetune.drawing.faces import draw_person
from finetune.drawing.scenes import VISIBLE, draw_scene
from finetune.drawing.things import THINGS, draw_thing
from finetune.drawing.view import CLOTHES, MOUTHS, View, random_view
from finetune.sample import write_sample

SMALL: dict[str, Any] = {"characters": 3, "pictures": 3, "test": 2, "scenes": 4, "size": 48}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drawn") / "data"
    write_sample(folder, **SMALL)
    return folder


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path), float)


def test_counts_and_sizes(drawn: Path) -> None:
    names = [character.name for character in CHARACTERS[:3]]
    for part, count in (("faces", 3), ("test", 2)):
        assert sorted(folder.name for folder in (drawn / part).iterdir()) == sorted(names)
        for name in names:
            pictures = sorted((drawn / part / name).iterdir())
            assert [path.name for path in pictures] == [f"{number:03}.png" for number in range(count)]
            for path in pictures:
                with Image.open(path) as picture:
                    assert (picture.size, picture.mode) == ((48, 48), "RGB")
    assert len(list((drawn / "scenes").glob("*.png"))) == 4
    assert len(files(drawn)) == 3 * 5 + 4 + 2


def test_readme_says_drawn_free_and_invented(drawn: Path) -> None:
    text = (drawn / "README.txt").read_text()
    for word in ("drawn", "CC0", "invented", "hinari"):
        assert word in text


def test_the_same_seed_draws_the_same(drawn: Path, tmp_path: Path) -> None:
    write_sample(tmp_path / "again", **SMALL)
    write_sample(tmp_path / "other", **SMALL, seed=1)
    assert files(tmp_path / "again") == files(drawn)
    assert files(tmp_path / "other").keys() == files(drawn).keys()
    assert not set(files(tmp_path / "other").values()) & {
        data for name, data in files(drawn).items() if name.endswith(".png")
    }


def test_more_pictures_keep_the_first(drawn: Path, tmp_path: Path) -> None:
    write_sample(tmp_path / "more", **{**SMALL, "pictures": 5, "scenes": 0})
    for path in sorted((drawn / "faces").rglob("*.png")):
        assert (tmp_path / "more" / path.relative_to(drawn)).read_bytes() == path.read_bytes()


def test_pictures_of_a_character_vary_and_the_test_part_is_held_out(drawn: Path) -> None:
    pictures = [pixels(path) for path in sorted(drawn.glob("*/hinari/*.png"))]
    assert len(pictures) == 5
    for number, one in enumerate(pictures):
        for other in pictures[number + 1 :]:
            assert np.abs(one - other).mean() > 8


def test_boxes_lie_inside_and_name_characters(drawn: Path) -> None:
    boxes = json.loads((drawn / "scenes" / "boxes.json").read_text())
    assert sorted(boxes) == sorted(path.name for path in (drawn / "scenes").glob("*.png"))
    for file, faces in boxes.items():
        with Image.open(drawn / "scenes" / file) as picture:
            width, height = picture.size
        assert 1 <= len(faces) <= 6
        for face in faces:
            x0, y0, x1, y1 = face["box"]
            assert 0 <= x0 < x1 <= width
            assert 0 <= y0 < y1 <= height
            assert face["label"] in {character.name for character in CHARACTERS[:3]}


@pytest.mark.parametrize("character", CHARACTERS, ids=lambda character: character.name)
def test_the_box_of_a_person_holds_skin_and_eyes(character: Any) -> None:
    """In 15 poses: the box is full of the person, with skin, and the dark and the light of an open eye."""
    for number in range(15):
        view = random_view(Random(number))
        sheet, box = draw_person(character, view, (160, 160), (80, 76), 46)
        inside = np.asarray(sheet.crop([round(edge) for edge in box]), float)  # type: ignore[arg-type]
        assert (inside[..., 3] > 200).mean() > 0.85
        colours = inside[..., :3].reshape(-1, 3)
        assert near(colours, character.skin, 14).mean() > 0.18
        if view.open[0] > 0.5:
            dark = colours.mean(axis=1) < 110
            white = colours.min(axis=1) > 236
            assert dark.mean() > 0.05
            assert white.mean() > 0.008


def near(colours: np.ndarray, colour: tuple[int, int, int], distance: float) -> np.ndarray:
    return np.abs(colours - colour).max(axis=1) < distance


def test_every_character_looks_different() -> None:
    """In the same pose, no two are closer than a third of what they differ on average."""
    sheets = [
        np.asarray(draw_person(character, View(), (96, 96), (48, 46), 28)[0], float)[..., :3]
        for character in CHARACTERS
    ]
    distances = [np.abs(a - b).mean() for number, a in enumerate(sheets) for b in sheets[number + 1 :]]
    assert min(distances) > np.mean(distances) / 3
    assert len({character.name for character in CHARACTERS}) == len(CHARACTERS) >= 8


@pytest.mark.parametrize("turn", [-0.3, 0.0, 0.3])
@pytest.mark.parametrize("tilt", [-0.44, 0.44])
def test_the_box_follows_the_head(turn: float, tilt: float) -> None:
    """The face moves with turn and tilt, and its box with it: the mouth is in its lower half."""
    bespectacled = next(character for character in CHARACTERS if "glasses" in character.wears)
    sheet, box = draw_person(bespectacled, View(turn=turn, tilt=tilt, mouth="open"), (200, 200), (100, 90), 50)
    array = np.asarray(sheet, float)[..., :3]
    rows, columns = np.nonzero(np.abs(array - (146, 46, 58)).max(axis=2) < 20)
    assert len(rows) > 10
    assert box[0] < columns.mean() < box[2]
    assert (box[1] + box[3]) / 2 < rows.mean() < box[3]


def test_every_mouth_and_dress_is_drawn() -> None:
    def sheet(**view: Any) -> bytes:
        return draw_person(CHARACTERS[0], View(**view), (64, 64), (32, 24), 16)[0].tobytes()

    assert len({sheet(mouth=mouth) for mouth in MOUTHS}) == len(MOUTHS)
    assert len({sheet(clothes=clothes) for clothes in CLOTHES}) == len(CLOTHES)


@pytest.mark.parametrize("kind", PAINTERS)
def test_backgrounds(kind: str) -> None:
    picture = np.asarray(background(Random(3), (80, 60), kind))
    assert picture.shape == (60, 80, 3)
    assert picture.std() > 1


@pytest.mark.parametrize("kind", THINGS)
def test_things_fill_their_square_and_leave_its_corners(kind: str) -> None:
    cover = np.asarray(draw_thing(kind, Random(0), 64))[..., 3]
    assert (cover > 0).mean() > 0.12
    assert cover[0, 0] == cover[-1, -1] == 0


def test_scenes_show_up_to_six_faces_well_apart() -> None:
    most = 0
    for number in range(6):
        _, faces = draw_scene(CHARACTERS, Random(number), (240, 180), 6)
        most = max(most, len(faces))
        for index, (one, _) in enumerate(faces):
            for other, _ in faces[index + 1 :]:
                wide = min(one[2], other[2]) - max(one[0], other[0])
                high = min(one[3], other[3]) - max(one[1], other[1])
                area = (one[2] - one[0]) * (one[3] - one[1])
                assert max(0, wide) * max(0, high) <= (1 - VISIBLE) * area
    assert most >= 4


def test_colour_alone_does_not_tell_the_characters(tmp_path: Path) -> None:
    """Nearest mean of 16x16 thumbnails: better than chance, far from perfect."""
    write_sample(tmp_path / "data", characters=8, pictures=12, test=5, size=64, scenes=0)

    def thumbnails(part: str) -> np.ndarray:
        return np.array([
            [np.asarray(Image.open(path).resize((16, 16)), float).ravel() for path in sorted(folder.iterdir())]
            for folder in sorted((tmp_path / "data" / part).iterdir())
        ])  # fmt: skip

    means, test = thumbnails("faces").mean(axis=1), thumbnails("test")
    distance = ((test[:, :, None] - means) ** 2).sum(axis=-1)
    accuracy = (distance.argmin(axis=-1) == np.arange(8)[:, None]).mean()
    assert 2 / 8 < accuracy < 0.85


def test_an_existing_folder_is_kept(drawn: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "precious.txt").write_text("mine")
    for force in (False, True):
        with pytest.raises(OutputError, match="is there, and not a data set that `finetune sample` drew"):
            write_sample(folder, **SMALL, force=force)
    assert files(tmp_path) == {"mine/precious.txt": b"mine"}


def test_force_removes_no_picture_that_was_put_into_a_drawn_folder(tmp_path: Path) -> None:
    few = {**SMALL, "scenes": 0, "pictures": 1, "test": 0}
    write_sample(tmp_path / "data", **few)
    with pytest.raises(OutputError, match="exists already"):
        write_sample(tmp_path / "data", **few)
    (tmp_path / "data" / "faces" / "mine").mkdir()
    (tmp_path / "data" / "faces" / "mine" / "001.png").write_text("mine")
    with pytest.raises(OutputError, match=r"holds what is no part of .*: faces/mine/001\.png"):
        write_sample(tmp_path / "data", **few, force=True)
    assert files(tmp_path)["data/faces/mine/001.png"] == b"mine"


def test_force_replaces_a_drawn_folder(tmp_path: Path) -> None:
    few = {**SMALL, "scenes": 0, "pictures": 1, "test": 0}
    write_sample(tmp_path / "data", **SMALL)
    write_sample(tmp_path / "data", **few, force=True)
    assert len(files(tmp_path)) == 3 + 2
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


@pytest.mark.parametrize("wrong", [{"characters": 1}, {"characters": 13}, {"pictures": 0}, {"size": 8}, {"scenes": -1}])
def test_numbers_out_of_range(wrong: dict[str, int], tmp_path: Path) -> None:
    with pytest.raises(DataError, match=next(iter(wrong))):
        write_sample(tmp_path / "data", **wrong)
    assert list(tmp_path.iterdir()) == []


def test_progress(tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    write_sample(tmp_path / "data", **SMALL, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(done, 3 * 5 + 4) for done in range(1, 3 * 5 + 5)]


def test_an_interrupt_leaves_nothing(tmp_path: Path) -> None:
    """Ctrl-C in the middle, and no torch on the way."""
    script = (
        "import sys; from pathlib import Path; from finetune.sample import write_sample;"
        "assert 'torch' not in sys.modules;"
        "write_sample(Path(sys.argv[1]), progress=lambda done, total: print(done, flush=True))"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "data")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"1\n"
        assert len(list(tmp_path.iterdir())) == 1
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)
    assert process.returncode != 0
    deadline = time.monotonic() + 5
    while list(tmp_path.iterdir()) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert list(tmp_path.iterdir()) == []
