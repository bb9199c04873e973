"""Net -> Graph: layers resolved, shapes known, in-place layers and Split gone, all problems gathered."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import prod

from caffe2torch import checks, registry
from caffe2torch.errors import NetError, Problem, ShapeError
from caffe2torch.identifiers import identifiers
from caffe2torch.input_shapes import InputShapes
from caffe2torch.net import Layer, Net, Shape
from caffe2torch.registry import LayerError, NotSupportedError, Operation
from caffe2torch.tying import tie
from caffe2torch.wiring import Wire, Wiring, wire

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
    names, targets = _targets(net, wiring, outputs)
    wires = _needed(wiring.wires, targets)
    used = {value for entry in wires for value in entry.inputs} | set(targets)
    inputs = {value: blob for blob, value in wiring.inputs.items() if value in used}
    resolver = Resolver(net, wires, inputs)
    sizes = input_shapes(net)
    try:
        shapes = sizes.find(list(inputs.values()), input_shape)
    except ShapeError:
        resolver.refuse_unknown_types()  # the graver fault
        raise
    every, found = resolver.run(shapes)
    wires, operations = _computed(wires, every, targets)
    used = {value for entry in wires for value in entry.inputs} | set(targets)
    inputs = {value: blob for value, blob in inputs.items() if value in used}
    grown, fixing = resolver.grown(shapes, inputs.values(), every, found)
    rows = _rows(wires, operations, found, grown)
    values = _values(wiring, wires, inputs, found, rows)
    kept = {id(entry.layer) for entry in wires}
    layers = [entry.layer for entry in wires]
    notes = [*_foreign(layers), *_batch_note(fixing, [found[value] for value in inputs])]
    if outputs is None:
        notes += _check_dropped(net, wiring, kept, shapes)
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
        outputs=tuple(values[value] for value in targets),
        output_names=tuple(names),
        batch=grown is not None,
        shapes=shapes,
        net=net,
        dropped=tuple(layer.name for layer in net.layers if id(layer) not in kept and layer.type != "Split"),
        notes=(*net.notes, *sizes.notes, *notes),
        forks=resolver.forks,
    )


def needed(net: Net, outputs: Sequence[str]) -> tuple[Wiring, list[Wire]]:
    """A net's wiring, and the layers on the way to these blobs; NetError as of ``wire``, KeyError for other blobs."""
    wiring = wire(net)
    return wiring, _needed(wiring.wires, [wiring.last[name] for name in outputs])


def is_loss(layer: Layer) -> bool:
    """Whether a layer serves training only (a loss, Accuracy), or gives nothing (Silence)."""
    operation = registry.find(layer.type)
    return (operation is not None and operation.loss) or layer.type.endswith("Loss") or not layer.tops


def _check_dropped(net: Net, wiring: Wiring, kept: Collection[int], shapes: Mapping[str, Shape]) -> list[str]:
    """NetError if Caffe refuses a loss, Accuracy or Silence that is dropped; notes on those that are not understood.

    They are checked only with a prototxt, all of it, and with inputs of the sizes that it says.
    """
    dropped = {id(layer): layer for layer in net.layers if id(layer) not in kept and layer.type != "Split"}
    notes = [
        f"layer {layer.name} ({layer.type}): an unknown type, dropped as what serves training only"
        for layer in dropped.values()
        if registry.find(layer.type) is None
    ]
    declared = {entry.blob: entry.shape for entry in net.inputs if entry.shape and 0 not in entry.shape}
    if net.stored_form or net.whole is not None or any(declared.get(blob) != shape for blob, shape in shapes.items()):
        return notes
    resolver = Resolver(net, wiring.wires, {value: blob for blob, value in wiring.inputs.items()})
    problems = []
    for layer, error in resolver.faults(declared):
        if isinstance(error, NotSupportedError):
            notes.append(f"layer {layer.name} ({layer.type}) is dropped unchecked: {error}")
        elif id(layer) in dropped:
            problems.append(Problem(layer.name, layer.type, str(error)))
    if problems:
        raise NetError.of(problems, len(wiring.wires), net.path)
    return notes


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


def _targets(net: Net, wiring: Wiring, outputs: Sequence[str] | None) -> tuple[list[str], list[int]]:
    if outputs is not None:
        missing = [name for name in outputs if name not in wiring.last]
        known = ", ".join(net.blobs()[-12:])
        if not outputs:
            raise NetError(f"{net.path}: no output is asked for; the last blobs are {known}")
        if missing:
            raise NetError(f"{net.path}: there is no blob {missing[0]!r}; the last blobs are {known}")
        return list(outputs), [wiring.last[name] for name in outputs]
    for serves in (lambda layer: not is_loss(layer), lambda layer: bool(layer.tops)):
        wires = [entry for entry in wiring.wires if serves(entry.layer)]
        consumed = {value for entry in wires for value in entry.inputs}
        free = [value for entry in wires for value in entry.outputs if value not in consumed]
        free = _without_labels(wiring, free)
        if free:
            return [wiring.blob_of[value] for value in free], free
    raise NetError(f"{net.path}: no layer is left that gives an output")


def _without_labels(wiring: Wiring, free: list[int]) -> list[int]:
    """Without what only prepares labels for the dropped losses: no learned layer lies on its way."""
    learned: set[int] = set()
    for entry in wiring.wires:
        if entry.layer.blobs or learned.intersection(entry.inputs):
            learned.update(entry.outputs)
    for_losses = {value for entry in wiring.wires if is_loss(entry.layer) for value in entry.inputs}
    kept = [value for value in free if value in learned or value not in for_losses]
    return kept if learned.intersection(kept) else free


