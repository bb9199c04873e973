"""The size of the input: as asked for, as the net says, as a known net has it, or as its weights imply."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import caffe2torch
from caffe2torch.errors import CaffeError, ShapeError
from caffe2torch.graph import Graph, resolve
from caffe2torch.net import Shape
from tests.caffe2torch import nets
from tests.caffe2torch.nets import given, layer

UNSAID = layer("data", "Data", [], "data label")
CONV = layer("conv", "Convolution", "data", "conv", "convolution_param { num_output: 2 kernel_size: 3 }")
POOL = layer("pool", "Pooling", "conv", "pool", "pooling_param { kernel_size: 2 stride: 2 }")
FC = layer("fc", "InnerProduct", "pool", "fc", "inner_product_param { num_output: 4 }")


def resolved(folder: Path, *lines: str, weights: dict[str, list[Shape]] | None = None, **options: Any) -> Graph:
    blobs = {name: [np.zeros(shape, np.float32) for shape in shapes] for name, shapes in (weights or {}).items()}
    model = nets.caffemodel(folder / "net.caffemodel", blobs) if blobs else None
    return resolve(caffe2torch.load_net(model, nets.write(folder, *lines)), **options)


def weights(side: int) -> dict[str, list[Shape]]:
    pooled = -(-(side - 2 - 2) // 2) + 1
    return {"conv": [(2, 3, 3, 3), (2,)], "fc": [(4, 2 * pooled * pooled), (4,)]}


def test_as_the_net_says(tmp_path: Path) -> None:
    assert resolved(tmp_path, given("data", 1, 3, 9, 7), CONV).inputs[0].shape == (1, 3, 9, 7)


def test_as_asked_for(tmp_path: Path) -> None:
    lines = [given("data", 1, 3, 9, 7), CONV]
    assert resolved(tmp_path, *lines, input_shape=(4, 3, 5, 5)).inputs[0].shape == (4, 3, 5, 5)
    assert resolved(tmp_path, *lines, input_shape={"data": [2, 3, 6, 6]}).inputs[0].shape == (2, 3, 6, 6)


def test_as_the_crop_of_its_data_layer(tmp_path: Path) -> None:
    data = layer("data", "Data", [], "data label", "transform_param { crop_size: 12 } data_param { batch_size: 5 }")
    found = resolved(tmp_path, data, CONV, weights={"conv": [(2, 3, 3, 3), (2,)]})
    assert found.inputs[0].shape == (1, 3, 12, 12)


@pytest.mark.parametrize("side", [8, 12, 28, 227])
def test_as_the_first_product_implies(side: int, tmp_path: Path) -> None:
    """Rounding lets several sizes fit: the one that halves most often is taken, and that is said."""
    found = resolved(tmp_path, UNSAID, CONV, POOL, FC, weights=weights(side))
    size = found.inputs[0].shape[2]
    assert (
        resolved(tmp_path, UNSAID, CONV, POOL, FC, weights=weights(size)).nodes[-1].operation
        == found.nodes[-1].operation
    )
    assert abs(size - side) <= 1
    assert any(f"{size} x {size} assumed" in note for note in found.notes)


def test_a_product_behind_what_is_asked_for_tells_it_too(tmp_path: Path) -> None:
    found = resolved(tmp_path, UNSAID, CONV, POOL, FC, weights=weights(12), outputs=["conv"])
    assert found.inputs[0].shape == (1, 3, 12, 12)


def test_a_product_that_reads_the_input_itself(tmp_path: Path) -> None:
    fc = layer("fc", "InnerProduct", "data", "fc", "inner_product_param { num_output: 4 }")
    assert resolved(tmp_path, UNSAID, fc, weights={"fc": [(4, 10), (4,)]}).inputs[0].shape == (1, 10)


def test_a_product_of_another_input_does_not_count(tmp_path: Path) -> None:
    lines = [
        given("other", 1, 6),
        UNSAID,
        layer("side", "InnerProduct", "other", "side", "inner_product_param { num_output: 4 }"),
        CONV,
        POOL,
        FC,
    ]
    blobs = {"side": [(4, 6), (4,)], **weights(12)}
    assert resolved(tmp_path, *lines, weights=blobs).values["data"].shape == (1, 3, 12, 12)


@pytest.mark.parametrize(
    ("lines", "blobs"),
    [
        ([UNSAID, CONV], None),
        ([UNSAID, CONV], {"conv": [(2, 3, 3, 3), (2,)]}),
        ([UNSAID, CONV, POOL, FC], None),
        ([UNSAID, CONV, POOL, FC], {"conv": [(2, 3, 3, 3), (2,)], "fc": [(4, 7), (4,)]}),
        ([UNSAID, layer("a", "TanH", "data", "a")], None),
    ],
)
def test_where_nothing_tells(lines: list[str], blobs: dict[str, list[Shape]] | None, tmp_path: Path) -> None:
    with pytest.raises(ShapeError, match=r"size of input 'data' .* --input-shape .*input_shape="):
        resolved(tmp_path, *lines, weights=blobs)


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ({"nothing": (1, 3)}, "input_shape names 'nothing', but the inputs are data"),
        ((0, 3, 4, 4), "at least 1"),
        ((1, 3, -4, 4), "at least 1"),
        ((1, 3, 2, 2), "conv"),
    ],
)
def test_shapes_that_do_not_fit(shape: Any, words: str, tmp_path: Path) -> None:
    with pytest.raises(CaffeError, match=words):
        resolved(tmp_path, given("data", 1, 3, 9, 9), CONV, input_shape=shape)


def test_a_shape_for_a_net_without_inputs(tmp_path: Path) -> None:
    dummy = layer("dummy", "DummyData", [], "dummy", "dummy_data_param { shape { dim: 2 } }")
    with pytest.raises(ShapeError, match="needs no input"):
        resolved(tmp_path, dummy, input_shape=(1, 3))


@pytest.mark.parametrize("size", [160, 224])
@pytest.mark.parametrize("batch", [1, 3])
def test_a_fully_convolutional_net_at_any_size(size: int, batch: int, tmp_path: Path, golden: Path) -> None:
    place = golden / "illust2vec_mini"
    module = caffe2torch.convert(
        place / "weights.caffemodel",
        place / "deploy.prototxt",
        outputs=["conv6_3"],
        input_shape=(batch, 3, size, size),
    )
    (top,) = nets.agree(module, tmp_path)
    assert top.shape == (batch, 64, size // 32, size // 32)
