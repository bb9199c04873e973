"""A trunk in two pieces: what stays as it is, whose features can be kept, and what lives in training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from caffe2torch.errors import NetError

if TYPE_CHECKING:
    from caffe2torch.folder import Converted
    from caffe2torch.graph import Graph, Node, Value

FEATURES = "features"  # the blob between the pieces, on the second one's side


def parted(cut: Converted, unfreeze: str | None = None) -> tuple[Converted, Converted | None, frozenset[str]]:
    """A trunk as (frozen piece, live piece or None, names of the modules in the live piece that are trained).

    The live piece begins before the first layer of dropout, and at the latest behind blob ``unfreeze``, so that the
    frozen one gives the same for a picture every time. Both keep the names of the whole one's weights. Raises NetError
    if ``unfreeze`` is no blob, or if the layers behind it need more than it; the error names those to choose from.
    """
    graph = cut.graph
    at = None if unfreeze is None else _unfrozen_at(cut, unfreeze)
    trained = {node.name for node in graph.nodes[_end(graph, at) :]} if at else set()
    border = None
    for value in separators(graph):
        end = _end(graph, value)
        if any(node.layer.type == "Dropout" for node in graph.nodes[:end]):
            break
        border = value
        if at is not None and value.name == at.name:
            break
    if border is None:
        raise NetError(f"{cut.path}: no single blob leads from the pictures to the rest of the trunk")
    end = _end(graph, border)
    frozen = _piece(cut, graph.nodes[:end], graph.inputs, border)
    if end == len(graph.nodes):
        return frozen, None, frozenset()
    start = (replace(border, blob=FEATURES),)
    return frozen, _piece(cut, graph.nodes[end:], start, graph.outputs[0]), frozenset(trained)


def separators(graph: Graph) -> list[Value]:
    """The values through which everything goes, in order: the input, then those that all that follows needs alone."""
    found = [graph.inputs[0]]
    for end, node in enumerate(graph.nodes, start=1):
        value = node.outputs[0]
        made = {value.name for earlier in graph.nodes[:end] for value in earlier.outputs} | {graph.inputs[0].name}
        later = graph.nodes[end:]
        used = {each.name for each in graph.outputs} | {each.name for late in later for each in late.inputs}
        if used & made == {value.name} and not _share(graph.nodes[:end], later):
            found.append(value)
    return found


def _share(first: Sequence[Node], second: Sequence[Node]) -> bool:
    """Whether weights are shared across."""
    names, others = {node.name for node in first}, {node.name for node in second}
    owners = {owner.split(".")[0] for node in second for owner in node.shared.values()}
    return bool(names & others or names & owners)


def _end(graph: Graph, value: Value | None) -> int:
    """How many nodes there are up to the one that gives ``value``."""
    for index, node in enumerate(graph.nodes, start=1):
        if value is not None and any(each.name == value.name for each in node.outputs):
            return index
    return 0


def _unfrozen_at(cut: Converted, unfreeze: str) -> Value:
    found = {value.blob: value for value in separators(cut.graph)}  # the last value of a blob
    if unfreeze in found and found[unfreeze].name != cut.graph.outputs[0].name:
        return found[unfreeze]
    names = [blob for blob, value in found.items() if value.name != cut.graph.outputs[0].name]
    raise NetError(
        f"{cut.path}: --unfreeze {unfreeze}: no blob that the layers to train follow, and nothing else; "
        f"there are {', '.join(names)}"
    )


def _piece(cut: Converted, nodes: Sequence[Node], inputs: Sequence[Value], output: Value) -> Converted:
    names = {node.name for node in nodes}
    graph = replace(cut.graph, nodes=tuple(nodes), inputs=tuple(inputs), outputs=(output,), output_names=(output.blob,))

    def read() -> dict[str, object]:
        return {key: array for key, array in cut.read().items() if key.split(".")[0] in names}

    return replace(cut, graph=graph, read=read)  # type: ignore[arg-type]
