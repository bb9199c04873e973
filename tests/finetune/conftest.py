"""What tests share: a small classifier as `onnx export` would write it, a small trunk to train on, and pictures."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from PIL import Image

from caffe2torch.folder import Converted, from_caffemodel

COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}
METADATA = {
    "format": 1,
    "kind": "classifier",
    "classes": list(COLOURS),
    "size": [8, 12],
    "resize": "bicubic",
    "recipe": "tutorial",
    "trunk": "none",
}


def colour_classifier(metadata: dict[str, Any] | None = None, factor: float = 1 / 32) -> onnx.ModelProto:
    """Probabilities of red, green and blue: softmax(mean of each channel · factor). Input 8 rows, 12 columns."""
    nodes = [
        helper.make_node("Cast", ["picture"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["pixels"], ["mean"], axes=[1, 2], keepdims=0),
        helper.make_node("Mul", ["mean", "factor"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "colours",
        [helper.make_tensor_value_info("picture", TensorProto.UINT8, ["N", 8, 12, 3])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", 3])],
        [onnx.numpy_helper.from_array(np.array(factor, np.float32), "factor")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, {"finetune": json.dumps(METADATA if metadata is None else metadata)})
    return model


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A classifier of pictures by their main colour."""
    path = tmp_path / "model.onnx"
    onnx.save(colour_classifier(), path)
    return path


@pytest.fixture
def write_model(tmp_path: Path) -> Callable[..., Path]:
    """Writes the classifier with other metadata or another factor."""

    def write(metadata: dict[str, Any] | None = None, factor: float = 1 / 32) -> Path:
        path = tmp_path / "other.onnx"
        onnx.save(colour_classifier(metadata, factor), path)
        return path

    return write


@pytest.fixture
def model_metadata() -> dict[str, Any]:
    """A copy of the classifier's metadata, to be changed."""
    return json.loads(json.dumps(METADATA))


@pytest.fixture
def colours(tmp_path: Path) -> Path:
    """A folder of nine pictures, each named after the class it is of: 0-red.png, 1-green.png, …"""
    folder = tmp_path / "colours"
    folder.mkdir()
    names = list(COLOURS)
    for number in range(9):
        name = names[number % 3]
        noise = np.random.default_rng(number).integers(0, 60, (20, 30, 3))
        pixels = np.clip(np.array(COLOURS[name]) * 0.6 + noise, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}-{name}.png")
    return folder


PAINT = {"blue": (60, 90, 200), "green": (70, 180, 60), "red": (210, 60, 70)}
TINY_NET = """
name: "tiny"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 16 dim: 24 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv" convolution_param {
  num_output: 6 kernel_size: 4 stride: 4 weight_filler { type: "gaussian" std: 0.05 } } }
layer { name: "drop" type: "Dropout" bottom: "conv" top: "conv" }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "pool" type: "Pooling" bottom: "conv" top: "pool" pooling_param { pool: AVE global_pooling: true } }
layer { name: "fc" type: "InnerProduct" bottom: "pool" top: "fc" inner_product_param {
  num_output: 5 weight_filler { type: "xavier" } } }
"""


@pytest.fixture
def tiny_trunk(tmp_path: Path) -> Converted:
    """A converted net of one convolution, 3 x 16 x 24 to a map of 6 x 4 x 6, with dropout behind it, and a tail."""
    prototxt = tmp_path / "tiny.prototxt"
    prototxt.write_text(TINY_NET)
    return from_caffemodel(None, prototxt)


@pytest.fixture
def painted(tmp_path: Path) -> Path:
    """A folder per class, blue, green and red, of ten noisy pictures each."""
    return paint(tmp_path / "painted", 10)


def paint(folder: Path, pictures: int, seed: int = 0) -> Path:
    """Write a folder per colour of PAINT with ``pictures`` noisy pictures each."""
    noise = np.random.default_rng(seed)
    for name, colour in PAINT.items():
        (folder / name).mkdir(parents=True)
        for number in range(pictures):
            pixels = np.clip(np.array(colour) + noise.normal(0, 25, (20, 28, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number:02d}.png")
    return folder
