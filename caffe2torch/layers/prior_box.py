"""PriorBox of SSD: boxes of several shapes around every cell of a map. They depend on sizes only, so are a constant."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod, sqrt
from typing import TYPE_CHECKING

import numpy as np

from caffe2torch.calls import Call, Step
from caffe2torch.layers.labels import check_legacy
from caffe2torch.net import Fields, Layer, Shape
from caffe2torch.readings import Reading
from caffe2torch.registry import LayerError, Operation, layer

if TYPE_CHECKING:
    from caffe2torch.onnx_model import LayerNodes

Pair = tuple[float, float]
PLACES = (
    "clip 5 bool =false; variance 6 float*; img_size 7 uint32; img_h 8 uint32; img_w 9 uint32; step 10 float; "
    "step_h 11 float; step_w 12 float; offset 13 float =0.5"
)
FIELDS = f"min_size 1 float*; max_size 2 float*; aspect_ratio 3 float*; flip 4 bool =true; {PLACES}"
CLIPPING = FIELDS.replace("clip 5 bool =false", "clip 5 bool =true")
REDUCED = f"{FIELDS}; reduce_boxes 14 bool =false"
SYNOPSYS = (
    f"{FIELDS}; faceboxes 14 bool =false; box_width 15 float*; box_height 16 float*; tf 17 bool =false; "
    "yx_order 18 bool =false; keras 19 bool =false"
)


@layer(
    "PriorBox",
    bottoms=(2, 2),
    prior_box_param="min_size max_size aspect_ratio flip clip variance img_size img_h img_w step step_h step_w offset",
    proto={
        "prior_box_param": (
            Reading("ssd intel nvcaffe mobilenet-yolo ssd-windows", None, FIELDS),
            Reading("mobilenet-ssd", None, REDUCED),
            Reading("synopsys", None, SYNOPSYS),
            Reading("inisis", None, CLIPPING, asked=True),
        )
    },
)
@dataclass(frozen=True)
class PriorBox(Operation):
    """1 x 2 x 4n: corners as parts of the picture, cell by cell, then as many variances."""

    boxes: tuple[Pair, ...]  # width and height in pixels of the boxes of a cell
    map: tuple[int, int]  # height and width of the first bottom
    image: tuple[int, int]
    step: Pair | None  # pixels from cell to cell, down and across; None: image / map
    offset: float
    clip: bool
    variance: tuple[float, ...]  # 1 or 4
    measured = (0, 1)

    @classmethod
    def parse(cls, layer: Layer, bottoms: Sequence[Shape]) -> PriorBox:
        p = layer.param("prior_box_param")
        check_legacy(*bottoms)
        sizes = [(shape + (1,) * 4)[2:4] for shape in bottoms]
        image = _pair(p, "img_size", "img_h", "img_w")
        variance = p.variance or (0.1,)
        if len(variance) not in (1, 4) or min(variance) <= 0:
            raise LayerError(f"variance {list(variance)} must be 1 or 4 numbers above 0")
        return cls(
            cls._sides(p),
            (sizes[0][0], sizes[0][1]),
            (int(image[0]), int(image[1])) if image else (sizes[1][0], sizes[1][1]),
            _pair(p, "step", "step_h", "step_w"),
            p.offset,
            p.clip,
            tuple(variance),
        )

    @classmethod
    def _sides(cls, p: Fields) -> tuple[Pair, ...]:
        return _boxes(p)

    def shape(self, bottoms: Sequence[Shape]) -> list[Shape]:
        return [(1, 2, self.map[0] * self.map[1] * len(self.boxes) * 4)]

    def made(self, bottoms: Sequence[Shape]) -> int:
        return prod(self.shape(bottoms)[0])

    def priors(self) -> np.ndarray:
        """float32, (1, 2, 4n), as Caffe rounds."""
        number = np.float32
        step = (
            [number(size) for size in self.step]
            if self.step
            else [number(image) / number(cells) for image, cells in zip(self.image, self.map, strict=True)]
        )
        y, x = (
            (np.arange(cells, dtype=number) + number(self.offset)) * size
            for cells, size in zip(self.map, step, strict=True)
        )
        centres = np.stack(np.broadcast_arrays(x, y[:, None]), -1)[:, :, None].astype(np.float64)
        halves = np.array(self.boxes, number).astype(np.float64) / 2
        corners = np.concatenate([centres - halves, centres + halves], -1) / (self.image[::-1] * 2)
        corners = corners.astype(number)
        if self.clip:
            corners = corners.clip(0, 1)
        variance = np.array(self.variance, number)
        return np.stack([corners.ravel(), np.broadcast_to(variance, corners.shape).ravel()])[None]

    def state(self, blobs: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        return {"value0": self.priors()}

    def torch(self) -> Step:
        return Step("{self}()", Call("Constant", *self.shape(())))

    def onnx(self, nodes: LayerNodes) -> None:
        nodes.add("Identity", [nodes.state("value0")], nodes.outputs)


@layer(
    "PriorBoxClustered",
    bottoms=(2, 2),
    prior_box_param="width height clip variance img_size img_h img_w step step_h step_w offset",
    proto={"prior_box_param": Reading("intel", None, f"{PLACES}; width 14 float*; height 15 float*")},
)
@dataclass(frozen=True)
class PriorBoxClustered(PriorBox):
    """As PriorBox, but ``width`` and ``height`` say the boxes' sides; of nets for OpenVINO and OpenCV."""

    @classmethod
    def _sides(cls, p: Fields) -> tuple[Pair, ...]:
        if not p.width or len(p.width) != len(p.height) or min(*p.width, *p.height) <= 0:
            raise LayerError("width and height must be set, as many of each, and be above 0")
        return tuple(zip(p.width, p.height, strict=True))


