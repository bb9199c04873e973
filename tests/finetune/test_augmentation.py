"""Pictures changed at random: in the ways that were asked for, and within the limits that are told."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from finetune.augmentation import WAYS, augmented, chances, mirrored


def test_mirrored_turns_about_half_left_to_right() -> None:
    pictures = torch.arange(200 * 2 * 3 * 3, dtype=torch.int64).to(torch.uint8).reshape(200, 2, 3, 3)
    turned = mirrored(pictures, chances(200, torch.Generator().manual_seed(0)))
    flags = [bool((turned[i] == pictures[i].flip(1)).all()) for i in range(200)]
    same = [bool((turned[i] == pictures[i]).all()) for i in range(200)]
    assert all(flag != kept for flag, kept in zip(flags, same, strict=True))
    assert 70 < sum(flags) < 130


def squares(count: int = 16) -> torch.Tensor:
    """Pictures of a bright square in the middle of grey, 40 rows and 60 columns."""
    pictures = torch.full((count, 40, 60, 3), 100, dtype=torch.uint8)
    pictures[:, 15:25, 25:35] = torch.tensor([250, 200, 150], dtype=torch.uint8)
    return pictures


@pytest.mark.parametrize("way", WAYS)
def test_the_same_chances_change_the_same(way: str) -> None:
    decided = chances(16, torch.Generator().manual_seed(0))
    changed = augmented(squares(), (way,), decided)
    assert (changed.dtype, changed.shape) == (torch.uint8, squares().shape)
    assert torch.equal(changed, augmented(squares(), (way,), decided))
    assert not torch.equal(changed, squares())
    assert torch.equal(augmented(squares()[3:5], (way,), decided[:, 3:5]), changed[3:5])


def test_in_the_middle_of_the_chances_little_changes() -> None:
    decided = torch.full((9, 2), 0.5)
    assert (augmented(squares(2), ("colour", "rotation"), decided).int() - squares(2).int()).abs().max() <= 1


def test_a_turn_is_about_the_middle_and_keeps_its_shape() -> None:
    decided = torch.full((9, 1), 0.5)
    decided[5] = 1.0  # 15 degrees
    turned = augmented(squares(1), ("rotation",), decided)[0, ..., 0].numpy() > 175
    rows, columns = np.nonzero(turned)
    assert abs(rows.mean() - 19.5) < 0.5
    assert abs(columns.mean() - 29.5) < 0.5
    assert abs(turned.sum() - 100) <= 6
    spread = np.ptp(columns) + 1  # of a square of 10 turned by 15 degrees: 10 (cos + sin) = 12.2
    assert 11 <= spread <= 13


def test_a_crop_enlarges() -> None:
    decided = torch.full((9, 1), 0.5)
    decided[1] = 0.0  # half of the area
    area = (augmented(squares(1), ("crop",), decided)[0, ..., 0].numpy() > 175).sum()
    assert 180 <= area <= 220


def test_colour_keeps_places_and_changes_levels() -> None:
    decided = torch.full((9, 1), 0.5)
    decided[6] = 1.0  # 1.3 times as bright
    changed = augmented(squares(1), ("colour",), decided)[0].numpy().astype(int)
    assert (changed[:10] == 130).all()
    decided[6:] = torch.tensor([[0.5], [0.5], [0.0]])  # 0.7 of the saturation
    faded = augmented(squares(1), ("colour",), decided)[0].numpy().astype(int)
    assert np.ptp(faded[20, 30]) == pytest.approx(70, abs=1)
