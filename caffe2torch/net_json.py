"""A Net as JSON and back: what config.json keeps, so that a folder can be cut, checked and exported again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from caffe2torch import fields, readings, registry
from caffe2torch.net import Fields, Input, Layer, Net, ParamSpec
from caffe2torch.sharing import share
from caffe2torch.wiring import needed

if TYPE_CHECKING:
    from caffe2torch.graph import Graph


def to_json(graph: Graph) -> dict[str, Any]:
    """The net that a graph needs, those layers included of which only a shape matters; no weights, no Split."""
    wiring, wires = needed(graph.net, graph.output_names)
    return {
        "name": graph.name,
        "inputs": {blob: list(shape) for blob, shape in graph.shapes.items()},
        "layers": [
            _layer(_as_meant(entry.layer, graph), [wiring.blob_of[value] for value in entry.inputs]) for entry in wires
        ],
    }


def _as_meant(layer: Layer, graph: Graph) -> Layer:
    """With the parameters of the reading that was taken, where several fitted."""
    forks = graph.forks.get(id(layer), ())
    return next((layer.as_read(reading) for reading in layer.readings if reading.forks == forks), layer)


def _layer(layer: Layer, bottoms: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = {"name": layer.name, "type": layer.type}
    if bottoms:
        found["bottoms"] = bottoms
    found["tops"] = list(layer.tops)
    if layer.fork:
        found["fork"] = list(layer.fork)
    if layer.params:
        found["params"] = {name: _plain(value) for name, value in layer.params.items()}
    if layer.phase and layer.phase != "TEST":
        found["phase"] = layer.phase
    if layer.specs:
        found["specs"] = [asdict(spec) for spec in layer.specs]
    if layer.loss_weights:
        found["loss_weights"] = list(layer.loss_weights)
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, Fields):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value


def from_json(given: Mapping[str, Any], path: str) -> Net:
    """The Net that ``to_json`` wrote. KeyError, TypeError, ValueError or AttributeError if it is something else."""
    registry.find("")  # the types of all families, and what forks read in them, are known
    net = Net(
        name=str(given["name"]),
        inputs=tuple(Input(str(blob), tuple(map(int, shape))) for blob, shape in given["inputs"].items()),
        layers=tuple(_restored(layer) for layer in given["layers"]),
        path=path,
    )
    return share(net)


def _restored(given: Mapping[str, Any]) -> Layer:
    kind, forks = str(given["type"]), tuple(map(str, given.get("fork", ())))
    specs = (ParamSpec(**{**spec, "given": tuple(spec.get("given", ()))}) for spec in given.get("specs", ()))
    return Layer(
        name=str(given["name"]),
        type=kind,
        bottoms=tuple(map(str, given.get("bottoms", ()))),
        tops=tuple(map(str, given["tops"])),
        params={
            name: _fields(value, readings.descriptor(kind, forks, name))
            for name, value in given.get("params", {}).items()
        },
        specs=tuple(specs),
        loss_weights=tuple(map(float, given.get("loss_weights", ()))),
        phase=given.get("phase", "TEST"),
        fork=forks,
    )


def _fields(given: Mapping[str, Any], message: Any) -> Fields:
    known = message.fields_by_name
    return fields.of_descriptor(
        message, {name: _value(value, known[name].message_type) for name, value in given.items()}
    )


def _value(value: Any, message: Any) -> Any:
    if isinstance(value, list):
        return tuple(_value(item, message) for item in value)
    return value if message is None else _fields(value, message)
