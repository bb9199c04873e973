"""inspect: every layer is listed, also of a net that cannot be converted; sizes and totals."""

from __future__ import annotations

from pathlib import Path

import caffe2torch
from caffe2torch.inspection import inspect
from tests.caffe2torch import nets
from tests.caffe2torch.nets import CONV, given, layer


def test_shapes_parameters_and_totals(tmp_path: Path) -> None:
    found = inspect(caffe2torch.load_net(nets.trained(tmp_path / "small.caffemodel")))
    assert found.inputs == {"data": (1, 3, 8, 8)}
    assert [row.shapes for row in found.rows] == [
        ((1, 4, 6, 6),),
        ((1, 4, 6, 6),),
        ((1, 4, 3, 3),),
        ((1, 5),),
        ((1, 5),),
    ]
    assert [row.parameters for row in found.rows] == [112, 0, 0, 185, 0]
    assert found.parameters == 297
    assert found.multiply_adds == 4 * 36 * 27 + 36 * 5
    assert found.problems == ()


def test_another_input_size(tmp_path: Path) -> None:
    path = nets.write(tmp_path, given("data", 1, 3, 8, 8), layer("conv", "Convolution", "data", "conv", CONV))
    found = inspect(caffe2torch.load_net(None, path), (2, 3, 16, 16))
    assert found.rows[0].shapes == ((2, 2, 16, 16),)
    assert found.multiply_adds == 2 * 2 * 256 * 27


def test_what_cannot_be_converted_is_listed_and_named(tmp_path: Path) -> None:
    path = nets.write(
        tmp_path,
        given("data", 1, 3, 8, 8),
        layer("a", "Mystery", "data", "a b"),
        layer("c", "TanH", "a", "c"),
        layer("conv", "Convolution", "data", "conv", CONV),
        layer("pool", "Pooling", "conv", "pool", "pooling_param { pool: STOCHASTIC kernel_size: 2 }"),
    )
    found = inspect(caffe2torch.load_net(None, path))
    assert [row.layer.name for row in found.rows] == ["a", "c", "conv", "pool"]
    assert [row.shapes for row in found.rows] == [(None, None), (None,), ((1, 2, 8, 8),), (None,)]
    assert [problem.layer for problem in found.problems] == ["a", "pool"]
    assert found.parameters == 56
    assert found.multiply_adds is None
    assert found.to_json()["layers"][0]["shapes"] == [None, None]


def test_a_net_whose_blobs_do_not_fit_together_is_listed(tmp_path: Path) -> None:
    path = nets.write(tmp_path, given("data", 1, 3), layer("a", "TanH", "dta", "a"), layer("b", "TanH", "a", "b"))
    found = inspect(caffe2torch.load_net(None, path))
    assert [row.layer.name for row in found.rows] == ["a", "b"]
    assert "'dta'" in found.notes[-1]


def test_an_unknown_input_size_leaves_the_rest_open(tmp_path: Path) -> None:
    path = nets.write(
        tmp_path,
        layer("data", "Data", [], "data label"),
        given("other", 1, 3, 4, 4),
        layer("a", "TanH", "data", "a"),
        layer("b", "TanH", "other", "b"),
    )
    found = inspect(caffe2torch.load_net(None, path))
    assert found.inputs["data"] is None
    assert [row.shapes for row in found.rows] == [(None,), ((1, 3, 4, 4),)]


def test_no_tensor_is_read(tmp_path: Path) -> None:
    """The header tells all: the numbers may be cut off the end of the last layer's last blob's file place."""
    net = caffe2torch.load_net(nets.trained(tmp_path / "small.caffemodel"))
    (tmp_path / "small.caffemodel").unlink()
    assert inspect(net).parameters == 297


def test_every_golden_net_can_be_inspected(golden: Path) -> None:
    for place in sorted(golden.iterdir()):
        path = place / "deploy.prototxt"
        if place.name.startswith("reject_") or not path.exists():
            continue
        found = inspect(caffe2torch.load_net(None, path))
        assert found.rows, place.name
        assert found.problems == (), place.name
        assert found.to_json()
