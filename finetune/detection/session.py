"""A detector that `onnx export` wrote: opened, its promises checked, its boxes brought into the picture.

The file's metadata: {"format": 1, "kind": "detector", "classes": ["face"], "conf", "iou", "max_size", …}, optional
"enlarge" (Settings), "resize" ("bilinear", the default, or "bicubic": how pictures are brought to the size they are
fed at, with antialiasing) and "name". Its graph takes "picture" uint8 (N, H, W, 3) RGB, with "confidence" and "iou"
float32 scalars that have defaults, and gives, after suppression and best first, "boxes" float32 (K, 4), x0 y0 x1 y1 in
pixels of what was fed, "scores" float32 (K,) and "pictures" int64 (K,): which of the N.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from caffe2torch.errors import ModelError
from finetune.detection.finder import Boxes, Settings
from finetune.detection.geometry import clip
from finetune.runtime import Opened, open_session, positive, read_said, reading_metadata, string

PICTURE, CONFIDENCE, IOU = "picture", "confidence", "iou"
BOXES, SCORES, PICTURES = "boxes", "scores", "pictures"
RESIZE = ("bilinear", "bicubic")
MOST = 16.0  # times that a small picture is enlarged, where the metadata names no limit
LARGEST = 16384  # pixels of a side that is fed: no metadata makes a small picture a huge one
GRAPH: dict[
    str, dict[str, tuple[str, tuple[int | None, ...]]]
] = {  # the names, types and sizes of what the graph must take and give; None is free
    "inputs": {PICTURE: ("tensor(uint8)", (None, None, None, 3))},
    "overridable": {CONFIDENCE: ("tensor(float)", ()), IOU: ("tensor(float)", ())},
    "outputs": {
        BOXES: ("tensor(float)", (None, 4)),
        SCORES: ("tensor(float)", (None,)),
        PICTURES: ("tensor(int64)", (None,)),
    },
}


@dataclass(frozen=True)
class Detector:
    """An open detector; a Finder."""

    path: Path
    settings: Settings  # its own defaults
    resize: str  # one of RESIZE
    name: str
    opened: Opened

    def find(self, picture: np.ndarray, settings: Settings) -> Boxes:
        """The faces in one picture, uint8 (H, W, 3) RGB. Raises ModelError if the model fails or gives nonsense."""
        height, width = picture.shape[:2]
        fed_width, fed_height = fed_size(width, height, settings)
        fed = resized(picture, fed_width, fed_height, self.resize)
        found = self.find_in_batch(fed[None], settings.confidence, settings.iou)[0]
        factors = np.array([width / fed_width, height / fed_height] * 2, np.float32)
        return Boxes(clip(found.boxes * factors, width, height), found.scores)

    def find_in_batch(self, pictures: np.ndarray, confidence: float, iou: float) -> list[Boxes]:
        """The faces in each of the pictures uint8 (N, H, W, 3), looked at as they are; boxes in their pixels."""
        count, height, width = pictures.shape[:3]
        feeds = {PICTURE: pictures, CONFIDENCE: np.float32(confidence), IOU: np.float32(iou)}
        boxes, scores, places = self.opened.run([BOXES, SCORES, PICTURES], {k: np.asarray(v) for k, v in feeds.items()})
        self._check(boxes, scores, places, count)
        boxes = clip(boxes, width, height)
        real = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])  # something of it lies in the picture
        order = np.argsort(-scores, kind="stable")
        order = order[real[order]]
        chosen = [order[places[order] == place] for place in range(count)]
        return [Boxes(boxes[of], np.clip(scores[of], 0, 1)) for of in chosen]

    def _check(self, boxes: np.ndarray, scores: np.ndarray, places: np.ndarray, count: int) -> None:
        if boxes.ndim != 2 or boxes.shape[1] != 4 or not len(boxes) == scores.size == places.size:
            sizes = f"{boxes.shape}, {scores.shape} and {places.shape}"
            raise ModelError(f"{self.path}: gives boxes, scores and pictures of the sizes {sizes}, which do not fit")
        if not (np.isfinite(boxes).all() and np.isfinite(scores).all()):
            raise ModelError(
                f"{self.path}: gives values that are no numbers (NaN or infinite); its weights are damaged"
            )
        if len(scores) and not (scores.min() >= -0.001 and scores.max() <= 1.001):
            raise ModelError(f"{self.path}: gives scores from {scores.min():g} to {scores.max():g}, not 0 to 1")
        if len(places) and not (places.min() >= 0 and places.max() < count):
            raise ModelError(f"{self.path}: gives boxes in pictures that were not fed to it")

    def __str__(self) -> str:
        return f"{self.path}: {self.name}, pictures of up to {self.settings.max_size} pixels, {self.opened.place()}"


def open_finder(path: Path, provider: str = "auto", threads: int | None = None) -> Detector:
    """Open a detector; arguments and errors as in finetune.runtime.open_session.

    Raises ModelError also for a model of another kind, or one whose graph is not what its metadata promises.
    """
    path = Path(path)
    settings, resize, name = _promised(path, read_said(path, "detector"))
    opened = open_session(path, provider, threads)
    _check_graph(path, opened.handle)
    return Detector(path, settings, resize, name, opened)


def fed_size(width: int, height: int, settings: Settings) -> tuple[int, int]:
    """(width, height) at which a picture is looked at: aspect kept, never below one pixel."""
    longer = max(width, height)
    factor = settings.max_size / longer
    if factor > 1:
        factor = min(factor, max(settings.enlarge, 1.0))
    return max(1, round(width * factor)), max(1, round(height * factor))


def resized(picture: np.ndarray, width: int, height: int, method: str) -> np.ndarray:
    """The picture, uint8 (H, W, 3), at that size; Pillow's filters, which antialias."""
    if picture.shape[:2] == (height, width):
        return picture
    from PIL import Image

    filters = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
    return np.asarray(Image.fromarray(picture).resize((width, height), filters[method]))


