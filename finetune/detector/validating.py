"""A network on validation pictures: found faces scored at one size, sources apart."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import chain

import numpy as np

from caffe2torch.pictures import load_picture
from finetune.data.boxes import BoxedPicture
from finetune.detector.finding import find_faces, fitted
from finetune.detector.network import Detector
from finetune.detector.scoring import Score, chances, marks, score
from finetune.detector.ways import Shown, upright

Boxes = tuple[np.ndarray, np.ndarray]  # [K, 4] and scores [K], best first
Found = list[Boxes]  # a picture each
Find = Callable[[np.ndarray], Boxes]

LONGER = 512  # pixels at which pictures are looked at
OVERLAP = 0.4  # IoU from which a box is right
LEAST = 0.05  # score of what is counted


class Validation:
    """Sets of pictures by name, with their share in the final score; decoded once."""

    def __init__(
        self,
        sets: Mapping[str, tuple[Sequence[BoxedPicture], float]],
        longer: int = LONGER,
        ways: Sequence[Callable[[np.ndarray, np.ndarray, np.ndarray], list[Shown]]] = (upright,),
    ) -> None:
        """``ways`` (ways.py): each picture is shown in all of them."""
        self.sets = {}
        for name, (pictures, share) in sets.items():
            pixels, truth = [], []
            for one in pictures:
                picture = load_picture(one.path)
                for shown, boxes, difficult in chain(*(way(picture, one.boxes, one.difficult) for way in ways)):
                    fed, factor = fitted(shown, longer)
                    pixels.append(fed)
                    truth.append((boxes * factor, difficult))
            self.sets[name] = (pixels, truth, share)

    def find(self, find: Find) -> dict[str, Found]:
        """What is found in every set."""
        return {name: [find(picture) for picture in pixels] for name, (pixels, _, _) in self.sets.items()}

    def scores(self, found: Mapping[str, Found], threshold: float | None = None) -> dict[str, Score]:
        """Of every set; ``threshold`` None: each at the threshold of its own best F1."""
        return {name: score(found[name], truth, threshold) for name, (_, truth, _) in self.sets.items()}

    def truth(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Boxes and which are difficult, of all sets."""
        return [one for _, truths, _ in self.sets.values() for one in truths]

    def together(self, found: Mapping[str, Found], threshold: float | None = None, beta: float = 1.0) -> Score:
        """Of all sets as one; ``beta`` as in scoring.score."""
        return score([one for name in self.sets for one in found[name]], self.truth(), threshold, beta=beta)

    def chances(self, network: Detector) -> tuple[float, float]:
        """Slope and offset for ``with_scores`` that make a score the chance, seen here, that a box is right."""
        found = self.find(lambda picture: find_faces(network, picture, LEAST))
        return chances(*marks([one for name in self.sets for one in found[name]], self.truth(), OVERLAP))

    def __call__(self, network: Detector) -> dict[str, float]:
        """Average precision and best F1 of every set, all at the threshold of the best F1 over all.

        "at" is that threshold; "score" is the mean of the average precisions, by their shares.
        """
        found = self.find(lambda picture: find_faces(network, picture, LEAST))
        threshold = self.together(found).threshold
        scored = self.scores(found, threshold)
        metrics: dict[str, float] = {"at": threshold}
        for name, value in scored.items():
            if value.faces:
                metrics |= {f"{name}_ap": value.average_precision, f"{name}_f1": value.f1}
            metrics[f"{name}_false"] = float(value.false)
        shares = {name: share for name, (_, _, share) in self.sets.items() if share}
        mean = sum(scored[name].average_precision * share for name, share in shares.items()) / sum(shares.values())
        return metrics | {"score": mean}
