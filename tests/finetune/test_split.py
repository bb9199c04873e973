"""The splits: complete, by class and seed, groups never across, and no class left without training."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from caffe2torch.errors import DataError
from finetune.data.split import folds, random_split, split

LABELLED = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 20)), min_size=2, max_size=60)
SEED = st.integers(0, 2**32 - 1)


@given(labels=st.lists(st.integers(0, 5), min_size=2, max_size=60), share=st.floats(0, 0.99), seed=SEED)
def test_every_picture_is_on_one_side_and_every_class_trains(labels: list[int], share: float, seed: int) -> None:
    for way in (split, random_split):
        train, held = way(labels, share, seed)
        assert sorted(train + held) == list(range(len(labels)))
        assert {labels[i] for i in train} == set(labels)
        assert (train, held) == way(labels, share, seed)


@given(pictures=LABELLED, share=st.floats(0, 0.99), seed=SEED)
def test_no_group_is_on_both_sides(pictures: list[tuple[int, int]], share: float, seed: int) -> None:
    labels, groups = zip(*pictures, strict=True)
    train, held = split(labels, share, seed, groups)
    assert sorted(train + held) == list(range(len(labels)))
    assert not {groups[i] for i in train} & {groups[i] for i in held}
    assert {labels[i] for i in train} == set(labels)


@given(labels=st.lists(st.integers(0, 5), min_size=2, max_size=60), share=st.floats(0, 0.8), seed=SEED)
def test_each_class_gives_its_share(labels: list[int], share: float, seed: int) -> None:
    held = Counter(labels[i] for i in split(labels, share, seed)[1])
    for label, count in Counter(labels).items():
        assert abs(held[label] - share * count) <= 1 or held[label] == count - 1


def test_80_to_20() -> None:
    labels = [i % 7 for i in range(1000)]
    train, held = split(labels, 0.2, 0)
    assert (len(train), len(held)) == (800, 200)
    assert split(labels, 0.2, 1) != (train, held)
    assert set(Counter(labels[i] for i in held).values()) == {28, 29}
    for way in (split, random_split):
        assert len(way(list(range(2)) * 5, 0.2, 0)[0]) == 8  # 10 * (1 - 0.2) is exactly 8, whatever floats say


def test_the_tutorials_own_split() -> None:
    order = np.random.RandomState(0).permutation(50)
    assert random_split([0] * 50, 0.2, 0) == (sorted(order[:40]), sorted(order[40:]))


def test_no_validation() -> None:
    for way in (split, random_split):
        assert way([0, 1, 1], 0, 0) == ([0, 1, 2], [])


def test_a_class_of_two_pictures_always_trains() -> None:
    for seed in range(50):
        for way in (split, random_split):
            train, _ = way([0] * 30 + [1, 1], 0.5, seed)
            assert {30, 31} & set(train)


@given(pictures=LABELLED, seed=SEED, k=st.integers(2, 6))
def test_folds_hold_each_picture_out_once_and_no_group_crosses(
    pictures: list[tuple[int, int]], seed: int, k: int
) -> None:
    labels, groups = zip(*pictures, strict=True)
    if len(set(groups)) < k:
        with pytest.raises(DataError, match=f"{k} folds of {len(set(groups))} pictures or groups"):
            folds(labels, groups, k, seed)
        return
    found = folds(labels, groups, k, seed)
    assert found == folds(labels, groups, k, seed)
    out = Counter(i for _, held in found for i in held)
    alone = {label for label in labels if len({g for own, g in pictures if own == label}) == 1}
    kept_in = {group for label, group in pictures if label in alone}
    assert out == Counter(i for i in range(len(labels)) if groups[i] not in kept_in)
    for train, held in found:
        assert sorted(train + held) == list(range(len(labels)))
        assert not {groups[i] for i in train} & {groups[i] for i in held}
        assert {labels[i] for i in train} == set(labels)


def test_folds_are_even_by_class() -> None:
    labels = [0] * 50 + [1] * 23
    for train, held in folds(labels, None, 5, 3):
        counts = Counter(labels[i] for i in held)
        assert counts[0] == 10 and counts[1] in (4, 5)
        assert len(train) == 73 - len(held)
    with pytest.raises(DataError, match="1 folds"):
        folds(labels, None, 1, 0)
