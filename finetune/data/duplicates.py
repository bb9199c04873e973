"""Near-duplicates: the same picture saved again, resized, recoloured a little, mirrored or turned by 90°.

Pictures are compared by their descriptions (descriptions.py), in about n · √n steps for n pictures, not n². What was
cropped is found by its likeness to parts of the whole one, a twentieth smaller: from the middle, into the four corners,
and once more from the middle. Crops by more than that, or to another side, are mostly not found
(benchmarks/duplicates.py).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from finetune.data.descriptions import LENGTH, PARTS, distance, invariant

# Largest distance of near-duplicates. Between unrelated pictures it is 1 and more; a picture saved again is below 0.1,
# one made brighter by 30 % mostly below 0.5 (benchmarks/duplicates.py).
SAME_LABEL = 0.5
# Where all pictures of a class look much alike, as digits do, it is lower: this share of a distance that three
# quarters of random pairs of one class exceed; but what was only saved again is always found.
OF_CLASS, LEAST = 0.35, 0.1
# Where many pictures lie densely, as handwritten digits do, each has a neighbour that is no duplicate: half the
# distance to the nearest that a quarter of the pictures exceed.
OF_NEAREST, MANY, LOOKED_AT, NEIGHBOURS = 0.5, 1000, 200, 64
# Drawings of one hand (emoji) come as near as 0.25 and show different things: a different label is evidence of that.
OTHER_LABEL = 0.2
PAIRS_DRAWN, PAIRS_WANTED = 20_000, 30  # at random; below that many, nothing is said of a class

# Where pictures lie so densely that the limit is below this, one is as near to a part of another as to its own.
PARTS_FROM = 0.3

MOST = 20_000  # pictures whose parts are described: 3 kB each

CELLS_EACH = 4  # that a picture is put into: of the nearest
ENOUGH = 32  # members of one group that are compared with a cell
ROWS = 256  # compared at once by what is quick to compare
PAIRS = 4096  # compared at once in all positions


def near_duplicates(descriptions: np.ndarray, labels: Sequence[int], parts: np.ndarray | None = None) -> np.ndarray:
    """For each of the N pictures described, the index of the first picture of its group: int64 (N,).

    Two pictures closer than limit_of says (0.2 where their labels differ) are of one group, as is whoever is close to
    one of them; so are a picture and another's part (``parts``, of describe_parts) that are as close. A pair is missed
    only where its pictures share none of the four nearest of √N cells each.
    """
    total = len(descriptions)
    groups = _Groups(total)
    _, first, same = np.unique(descriptions, axis=0, return_index=True, return_inverse=True)
    groups.join(first[same.reshape(-1)], np.arange(total))  # the very same: compared once
    chosen = np.sort(first)
    unturned = invariant(descriptions[chosen])
    named = np.asarray(labels)
    same_label = limit_of(descriptions[chosen], named[chosen])
    other_label = min(OTHER_LABEL, same_label)
    for cell in _cells(unturned):
        members, features = chosen[cell], unturned[cell]
        compared: Counter[int] = Counter()
        for start in range(0, len(cell), ROWS):
            rows = _unlike(groups.of(members[start : start + ROWS]), compared) + start
            left, right = _candidates(features, rows, same_label)
            for at in range(0, len(left), PAIRS):
                one, other = members[left[at : at + PAIRS]], members[right[at : at + PAIRS]]
                apart = groups.of(one) != groups.of(other)
                one, other = one[apart], other[apart]
                limit = np.where(named[one] == named[other], same_label, other_label)
                near = distance(descriptions[one], descriptions[other]) <= limit
                groups.join(one[near], other[near])
    if parts is not None and same_label >= PARTS_FROM:
        _join_parts(groups, descriptions, parts, chosen, named, (same_label, other_label))
    return groups.of(np.arange(total))


def _join_parts(
    groups: _Groups,
    descriptions: np.ndarray,
    parts: np.ndarray,
    chosen: np.ndarray,
    named: np.ndarray,
    limits: tuple[float, float],
) -> None:
    """Join the ``chosen`` pictures with those of which a part is near."""
    whole = invariant(descriptions[chosen])
    several = invariant(parts[chosen].reshape(-1, LENGTH))
    for wholes, some in zip(*_cells_of_two(whole, several), strict=True):
        squares = (several[some] ** 2).sum(axis=1)
        for start in range(0, len(wholes), ROWS):
            rows = wholes[start : start + ROWS]
            apart = (whole[rows] ** 2).sum(axis=1)[:, None] + squares[None] - 2 * whole[rows] @ several[some].T
            left, right = np.nonzero(apart <= limits[0] ** 2 + 1e-3)
            one, place = chosen[rows[left]], some[right]
            other, part = chosen[place // len(PARTS)], place % len(PARTS)
            for at in range(0, len(one), PAIRS):
                a, b, of = one[at : at + PAIRS], other[at : at + PAIRS], part[at : at + PAIRS]
                open_ = groups.of(a) != groups.of(b)
                a, b, of = a[open_], b[open_], of[open_]
                limit = np.where(named[a] == named[b], *limits)
                near = distance(descriptions[a], parts[b, of]) <= limit
                groups.join(a[near], b[near])


def limit_of(descriptions: np.ndarray, labels: np.ndarray) -> float:
    """The distance below which two pictures of one label are near-duplicates: 0.5, or less where classes are narrow.

    It is 0.35 times the lower quartile of the distances of random pairs of one label, and among more than 1,000
    pictures at most half the upper quartile of the distances to the nearest of the same label; within 0.1..0.5.
    """
    random = np.random.default_rng(0)
    order = np.argsort(labels, kind="stable")
    _, starts, counts = np.unique(labels[order], return_index=True, return_counts=True)
    if (counts * (counts - 1) // 2).sum() < PAIRS_WANTED:
        return SAME_LABEL
    one = random.integers(0, len(labels), PAIRS_DRAWN)  # places in the order of labels
    own = np.searchsorted(starts, one, side="right") - 1
    other = (
        starts[own] + (one - starts[own] + 1 + (random.random(len(one)) * (counts[own] - 1)).astype(int)) % counts[own]
    )
    one, other = order[one[counts[own] > 1]], order[other[counts[own] > 1]]
    found = [distance(descriptions[one[i : i + PAIRS]], descriptions[other[i : i + PAIRS]])
             for i in range(0, len(one), PAIRS)]  # fmt: skip
    limit = OF_CLASS * np.quantile(np.concatenate(found), 0.25)
    if len(labels) > MANY:
        limit = min(limit, OF_NEAREST * np.quantile(_nearest(descriptions, labels), 0.75))
    return float(np.clip(limit, LEAST, SAME_LABEL))


def _nearest(descriptions: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The distances of some pictures, at random, to the nearest of the same label (of 64 that seem so)."""
    features = invariant(descriptions)
    squares = (features**2).sum(axis=1)
    found = []
    for index in np.random.default_rng(1).permutation(len(labels))[:LOOKED_AT].tolist():
        seeming = np.where(labels == labels[index], squares - 2 * features @ features[index], np.inf)
        seeming[index] = np.inf
        nearest = np.argpartition(seeming, NEIGHBOURS)[:NEIGHBOURS]
        nearest = nearest[np.isfinite(seeming[nearest])]
        if len(nearest):
            one = np.repeat(descriptions[index : index + 1], len(nearest), axis=0)
            found.append(distance(one, descriptions[nearest]).min())
    return np.array(found or [SAME_LABEL / OF_NEAREST])


