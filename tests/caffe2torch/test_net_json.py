"""A net as JSON and back: the graph that comes of it is the same, for every golden net."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import caffe2torch
from caffe2torch import net_json
from caffe2torch.graph import Graph, resolve
from caffe2torch.layers.cross_entropy import InfogainLoss
from caffe2torch.torch_source import source
from tests.caffe2torch.nets import given, graph, layer
from tests.caffe2torch.test_golden import MATCH, arguments, load


def there_and_back(resolved: Graph) -> Graph:
    text = json.dumps(net_json.to_json(resolved), allow_nan=False)
    net = net_json.from_json(json.loads(text), "config.json")
    return resolve(net, resolved.output_names)


def assert_same(first: Graph, second: Graph) -> None:
    assert second.name == first.name
    assert second.batch == first.batch
    assert second.inputs == first.inputs and second.outputs == first.outputs
    assert [node.name for node in second.nodes] == [node.name for node in first.nodes]
    for node, other in zip(first.nodes, second.nodes, strict=True):
        want = node.operation
        if isinstance(want, InfogainLoss):
            want = replace(want, source=None)  # the matrix is among the weights by then
        assert other.operation == want, node.layer.name
        assert (other.inputs, other.outputs, other.shared) == (node.inputs, node.outputs, node.shared)
        assert other.layer.params == node.layer.params
    assert source(second) == source(first)


@pytest.mark.parametrize("case", MATCH, ids=lambda case: case.name)
def test_every_golden_net(case: Path) -> None:
    options: dict[str, Any] = arguments(case)
    expected = json.loads((case / "case.json").read_text())
    shapes = options.pop("input_shape", None)
    net = caffe2torch.load_net(**options)
    wanted = list(expected.get("net_outputs", [])) or None
    resolved = resolve(net, wanted, shapes or {name: array.shape for name, array in load(case).inputs.items()})
    assert_same(resolved, there_and_back(resolved))


def test_phase_rates_and_names_are_kept(tmp_path: Path) -> None:
    first = 'inner_product_param { num_output: 4 } param { name: "w" lr_mult: 0.1 }'
    second = 'inner_product_param { num_output: 4 } param { name: "w" } param { decay_mult: 0 } phase: TRAIN'
    resolved = graph(
        tmp_path,
        given("data", 2, 4),
        layer("漢/字", "InnerProduct", ["data"], ["a b"], first),
        layer("x", "InnerProduct", ["a b"], ["c"], second),
    )
    again = there_and_back(resolved)
    assert_same(resolved, again)
    for node, other in zip(resolved.nodes, again.nodes, strict=True):
        assert other.layer.specs == node.layer.specs
        assert other.layer.phase == node.layer.phase
        assert (other.layer.name, other.layer.tops) == (node.layer.name, node.layer.tops)


@pytest.mark.parametrize(
    "damaged",
    [{}, {"name": "x"}, {"name": "x", "inputs": [], "layers": [{}]}, {"name": "x", "inputs": 1, "layers": []}],
)
def test_something_else_is_refused(damaged: dict[str, Any]) -> None:
    with pytest.raises((KeyError, TypeError, ValueError, AttributeError)):
        net_json.from_json(damaged, "config.json")
