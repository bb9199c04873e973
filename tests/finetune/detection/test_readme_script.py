"""The script in the README finds, in plain onnxruntime, what `onnx detect` finds with the model of the package."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from finetune.detection.session import fed_size, open_finder, resized
from finetune.drawing.characters import CHARACTERS
from finetune.drawing.scenes import draw_scene
from finetune.models_shipped import default_model
from finetune.runtime import read_said
from tests.finetune.detection.test_detect import run, seen

README = (Path(__file__).parents[3] / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A drawn scene of three people, 700 x 500."""
    from random import Random

    path = tmp_path_factory.mktemp("scene") / "scene.png"
    picture, _ = draw_scene(CHARACTERS[:4], Random(5), (700, 500), 3)
    picture.save(path)
    return path


def test_the_script_in_the_readme(scene: Path, tmp_path: Path) -> None:
    (script,) = re.findall(r"```python\n(# python faces\.py.*?)```", README, re.DOTALL)
    assert sum(bool(line.strip()) and not line.startswith("#") for line in script.splitlines()) <= 20
    (tmp_path / "faces.py").write_text(script)
    words = [sys.executable, tmp_path / "faces.py", default_model(), scene]
    result = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert (result.returncode, result.stderr) == (0, "")
    rows = np.array([line.split() for line in result.stdout.splitlines()], float)
    (entry,) = seen(run(scene, "--format", "jsonl"))
    ours = np.array([[*face["box"], face["score"]] for face in entry["faces"]])
    assert len(ours) >= 1
    np.testing.assert_allclose(rows, ours, atol=0.7)  # 500 x 0.731 pixels are rounded once: 0.1 % of 700


def test_pictures_in_one_batch_are_seen_as_alone(scene: Path) -> None:
    finder = open_finder(default_model(), "cpu")
    settings = finder.settings
    fed = resized(np.asarray(Image.open(scene)), *fed_size(700, 500, settings), finder.resize)
    alone = finder.find_in_batch(fed[None], settings.confidence, settings.iou)[0]
    both = finder.find_in_batch(np.stack([fed[:, ::-1], fed]), settings.confidence, settings.iou)
    np.testing.assert_allclose(both[1].boxes, alone.boxes, atol=0.1)
    np.testing.assert_allclose(both[1].scores, alone.scores, atol=1e-3)


def test_the_model_of_the_package_says_what_it_is() -> None:
    assert read_said(default_model(), "detector")["name"]
    assert default_model().stat().st_size <= 3_000_000
    assert default_model().with_suffix(".md").is_file()
