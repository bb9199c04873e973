"""Training and validation pictures, told apart by a seed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def split(labels: Sequence[int], validation: float, seed: int) -> tuple[list[int], list[int]]:
    """Indices of the training and of the validation pictures, both ascending, together all of ``labels``.

    Random over all pictures, as chainer.datasets.split_dataset_random does it (RandomState(seed).permutation, whose
    stream numpy has frozen): of n pictures int(n · (1 − validation)) train. A class that would be left without a
    training picture gets its first validation picture back, so slightly more may train. ``validation`` is a share
    in [0, 1); 0 validates nothing.
    """
    total = len(labels)
    order = [int(i) for i in np.random.RandomState(seed).permutation(total)]
    # Rounding first: 10 · (1 − 0.2) is 8.000000000000002 or 7.999999999999999 depending on the share.
    kept = int(round(total * (1 - validation), 6))
    train, held = order[:kept], order[kept:]
    trained = {labels[i] for i in train}
    for i in list(held):
        if labels[i] not in trained:
            trained.add(labels[i])
            held.remove(i)
            train.append(i)
    return sorted(train), sorted(held)
