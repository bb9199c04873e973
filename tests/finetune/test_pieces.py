"""A trunk in two pieces: where it parts, and what lives in the second."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from caffe2torch.errors import NetError
from caffe2torch.folder import Converted, from_caffemodel
from finetune.models.head import GapHead
from finetune.models.pieces import parted, separators
from finetune.models.top import Top
from finetune.models.trunk import cut_trunk

RESIDUAL = """
name: "residual"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 8 dim: 8 } } }
layer { name: "a" type: "Convolution" bottom: "data" top: "a" convolution_param { num_output: 4 kernel_size: 3 pad: 1
  weight_filler { type: "xavier" } } }
layer { name: "b" type: "Convolution" bottom: "a" top: "b" convolution_param { num_output: 4 kernel_size: 3 pad: 1
  weight_filler { type: "xavier" } } }
layer { name: "bn" type: "BatchNorm" bottom: "b" top: "b" batch_norm_param { use_global_stats: true } }
layer { name: "sum" type: "Eltwise" bottom: "a" bottom: "b" top: "sum" }
layer { name: "c" type: "Convolution" bottom: "sum" top: "c" convolution_param { num_output: 4 kernel_size: 3 pad: 1
  weight_filler { type: "xavier" } } }
layer { name: "drop" type: "Dropout" bottom: "c" top: "c" }
"""


@pytest.fixture
def residual(tmp_path: Path) -> Converted:
    """A net with a branch, and dropout at its end."""
    (tmp_path / "residual.prototxt").write_text(RESIDUAL)
    return cut_trunk(from_caffemodel(None, tmp_path / "residual.prototxt"), None, None)[0]


def test_what_everything_goes_through(residual: Converted) -> None:
    assert [value.name for value in separators(residual.graph)] == ["data", "a", "sum", "c:c", "c"]


def test_it_parts_before_dropout(residual: Converted, golden: Path) -> None:
    frozen, live, trained = parted(residual)
    assert live is not None
    assert ([node.name for node in live.graph.nodes], trained) == (["drop"], frozenset())
    assert [node.name for node in frozen.graph.nodes] == ["a", "b", "bn", "sum", "c"]
    case = golden / "illust2vec_mini"
    trunk, _ = cut_trunk(from_caffemodel(case / "weights.caffemodel", case / "deploy.prototxt"), None, None)
    _, live, _ = parted(trunk)
    assert live is not None
    assert [node.name for node in live.graph.nodes] == ["drop6_3"]


def test_without_dropout_nothing_lives(residual: Converted) -> None:
    frozen, live, trained = parted(residual.cut("sum"))
    assert (live, trained) == (None, frozenset())
    assert frozen.graph.output_names == ("sum",)


@pytest.mark.parametrize("unfreeze", [None, "data", "a", "sum"])
def test_the_pieces_together_are_the_whole(residual: Converted, unfreeze: str | None) -> None:
    frozen, live, trained = parted(residual, unfreeze)
    assert live is not None
    pictures = torch.rand(2, 3, 8, 8)
    features = frozen.module()(pictures) if frozen.graph.nodes else pictures
    torch.testing.assert_close(live.module()(features), residual.module()(pictures))
    assert trained == {None: set(), "data": {"a", "b", "bn", "sum", "c", "drop"}, "a": {"b", "bn", "sum", "c", "drop"},
                       "sum": {"c", "drop"}}[unfreeze]  # fmt: skip


def test_what_cannot_be_unfrozen_from_names_what_can(residual: Converted) -> None:
    for blob in ("b", "nowhere", "c"):
        with pytest.raises(NetError, match=rf"--unfreeze {blob}: .*; there are data, a, sum$"):
            parted(residual, blob)


def test_what_is_trained_and_what_lives(residual: Converted) -> None:
    _, live, trained = parted(residual, "a")
    assert live is not None
    for batch_norm in (False, True):
        top = Top(live.module(), GapHead((4, 8, 8), 2, dropout=0.0, normalised=False), trained, batch_norm)
        features = torch.rand(4, 4, 8, 8)
        statistics = top.live.bn.running_mean.clone()
        top.train()
        assert not torch.equal(top(features), top(features))  # dropout
        assert torch.equal(top.live.bn.running_mean, statistics) is not batch_norm
        top(features).sum().backward()
        assert top.live.c.weight.grad is not None
        top.eval()
        assert torch.equal(top(features), top(features))


def test_checkpoints_hold_what_is_trained(residual: Converted) -> None:
    _, live, trained = parted(residual, "sum")
    assert live is not None
    top = Top(live.module(), GapHead((4, 8, 8), 2, normalised=False), trained)
    kept = {name: tensor.clone() for name, tensor in top.kept().items()}
    assert sorted(kept) == ["fc.bias", "fc.weight", "trunk.c.bias", "trunk.c.weight"]
    other = Top(live.module(), GapHead((4, 8, 8), 2, normalised=False), trained)
    with torch.no_grad():
        for tensor in other.kept().values():
            tensor.add_(1)
    other.load_kept(kept)
    assert all(torch.equal(other.kept()[name], kept[name]) for name in kept)
    with pytest.raises(RuntimeError, match="not those that this run trains"):
        other.load_kept({name: tensor for name, tensor in kept.items() if name != "trunk.c.bias"})
