"""Training and held-out pictures, told apart by a seed: by class, and no group of near-duplicates on both sides."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np

from caffe2torch.errors import DataError


def split(
    labels: Sequence[int], validation: float, seed: int, groups: Sequence[int] | None = None
) -> tuple[list[int], list[int]]:
    """Indices of the training and of the validation pictures, both ascending, together all of ``labels``.

    Of n pictures n · (1 − validation), rounded down, train, and of each class its share within one picture; a class
    always keeps one that trains. Pictures of one group (``groups[i]`` is that of picture i; None: each is its own)
    stay on one side; a group of more than a tenth of what is held out of its class trains, lest one picture decide
    the measure. ``validation`` is a share in [0, 1). numpy's RandomState, whose stream is frozen, decides by ``seed``.
    """
    random = np.random.RandomState(seed)
    members = _members(labels, groups, random)
    room = _room(labels, validation, random)
    most = {label: max(2, count // 10) for label, count in room.items()}
    held: list[int] = []
    for indices in members:
        wanted = Counter(labels[i] for i in indices)
        if all(room[label] >= count for label, count in wanted.items()) and all(
            len(indices) <= most[label] for label in wanted
        ):
            room.subtract(wanted)
            held += indices
    chosen = set(held)
    return [i for i in range(len(labels)) if i not in chosen], sorted(held)


def folds(labels: Sequence[int], groups: Sequence[int] | None, k: int, seed: int) -> list[tuple[list[int], list[int]]]:
    """Cross-validation: k times the indices that train and those that are held out, ascending, together all.

    Each picture is held out once; the folds have as many pictures of a class as can be, within one where there are
    no groups; a group is never on both sides. A class that is one group alone trains in every fold and is held out
    in none. Raises DataError for k < 2 or more folds than groups.
    """
    members = _members(labels, groups, np.random.RandomState(seed))
    if not 2 <= k <= len(members):
        raise DataError(f"{k} folds of {len(members)} pictures or groups of near-duplicates; 2 to that many are wanted")
    of_class = Counter(label for indices in members for label in {labels[i] for i in indices})
    counts: list[Counter[int]] = [Counter() for _ in range(k)]
    held: list[list[int]] = [[] for _ in range(k)]
    for indices in members:
        wanted = Counter(labels[i] for i in indices)
        if any(of_class[label] == 1 for label in wanted):
            continue
        fold = min(range(k), key=lambda f: (sum(counts[f][label] * n for label, n in wanted.items()), len(held[f]), f))
        counts[fold].update(wanted)
        held[fold] += indices
    return [([i for i in range(len(labels)) if i not in out], sorted(out)) for out in map(set, held)]


def random_split(labels: Sequence[int], validation: float, seed: int) -> tuple[list[int], list[int]]:
    """The tutorial's split: random over all pictures, whatever their class, near-duplicates on both sides.

    As chainer.datasets.split_dataset_random does it (RandomState(seed).permutation): of n pictures
    int(n · (1 − validation)) train. A class that would be left without a training picture gets its first validation
    picture back, so slightly more may train.
    """
    order = [int(i) for i in np.random.RandomState(seed).permutation(len(labels))]
    kept = len(labels) - _held(len(labels), validation)
    train, held = order[:kept], order[kept:]
    trained = {labels[i] for i in train}
    for i in list(held):
        if labels[i] not in trained:
            trained.add(labels[i])
            held.remove(i)
            train.append(i)
    return sorted(train), sorted(held)


def _held(total: int, validation: float) -> int:
    # Rounding first: 10 · (1 − 0.2) is 8.000000000000002 or 7.999999999999999 depending on the share.
    return total - int(round(total * (1 - validation), 6))


def _members(labels: Sequence[int], groups: Sequence[int] | None, random: np.random.RandomState) -> list[list[int]]:
    """The indices of each group, in random order, groups of several pictures before the single ones."""
    found: dict[int, list[int]] = defaultdict(list)
    for i in random.permutation(len(labels)).tolist():
        found[i if groups is None else groups[i]].append(i)
    return sorted(found.values(), key=len, reverse=True)


def _room(labels: Sequence[int], validation: float, random: np.random.RandomState) -> Counter[int]:
    """How many pictures of each class are to be held out: its share, what is left over by largest remainder."""
    counts = Counter(labels)
    shares = {label: counts[label] * validation for label in sorted(counts)}
    room = Counter({label: int(share + 1e-9) for label, share in shares.items()})
    left = _held(len(labels), validation) - room.total()
    tie = dict(zip(shares, random.permutation(len(shares)).tolist(), strict=True))
    order = sorted(shares, key=lambda label: (-round(shares[label] - room[label], 6), tie[label]))
    for label in order[: max(left, 0)]:
        room[label] += 1
    return Counter({label: min(count, counts[label] - 1) for label, count in room.items()})
