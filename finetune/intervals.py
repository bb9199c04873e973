"""How far an accuracy measured on so many pictures can be trusted: 95 % bootstrap intervals."""

from __future__ import annotations

import numpy as np

DRAWS = 2000
LEVEL = 0.95


def bootstrap(right: np.ndarray, seed: int = 0, draws: int = DRAWS) -> tuple[float, float]:
    """The 95 % interval of the share of ``right``, which says of each picture whether it was recognised (bool, 0/1).

    Efron's percentile bootstrap: the pictures are drawn anew with replacement ``draws`` times. As they are right or
    wrong, the right ones of a drawing follow a binomial distribution, from which they are drawn directly. Where all
    are right, or none, resampling knows no spread: Clopper and Pearson's exact bound 0.025^(1/n) takes its place.
    No picture: (0, 1). Near-duplicates among the pictures make the true interval wider.
    """
    return of_counts(int(np.count_nonzero(right)), int(np.size(right)), seed, draws)


def of_counts(right: int, pictures: int, seed: int = 0, draws: int = DRAWS) -> tuple[float, float]:
    """The same for ``right`` recognised pictures of ``pictures``."""
    if pictures == 0:
        return 0.0, 1.0
    tail = (1 - LEVEL) / 2
    if right == pictures:
        return float(tail ** (1 / pictures)), 1.0
    if right == 0:
        return 0.0, float(1 - tail ** (1 / pictures))
    shares = np.random.default_rng(seed).binomial(pictures, right / pictures, draws) / pictures
    low, high = np.quantile(shares, [tail, 1 - tail])
    return float(low), float(high)
