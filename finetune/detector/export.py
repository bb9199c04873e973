"""A trained detector as one ONNX file: uint8 RGB pictures in, boxes and scores out."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import numpy as np

from caffe2torch.errors import ModelError, VerifyError
from finetune.checkpoint import read_config
from finetune.origin import origin_of
from finetune.runtime import FORMAT, open_session

if TYPE_CHECKING:
    from finetune.detector.network import Detector

IOU = 0.98  # that boxes of torch and onnxruntime have at least
TOLERANCE = 1e-3  # of a score, between them
TRIED = ((256, 192), (333, 250))  # width and height of the drawn scenes that the export is checked with
LEAST = 0.01  # score of the boxes that are compared


def metadata(name: str, confidence: float, recipe: str = "detector") -> dict[str, Any]:
    """What the file says of itself: ``confidence`` is the least score of a face, where the user names no other."""
    from finetune.detector.network import STRIDE

    return {
        "format": FORMAT,
        "kind": "detector",
        "classes": ["face"],
        "stride": STRIDE,
        "sizes": [12, 512],
        "conf": confidence,
        "iou": 0.4,
        "max_size": 512,
        "enlarge": 4.0,
        "resize": "bilinear",
        "margin": 0.0,
        "recipe": recipe,
        "name": name,
    }


def open_writer(run: Path) -> Callable[[Path], tuple[str, str]]:
    """For finetune.export: the best weights of ``run`` are read now, and written to the path given later.

    Raises ModelError for a run that is damaged or not finished; the writer raises VerifyError.
    """
    config = read_config(run)
    try:
        from finetune.detector.network import with_scores
        from finetune.detector.training import BEST, load_averaged
    except ImportError as error:
        raise ModelError(f"{run}: a run of the recipe detector is exported with torch: {error}") from error
    if not (run / BEST).exists():
        raise ModelError(f"{run}: not finished: there is no {BEST} in it")
    try:
        said = {**metadata(str(config["name"]), float(config["conf"])), **origin_of(run, BEST, config)}
        slope, offset = (float(value) for value in config["scores"])
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{run / 'config.json'}: damaged: {error} is missing or no number") from error
    network = with_scores(load_averaged(run / BEST), slope, offset)

    def write(place: Path) -> tuple[str, str]:
        write_model(network, place, said)
        return "a detector of faces, pictures of any size", verify(network, place)

    return write


def write_model(network: Detector, place: Path, said: dict[str, Any]) -> None:
    """Write the ONNX file."""
    import onnx

    from finetune.detector.graph import detector_model

    onnx.save(detector_model(network, said), os.fspath(place))


def verify(network: Detector, model: Path) -> str:
    """Run the file beside torch on drawn scenes. Gives what was found in words.

    Raises VerifyError where a box differs by more than IoU 0.98, a score by more than 1e-3, or the number of boxes.
    """
    from finetune.detector.finding import find_faces
    from finetune.detector.network import fused
    from finetune.detector.scoring import overlaps
    from finetune.drawing.characters import CHARACTERS
    from finetune.drawing.scenes import draw_scene

    opened = open_session(model, "cpu")
    network = fused(network)
    boxes_seen, worst_score = 0, 0.0
    for number, size in enumerate(TRIED):
        scene, _ = draw_scene(CHARACTERS, Random(number), size, 3)
        picture = np.array(scene)
        boxes, scores = find_faces(network, picture, LEAST)
        feeds = {"picture": picture[None], "confidence": np.array(LEAST, np.float32), "iou": np.array(0.4, np.float32)}
        given, values, _ = opened.run(["boxes", "scores", "pictures"], feeds)
        if len(given) != len(boxes):
            raise VerifyError(f"{model}: gives {len(given)} boxes where torch gives {len(boxes)}; nothing was written")
        if not len(boxes):
            continue
        pairs = overlaps(boxes, given)  # not in order: scores that are nearly equal may change places
        alike = float(pairs.max(axis=1).min())
        worst_score = max(worst_score, float(np.abs(values[pairs.argmax(axis=1)] - scores).max()))
        if not (alike > IOU and worst_score <= TOLERANCE):
            by = f"IoU {alike:.3f}, scores by {worst_score:.1e}"
            raise VerifyError(f"{model}: boxes differ from torch's ({by}); nothing was written")
        boxes_seen += len(boxes)
    return f"{boxes_seen} boxes equal to torch's, scores within {worst_score:.0e}"
