"""Net -> Graph: layers resolved, shapes known, in-place layers and Split gone, all problems gathered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import prod

from caffe2torch import registry
from caffe2torch.errors import ShapeError
from caffe2torch.identifiers import identifiers
from caffe2torch.net import Layer, Net, Shape
from caffe2torch.outputs import check_dropped, targets
from caffe2torch.registry import Operation
from caffe2torch.resolver import Resolver, input_shapes
from caffe2torch.tying import tie
from caffe2torch.wiring import Wire, Wiring, leading_to, wire

BATCH = "N"


@dataclass(frozen=True)
class Value:
    """One tensor on its way through the net; ``name`` is unique, the blob's own for the blob's last value."""

    name: str
    blob: str
    shape: Shape
    rows: str = ""  # one axis may have any size: BATCH, or named after the layer that selects items
    rows_axis: int = 0  # which one


@dataclass(frozen=True)
class Node:
    """A kept layer; ``name`` is its submodule's, a Python identifier. Layers that share all have one module."""

    name: str
    layer: Layer
    operation: Operation
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    shared: Mapping[str, str] = field(default_factory=dict)  # state_dict key -> the whole key of another's, held too


@dataclass(frozen=True)
class Graph:
    """A net ready to be printed, built and exported."""

    name: str
    inputs: tuple[Value, ...]
    nodes: tuple[Node, ...]
    outputs: tuple[Value, ...]
    output_names: tuple[str, ...]  # blobs, as asked for
    batch: bool  # axis 0 of the inputs may have any size
    shapes: Mapping[str, Shape]  # of the inputs, and of those of which only the shape matters
    net: Net  # what it was made of
    dropped: tuple[str, ...]  # layers that no output needs
    notes: tuple[str, ...] = ()  # what had to be assumed
    # Of which forks of Caffe a layer is, by its id; () for BVLC's own.
    forks: Mapping[int, tuple[str, ...]] = field(default_factory=dict, repr=False)

    @property
    def input_names(self) -> tuple[str, ...]:
        """The blobs to be given, in order."""
        return tuple(value.blob for value in self.inputs)

    @cached_property
    def values(self) -> dict[str, Value]:
        """All values by name."""
        found = {value.name: value for value in self.inputs}
        found.update((value.name, value) for node in self.nodes for value in node.outputs)
        return found

    def shape_of(self, blob: str) -> Shape:
        """The shape of a blob's last value; KeyError if the graph has no such blob."""
        return self.values[blob].shape

    @property
    def parameters(self) -> int:
        """How many learned numbers there are."""
        counts: dict[object, int] = {}
        for node in self.nodes:
            for index, param in enumerate(node.operation.params()):
                shared = node.layer.shared.get(index)
                counts[shared.name if shared else (id(node), index)] = prod(param.shape)
        return sum(counts.values())


def resolve(
    net: Net,
    outputs: Sequence[str] | None = None,
    input_shape: Shape | Mapping[str, Shape] | None = None,
) -> Graph:
    """Resolve what ``outputs`` need (None: the blobs that nothing consumes, losses aside).

    Raises NetError with every layer that cannot be converted, or for an output there is not; ShapeError where the
    size of an input is not known.
    """
    wiring = wire(net)
    names, wanted = targets(net, wiring, outputs)
    wires = leading_to(wiring.wires, wanted)
    used = {value for entry in wires for value in entry.inputs} | set(wanted)
    inputs = {value: blob for blob, value in wiring.inputs.items() if value in used}
    resolver = Resolver(net, wires, inputs)
    sizes = input_shapes(net)
    try:
        shapes = sizes.find(list(inputs.values()), input_shape)
    except ShapeError:
        resolver.refuse_unknown_types()  # the graver fault
        raise
    every, found = resolver.run(shapes)
    wires, operations = _computed(wires, every, wanted)
    used = {value for entry in wires for value in entry.inputs} | set(wanted)
    inputs = {value: blob for value, blob in inputs.items() if value in used}
    grown, fixing = resolver.grown(shapes, inputs.values(), every, found)
    rows = _rows(wires, operations, found, grown)
    values = _values(wiring, wires, inputs, found, rows)
    kept = {id(entry.layer) for entry in wires}
    layers = [entry.layer for entry in wires]
    notes = [*resolver.doubts(), *_foreign(layers), *_batch_note(fixing, [found[value] for value in inputs])]
    if outputs is None:
        notes += check_dropped(net, wiring, kept, shapes)
    tied = tie(layers, operations, identifiers(layer.name for layer in layers), net.path)
    return Graph(
        name=net.name,
        inputs=tuple(values[value] for value in inputs),
        nodes=tuple(
            Node(
                each.name,
                entry.layer,
                each.operation,
                tuple(values[v] for v in entry.inputs),
                tuple(values[v] for v in entry.outputs),
                each.shared,
            )
            for entry, each in zip(wires, tied, strict=True)
        ),
        outputs=tuple(values[value] for value in wanted),
        output_names=tuple(names),
        batch=grown is not None,
        shapes=shapes,
        net=net,
        dropped=tuple(layer.name for layer in net.layers if id(layer) not in kept and layer.type != "Split"),
        notes=(*net.notes, *sizes.notes, *notes),
        forks=resolver.forks,
    )


