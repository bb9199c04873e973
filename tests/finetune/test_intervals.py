"""Bootstrap intervals: where they lie, how wide they are, and at the ends."""

from __future__ import annotations

import numpy as np
import pytest

from finetune.intervals import bootstrap, of_counts


def test_about_two_standard_errors_to_each_side() -> None:
    right = np.arange(1000) < 900
    low, high = bootstrap(right)
    error = np.sqrt(0.9 * 0.1 / 1000)
    assert low == pytest.approx(0.9 - 1.96 * error, abs=2e-3)
    assert high == pytest.approx(0.9 + 1.96 * error, abs=2e-3)
    assert bootstrap(right) == (low, high) == of_counts(900, 1000)
    assert bootstrap(right, seed=1) != (low, high)


def test_as_drawing_the_pictures_themselves() -> None:
    right = np.arange(40) < 31
    drawn = np.random.default_rng(5).choice(right, (20000, 40)).mean(axis=1)
    assert bootstrap(right, draws=20000) == pytest.approx(np.quantile(drawn, [0.025, 0.975]), abs=0.026)


def test_all_right_or_all_wrong_is_not_certain() -> None:
    assert of_counts(20, 20) == (pytest.approx(0.8316, abs=1e-4), 1)
    assert of_counts(0, 20) == (0, pytest.approx(0.1684, abs=1e-4))
    assert of_counts(0, 0) == (0, 1)


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    random = np.random.default_rng(0)
    inside = 0
    for seed in range(400):
        low, high = bootstrap(random.random(200) < 0.9, seed, 500)
        inside += low <= 0.9 <= high
    assert 0.90 <= inside / 400 <= 0.98
