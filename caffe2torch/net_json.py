"""A Net as JSON and back: what config.json keeps, so that a folder can be cut, checked and exported again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from caffe2torch.fields import defaults
from caffe2torch.net import Fields, Input, Layer, Net, ParamSpec
from caffe2torch.sharing import share

if TYPE_CHECKING:
    from caffe2torch.graph import Graph


def to_json(graph: Graph) -> dict[str, Any]:
    """The net that a graph keeps, without weights and without Split."""
    return {
        "name": graph.name,
        "inputs": list(graph.input_names),
        "layers": [_layer(node.layer, [value.blob for value in node.inputs]) for node in graph.nodes],
    }


def _layer(layer: Layer, bottoms: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = {"name": layer.name, "type": layer.type}
    if bottoms:
        found["bottoms"] = bottoms
    found["tops"] = list(layer.tops)
    if layer.params:
        found["params"] = {name: _plain(fields) for name, fields in layer.params.items()}
    if layer.phase and layer.phase != "TEST":
        found["phase"] = layer.phase
    if layer.specs:
        found["specs"] = [asdict(spec) for spec in layer.specs]
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, Fields):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value


def from_json(given: Mapping[str, Any], path: str) -> Net:
    """The Net that ``to_json`` wrote. KeyError, TypeError or ValueError if it is something else."""
    net = Net(
        name=str(given["name"]),
        inputs=tuple(Input(str(blob), None) for blob in given["inputs"]),
        layers=tuple(
            Layer(
                name=str(layer["name"]),
                type=str(layer["type"]),
                bottoms=tuple(map(str, layer.get("bottoms", ()))),
                tops=tuple(map(str, layer["tops"])),
                params={name: _fields(fields, defaults(name)) for name, fields in layer.get("params", {}).items()},
                specs=tuple(ParamSpec(**spec) for spec in layer.get("specs", ())),
                phase=layer.get("phase", "TEST"),
            )
            for layer in given["layers"]
        ),
        path=path,
    )
    return share(net)


def _fields(given: Mapping[str, Any], default: Mapping[str, Any]) -> Fields:
    return Fields({name: _value(value, default[name]) for name, value in given.items()}, default)


def _value(value: Any, default: Any) -> Any:
    if isinstance(value, dict):
        inner = default._defaults if isinstance(default, Fields) else {}
        return _fields(value, inner)
    if isinstance(value, list):
        return tuple(_value(item, ()) for item in value)
    return value