def _needed(wires: Sequence[Wire], targets: Sequence[int]) -> list[Wire]:
    wanted = set(targets)
    kept = []
    for entry in reversed(wires):
        if wanted.intersection(entry.outputs):
            kept.append(entry)
            wanted.update(entry.inputs)
    return kept[::-1]


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


def input_shapes(net: Net) -> InputShapes:
    """What a net says of its inputs' sizes, with all its layers, also those that were dropped or no output needs."""
    whole = net.whole or net
    wiring = wire(whole)
    resolver = Resolver(whole, wiring.wires, {value: blob for blob, value in wiring.inputs.items()})
    return InputShapes(whole, resolver.readers(), resolver.fits)


class Resolver:
    """Parses the layers in order and follows the shapes."""

    def __init__(self, net: Net, wires: Sequence[Wire], inputs: Mapping[int, str]) -> None:
        self.net, self.wires, self.inputs = net, wires, inputs
        self.forks: dict[int, tuple[str, ...]] = {}  # by a layer's id, those whose reading its operation is

    def run(self, shapes: Mapping[str, Shape]) -> tuple[list[Operation], dict[int, Shape]]:
        """Every layer's operation and every value's shape; NetError with all problems."""
        operations, found, problems = self.attempt(shapes)
        if problems:
            raise NetError.of(problems, len(self.wires), self.net.path)
        return [operations[index] for index in range(len(self.wires))], found

    def attempt(self, shapes: Mapping[str, Shape]) -> tuple[dict[int, Operation], dict[int, Shape], list[Problem]]:
        """As far as it goes: operations by the layer's place, shapes by value, and what stands in the way."""
        operations, found, faults = self._follow(shapes)
        problems = [
            Problem(layer.name, layer.type, str(error)) if error else checks.no_converter(layer)
            for layer, error in faults
        ]
        return operations, found, problems

    def faults(self, shapes: Mapping[str, Shape]) -> list[tuple[Layer, LayerError]]:
        """What is wrong with layers of known types, as far as the shapes are known."""
        return [(layer, error) for layer, error in self._follow(shapes)[2] if error]

    def _follow(
        self, shapes: Mapping[str, Shape]
    ) -> tuple[dict[int, Operation], dict[int, Shape], list[tuple[Layer, LayerError | None]]]:
        """As ``attempt``; of a layer without a converter the fault is None."""
        found: dict[int, Shape] = {value: shapes[blob] for value, blob in self.inputs.items() if blob in shapes}
        operations: dict[int, Operation] = {}
        faults: list[tuple[Layer, LayerError | None]] = []
        for index, entry in enumerate(self.wires):
            layer = entry.layer
            cls = registry.find(layer.type)
            if cls is None:
                faults.append((layer, None))
                continue
            if not all(value in found for value in entry.inputs):
                continue  # behind a layer that could not be resolved
            bottoms = [found[value] for value in entry.inputs]
            try:
                checks.check_values(layer)
                operation, self.forks[id(layer)] = registry.read(cls, layer, bottoms)
                tops = operation.shape(bottoms)
                checks.check_tops(layer, tops)
                checks.check_blobs(layer, operation, self.net.weights_path or self.net.path)
            except LayerError as error:
                faults.append((layer, error))
                continue
            operations[index] = operation
            found.update(zip(entry.outputs, tops, strict=True))
        return operations, found, faults

    def refuse_unknown_types(self) -> None:
        """NetError if some layers have no converter."""
        layers = [entry.layer for entry in self.wires if registry.find(entry.layer.type) is None]
        if layers:
            raise NetError.of([checks.no_converter(layer) for layer in layers], len(self.wires), self.net.path)

    def readers(self) -> dict[str, list[Wire]]:
        """The layers that read each input, by its blob."""
        return {blob: [entry for entry in self.wires if value in entry.inputs] for value, blob in self.inputs.items()}

    def fits(self, blob: str, shape: Shape) -> bool | None:
        """Whether the first InnerProduct with weights that this input alone feeds takes it in a shape; None without."""
        fed = {value for value, name in self.inputs.items() if name == blob}
        wires = []
        for entry in self.wires:
            if not entry.inputs or not fed.issuperset(entry.inputs):
                continue
            fed.update(entry.outputs)
            wires.append(entry)
            if entry.layer.type == "InnerProduct" and entry.layer.blobs:
                break
        else:
            return None
        inputs = {value: name for value, name in self.inputs.items() if name == blob}
        needed = _needed(wires, wires[-1].outputs)
        try:
            Resolver(self.net, needed, inputs).run({blob: shape})
        except NetError:
            return False
        return True

    def grown(
        self,
        shapes: Mapping[str, Shape],
        blobs: Collection[str],
        operations: Sequence[Operation],
        found: Mapping[int, Shape],
    ) -> tuple[dict[int, Shape] | None, Layer | None]:
        """Every value's shape with one more in axis 0 of some inputs; or None, if that changes more than axis 0.

        Then with the first layer that does, where it can be told.
        """
        sizes = {shapes[blob][0] if shapes[blob] else 0 for blob in blobs}
        if len(sizes) != 1 or 0 in sizes:
            return None, None
        size = sizes.pop()
        more = {blob: (size + 1, *shape[1:]) if blob in blobs else shape for blob, shape in shapes.items()}
        others, grown, _ = self.attempt(more)
        for index, entry in enumerate(self.wires):
            same = index in others and others[index] == operations[index]
            if not same or any(
                grown[value] not in (found[value], (size + 1, *found[value][1:])) for value in entry.outputs
            ):
                return None, entry.layer
        return grown, None


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
