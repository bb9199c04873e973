"""Faces by the same classifier as windows.py's, its convolutions shared between windows: dense, over a pyramid.

The classifier's graph is changed when it is opened: the picture's size is free, the first inner product becomes a
convolution over the map that it took, the second one of 1 x 1. A picture is brought to one size for each size of
windows, so that a window has the classifier's size there. The difference to windows.py: windows lie on the network's
own grid, and inside the picture a window sees its surroundings where alone it would see padding. That raises the odds
of a face by a factor, near the decision much the same everywhere (FrgNet64: 0.95 correlation of the logits, 1.6 apart);
it is measured on drawn people when the classifier is opened, and taken out again.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from caffe2torch.errors import ModelError
from finetune.detection.finder import Boxes, Settings
from finetune.detection.windows import DEFAULTS, WINDOWS, best_of, face_class, to_width
from finetune.runtime import INPUT, METADATA_KEY, OUTPUT, Opened, Session, open_model, open_session

if TYPE_CHECKING:
    import onnx

STEP = 3  # of the network's own grid, which has a place every 8 pixels; windows at 48 then lie 18 pixels apart
TRIED = 144  # pixels: least side of the pictures on which it is measured what a window's surroundings do to its score
LIKELY = 24  # windows of each of them that are looked at
NEAR, FEW = 3.0, 8  # logits around 0 that are measured, and of how many windows at least
CERTAIN = 1e-7  # float32 tells no probability closer to 0 or 1


@dataclass(frozen=True)
class Dense:
    """An open network that looks at all windows of a picture at once; a Finder, as finetune.detection.windows has."""

    path: Path
    opened: Opened
    face: int
    size: int  # of the classifier's pictures, pixels
    stride: int  # pixels between two windows of that size
    shift: float = 0.0  # of a face's logit, by the surroundings
    settings: Settings = DEFAULTS

    def find(self, picture: np.ndarray, settings: Settings) -> Boxes:
        """The faces in one picture, uint8 (H, W, 3) RGB: windows at least ``settings.confidence`` probable."""
        scaled, factor = to_width(picture, settings.max_size)
        image = Image.fromarray(scaled)
        boxes, scores = [], []
        for side, _ in WINDOWS:
            width, height = (max(self.size, round(length * self.size / side)) for length in image.size)
            level = np.asarray(image.resize((width, height), Image.Resampling.BICUBIC))
            (maps,) = self.opened.run([OUTPUT], {INPUT: level[None]})
            face = lowered(maps[0, self.face], self.shift)
            y, x = (grid.ravel() * self.stride for grid in np.indices(face.shape))
            corners = np.stack([x, y, x + self.size, y + self.size], axis=1)
            boxes.append(corners * np.array([image.width / width, image.height / height] * 2) / factor)
            scores.append(face.ravel())
        if not all(np.isfinite(part).all() for part in scores):
            raise ModelError(f"{self.path}: gives values that are no numbers; its weights are damaged")
        return best_of(np.concatenate(boxes), np.concatenate(scores), picture.shape[:2], settings)

    def __str__(self) -> str:
        width = self.settings.max_size
        return f"{self.path}: made dense, at three sizes of a width of {width}, {self.opened.place()}"


def open_finder(path: Path, provider: str = "auto", threads: int | None = None) -> Dense:
    """Open a classifier and make it dense; arguments and errors as in windows.open_finder.

    Raises ModelError also for a classifier that is not convolutions and two inner products.
    """
    path = Path(path)
    session = open_model(path, "cpu", threads)
    info, face = session.info, face_class(session)
    if info.size[0] != info.size[1]:
        raise ModelError(f"{path}: takes pictures of {info.size[1]} x {info.size[0]}; windows are square")
    with tempfile.TemporaryDirectory(prefix="dense-") as folder:
        beside = Path(folder) / path.name
        stride = write_dense(path, beside)
        opened = open_session(beside, provider, threads)
    return Dense(path, opened, face, info.size[0], stride, _shift(session, opened, face, stride))


def lowered(probabilities: np.ndarray, shift: float) -> np.ndarray:
    """Probabilities whose logits, log(p / (1 - p)), are lower by ``shift``; float32, of the same shape."""
    return np.asarray(1 / (1 + np.exp(shift - _logits(probabilities))), np.float32)


def _logits(probabilities: np.ndarray) -> np.ndarray:
    sure = probabilities.astype(np.float64).clip(CERTAIN, 1 - CERTAIN)
    return np.asarray(np.log(sure / (1 - sure)))


def _shift(session: Session, dense: Opened, face: int, stride: int) -> float:
    """By how much the surroundings of windows raise a face's logit: the median over drawn people, near the decision.

    Far from it, where a window is surely none, they raise it by more, which decides nothing.
    """
    side = session.info.size[0]
    seen: list[np.ndarray] = []
    alone: list[np.ndarray] = []
    for picture in _scenes(max(TRIED, side + stride)):
        (maps,) = dense.run([OUTPUT], {INPUT: picture[None]})
        view = np.lib.stride_tricks.sliding_window_view(picture, (side, side), axis=(0, 1))[::stride, ::stride]
        rows, columns = (min(sizes) for sizes in zip(maps.shape[2:], view.shape[:2], strict=True))
        logits = _logits(maps[0, face, :rows, :columns].ravel())
        windows = view[:rows, :columns].transpose(0, 1, 3, 4, 2).reshape(-1, side, side, 3)
        likely = np.argsort(-logits)[:LIKELY]
        seen.append(logits[likely])
        alone.append(_logits(session.probabilities(np.ascontiguousarray(windows[likely]))[:, face]))
    both = np.concatenate(seen), np.concatenate(alone)
    middle = (both[0] + both[1]) / 2
    near = abs(middle) < NEAR
    near = near if near.sum() >= FEW else abs(middle) <= np.sort(abs(middle))[FEW - 1]
    return float(np.median((both[0] - both[1])[near]))


def _scenes(side: int) -> list[np.ndarray]:
    """uint8 (H, W, 3): drawn people, always the same; no side below ``side``."""
    from random import Random

    from finetune.drawing.characters import CHARACTERS
    from finetune.drawing.scenes import draw_scene

    drawn = [draw_scene(CHARACTERS[:6], Random(seed), (side * 5 // 2, side * 2), 3)[0] for seed in range(3)]
    return [np.asarray(picture.convert("RGB")) for picture in drawn]


def write_dense(path: Path, out: Path, step: int = STEP) -> int:
    """Write a classifier in its dense form; gives the pixels between two windows.

    Its input is uint8 (N, H, W, 3) with H and W free, its output "probabilities" float32 (N, classes, h, w): one
    window for every ``step`` places of the map that its first inner product takes. Raises ModelError for a graph that
    is not a chain of convolutions and pools with two inner products at its end.
    """
    import onnx

    model = onnx.load(path)
    graph = model.graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    maps = _map_size(model, path)
    stride = step
    for node in graph.node:
        if node.op_type in ("Conv", "MaxPool"):
            stride *= _attributes(node).get("strides", [1, 1])[0]
    products = [node for node in graph.node if node.op_type == "Gemm"]
    flattened = {node.output[0]: node.input[0] for node in graph.node if node.op_type == "Flatten"}
    for place, (node, shape) in enumerate(zip(products, [maps, (1, 1)], strict=True)):
        weight = onnx.numpy_helper.to_array(weights[node.input[1]])
        weights[node.input[1]].CopyFrom(
            onnx.numpy_helper.from_array(weight.reshape(len(weight), -1, *shape), node.input[1])
        )
        strides = [step, step] if place == 0 else [1, 1]
        value = flattened.get(node.input[0], node.input[0])
        convolution = onnx.helper.make_node(
            "Conv", [value, *node.input[1:]], node.output, node.name, kernel_shape=shape, strides=strides
        )
        node.CopyFrom(convolution)
    for node in [node for node in graph.node if node.op_type == "Flatten"]:
        graph.node.remove(node)
    del graph.value_info[:]
    _set_shape(graph.input[0], ["N", "H", "W", 3])
    classes = graph.output[0].type.tensor_type.shape.dim[1].dim_value
    _set_shape(graph.output[0], ["N", classes, "h", "w"])
    said = {"format": 1, "kind": "dense", "stride": stride}
    onnx.helper.set_model_props(model, {METADATA_KEY: json.dumps(said)})
    onnx.save(model, out)
    return stride


def _map_size(model: onnx.ModelProto, path: Path) -> tuple[int, int]:
    """Height and width of the map that is flattened. Raises ModelError for a graph of another form."""
    operators = [node.op_type for node in model.graph.node]
    end = [name for name in operators if name in ("Flatten", "Gemm", "Softmax")]
    inner = {"Conv", "BatchNormalization", "Relu", "LeakyRelu", "MaxPool", "Transpose", "Gather", "Cast", "Sub", "Mul"}
    if end != ["Flatten", "Gemm", "Gemm", "Softmax"] or not set(operators) - set(end) <= inner:
        raise ModelError(
            f"{path}: cannot be made dense: convolutions and pools with two inner products behind them are wanted, as "
            "`finetune train --recipe frgnet64` trains them; --method windows takes any classifier of faces"
        )
    flatten = next(node for node in model.graph.node if node.op_type == "Flatten")
    for value in model.graph.value_info:
        if value.name == flatten.input[0]:
            height, width = (axis.dim_value for axis in value.type.tensor_type.shape.dim[2:])
            return height, width
    raise ModelError(f"{path}: says no size of the map {flatten.input[0]!r}; export it anew")


def _attributes(node: onnx.NodeProto) -> dict[str, Any]:
    import onnx

    return {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}


def _set_shape(value: onnx.ValueInfoProto, shape: list[int | str]) -> None:
    import onnx

    value.CopyFrom(onnx.helper.make_tensor_value_info(value.name, value.type.tensor_type.elem_type, shape))
