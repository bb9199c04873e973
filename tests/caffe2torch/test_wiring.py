"""Blob names as single values: in-place layers, Split, and what Caffe refuses of a net's wiring."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import caffe2torch
from caffe2torch.errors import NetError
from caffe2torch.wiring import Wiring, wire
from tests.caffe2torch.nets import agree, given, layer, module, write

DATA = given("data", 2, 3)
X = {"data": np.array([[-2, 1, 3], [0.5, -1, 4]], np.float32)}


def wired(folder: Path, *layers: str) -> Wiring:
    return wire(caffe2torch.load_net(None, write(folder, DATA, *layers)))


@pytest.mark.parametrize(
    ("layers", "says"),
    [
        ([layer("a", "ReLU", "nowhere", "a")], "layer 'a' .ReLU. reads blob 'nowhere', which no earlier layer gives"),
        (
            [layer("a", "ReLU", "b", "a"), layer("b", "ReLU", "data", "b")],
            "layer 'a' .ReLU. reads blob 'b', which no earlier layer gives",
        ),
        (
            [layer("a", "ReLU", "data", "x"), layer("b", "TanH", "data", "x")],
            "'x' is produced by multiple sources.*'b'",
        ),
        ([layer("a", "ReLU", "data", "data2"), layer("b", "TanH", "data2", "data")], "'data' is produced by multiple"),
        (
            [layer("a", "ReLU", "data", "x"), layer("b", "TanH", "x", "y"), layer("c", "ReLU", "x", "x")],
            "'x' is produced by multiple sources.*'c'",
        ),
        ([layer("a", "ReLU", "data", "x"), layer("b", "Eltwise", "x x", "x")], "'x' is produced by multiple sources"),
        (
            [layer("a", "Eltwise", "data data", "x"), layer("b", "Eltwise", "data x", "x")],
            "'x' is produced by multiple",
        ),
        (
            [layer("a", "ReLU", "data", "x", "loss_weight: 1"), layer("b", "TanH", "x", "x")],
            "'x' is produced by multiple sources",
        ),
        ([layer("s", "Split", "data", "a b"), layer("t", "Split", "data", "a c")], "'a' is produced by multiple"),
        ([layer("s", "Slice", "data", "a a")], "'a' is produced by multiple sources"),
    ],
)
def test_what_caffe_refuses(layers: list[str], says: str, tmp_path: Path) -> None:
    with pytest.raises(NetError, match=f"net.prototxt: .*{says}"):
        wired(tmp_path, *layers)


def test_in_place_layers_before_any_other_reader_are_fine(tmp_path: Path) -> None:
    found = agree(
        module(
            tmp_path,
            DATA,
            layer("a", "ReLU", "data", "x"),
            layer("b", "Power", "x", "x", "power_param { scale: 2 }"),
            layer("c", "Power", "x", "y", "power_param { shift: 1 }"),
            layer("d", "Power", "x", "z", "power_param { shift: 2 }"),
            outputs=["x", "y", "z"],
        ),
        tmp_path,
        X,
    )
    x = 2 * np.maximum(X["data"], 0)
    for got, want in zip(found, (x, x + 1, x + 2), strict=True):
        np.testing.assert_allclose(got, want)


def test_in_place_on_an_input_and_a_loss_weight_of_0(tmp_path: Path) -> None:
    wiring = wired(tmp_path, layer("a", "ReLU", "data", "data", "loss_weight: 0"), layer("b", "TanH", "data", "data"))
    assert [entry.inputs + entry.outputs for entry in wiring.wires] == [(0, 1), (1, 2)]
    assert wiring.last == {"data": 2} and wiring.inputs == {"data": 0}


def test_the_second_bottom_may_be_the_second_top(tmp_path: Path) -> None:
    wiring = wired(tmp_path, layer("s", "Split", "data", "a b"), layer("x", "Made", "a b", "c b"))
    assert wiring.wires[0].inputs == (0, 0) and len(set(wiring.wires[0].outputs)) == 2


def test_a_split_is_an_alias_until_a_layer_writes_in_place_over_its_memory(tmp_path: Path) -> None:
    """Caffe's Split shares one memory among its tops, so all of them see what is written over one."""
    found = agree(
        module(
            tmp_path,
            DATA,
            layer("s", "Split", "data", "a b c"),
            layer("before", "Power", "b", "before", "power_param { shift: 1 }"),
            layer("relu", "ReLU", "a", "a"),
            layer("behind", "Power", "c", "behind", "power_param { shift: 1 }"),
            outputs=["before", "behind", "a", "c"],
        ),
        tmp_path,
        X,
    )
    relu = np.maximum(X["data"], 0)
    for got, want in zip(found, (X["data"] + 1, relu + 1, relu, relu), strict=True):
        np.testing.assert_allclose(got, want)
