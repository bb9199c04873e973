"""A small drawn data set: anime-style faces by character, and scenes of several people with boxes of the faces."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

from caffe2torch.errors import CaffeError, DataError
from caffe2torch.files import folder_beside
from caffe2torch.replacing import Kind, refuse_folder
from caffe2torch.tensors import open_file
from finetune.drawing.characters import CHARACTERS, Character
from finetune.drawing.pictures import draw_face
from finetune.drawing.scenes import draw_scene

MOST_FACES = 6
TITLE = "Drawn sample data"
README = """{title}

Every picture here was drawn by the command `finetune sample`: nothing was photographed, scanned or copied.
The characters and their names are invented; they are no one, and from no work: {names}.

faces/CHARACTER/NNN.png   {pictures} pictures of each character, {size}x{size} pixels, to train on
test/CHARACTER/NNN.png    {test} more of each, to test on
scenes/NNN.png            {scenes} pictures of 1 to {most} people among things
scenes/boxes.json         file -> list of {{"box": [x0, y0, x1, y1], "label": CHARACTER}}, in pixels,
                          from the hairline to the chin and from cheek to cheek

Drawn with seed {seed}; the same command draws the same pictures.
Free to use for anything, without asking: CC0 1.0, https://creativecommons.org/publicdomain/zero/1.0/
"""


def write_sample(
    folder: Path,
    characters: int = 10,
    pictures: int = 40,
    size: int = 160,
    scenes: int = 12,
    seed: int = 0,
    force: bool = False,
    test: int = 10,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Draw ``folder``/faces and /test with a folder a character, and /scenes with boxes.json; see README above.

    ``characters`` is 2 to 12, ``pictures`` and ``test`` count those of each character, ``size`` is the side of a face
    picture in pixels (32 to 1024), a scene is four times as wide and three times as high. Picture k of a character is
    the same whatever the counts. ``progress`` is called with (pictures done, pictures in all). The folder appears when
    it is whole.

    Raises DataError for numbers out of range and OutputError when ``folder`` exists; ``force`` replaces one that this
    function wrote, and nothing else.
    """
    _check(characters, pictures, size, scenes, test)
    folder = Path(folder)
    refuse_folder(folder, force, KIND)
    cast = CHARACTERS[:characters]
    total, done = characters * (pictures + test) + scenes, 0
    with folder_beside(folder, KIND, force) as part:
        for _ in _drawn(part, cast, pictures, test, size, scenes, seed):
            done += 1
            if progress:
                progress(done, total)
        text = README.format(
            title=TITLE, names=", ".join(character.name for character in cast), pictures=pictures, test=test,
            scenes=scenes, size=size, most=MOST_FACES, seed=seed,
        )  # fmt: skip
        (part / "README.txt").write_text(text, encoding="utf-8")


def _drawn(
    part: Path, cast: tuple[Character, ...], pictures: int, test: int, size: int, scenes: int, seed: int
) -> Iterator[None]:
    """Write everything below ``part``, yielding after each picture."""
    for name, count in (("faces", pictures), ("test", test)):
        for character in cast:
            place = part / name / character.name
            place.mkdir(parents=True)
            for number in range(count):
                random = Random(f"{seed} {name} {character.name} {number}")
                draw_face(character, random, size).save(place / f"{number:03}.png", compress_level=3)
                yield
    (part / "scenes").mkdir()
    boxes: dict[str, list[dict[str, object]]] = {}
    for number in range(scenes):
        random = Random(f"{seed} scenes {number}")
        scene, faces = draw_scene(cast, random, (4 * size, 3 * size), 1 + number % MOST_FACES)
        scene.save(part / "scenes" / f"{number:03}.png")
        boxes[f"{number:03}.png"] = [{"box": [round(edge, 1) for edge in box], "label": label} for box, label in faces]
        yield
    lines = ",\n".join(f"{json.dumps(file)}: {json.dumps(faces)}" for file, faces in boxes.items())
    (part / "scenes" / "boxes.json").write_text(f"{{\n{lines}\n}}\n", encoding="utf-8")


def _check(characters: int, pictures: int, size: int, scenes: int, test: int) -> None:
    limits = {
        "characters": (characters, 2, len(CHARACTERS)),
        "pictures": (pictures, 1, 1000),
        "test": (test, 0, 1000),
        "scenes": (scenes, 0, 1000),
        "size": (size, 32, 1024),
    }
    for name, (value, least, most) in limits.items():
        if not least <= value <= most:
            raise DataError(f"{name} is {value}: give {least} to {most}")


def _is_drawn(folder: Path) -> bool:
    readme = folder / "README.txt"
    try:
        with open_file(readme) as file:
            return file.read(len(TITLE)) == TITLE.encode()
    except (CaffeError, OSError):
        return False


KIND = Kind(
    "a data set that `finetune sample` drew",
    _is_drawn,
    re.compile(
        rf"README\.txt|((faces|test)/({'|'.join(character.name for character in CHARACTERS)})|scenes)/\d{{3}}\.png"
        r"|scenes/boxes\.json|(.*/)?\.DS_Store"  # of who looked into it on a Mac
    ),
)
