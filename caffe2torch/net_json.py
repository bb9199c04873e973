"""A Net as JSON and back: what config.json keeps, so that a folder can be cut, checked and exported again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from caffe2torch import fields, limits, readings, registry
from caffe2torch.net import Fields, Input, Layer, Net, ParamSpec, Shape
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
    """The Net that ``to_json`` wrote.

    KeyError, TypeError, ValueError or AttributeError if it is something else, also where a number or a text stands in
    the place of the other: what is built of it is printed as Python. NetError as of any net.
    """
    net = Net(
        name=_text(given["name"]),
        inputs=tuple(Input(_text(blob), shape(sizes)) for blob, sizes in given["inputs"].items()),
        layers=tuple(_restored(layer) for layer in given["layers"]),
        path=path,
    )
    limits.check_net(net)
    return share(net)


def shape(given: Any) -> Shape:
    """Sizes in a list; TypeError for anything else."""
    return tuple(_integer(size) for size in _list(given))


def _restored(given: Mapping[str, Any]) -> Layer:
    kind, forks = _text(given["type"]), _texts(given.get("fork", []))
    registry.find(kind)  # declares what forks have in it
    return Layer(
        name=_text(given["name"]),
        type=kind,
        bottoms=_texts(given.get("bottoms", [])),
        tops=_texts(given["tops"]),
        params={
            name: _fields(value, readings.descriptor(kind, forks, name))
            for name, value in given.get("params", {}).items()
        },
        specs=tuple(_spec(spec) for spec in _list(given.get("specs", []))),
        loss_weights=tuple(_float(weight) for weight in _list(given.get("loss_weights", []))),
        phase=_text(given.get("phase", "TEST")),
        fork=forks,
    )


def _spec(given: Mapping[str, Any]) -> ParamSpec:
    lr, decay, permissive = _float(given["lr_mult"]), _float(given["decay_mult"]), given["permissive"] is True
    return ParamSpec(_text(given["name"]), lr, decay, permissive, _texts(given.get("given", [])))


def _fields(given: Mapping[str, Any], message: Any) -> Fields:
    known = message.fields_by_name
    return fields.of_descriptor(message, {name: _value(value, known[name]) for name, value in given.items()})


def _value(value: Any, field: Any) -> Any:
    """A field's value, which must be of the field's own type."""
    if fields.is_repeated(field):
        return tuple(_single(item, field) for item in _list(value))
    return _single(value, field)


def _single(value: Any, field: Any) -> Any:
    if field.message_type is not None:
        return _fields(value, field.message_type)
    if field.enum_type is not None:
        text = _text(value)
        if text not in field.enum_type.values_by_name and not text.removeprefix("-").isdecimal():
            raise ValueError(f"{field.name} is {text!r}")
        return text
    if field.cpp_type == field.CPPTYPE_STRING:
        return _text(value)
    if field.cpp_type == field.CPPTYPE_BOOL:
        if not isinstance(value, bool):
            raise TypeError(f"{field.name} is {value!r}")
        return value
    return _float(value) if field.cpp_type in (field.CPPTYPE_FLOAT, field.CPPTYPE_DOUBLE) else _integer(value)


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError(f"{type(value).__name__} {str(value)[:40]!r} is no list")
    return value


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(_text(item) for item in _list(value))


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{type(value).__name__} {str(value)[:40]!r} is no text")
    value.encode("utf-8")  # half a character is an error
    return value


def _integer(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) >> 63:
        raise TypeError(f"{type(value).__name__} {str(value)[:40]!r} is no whole number of 64 bits")
    return value


def _float(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{type(value).__name__} {str(value)[:40]!r} is no number")
    return float(value)
