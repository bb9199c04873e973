"""Nets of Caffe's forks as their files would be: torch = printed source = onnxruntime, with and without a prototxt."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import caffe2torch
from caffe2torch.conversion import graph_of
from caffe2torch.inspection import inspect
from tests.caffe2torch import nets
from tests.caffe2torch.published_forks import NETS, snapshot, upresnet10

SHAPE = (1, 3, 64, 64)  # of those whose data layer does not say it


def weights(path: Path, seed: int = 0) -> dict[str, list[np.ndarray]]:
    """Numbers for every layer that learns, by its name; small ones, so that scores stay apart."""
    generator = np.random.default_rng(seed)
    found: dict[str, list[np.ndarray]] = {}
    for node in graph_of(caffe2torch.convert(None, path, **size_of(path))).nodes:
        for param in node.operation.params():
            array = generator.standard_normal(param.shape) / np.sqrt(max(np.prod(param.shape[1:]), 1))
            if param.name in ("running_var", "factor"):
                array = np.ones(param.shape) if param.name == "factor" else generator.uniform(0.5, 1.5, param.shape)
            found.setdefault(node.layer.name, []).append(array.astype(np.float16).astype(np.float32))
    return found


def size_of(path: Path) -> dict[str, Any]:
    return {"input_shape": {"data": SHAPE}} if "AnnotatedData" in path.read_text() else {}


def files(name: str, folder: Path) -> tuple[Path, Path]:
    """The net's caffemodel and prototxt."""
    net, fork, half = NETS[name]
    path = nets.write(folder, *net(), name=name)
    return snapshot(folder / f"{name}.caffemodel", path, fork, weights(path), half), path


@pytest.mark.parametrize("name", NETS)
def test_files(name: str, tmp_path: Path) -> None:
    model, path = files(name, tmp_path)
    converted = caffe2torch.convert(model, path, **size_of(path))
    outputs = nets.agree(converted, tmp_path)
    assert all(np.isfinite(output).all() and output.size > 1 for output in outputs)
    alone = caffe2torch.convert(model, None, **size_of(path))
    assert alone.output_names == converted.output_names
    feeds = nets.sample(converted)
    for one, other in zip(outputs, nets.run(alone, feeds), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("crop", ["", "crop_center_param { }"])
def test_a_crop_that_only_the_caffemodel_tells(crop: str, tmp_path: Path) -> None:
    model, _ = files("upresnet10", tmp_path)
    path = nets.write(tmp_path, *upresnet10(crop=crop), name="published")
    converted = caffe2torch.convert(model, path)
    assert graph_of(converted).notes[0] == f"layer crop0 (CropCenter): crop_center_param as {model} has it"
    feeds = nets.sample(converted)
    want = nets.run(caffe2torch.convert(model, tmp_path / "upresnet10.prototxt"), feeds)
    np.testing.assert_array_equal(nets.run(converted, feeds)[0], want[0])
    with pytest.raises(caffe2torch.CaffeError, match="is missing, one number an axis; where the prototxt lacks it"):
        caffe2torch.convert(None, path)


def test_a_prototxt_as_a_binary_message(tmp_path: Path) -> None:
    model, path = files("upresnet10", tmp_path)
    message = snapshot(tmp_path / "upresnet10.prototxt.protobin", path, "waifu2x", {}, half=False)
    converted, other = caffe2torch.convert(model, path), caffe2torch.convert(model, message)
    feeds = nets.sample(converted)
    np.testing.assert_array_equal(nets.run(converted, feeds)[0], nets.run(other, feeds)[0])
    assert caffe2torch.convert(None, message).output_names == converted.output_names


def test_what_was_dropped_is_told(tmp_path: Path) -> None:
    model, _ = files("mobilenet_yolo_trained", tmp_path)
    notes = graph_of(caffe2torch.convert(model, None, input_shape=SHAPE)).notes
    assert "layer Yolov3Loss0 (Yolov3): an unknown type, dropped as what serves training only" in notes
    found = inspect(caffe2torch.load_net(model))
    assert not found.problems
    assert "layer Yolov3Loss0 (Yolov3): an unknown type; it serves training only" in found.notes


def test_a_fork_field_at_its_default_is_passed_over(tmp_path: Path) -> None:
    def pooled(field: str) -> Any:
        more = f"pooling_param {{ kernel_size: 2 {field} }}"
        return nets.module(tmp_path, nets.given("x", 1, 1, 4, 4), nets.layer("pool", "Pooling", "x", "y", more))

    for field in ("torch_pooling: false", "torch_pooling: 0", "input_scale: 1.0", "saturate: None"):
        assert f"PoolingParameter.{field.split(':')[0]}" in graph_of(pooled(field)).notes[0]
    for field, fork in (
        ("torch_pooling: true", "NVIDIA"),
        ("input_scale: -1", "synopsys"),
        ("saturate: Signed", "syn"),
    ):
        with pytest.raises(caffe2torch.CaffeError, match=f"It is known by .*{fork}"):
            pooled(field)
