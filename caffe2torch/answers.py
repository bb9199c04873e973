"""What a net says about a picture, in a person's terms: classes, boxes, a mask, a picture, or features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from caffe2torch.preprocess import Preprocessing

Size = tuple[int, int]  # height, width
DETECTIONS = ("DetectionOutput", "YoloDetectionOutput", "Yolov3DetectionOutput")
DENSE = ("ArgMax", "Crop", "Deconvolution", "Interp", "BilinearInterpolate", "Softmax", "Upsample")  # of a mask


@dataclass(frozen=True)
class Classes:
    """The best classes with their scores; ``maps`` are what is left of several places, averaged."""

    blob: str
    best: tuple[tuple[int, float], ...]  # index, score

    def to_json(self) -> dict[str, Any]:
        """As `run --json` prints it."""
        return {"blob": self.blob, "classes": [{"index": index, "score": score} for index, score in self.best]}


@dataclass(frozen=True)
class Boxes:
    """Found objects: label index, score and box in pixels of the picture, best first."""

    blob: str
    found: tuple[tuple[int, float, tuple[float, float, float, float]], ...]  # x0, y0, x1, y1

    def to_json(self) -> dict[str, Any]:
        """As `run --json` prints it."""
        return {
            "blob": self.blob,
            "boxes": [{"label": label, "score": score, "box": list(box)} for label, score, box in self.found],
        }


@dataclass(frozen=True)
class Mask:
    """The most probable class of each place, (height, width) uint8 or int32."""

    blob: str
    labels: np.ndarray

    def to_json(self) -> dict[str, Any]:
        """As `run --json` prints it: how much of the picture each class takes."""
        found, counts = np.unique(self.labels, return_counts=True)
        share = {int(label): float(count) / self.labels.size for label, count in zip(found, counts, strict=True)}
        return {"blob": self.blob, "size": list(self.labels.shape), "share": share}


@dataclass(frozen=True)
class Picture:
    """A picture that the net made, uint8 (height, width, 3)."""

    blob: str
    pixels: np.ndarray

    def to_json(self) -> dict[str, Any]:
        """As `run --json` prints it."""
        return {"blob": self.blob, "size": list(self.pixels.shape[:2])}


@dataclass(frozen=True)
class FeatureMap:
    """What is no answer yet, only a step to one: (channels, height, width)."""

    blob: str
    shape: tuple[int, ...]

    def to_json(self) -> dict[str, Any]:
        """As `run --json` prints it."""
        return {"blob": self.blob, "feature_map": list(self.shape)}


@dataclass(frozen=True)
class Numbers:
    """What stands beside the classes of a net and is none, such as the sides of a box: (count,) float32."""

    blob: str
    values: tuple[float, ...]

    def to_json(self) -> dict[str, Any]:
        """As `run --json` prints it."""
        return {"blob": self.blob, "numbers": list(self.values)}


Answer = Classes | Boxes | Mask | Picture | FeatureMap | Numbers


def interpret(
    outputs: Mapping[str, np.ndarray],
    types: Mapping[str, str],
    given: Size,
    taken: Size,
    preprocessing: Preprocessing,
    confidence: float = 0.5,
    top_k: int = 5,
) -> list[Answer]:
    """One answer for each output that has a meaning for a picture; others are left out.

    ``outputs``: float32 by blob, of a batch of one; ``types``: the type of the layer that made each; ``given``: the
    size of the picture that was asked about (boxes are given in its pixels); ``taken``: the size of the net's input;
    ``confidence``: boxes below are left out.
    """
    answers: list[Answer] = []
    probable = [blob for blob in outputs if types.get(blob) == "Softmax"]
    for blob, array in outputs.items():
        if types.get(blob) in DETECTIONS:
            answers.append(_boxes(blob, array.reshape(-1, 7), given, confidence))
        elif array.ndim == 4 and min(array.shape[2:]) > 1:
            answers.append(_spatial(blob, array[0], types.get(blob, ""), taken, preprocessing))
        elif array.ndim >= 2 and array.shape[0] == 1 and array.size > 1:
            values = array.reshape(-1)
            beside = bool(probable) and blob not in probable
            answers.append(Numbers(blob, tuple(values.tolist())) if beside else _classes(blob, values, top_k))
    return answers


def _classes(blob: str, scores: np.ndarray, top_k: int) -> Classes:
    order = np.argsort(-scores, kind="stable")[:top_k]
    return Classes(blob, tuple((int(index), float(scores[index])) for index in order))


def _boxes(blob: str, rows: np.ndarray, given: Size, confidence: float) -> Boxes:
    """Rows of image, label, score, x0, y0, x1, y1 in parts of the picture, as SSD's DetectionOutput gives them."""
    height, width = given
    kept = rows[(rows[:, 1] >= 0) & (rows[:, 2] >= confidence)]
    kept = kept[np.argsort(-kept[:, 2], kind="stable")]
    boxes = kept[:, 3:] * np.array([width, height, width, height], np.float32)
    found = zip(kept[:, 1], kept[:, 2], boxes.tolist(), strict=True)
    return Boxes(blob, tuple((int(label), float(score), tuple(box)) for label, score, box in found))


def _spatial(blob: str, maps: np.ndarray, kind: str, taken: Size, preprocessing: Preprocessing) -> Answer:
    if maps.shape[0] not in (1, 3):
        dense = kind in DENSE and all(4 * side >= of for side, of in zip(maps.shape[1:], taken, strict=True))
        return Mask(blob, maps.argmax(axis=0).astype(np.int32)) if dense else FeatureMap(blob, maps.shape)
    if kind == "ArgMax" and maps.shape[0] == 1 and np.array_equal(maps, np.rint(maps)):
        return Mask(blob, maps[0].astype(np.int32))  # not with out_max_val, which gives scores
    mean: Sequence[float] = preprocessing.mean or (0.0,) * maps.shape[0]
    pixels = maps / preprocessing.scale
    if len(mean) == maps.shape[0]:
        pixels = pixels + np.asarray(mean, np.float32)[:, None, None]
    if preprocessing.channel_order == "BGR" and maps.shape[0] == 3:
        pixels = pixels[::-1]
    rounded = np.clip(np.rint(pixels), 0, 255).astype(np.uint8).transpose(1, 2, 0)
    return Picture(blob, np.repeat(rounded, 3, axis=2) if rounded.shape[2] == 1 else rounded)
