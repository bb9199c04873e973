"""A network on validation pictures: found faces scored at one size, sources apart."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from caffe2torch.pictures import load_picture
from finetune.data.boxes import BoxedPicture
from finetune.detector.finding import find_faces, fitted
from finetune.detector.network import Detector
from finetune.detector.scoring import Score, score

LONGER = 512  # pixels at which pictures are looked at
LEAST = 0.05  # score of what is counted


class Validation:
    """Sets of pictures by name, with their share in the final score; decoded once."""

    def __init__(self, sets: Mapping[str, tuple[Sequence[BoxedPicture], float]], longer: int = LONGER) -> None:
        self.sets = {}
        for name, (pictures, share) in sets.items():
            pixels, truth = [], []
            for one in pictures:
                fed, factor = fitted(load_picture(one.path), longer)
                pixels.append(fed)
                truth.append((one.boxes * factor, one.difficult))
            self.sets[name] = (pixels, truth, share)

    def scores(
        self, find: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]], threshold: float | None = None
    ) -> dict[str, Score]:
        """Of every set."""
        return {
            name: score([find(picture) for picture in pixels], truth, threshold)
            for name, (pixels, truth, _) in self.sets.items()
        }

    def __call__(self, network: Detector) -> dict[str, float]:
        """Average precision and best F1 of every set; "score" is the average precisions' weighted mean."""
        found = self.scores(lambda picture: find_faces(network, picture, LEAST))
        metrics: dict[str, float] = {}
        for name, value in found.items():
            if value.faces:
                metrics |= {
                    f"{name}_ap": value.average_precision,
                    f"{name}_f1": value.f1,
                    f"{name}_at": value.threshold,
                }
            else:
                metrics[f"{name}_false"] = float(value.false)
        shares = {name: share for name, (_, _, share) in self.sets.items() if share}
        metrics["score"] = sum(found[name].average_precision * share for name, share in shares.items()) / sum(
            shares.values()
        )
        return metrics