def _foreign(layers: Sequence[Layer]) -> list[str]:
    return [
        f"layer {layer.name} ({layer.type}): its {', '.join(found)} changes nothing; Caffe does not read it there"
        for layer in layers
        if (found := registry.foreign(layer))
    ]


def _batch_note(fixing: Layer | None, shapes: Sequence[Shape]) -> list[str]:
    """Which layer keeps the batch at its size; nothing of a net that takes one row of a few numbers."""
    if fixing is None or not any(len(shape) >= 4 or shape[0] > 1 for shape in shapes):
        return []
    what = "time" if fixing.type in ("LSTM", "RNN") else "batch"
    return [f"{what} fixed at {shapes[0][0]}: {fixing.name} ({fixing.type}) fixes it"]


def _computed(
    wires: Sequence[Wire], operations: Sequence[Operation], targets: Sequence[int]
) -> tuple[list[Wire], list[Operation]]:
    """What is left where some bottoms need not be computed, as only their shape matters."""
    wanted = set(targets)
    kept = []
    for entry, operation in zip(reversed(wires), reversed(operations), strict=True):
        if wanted.intersection(entry.outputs):
            inputs = tuple(value for place, value in enumerate(entry.inputs) if place not in operation.measured)
            kept.append((replace(entry, inputs=inputs), operation))
            wanted.update(inputs)
    return [entry for entry, _ in reversed(kept)], [operation for _, operation in reversed(kept)]


def _rows(
    wires: Sequence[Wire],
    operations: Sequence[Operation],
    found: Mapping[int, Shape],
    grown: Mapping[int, Shape] | None,
) -> dict[int, tuple[str, int]]:
    """The values of which one axis may have any size, with the name of that size (the batch's, or a selection's)."""
    batch = (BATCH, 0)
    rows = {value: batch for value, shape in found.items() if grown is not None and grown[value] != shape}
    for entry, operation in zip(wires, operations, strict=True):
        selected = [value for value in entry.inputs if rows.get(value, batch) != batch and not rows[value][1]]
        if operation.selects:
            rows.update(dict.fromkeys(entry.outputs, (f"{entry.layer.name}_rows", operation.rows_axis)))
        elif selected:
            first = found[selected[0]][:1]
            rows.update({value: rows[selected[0]] for value in entry.outputs if found[value][:1] == first})
    return rows


def _values(
    wiring: Wiring,
    wires: Sequence[Wire],
    inputs: Mapping[int, str],
    shapes: Mapping[int, Shape],
    rows: Mapping[int, tuple[str, int]],
) -> dict[int, Value]:
    """Name every value: a blob's last one (or the one asked for) by the blob, earlier ones ``blob:layer``."""
    producer = {value: entry.layer.name for entry in wires for value in entry.outputs}
    order = [*inputs, *(value for entry in wires for value in entry.outputs)]
    owner = {wiring.blob_of[value]: value for value in order}  # the last of each blob
    taken = set(owner)
    values: dict[int, Value] = {}
    for value in order:
        blob = wiring.blob_of[value]
        name = blob
        if owner[blob] != value:
            name = base = f"{blob}:{producer.get(value, 'input')}"
            count = 1
            while name in taken:
                count += 1
                name = f"{base}:{count}"
            taken.add(name)
        values[value] = Value(name, blob, shapes[value], *rows.get(value, ("", 0)))
    return values
