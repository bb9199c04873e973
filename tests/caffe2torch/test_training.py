"""lr_mult and decay_mult of a net's layers as parameter groups of torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import caffe2torch

NET = """
name: "groups"
input: "data" input_shape { dim: 2 dim: 3 }
layer { name: "first" type: "InnerProduct" bottom: "data" top: "first"
  param { lr_mult: 1 decay_mult: 1 } param { lr_mult: 2 decay_mult: 0 }
  inner_product_param { num_output: 4 weight_filler { type: "xavier" } } }
layer { name: "act" type: "PReLU" bottom: "first" top: "first" param { decay_mult: 0 } }
layer { name: "frozen" type: "InnerProduct" bottom: "first" top: "frozen"
  param { lr_mult: 0 } inner_product_param { num_output: 4 weight_filler { type: "xavier" } } }
layer { name: "plain" type: "InnerProduct" bottom: "frozen" top: "plain"
  inner_product_param { num_output: 2 weight_filler { type: "xavier" } } }
"""


@pytest.fixture
def module(tmp_path: Path) -> Any:
    path = tmp_path / "net.prototxt"
    path.write_text(NET)
    return caffe2torch.convert(prototxt=path)


def test_groups(module: Any) -> None:
    groups = caffe2torch.parameter_groups(module, lr=0.1, weight_decay=0.01)
    told = {
        tuple(group["names"]): {key: group[key] for key in group if key not in ("names", "params")} for group in groups
    }
    assert told == {
        ("first.weight", "frozen.bias", "plain.weight", "plain.bias"): {
            "lr": 0.1,
            "weight_decay": 0.01,
            "lr_mult": 1.0,
            "decay_mult": 1.0,
        },
        ("first.bias",): {"lr": 0.2, "weight_decay": 0.0, "lr_mult": 2.0, "decay_mult": 0.0},
        ("act.weight",): {"lr": 0.1, "weight_decay": 0.0, "lr_mult": 1.0, "decay_mult": 0.0},
        ("frozen.weight",): {"lr": 0.0, "weight_decay": 0.01, "lr_mult": 0.0, "decay_mult": 1.0},
    }
    parameters = dict(module.named_parameters())
    for group in groups:
        assert [id(parameter) for parameter in group["params"]] == [id(parameters[name]) for name in group["names"]]
    assert sum(len(group["params"]) for group in groups) == len(parameters)


def test_an_optimizer_takes_them(module: Any) -> None:
    before = {name: parameter.detach().clone() for name, parameter in module.named_parameters()}
    optimizer = torch.optim.SGD(caffe2torch.parameter_groups(module, lr=0.1), lr=0.1)
    module.train()(torch.ones(2, 3)).sum().backward()
    optimizer.step()
    for name, parameter in module.named_parameters():
        rate = {"first.bias": 0.2, "frozen.weight": 0.0}.get(name, 0.1)
        torch.testing.assert_close(parameter, before[name] - rate * parameter.grad)


def test_statistics_are_not_trained(tmp_path: Path) -> None:
    zeros = "param { lr_mult: 0 } " * 3
    (tmp_path / "net.prototxt").write_text(
        'input: "x" input_shape { dim: 1 dim: 3 dim: 4 dim: 4 }\n'
        f'layer {{ name: "bn" type: "BatchNorm" bottom: "x" top: "bn" {zeros} }}\n'
        'layer { name: "scale" type: "Scale" bottom: "bn" top: "scale" scale_param { bias_term: true } }'
    )
    (group,) = caffe2torch.parameter_groups(caffe2torch.convert(prototxt=tmp_path / "net.prototxt"), lr=1)
    assert group["names"] == ["scale.weight", "scale.bias"]
    assert group["lr"] == 1


def test_a_module_that_is_not_converted() -> None:
    with pytest.raises(caffe2torch.CaffeError, match="Linear"):
        caffe2torch.parameter_groups(torch.nn.Linear(2, 2), lr=1)


SIAMESE = """
input: "a" input_shape { dim: 1 dim: 3 }
input: "b" input_shape { dim: 1 dim: 3 }
layer { name: "left" type: "InnerProduct" bottom: "a" top: "left" param { name: "w" } param { name: "v" lr_mult: 2 }
  inner_product_param { num_output: 2 weight_filler { type: "xavier" } } }
layer { name: "right" type: "InnerProduct" bottom: "b" top: "right"
  param { name: "w" lr_mult: 3 } param { name: "v" decay_mult: 0 }
  inner_product_param { num_output: 2 weight_filler { type: "xavier" } } }
"""


def test_what_any_layer_says_of_a_shared_blob_holds(tmp_path: Path) -> None:
    (tmp_path / "net.prototxt").write_text(SIAMESE)
    module = caffe2torch.convert(prototxt=tmp_path / "net.prototxt")
    groups = caffe2torch.parameter_groups(module, lr=1.0, weight_decay=1.0)
    assert [(group["names"], group["lr"], group["weight_decay"]) for group in groups] == [
        (["left.weight"], 3.0, 1.0),
        (["left.bias"], 2.0, 0.0),
    ]