def _promised(path: Path, said: Mapping[str, Any]) -> tuple[Settings, str, str]:
    with reading_metadata(path):
        classes = [string(name) for name in said["classes"]]
        if classes != ["face"]:
            raise ModelError(f"{path}: finds {', '.join(classes) or 'nothing'}; a detector of faces is wanted")
        max_size = positive(said["max_size"], "max_size")
        if max_size > LARGEST:
            raise ValueError(f"max_size {max_size}")
        settings = Settings(_share(said, "conf"), _share(said, "iou"), max_size, _factor(said.get("enlarge", MOST)))
        resize = string(said.get("resize", "bilinear"))
        if resize not in RESIZE:
            raise ModelError(f"{path}: wants pictures resized by {resize!r}, which is not known here")
        return settings, resize, string(said.get("name", "detector"))


def _share(said: Mapping[str, Any], name: str) -> float:
    value = said[name]
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise ValueError(f"{name} {value!r}")
    return float(value)


def _factor(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 1 <= value <= MOST:
        raise ValueError(f"enlarge {value!r}")
    return float(value)


def _check_graph(path: Path, handle: Any) -> None:
    """The graph's inputs and outputs must be those of a detector."""
    real = {
        "inputs": handle.get_inputs(),
        "overridable": handle.get_overridable_initializers(),
        "outputs": handle.get_outputs(),
    }
    for what, wanted in GRAPH.items():
        values = {value.name: value for value in real[what]}
        if what == "inputs" and set(values) != set(wanted):
            raise ModelError(f"{path}: its graph takes {sorted(values)}, a detector takes {sorted(wanted)} alone")
        for name, (kind, shape) in wanted.items():
            found = values.get(name)
            if found is None or found.type != kind or not _fits(found.shape, shape):
                given = "is not there" if found is None else f"is {found.type} {found.shape}"
                raise ModelError(
                    f"{path}: {name!r} of its graph {given}; a detector has {kind} {list(shape)}; export it anew"
                )


def _fits(shape: list[object], wanted: tuple[int | None, ...]) -> bool:
    """Whether the sizes are those; where the graph names none, they are seen when it runs."""
    if len(shape) != len(wanted):
        return False
    pairs = zip(shape, wanted, strict=True)
    return all(not isinstance(side, int) or (want is not None and side == want) for side, want in pairs)
