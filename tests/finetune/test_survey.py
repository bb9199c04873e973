"""The look at every picture: what cannot be read, and the mean pixel of the chosen ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from caffe2torch.pictures import load_picture
from finetune.data.batches import Reader
from finetune.data.folders import read_folders
from finetune.data.sets import read_sets
from finetune.data.survey import mean_pixel, survey


@pytest.mark.parametrize("workers", [0, 2])
def test_mean_pixel_is_that_of_the_chosen_pictures(painted: Path, workers: int) -> None:
    pictures, _ = read_folders(painted)
    done: list[int] = []
    with Reader((8, 12), workers) as reader:
        found = survey(pictures, reader, done.append)
    assert sum(done) == 30
    assert found.readable == list(range(30))
    chosen = [0, 5, 17, 29]
    stacked = np.stack([load_picture(pictures.paths[i], (8, 12)) for i in chosen])
    np.testing.assert_allclose(mean_pixel(found, chosen), stacked.mean(axis=(0, 1, 2)), rtol=1e-12)


def test_unreadable_pictures_are_named_and_left_out(painted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (painted / "green/00.png").write_bytes(b"no picture")
    (painted / "red/05.png").write_bytes((painted / "red/05.png").read_bytes()[:100])
    sets = read_sets(painted, None, 0.2, 0, Reader((8, 12), 0))
    assert [path.name for path in sets.unreadable] == ["00.png", "05.png"]
    assert len(sets.train) + len(sets.validation) == 28
    said = capsys.readouterr().err
    assert f"left out: {painted}/green/00.png: not a picture" in said
    assert f"left out: {painted}/red/05.png: damaged or truncated" in said
    assert sets.to_json()["unreadable"] == ["green/00.png", "red/05.png"]


def test_the_mean_is_of_the_training_pictures_alone(painted: Path) -> None:
    sets = read_sets(painted, None, 0.2, 0, Reader((8, 12), 0))
    stacked = np.stack([load_picture(path, (8, 12)) for path in sets.train.paths])
    np.testing.assert_allclose(sets.mean, stacked.mean(axis=(0, 1, 2)), rtol=1e-12)
