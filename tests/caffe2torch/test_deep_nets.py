"""Nets of thousands of layers: nothing recurses, nothing is cut off, and all that is printed and exported runs."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

import caffe2torch
from caffe2torch import folder
from tests.caffe2torch import nets
from tests.caffe2torch.nets import layer, run

LAYERS = 1500


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Convolution, in-place ReLU and a sum with what was there before, again and again."""
    place = tmp_path_factory.mktemp("deep")
    lines, blob = [nets.given("data", 1, 2, 2, 2)], "data"
    fields = 'convolution_param { num_output: 2 kernel_size: 1 weight_filler { type: "xavier" } }'
    for number in range(LAYERS // 3):
        lines.append(layer(f"conv{number}", "Convolution", blob, f"conv{number}", fields))
        lines.append(layer(f"relu{number}", "ReLU", f"conv{number}", f"conv{number}"))
        lines.append(layer(f"sum{number}", "Eltwise", [blob, f"conv{number}"], f"sum{number}"))
        blob = f"sum{number}"
    return nets.write(place, *lines)


def test_a_deep_net_is_printed_built_and_exported(chain: Path, tmp_path: Path) -> None:
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(400)
    try:
        converted = caffe2torch.convert(None, chain)
    finally:
        sys.setrecursionlimit(limit)
    assert len(list(converted.children())) == LAYERS // 3
    feeds = {name: 1e-3 * array for name, array in nets.sample(converted).items()}
    (want,) = run(converted, feeds)
    (got,) = run(nets.printed(converted), feeds)
    np.testing.assert_array_equal(got, want)
    caffe2torch.to_onnx(converted, tmp_path / "net.onnx")
    assert len(onnx.load(tmp_path / "net.onnx").graph.node) == LAYERS


def test_a_deep_net_is_saved_and_opened(chain: Path, tmp_path: Path) -> None:
    folder.save(folder.from_caffemodel(None, chain), tmp_path / "out")
    assert len(folder.load(tmp_path / "out").graph.nodes) == LAYERS