def _pair(p: Fields, both: str, high: str, wide: str) -> Pair | None:
    """A size given once for both directions, or for each; None if it is not given."""
    if high not in p and wide not in p:
        if both not in p:
            return None
        found = getattr(p, both), getattr(p, both)
    elif both in p:
        raise LayerError(f"{both} and {high}/{wide} are both set; Caffe takes one form or the other")
    else:
        found = getattr(p, high), getattr(p, wide)
    if min(found) <= 0:
        raise LayerError(f"{both}, or {high} and {wide} together, must be above 0")
    return found


def _boxes(p: Fields) -> tuple[Pair, ...]:
    """For each size: the square, the larger square, then the other ratios. Sizes are cut to whole numbers."""
    if not p.min_size or min(p.min_size) <= 0:
        raise LayerError("min_size must be set, and above 0")
    if p.max_size and len(p.max_size) != len(p.min_size):
        raise LayerError(f"{len(p.max_size)} values of max_size for {len(p.min_size)} of min_size")
    if any(large <= small for small, large in zip(p.min_size, p.max_size, strict=False)):
        raise LayerError(f"max_size {list(p.max_size)} must be greater than min_size {list(p.min_size)}")
    ratios = _ratios(p)
    boxes: list[Pair] = []
    for place, size in enumerate(map(int, p.min_size)):
        boxes.append((float(size), float(size)))
        if p.max_size:
            boxes.append((sqrt(size * int(p.max_size[place])),) * 2)
        boxes += [(size * sqrt(ratio), size / sqrt(ratio)) for ratio in ratios]
    return tuple(boxes)


def _ratios(p: Fields) -> list[float]:
    """Aspect ratios other than 1, each with its inverse if ``flip``; those met before are left out."""
    found = [1.0]
    for ratio in p.aspect_ratio:
        if ratio <= 0:
            raise LayerError(f"aspect_ratio {ratio} must be above 0")
        if any(abs(ratio - each) < 1e-6 for each in found):
            continue
        found += [ratio, 1 / ratio] if p.flip else [ratio]
    return found[1:]