def groups_of(groups: Sequence[int]) -> list[list[int]]:
    """The groups of two pictures and more, as lists of indices, in the order of their first pictures."""
    found: dict[int, list[int]] = {}
    for index, group in enumerate(groups):
        found.setdefault(int(group), []).append(index)
    return [members for members in found.values() if len(members) > 1]


class _Groups:
    """Sets of indices that are joined: the least index of a set is its name."""

    def __init__(self, total: int) -> None:
        self.parent = np.arange(total)

    def of(self, indices: np.ndarray) -> np.ndarray:
        roots = self.parent[indices]
        while not np.array_equal(above := self.parent[roots], roots):
            roots = above
        self.parent[indices] = roots
        return np.asarray(roots)

    def join(self, one: np.ndarray, other: np.ndarray) -> None:
        while len(one):
            left, right = self.of(one), self.of(other)
            apart = left != right
            one, other, left, right = one[apart], other[apart], left[apart], right[apart]
            np.minimum.at(self.parent, np.maximum(left, right), np.minimum(left, right))


def _cells(features: np.ndarray) -> list[np.ndarray]:
    """Ascending indices of the pictures in each of about √N cells; each picture is in its four nearest."""
    if len(features) <= 4 * ROWS:
        return [np.arange(len(features))]
    return _put_into(features, _centres(features), CELLS_EACH)


def _cells_of_two(whole: np.ndarray, several: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """As _cells of ``whole``, and the indices of ``several`` that are in the same cells, each in its nearest two."""
    if len(whole) <= 4 * ROWS:
        return [np.arange(len(whole))], [np.arange(len(several))]
    centres = _centres(whole)
    return _put_into(whole, centres, CELLS_EACH), _put_into(several, centres, 2)


def _centres(features: np.ndarray) -> np.ndarray:
    total = len(features)
    return features[np.random.default_rng(0).permutation(total)[: int(np.sqrt(total))]]


def _put_into(features: np.ndarray, centres: np.ndarray, each: int) -> list[np.ndarray]:
    """Ascending indices of the features in each cell; each is in the ``each`` nearest."""
    nearest = np.empty((len(features), each), np.int32)
    for start in range(0, len(features), 8 * ROWS):
        block = features[start : start + 8 * ROWS]
        apart = (centres**2).sum(axis=1) - 2 * block @ centres.T
        nearest[start : start + len(block)] = np.argpartition(apart, each, axis=1)[:, :each]
    order = np.argsort(nearest.reshape(-1), kind="stable")
    ends = np.cumsum(np.bincount(nearest.reshape(-1), minlength=len(centres)))[:-1]
    return np.split(order // each, ends)


def _unlike(names: np.ndarray, compared: Counter[int]) -> np.ndarray:
    """Places in ``names`` (of groups), leaving out further members of a group of which many were compared.

    What is near to them is near to the others too; a thousand white pictures need not be compared in pairs.
    """
    chosen = []
    for place, name in enumerate(names.tolist()):
        compared[name] += 1
        if compared[name] <= ENOUGH:
            chosen.append(place)
    return np.array(chosen, np.int64)


def _candidates(features: np.ndarray, rows: np.ndarray, limit: float) -> tuple[np.ndarray, np.ndarray]:
    """Pairs (i, j), i of the ascending ``rows``, j behind it, that may be near-duplicates."""
    if not len(rows):
        return rows, rows
    first = int(rows[0])
    block, behind = features[rows], features[first:]
    apart = (block**2).sum(axis=1)[:, None] + (behind**2).sum(axis=1)[None] - 2 * block @ behind.T
    apart[np.arange(len(behind))[None] <= rows[:, None] - first] = np.inf
    left, right = np.nonzero(apart <= limit**2 + 1e-3)
    return rows[left], right + first
