"""The split: complete, of the wanted size, by the seed, and no class left without training."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from finetune.data.split import split


@given(
    labels=st.lists(st.integers(0, 5), min_size=2, max_size=60),
    share=st.floats(0, 0.99),
    seed=st.integers(0, 2**32 - 1),
)
def test_every_picture_is_on_one_side_and_every_class_trains(labels: list[int], share: float, seed: int) -> None:
    train, held = split(labels, share, seed)
    assert sorted(train + held) == list(range(len(labels)))
    assert {labels[i] for i in train} == set(labels)
    assert (train, held) == split(labels, share, seed)


def test_80_to_20() -> None:
    labels = [i % 7 for i in range(1000)]
    train, held = split(labels, 0.2, 0)
    assert (len(train), len(held)) == (800, 200)
    assert split(labels, 0.2, 1) != (train, held)
    assert len(split(list(range(2)) * 5, 0.2, 0)[0]) == 8  # 10 * (1 - 0.2) is exactly 8, whatever floats say


def test_the_tutorials_own_split() -> None:
    order = np.random.RandomState(0).permutation(50)
    assert split([0] * 50, 0.2, 0) == (sorted(order[:40]), sorted(order[40:]))


def test_no_validation() -> None:
    assert split([0, 1, 1], 0, 0) == ([0, 1, 2], [])


def test_a_class_of_two_pictures_always_trains() -> None:
    for seed in range(50):
        train, _ = split([0] * 30 + [1, 1], 0.5, seed)
        assert {30, 31} & set(train)
