"""Which value flows into which layer: single assignment, in-place layers and Split resolved, as Caffe's Net::Init."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from caffe2torch.errors import NetError
from caffe2torch.net import Layer, Net


@dataclass(frozen=True)
class Wire:
    """A layer with the values it takes and gives; a value is a number, counted through the net."""

    layer: Layer
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass
class Wiring:
    """A net in single assignment: ``blob_of`` tells each value's blob, ``last`` the value a blob has at the end."""

    wires: list[Wire] = field(default_factory=list)
    blob_of: list[str] = field(default_factory=list)
    last: dict[str, int] = field(default_factory=dict)
    inputs: dict[str, int] = field(default_factory=dict)  # blob -> value

    def new(self, blob: str) -> int:
        """A new value of a blob."""
        self.blob_of.append(blob)
        self.last[blob] = len(self.blob_of) - 1
        return self.last[blob]


def wire(net: Net) -> Wiring:
    """Resolve a net's blob names; NetError for a blob read before it is made, made twice, or without a name."""
    _refuse_unnamed(net)
    wiring = Wiring()
    for entry in net.inputs:
        wiring.inputs[entry.blob] = wiring.new(entry.blob)
    uses: Counter[tuple[str, int]] = Counter()  # a Split's tops count by their own names
    overwritten: dict[tuple[str, int], Layer] = {}
    memory: dict[str, str] = {}  # blobs that a Split lets share one memory, and the first of them
    for layer in net.layers:
        for bottom in layer.bottoms:
            if bottom not in wiring.last:
                raise NetError(
                    f"{net.path}: layer {layer.name!r} ({layer.type}) reads blob {bottom!r}, which no earlier layer "
                    "gives; check the spelling, or the order of the layers"
                )
        inputs = tuple(wiring.last[memory.get(bottom, bottom)] for bottom in layer.bottoms)
        uses.update(zip(layer.bottoms, inputs, strict=True))
        if layer.type == "Split" and len(inputs) == 1:
            taken = [top for top in layer.tops if top in wiring.last]
            if taken:
                raise _twice(net, layer, taken[0])
            wiring.last.update(dict.fromkeys(layer.tops, inputs[0]))
            memory.update(dict.fromkeys(layer.tops, memory.get(layer.bottoms[0], layer.bottoms[0])))
            continue
        outputs = []
        for index, top in enumerate(layer.tops):
            if layer.in_place(index):
                overwritten[top, inputs[index]] = layer
            elif top in wiring.last:
                raise _twice(net, layer, top)
            outputs.append(wiring.new(top))
            if layer.in_place(index):
                wiring.last[memory.get(top, top)] = outputs[-1]
            if layer.loss_weights[index : index + 1] not in ((), (0.0,)):
                uses[top, outputs[-1]] += 1  # Caffe reads the blob once more, for the total loss
        wiring.wires.append(Wire(layer, inputs, tuple(outputs)))
    wiring.last.update({blob: wiring.last[first] for blob, first in memory.items()})
    for (blob, value), layer in overwritten.items():
        # Caffe gives each of several readers a copy; an in-place layer then no longer writes over its own bottom.
        if uses[blob, value] > 1:
            raise _twice(net, layer, blob)
    return wiring


def leading_to(wires: Sequence[Wire], targets: Sequence[int]) -> list[Wire]:
    """Those of the wires that lie on the way to some values."""
    wanted = set(targets)
    kept = []
    for entry in reversed(wires):
        if wanted.intersection(entry.outputs):
            kept.append(entry)
            wanted.update(entry.inputs)
    return kept[::-1]


def needed(net: Net, blobs: Sequence[str]) -> tuple[Wiring, list[Wire]]:
    """A net's wiring, and the layers on the way to these blobs; NetError as of ``wire``, KeyError for other blobs."""
    wiring = wire(net)
    return wiring, leading_to(wiring.wires, [wiring.last[name] for name in blobs])


def _refuse_unnamed(net: Net) -> None:
    if any(not entry.blob for entry in net.inputs):
        raise NetError(f"{net.path}: an input has an empty name; give it one")
    unnamed = next((layer for layer in net.layers if "" in layer.tops), None)
    if unnamed is not None:
        raise NetError(
            f"{net.path}: a top of layer {unnamed.name!r} ({unnamed.type}) has an empty name; give it one, here and "
            "where it is read"
        )


def _twice(net: Net, layer: Layer, blob: str) -> NetError:
    return NetError(
        f"{net.path}: blob {blob!r} is produced by multiple sources, at last by layer {layer.name!r} ({layer.type}); "
        "Caffe refuses this net. Give one of the tops another name"
    )
