"""Weights: from the file where it has them, else filled; each read once, when it is kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import caffe2torch
from caffe2torch import weights
from caffe2torch.errors import NetError
from caffe2torch.graph import resolve
from caffe2torch.net import Blob, Layer, Net
from tests.caffe2torch import nets
from tests.caffe2torch.nets import CONV, layer

NET = (
    nets.given("data", 1, 2, 4, 4),
    layer("conv", "Convolution", "data", "conv", CONV),
    layer("scale", "Scale", "conv", "scale", "scale_param { bias_term: true }"),
    layer("prelu", "PReLU", "scale", "prelu"),
    layer("bn", "BatchNorm", "prelu", "bn"),
)


def test_what_the_file_has_and_what_is_filled(tmp_path: Path) -> None:
    kernel = np.arange(36, dtype=np.float32).reshape(2, 2, 3, 3)
    model = nets.caffemodel(tmp_path / "net.caffemodel", {"conv": [kernel, np.array([1.0, 2.0])]})
    graph = resolve(caffe2torch.load_net(model, nets.write(tmp_path, *NET)))
    state = weights.state_dict(graph)
    np.testing.assert_array_equal(state["conv.weight"], kernel)
    np.testing.assert_array_equal(state["conv.bias"], [1, 2])
    np.testing.assert_array_equal(state["scale.weight"], [1, 1])
    np.testing.assert_array_equal(state["scale.bias"], [0, 0])
    np.testing.assert_array_equal(state["prelu.weight"], [0.25, 0.25])
    np.testing.assert_array_equal(state["bn.running_var"], [0, 0])
    assert weights.missing(graph) == ["scale", "prelu", "bn"]
    assert {array.dtype for key, array in state.items() if "tracked" not in key} == {np.dtype(np.float32)}
    assert all(array.flags.c_contiguous and array.flags.writeable for array in state.values())


def test_filled_weights_are_seeded(tmp_path: Path) -> None:
    graph = nets.graph(tmp_path, *NET)
    first, second = weights.state_dict(graph), weights.state_dict(graph)
    for key, array in first.items():
        np.testing.assert_array_equal(array, second[key])
    assert np.unique(first["conv.weight"]).size > 30


def counting(net: Net, reads: list[str]) -> Net:
    """The same net, noting each tensor that is read."""

    def watched(entry: Layer, blob: Blob) -> Blob:
        def read() -> np.ndarray:
            reads.append(entry.name)
            return blob.read()

        return replace(blob, read=read)

    layers = [
        replace(entry, blobs=tuple(watched(entry, blob) for blob in entry.blobs)) if entry.blobs else entry
        for entry in net.layers
    ]
    return replace(net, layers=tuple(layers))


def test_each_kept_tensor_is_read_once_and_no_other(tmp_path: Path) -> None:
    reads: list[str] = []
    net = counting(caffe2torch.load_net(nets.trained(tmp_path / "small.caffemodel")), reads)
    graph = resolve(net, ["pool"])
    assert reads == []
    weights.state_dict(graph)
    assert reads == ["conv", "conv"]


@pytest.mark.parametrize(
    ("filler", "words"),
    [('type: "magic"', "magic"), ('type: "bilinear"', "square"), ('type: "xavier" sparse: 2', "sparse")],
)
def test_a_filler_that_does_not_exist_is_refused_with_its_layer(filler: str, words: str, tmp_path: Path) -> None:
    fields = f"inner_product_param {{ num_output: 2 weight_filler {{ {filler} }} }}"
    with pytest.raises(NetError, match=words) as caught:
        nets.module(tmp_path, nets.given("data", 1, 2), layer("fc", "InnerProduct", "data", "fc", fields))
    assert "fc (InnerProduct)" in str(caught.value)
    assert "net.prototxt" in str(caught.value)


def test_a_layer_too_large_to_be_filled_is_refused(tmp_path: Path) -> None:
    fields = "inner_product_param { num_output: 600000000 }"
    with pytest.raises(NetError, match="too large"):
        nets.module(tmp_path, nets.given("data", 1, 2), layer("fc", "InnerProduct", "data", "fc", fields))
