"""Parses a net's layers in order and follows the shapes; tells which inputs' first axis may grow."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from math import prod

from caffe2torch import checks, forks, plugins, registry
from caffe2torch.errors import NetError, Problem
from caffe2torch.input_shapes import InputShapes
from caffe2torch.net import Layer, Net, Shape
from caffe2torch.registry import LayerError, Operation
from caffe2torch.wiring import Wire, Wiring, leading_to, wire


class Resolver:
    """Parses the layers in order and follows the shapes."""

    def __init__(self, net: Net, wires: Sequence[Wire], inputs: Mapping[int, str]) -> None:
        self.net, self.wires, self.inputs = net, wires, inputs
        self.forks: dict[int, tuple[str, ...]] = {}  # by a layer's id, those whose reading its operation is
        self.others: dict[int, tuple[str, ...]] = {}  # likewise, those who mean something else by its fields
        self.fork = ""  # that of which the doubtful layers are; "": BVLC's

    @classmethod
    def whole(cls, net: Net, wiring: Wiring) -> Resolver:
        """Of all layers of a net."""
        return cls(net, wiring.wires, {value: blob for blob, value in wiring.inputs.items()})

    def run(self, shapes: Mapping[str, Shape]) -> tuple[list[Operation], dict[int, Shape]]:
        """Every layer's operation and every value's shape; NetError with all problems.

        Where layers may be of BVLC's Caffe or of a fork, and BVLC's reading leads to a fault, the fork's is taken.
        """
        operations, found, problems = self.attempt(shapes)
        doubtful = sorted({fork for others in self.others.values() for fork in others}) if problems else []
        for self.fork in doubtful:
            tried = self.attempt(shapes)
            if not tried[2]:
                operations, found, problems = tried
                break
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
        made = 0
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
                with plugins.blamed([cls], f"layer {layer.name!r} ({layer.type})"):
                    checks.check_values(layer)
                    operation, self.forks[id(layer)], others = registry.read(cls, layer, bottoms, self.fork)
                    self.others.update({id(layer): others} if others else {})
                    tops = operation.shape(bottoms)
                    checks.check_tops(layer, tops)
                    made += operation.made(bottoms)
                    checks.check_made(made)
                    checks.check_blobs(layer, operation, self.net.weights_path or self.net.path)
            except LayerError as error:
                faults.append((layer, error))
                continue
            operations[index] = operation
            found.update(zip(entry.outputs, tops, strict=True))
        return operations, found, faults

    def doubts(self) -> list[str]:
        """What is to be told of layers by whose fields forks mean something else."""
        told = []
        for layer in (entry.layer for entry in self.wires):
            own, others = self.forks.get(id(layer), ()), self.others.get(id(layer))
            if others:
                why = ", which alone fits the shapes" if self.fork in own else ""
                told.append(
                    f"layer {layer.name} ({layer.type}): its fields are read as {forks.titles(own)} has them{why}; "
                    f"{forks.titles(others)} means something else by them: --fork {others[0]}"
                )
        return told

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
        wires = self.to_product(blob)
        if not wires:
            return None
        try:
            self._of_input(blob, wires).run({blob: shape})
        except NetError:
            return False
        return True

    def gives(self, blob: str, shape: Shape) -> int:
        """How many numbers an input of a shape gives to that InnerProduct; 0 where it does not come so far."""
        wires = self.to_product(blob)
        found = self._of_input(blob, wires[:-1]).attempt({blob: shape})[1] if wires else {}
        return prod(found[wires[-1].inputs[0]]) if wires and wires[-1].inputs[0] in found else 0

    def _of_input(self, blob: str, wires: Sequence[Wire]) -> Resolver:
        return Resolver(self.net, wires, {value: name for value, name in self.inputs.items() if name == blob})

    def to_product(self, blob: str) -> Sequence[Wire]:
        """The layers on the way from an input to the first InnerProduct with weights that it alone feeds; or ()."""
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
            return ()
        return leading_to(wires, wires[-1].outputs)

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


def input_shapes(net: Net) -> InputShapes:
    """What a net says of its inputs' sizes, with all its layers, also those that were dropped or no output needs."""
    whole = net.whole or net
    resolver = Resolver.whole(whole, wire(whole))
    return InputShapes(whole, resolver.readers(), resolver)
