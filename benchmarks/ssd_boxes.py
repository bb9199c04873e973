"""Boxes of the res10 SSD face detector: `caffe2torch run` beside OpenCV 4's own Caffe importer, on one photo.

usage: python benchmarks/ssd_boxes.py [--shared ../shared]

OpenCV 5 has no Caffe importer, so opencv-python-headless < 5 is installed into an environment of its own, with
scikit-image for its photo of an astronaut.
"""

from __future__ import annotations

import argparse
import datetime
import json
import platform
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

OPENCV = """
import json, sys
import cv2
from skimage import data
prototxt, model, picture = sys.argv[1:]
image = cv2.cvtColor(data.astronaut(), cv2.COLOR_RGB2BGR)
cv2.imwrite(picture, image)
net = cv2.dnn.readNetFromCaffe(prototxt, model)
net.setInput(cv2.dnn.blobFromImage(image, 1, (300, 300), (104, 177, 123)))
height, width = image.shape[:2]
rows = net.forward().reshape(-1, 7).tolist()
found = [[r[2], r[3] * width, r[4] * height, r[5] * width, r[6] * height] for r in rows if r[2] >= 0.5]
print(json.dumps({"version": cv2.__version__, "found": sorted(found, reverse=True)}))
"""


def opencv(folder: Path, prototxt: Path, model: Path, picture: Path) -> dict[str, object]:
    """What OpenCV finds; writes the picture too."""
    venv.create(folder / "opencv", with_pip=True)
    python = folder / "opencv" / "bin" / "python"
    packages = ["opencv-python-headless<5", "scikit-image"]
    subprocess.run([python, "-m", "pip", "install", "-q", *packages], check=True, stdout=sys.stderr)
    words = [python, "-c", OPENCV, prototxt, model, picture]
    found: dict[str, object] = json.loads(subprocess.run(words, check=True, stdout=subprocess.PIPE).stdout)
    return found


def ours(folder: Path, prototxt: Path, model: Path, picture: Path) -> list[list[float]]:
    """What we find: score and box, best first."""
    program = Path(sys.executable).with_name("caffe2torch")
    convert = [program, "convert", model, "--prototxt", prototxt, "--mean", "104,177,123", "-o", folder / "ssd"]
    subprocess.run(convert, check=True, stdout=sys.stderr)
    run = [program, "run", folder / "ssd", picture, "--json", "-o", folder / "drawn.png"]
    answer = json.loads(subprocess.run(run, check=True, stdout=subprocess.PIPE).stdout)
    return [[entry["score"], *entry["box"]] for entry in answer["answers"][0]["boxes"]]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    net = parser.parse_args().shared / "caffemodels" / "res10_300x300_ssd"
    if not net.is_dir():
        print(f"{net} is not here: nothing measured")
        return
    model = next(net.glob("*.caffemodel"))
    with tempfile.TemporaryDirectory() as name:
        theirs = opencv(Path(name), net / "deploy.prototxt", model, Path(name) / "picture.png")
        found = ours(Path(name), net / "deploy.prototxt", model, Path(name) / "picture.png")
    print(f"{datetime.date.today()}, {platform.machine()}, astronaut of scikit-image")
    print("| | score | x0 | y0 | x1 | y1 |\n| --- | --- | --- | --- | --- | --- |")
    for title, rows in ((f"OpenCV {theirs['version']}", theirs["found"]), ("caffe2torch run", found)):
        for row in rows:  # type: ignore[attr-defined]
            print(f"| {title} | {row[0]:.4f} | {' | '.join(f'{side:.2f}' for side in row[1:])} |")


if __name__ == "__main__":
    main()
