"""What is trained on: kept features are those of the trunk, and are computed once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from caffe2torch.errors import DataError
from caffe2torch.folder import Converted
from caffe2torch.preprocess import Preprocessing
from finetune.data.batches import Reader
from finetune.data.folders import LabelledPictures, read_folders
from finetune.data.source import digest
from finetune.features import Store
from finetune.feeding import open_pass
from finetune.inputs import Features, Pictures
from finetune.models.pieces import parted
from finetune.models.trunk import FrozenTrunk, cut_trunk
from finetune.trunk_pass import Pass, in_torch

PREPROCESSING = Preprocessing("BGR", (100.0, 110.0, 120.0))
PLAN = [[3, 1, 4], [15, 9, 26, 5]]


class Setting:
    """The tiny trunk's frozen piece on the painted pictures, with a store in a folder."""

    def __init__(self, trunk: Converted, painted: Path, cache: Path) -> None:
        self.frozen, _, _ = parted(cut_trunk(trunk, None, None)[0])
        self.pictures, _ = read_folders(painted)
        self.cache = cache
        self.opened = 0

    def features(self, pictures: LabelledPictures | None = None, half: bool = False) -> Features:
        """Ready features, of all pictures and their mirror images."""
        store = Store(self.cache, {}, self.frozen.graph.outputs[0].shape[1:], half)
        found = Features(store, True, self._open, Reader((16, 24), 0))
        paths = (pictures or self.pictures).paths
        found.prepare({path: digest(path) for path in paths}, set(paths))
        return found

    def _open(self) -> Pass:
        self.opened += 1
        return open_pass(self.frozen, PREPROCESSING, torch.device("cpu"))


@pytest.fixture
def setting(tiny_trunk: Converted, painted: Path, tmp_path: Path) -> Setting:
    return Setting(tiny_trunk, painted, tmp_path / "cache")


def test_kept_features_are_those_of_the_trunk(setting: Setting) -> None:
    kept = setting.features()
    trunk = FrozenTrunk(setting.frozen.module(), PREPROCESSING)
    through = Pictures(Reader((16, 24), 0), True, through=in_torch(trunk, torch.device("cpu")))
    for seed in (None, 0, 1):
        pair = [
            list(inputs.batches(setting.pictures, PLAN, None if seed is None else torch.Generator().manual_seed(seed)))
            for inputs in (kept, through)
        ]
        for left, right in zip(*pair, strict=True):
            torch.testing.assert_close(left.pictures, right.pictures, rtol=1e-5, atol=1e-4)
            assert torch.equal(left.labels, right.labels)
    assert [len(batch.labels) for batch in pair[0]] == [3, 4]
    assert through.passes == 21


def test_each_picture_goes_through_the_trunk_once(setting: Setting, painted: Path) -> None:
    assert setting.features().passes == 60
    again = setting.features()
    assert (again.passes, setting.opened) == (0, 1)  # the trunk is not even opened
    new = painted / "red" / "new.png"
    copied = painted / "red" / "copied.png"
    copied.write_bytes((painted / "red" / "01.png").read_bytes())
    Image.new("RGB", (30, 20), (1, 2, 3)).save(new)
    pictures, _ = read_folders(painted)
    assert len(pictures) == 32
    more = setting.features(pictures)
    assert more.passes == 2  # the new one and its mirror image; the copy is known by its bytes
    left, right = (next(each.batches(setting.pictures, [[0, 29]])).pictures for each in (again, more))
    assert torch.equal(left, right)


def test_several_processes_share_a_batch(setting: Setting) -> None:
    kept = setting.features()
    whole = list(kept.batches(setting.pictures, PLAN, torch.Generator().manual_seed(0)))
    parts = []
    for place in (0, 1):
        kept.part = (place, 2)
        parts.append(list(kept.batches(setting.pictures, PLAN, torch.Generator().manual_seed(0))))
    for batch, left, right in zip(whole, *parts, strict=True):
        assert torch.equal(batch.pictures[::2], left.pictures)
        assert torch.equal(batch.pictures[1::2], right.pictures)
        assert torch.equal(batch.labels[1::2], right.labels)


def test_half_precision_is_near(setting: Setting) -> None:
    full = next(setting.features().batches(setting.pictures, [range(30)])).pictures
    half = next(setting.features(half=True).batches(setting.pictures, [range(30)])).pictures
    assert half.dtype == torch.float16
    assert 0 < (half - full).abs().max() / full.abs().max() < 1e-3


def test_a_picture_that_is_gone(setting: Setting, painted: Path) -> None:
    digests = {path: digest(path) for path in setting.pictures.paths}
    (painted / "blue" / "03.png").unlink()
    store = Store(setting.cache, {}, setting.frozen.graph.outputs[0].shape[1:], False)
    found = Features(store, True, setting._open, Reader((16, 24), 0))
    with pytest.raises(DataError, match=r"03\.png.*it could be read when the run began"):
        found.prepare(digests, set())


def test_augmented_pictures_differ_every_time(setting: Setting) -> None:
    inputs = Pictures(Reader((16, 24), 0), True, ("crop", "colour"))
    random = torch.Generator().manual_seed(0)
    first, second = (next(inputs.batches(setting.pictures, [[0, 1]], random)).pictures for _ in range(2))
    assert not np.array_equal(first, second)
    plain = next(inputs.batches(setting.pictures, [[0, 1]])).pictures
    assert torch.equal(plain, next(inputs.batches(setting.pictures, [[0, 1]])).pictures)
