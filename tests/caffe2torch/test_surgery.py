"""Dropping layers: with what only they feed, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

import caffe2torch
from caffe2torch.errors import NetError
from caffe2torch.net import Net
from caffe2torch.surgery import drop
from tests.caffe2torch import nets
from tests.caffe2torch.nets import layer


@pytest.fixture
def net(tmp_path: Path) -> Net:
    path = nets.write(
        tmp_path,
        nets.given("data", 1, 3),
        layer("a", "TanH", "data", "a"),
        layer("relu", "ReLU", "a", "a"),
        layer("b", "TanH", "a", "b"),
        layer("c[1]", "TanH", "b", "c"),
        layer("c1", "TanH", "a", "c1"),
        layer("sum", "Eltwise", "c c1", "sum"),
        layer("loss", "EuclideanLoss", "sum b", "loss"),
    )
    return caffe2torch.load_net(None, path)


@pytest.mark.parametrize(
    ("patterns", "dropped"),
    [
        (["sum"], ["sum", "loss"]),
        (["b"], ["b", "c[1]", "sum", "loss"]),
        (["c1"], ["c1", "sum", "loss"]),
        (["c[1]"], ["c[1]", "c1", "sum", "loss"]),  # the name itself, and what the glob means
        (["relu"], ["relu"]),
        (["a"], ["a", "relu", "b", "c[1]", "c1", "sum", "loss"]),
        (["lo*", "s??"], ["sum", "loss"]),
        (["*"], ["a", "relu", "b", "c[1]", "c1", "sum", "loss"]),
    ],
)
def test_what_goes(patterns: list[str], dropped: list[str], net: Net) -> None:
    kept, gone = drop(net, patterns)
    assert list(gone) == dropped
    assert [entry.name for entry in kept.layers] == [e.name for e in net.layers if e.name not in dropped]
    assert kept.inputs == net.inputs
    assert kept.whole is net


def test_an_in_place_layer_leaves_its_blob_as_it_was(net: Net) -> None:
    kept, _ = drop(net, ["relu"])
    module = caffe2torch.graph.resolve(kept, ["b"])
    assert [node.name for node in module.nodes] == ["a", "b"]


def test_dropping_twice_remembers_the_whole_net(net: Net) -> None:
    once, _ = drop(net, ["loss"])
    twice, _ = drop(once, ["sum"])
    assert twice.whole is net


def test_a_pattern_that_matches_nothing_is_refused(net: Net) -> None:
    with pytest.raises(NetError, match=r"no layer matches --drop 'd\*'; layers are a, relu, b"):
        drop(net, ["a", "d*"])


def test_a_single_pattern_in_python(tmp_path: Path) -> None:
    path = nets.write(tmp_path, nets.given("data", 1, 3), layer("a", "TanH", "data", "a"), layer("b", "TanH", "a", "b"))
    assert caffe2torch.convert(None, path, drop="b").output_names == ("a",)
