"""Who is where: faces of ten characters on photographs, found and named by `onnx detect --classify`.

usage: python benchmarks/detect_classify.py CHARACTERS.onnx [--shared ../shared] [--detector MODEL.onnx]
                                            [--keep FOLDER] [--classify-margin …]

CHARACTERS.onnx is a classifier trained on animeface10/train (`finetune train`, `onnx export`). Its 185 test pictures,
each once, are laid on the photographs of negatives_photo, four to a scene of 1024 x 768, 110 to 230 pixels wide, seed
0. A character is found if the best box whose middle lies in the picture that was laid there has any name, and rightly
named if it has the character's. --keep writes scenes and overlays to FOLDER, to be looked at, not to be published.
"""

from __future__ import annotations

import argparse
import datetime
import json
import platform
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from random import Random

from PIL import Image

SIZE = 1024, 768
EACH = 4  # faces in a scene


@dataclass(frozen=True)
class Laid:
    """A character's picture in a scene: x0, y0, x1, y1 in pixels."""

    place: tuple[int, int, int, int]
    name: str

    def holds(self, box: list[float]) -> bool:
        x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
        x0, y0, x1, y1 = self.place
        return x0 <= x <= x1 and y0 <= y <= y1


def compose(data: Path, folder: Path) -> dict[str, list[Laid]]:
    """Write the scenes; what lies in each."""
    random = Random(0)
    faces = sorted(path for path in (data / "animeface10" / "test").rglob("*") if path.is_file())
    random.shuffle(faces)
    photos = sorted((data / "negatives_photo").glob("*.JPEG"))
    folder.mkdir(parents=True, exist_ok=True)
    scenes: dict[str, list[Laid]] = {}
    for number in range(0, len(faces), EACH):
        with Image.open(photos[number // EACH % len(photos)]) as photo:
            scene = photo.convert("RGB").resize(SIZE, Image.Resampling.BICUBIC)
        laid = []
        for quarter, path in enumerate(faces[number : number + EACH]):
            with Image.open(path) as picture:
                face = picture.convert("RGB")
            wide = random.randint(110, 230)
            high = round(face.height * wide / face.width)
            left = quarter % 2 * SIZE[0] // 2 + random.randint(0, SIZE[0] // 2 - wide)
            top = quarter // 2 * SIZE[1] // 2 + random.randint(0, max(0, SIZE[1] // 2 - high))
            scene.paste(face.resize((wide, high), Image.Resampling.BICUBIC), (left, top))
            laid.append(Laid((left, top, left + wide, top + high), path.parent.name))
        name = f"{number // EACH:03}.png"
        scene.save(folder / name, compress_level=1)
        scenes[name] = laid
    return scenes


def command(*words: object) -> str:
    """Run our command `onnx`, its notes shown; what it prints."""
    program = [sys.executable, "-c", "from finetune.onnx_cli import onnx_main; onnx_main(prog_name='onnx')"]
    return subprocess.run([*program, *map(str, words)], check=True, stdout=subprocess.PIPE, text=True).stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("characters", type=Path)
    parser.add_argument("--shared", type=Path, default=Path(__file__).parents[2] / "shared")
    parser.add_argument("--detector", type=Path)
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--classify-margin")
    asked = parser.parse_args()
    data = asked.shared / "data"
    if not (data / "animeface10").is_dir():
        sys.exit(f"{data / 'animeface10'} is not there: nothing to measure on")
    with tempfile.TemporaryDirectory() as temporary:
        folder = asked.keep or Path(temporary)
        scenes = compose(data, folder / "scenes")
        words = ["detect", folder / "scenes", "--classify", asked.characters, "--format", "jsonl"]
        words += ["-m", asked.detector] if asked.detector else []
        words += ["--classify-margin", asked.classify_margin] if asked.classify_margin else []
        words += ["--overlay", folder / "overlay"] if asked.keep else []
        lines = command(*words).splitlines()
    alone = json.loads(command("predict", "-m", asked.characters, data / "animeface10" / "test", "--format", "json"))
    right_alone = sum(one["predictions"][0]["label"] == Path(one["path"]).parent.name for one in alone)
    found = named = elsewhere = total = 0
    for line in lines:
        seen = json.loads(line)
        laid = scenes[Path(seen["path"]).name]
        total += len(laid)
        for one in laid:
            inside = [face for face in seen["faces"] if one.holds(face["box"])]
            found += bool(inside)
            named += bool(inside) and max(inside, key=lambda face: face["score"])["name"] == one.name
        elsewhere += sum(not any(one.holds(face["box"]) for one in laid) for face in seen["faces"])
    print(f"{total} faces in {len(scenes)} scenes, {datetime.date.today()}, {platform.machine()}\n")
    print("| found | found and rightly named | boxes elsewhere | the same pictures, whole, rightly named |")
    print("| --- | --- | --- | --- |")
    print(f"| {found / total:.3f} | {named / total:.3f} | {elsewhere} | {right_alone / len(alone):.3f} |")


if __name__ == "__main__":
    main()
