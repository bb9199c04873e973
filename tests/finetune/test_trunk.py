"""The frozen trunk: where it is cut, what it sees, what stays frozen and what lives in training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from caffe2torch.errors import NetError
from caffe2torch.folder import Converted, from_caffemodel
from caffe2torch.preprocess import Preprocessing
from finetune.models.trunk import FrozenTrunk, cut_trunk, last_map, map_size, with_mean

PICTURES = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 16, 24, 3), dtype=np.uint8))


def test_the_default_cut_is_the_last_map_of_more_than_one_place(tiny_trunk: Converted) -> None:
    assert last_map(tiny_trunk.graph) == "conv"  # not pool, which is 1 x 1, and not fc
    cut, blob = cut_trunk(tiny_trunk, None, None)
    assert blob == "conv"
    assert cut.graph.inputs[0].shape == (1, 3, 16, 24)
    assert map_size(cut.graph.shape_of(blob)) == (6, 4, 6)


def test_size_and_blob_are_options(tiny_trunk: Converted) -> None:
    cut, blob = cut_trunk(tiny_trunk, "pool", (32, 20))
    assert cut.graph.inputs[0].shape == (1, 3, 32, 20)
    assert cut.graph.shape_of(blob) == (1, 6, 1, 1)
    vector, blob = cut_trunk(tiny_trunk, "fc", None)
    assert map_size(vector.graph.shape_of(blob)) == (5, 1, 1)


def test_illustration2vec_is_trained_at_160(golden: Path) -> None:
    case = golden / "illust2vec_mini"
    cut, blob = cut_trunk(from_caffemodel(case / "weights.caffemodel", case / "deploy.prototxt"), None, None)
    assert blob == "conv6_3"
    assert cut.graph.inputs[0].shape == (1, 3, 160, 160)


def test_what_is_no_trunk(tiny_trunk: Converted, tmp_path: Path) -> None:
    with pytest.raises(NetError, match=r"no blob 'nowhere'; there are conv, pool, fc"):
        cut_trunk(tiny_trunk, "nowhere", None)
    prototxt = tmp_path / "vector.prototxt"
    prototxt.write_text(
        'layer { name: "d" type: "Input" top: "d" input_param { shape { dim: 1 dim: 9 } } }'
        'layer { name: "fc" type: "InnerProduct" bottom: "d" top: "fc" inner_product_param { num_output: 5 } }'
    )
    vector = from_caffemodel(None, prototxt)
    with pytest.raises(NetError, match="has no blob that is a map"):
        cut_trunk(vector, None, None)
    with pytest.raises(NetError, match=r"a trunk takes pictures; fc is computed from d \(1, 9\)"):
        cut_trunk(vector, "fc", None)


@pytest.mark.parametrize("order", ["BGR", "RGB", "GRAY"])
def test_network_input(order: str) -> None:
    mean = (10.0,) if order == "GRAY" else (10.0, 20.0, 30.0)
    trunk = FrozenTrunk(nn.Identity(), Preprocessing(order, mean, 0.5))
    rgb = PICTURES.numpy().astype(np.float64)
    pixels = {"RGB": rgb, "BGR": rgb[..., ::-1], "GRAY": rgb @ np.array([[0.299], [0.587], [0.114]])}[order]
    given = trunk(PICTURES)
    np.testing.assert_allclose(
        given.numpy(), (pixels.transpose(0, 3, 1, 2) - np.reshape(mean, (-1, 1, 1))) * 0.5, atol=1e-4
    )
    assert given.is_contiguous(memory_format=torch.channels_last)


def test_equals_the_converted_module(tiny_trunk: Converted) -> None:
    cut, _ = cut_trunk(tiny_trunk, None, None)
    trunk = FrozenTrunk(cut.module(), Preprocessing("BGR", (1.0, 2.0, 3.0)))
    planes = PICTURES.numpy()[..., ::-1].transpose(0, 3, 1, 2).astype(np.float32) - np.reshape((1, 2, 3), (3, 1, 1))
    torch.testing.assert_close(trunk(PICTURES), cut.module()(torch.from_numpy(planes.astype(np.float32))))


def test_it_stays_as_it_is_in_training() -> None:
    inner = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5))
    trunk = FrozenTrunk(inner, Preprocessing(mean=(0.0, 0.0, 0.0)))
    statistics = inner[1].running_mean.clone()
    before = trunk(PICTURES)
    nn.Sequential(trunk).train()
    assert torch.equal(trunk(PICTURES), before)
    assert not before.requires_grad
    assert torch.equal(inner[1].running_mean, statistics)
    assert not any(parameter.requires_grad for parameter in trunk.parameters())


def test_the_datas_mean_is_used_only_where_the_trunk_knows_none() -> None:
    known = Preprocessing("BGR", (1.0, 2.0, 3.0))
    assert with_mean(known, (9.0, 9.0, 9.0)) == known
    unknown = replace(known, mean=None)
    assert with_mean(unknown, (30.0, 20.0, 10.0)).mean == (10.0, 20.0, 30.0)
    assert with_mean(replace(unknown, channel_order="RGB"), (30.0, 20.0, 10.0)).mean == (30.0, 20.0, 10.0)
    grey = with_mean(Preprocessing("GRAY"), (30.0, 20.0, 10.0)).mean
    assert grey == pytest.approx((0.299 * 30 + 0.587 * 20 + 0.114 * 10,))
