"""Boxes into masks: Rescale, ConvertGroundTruth, ToTensor; batches of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from caffe2torch.errors import DataError
from finetune.data.boxes import BoxedPicture
from finetune.data.folders import LabelledPictures
from finetune.data.masks import BoxDataset, ConvertGroundTruth, Masks, Rescale, Sample, ToTensor, streamed

BOX = np.array([[10, 4, 30, 12]], np.float32)


def boxed(path: Path, boxes: np.ndarray = BOX) -> BoxedPicture:
    return BoxedPicture(path, boxes, ("",) * len(boxes), np.zeros(len(boxes), bool))


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """40 x 20 pixels, white where BOX is."""
    pixels = np.zeros((20, 40, 3), np.uint8)
    pixels[4:12, 10:30] = 255
    path = tmp_path / "white.png"
    Image.fromarray(pixels).save(path)
    return path


def test_boxes_are_scaled_with_the_picture() -> None:
    sample = Rescale((10, 80))(Sample(np.zeros((20, 40, 3), np.uint8), BOX))
    assert sample.picture.shape == (10, 80, 3)
    assert sample.boxes.tolist() == [[20, 2, 60, 6]]


def test_a_mask_is_one_inside_the_boxes_alone() -> None:
    boxes = np.array([[1, 1, 3, 2], [2.6, -3, 9, 1]], np.float32)  # the second one leaves the picture
    mask = ConvertGroundTruth()(Sample(np.zeros((3, 5, 3), np.uint8), boxes)).mask
    assert mask is not None
    assert mask.tolist() == [[0, 0, 0, 1, 1], [0, 1, 1, 0, 0], [0, 0, 0, 0, 0]]


def test_the_dataset_goes_through_all_steps(picture: Path) -> None:
    dataset = BoxDataset([boxed(picture)], (Rescale((10, 20)), ConvertGroundTruth(), ToTensor()))
    pixels, mask = dataset[0]
    assert len(dataset) == 1 and pixels.dtype == torch.uint8 and mask.dtype == torch.int64
    assert torch.equal(pixels[..., 0] > 127, mask == 1)


@pytest.mark.parametrize("workers", [0, 1])
def test_batches_mirror_pictures_with_their_masks(picture: Path, tmp_path: Path, workers: int) -> None:
    other = tmp_path / "left.png"
    pixels = np.zeros((20, 40, 3), np.uint8)
    pixels[:, :10] = 255
    Image.fromarray(pixels).save(other)
    found = {picture: boxed(picture), other: boxed(other, np.array([[0, 0, 10, 20]], np.float32))}
    labelled = LabelledPictures(tmp_path, ("other", "face"), tuple(found), (1, 1))
    masks = Masks(found, (20, 40), workers, mirror=True)
    seen = set()
    for seed in range(8):
        random = torch.Generator().manual_seed(seed)
        ((pictures, truth),) = masks.batches(labelled, [[1, 0]], random)
        assert torch.equal(pictures[..., 0] > 127, truth == 1)
        seen.add(bool(truth[0, 0, 0]))
        if workers:
            break
    assert workers or seen == {True, False}
    ((plain, _),) = masks.batches(labelled, [[1, 0]])
    assert plain[0, 0, 0, 0] == 255


def test_a_picture_that_cannot_be_read_is_told(picture: Path, tmp_path: Path) -> None:
    missing = boxed(tmp_path / "missing.png")
    first, second = streamed([boxed(picture), missing], (Rescale((4, 4)), ConvertGroundTruth(), ToTensor()), 0)
    assert not isinstance(first, str) and "missing.png" in second
    masks = Masks({missing.path: missing}, (4, 4), 0, mirror=False)
    with pytest.raises(DataError, match=r"missing\.png"):
        list(masks.batches(LabelledPictures(tmp_path, ("other", "face"), (missing.path,), (1,)), [[0]]))
