"""What is in a file, layer by layer, also where it cannot be converted: the table of `caffe2torch inspect`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

from caffe2torch import known, registry
from caffe2torch.errors import CaffeError, Problem
from caffe2torch.input_shapes import InputShapes
from caffe2torch.net import Layer, Net, Shape
from caffe2torch.outputs import is_loss
from caffe2torch.resolver import Resolver
from caffe2torch.wiring import wire


@dataclass(frozen=True)
class Row:
    """One layer; ``shapes`` of its tops are None where they cannot be known."""

    layer: Layer
    shapes: tuple[Shape | None, ...]
    parameters: int
    multiply_adds: int | None

    def to_json(self) -> dict[str, Any]:
        """As `inspect --json` prints it."""
        return {
            "name": self.layer.name,
            "type": self.layer.type,
            "forks": list(self.layer.fork),
            "bottoms": list(self.layer.bottoms),
            "tops": list(self.layer.tops),
            "shapes": [None if shape is None else list(shape) for shape in self.shapes],
            "blobs": [list(blob.shape) for blob in self.layer.blobs or ()],
            "parameters": self.parameters,
            "multiply_adds": self.multiply_adds,
        }


@dataclass(frozen=True)
class Inspection:
    """All layers of a net, and what is to be said of it."""

    net: Net
    inputs: dict[str, Shape | None]
    rows: tuple[Row, ...]
    problems: tuple[Problem, ...]
    notes: tuple[str, ...]

    @property
    def parameters(self) -> int:
        """Learned numbers in the file."""
        return sum(row.parameters for row in self.rows)

    @property
    def multiply_adds(self) -> int | None:
        """Of one forward pass, losses aside; None where a shape is not known."""
        counts = [row.multiply_adds for row in self.rows if not is_loss(row.layer)]
        return None if None in counts else sum(count or 0 for count in counts)

    def to_json(self) -> dict[str, Any]:
        """As `inspect --json` prints it."""
        published = known.recognise(self.net)
        return {
            "path": self.net.weights_path or self.net.path,
            "name": self.net.name,
            "known": published.name if published else None,
            "inputs": {blob: None if shape is None else list(shape) for blob, shape in self.inputs.items()},
            "layers": [row.to_json() for row in self.rows],
            "parameters": self.parameters,
            "multiply_adds": self.multiply_adds,
            "problems": [{"layer": p.layer, "type": p.type, "reason": p.reason} for p in self.problems],
            "notes": list(self.notes),
        }


def inspect(net: Net, input_shape: Shape | Mapping[str, Shape] | None = None) -> Inspection:
    """Look at a net without reading a tensor. What cannot be resolved is left open and named; nothing is raised."""
    try:
        wiring = wire(net)
    except CaffeError as error:
        rows = tuple(Row(layer, (None,) * len(layer.tops), _stored(layer), None) for layer in net.layers)
        inputs = {entry.blob: entry.shape for entry in net.inputs}
        return Inspection(net, inputs, rows, (), (*net.notes, str(error)))
    resolver = Resolver.whole(net, wiring)
    sizes = InputShapes(net, resolver.readers(), resolver)
    if input_shape is not None and not isinstance(input_shape, Mapping):
        input_shape = dict(zip(wiring.inputs, [input_shape], strict=False))
    shapes: dict[str, Shape | None] = {}
    for blob in wiring.inputs:
        try:
            shapes[blob] = sizes.find([blob], input_shape)[blob]
        except CaffeError:
            shapes[blob] = None
    operations, found, problems = resolver.attempt({blob: shape for blob, shape in shapes.items() if shape is not None})
    rows_ = []
    for index, entry in enumerate(wiring.wires):
        operation = operations.get(index)
        rows_.append(
            Row(
                layer=entry.layer,
                shapes=tuple(found.get(value) for value in entry.outputs),
                parameters=_stored(entry.layer)
                or (sum(prod(param.shape) for param in operation.params()) if operation else 0),
                multiply_adds=operation.multiply_adds([found[value] for value in entry.inputs]) if operation else None,
            )
        )
    strange = [layer for layer in net.layers if registry.find(layer.type) is None and is_loss(layer)]
    told = [f"layer {each.name} ({each.type}): an unknown type; it serves training only" for each in strange]
    dropped = {(layer.name, layer.type) for layer in strange}
    left = tuple(problem for problem in problems if (problem.layer, problem.type) not in dropped)
    return Inspection(net, shapes, tuple(rows_), left, (*net.notes, *sizes.notes, *told))


def _stored(layer: Layer) -> int:
    return sum(blob.count for blob in layer.blobs or ())
