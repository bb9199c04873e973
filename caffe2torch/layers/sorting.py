"""The quicksort of PVANet's Proposal in ONNX; in torch it is ``quicksorted`` of modules/proposals.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from caffe2torch.layers.labels import BOOL, INT64
from caffe2torch.layers.loops import Body

if TYPE_CHECKING:
    from caffe2torch.onnx_model import LayerNodes


def quicksorted(nodes: LayerNodes, scores: str, count: int) -> str:
    """The order, int64 (count,), in which the quicksort leaves scores (count,): falling, but equal ones as it happens.

    It parts a segment by its first score: from both ends the k-th lesser and the k-th greater one change places as
    long as the lesser stands before; then the first changes with the last greater one. Here all segments are parted
    at once, in a Loop that ends when no segment holds different scores.
    """
    places = nodes.constant(np.arange(count, dtype=np.int64), "places")
    starts = nodes.constant(np.zeros(count, np.int64), "starts")
    ends = nodes.constant(np.full(count, count - 1, np.int64), "ends")
    body = Body(nodes, "part")
    shape = [count]
    _, _, order, first, last = body.inputs(
        ("int64", []), ("bool", []), ("int64", shape), ("int64", shape), ("int64", shape)
    )
    values = body.add("Gather", [scores, order])
    pivot = body.add("Gather", [values, first])
    less, more = (body.add(operator, [values, pivot]) for operator in ("Less", "Greater"))
    partner, moved = _partners(nodes, body, (less, more), (first, last), places, count)
    middle = _middle(nodes, body, moved, (first, last))
    order = body.add("Gather", [body.add("Gather", [order, partner]), _to_middle(body, places, first, middle)])

    one = nodes.constant(np.int64(1), "one")
    before, behind = body.add("Less", [places, middle]), body.add("Greater", [places, middle])
    rest = body.add("Where", [behind, body.add("Add", [middle, one]), places])
    new_first = body.add("Where", [before, first, rest])
    rest = body.add("Where", [behind, last, places])
    new_last = body.add("Where", [before, body.add("Sub", [middle, one]), rest])
    values = body.add("Gather", [scores, order])
    same = body.add("Equal", [values, body.add("Gather", [values, new_first])])
    differ = body.add("Cast", [body.add("Not", [same])], to=INT64)
    going = body.add("Cast", [body.add("ReduceMax", [differ], keepdims=0)], to=BOOL)
    graph = body.graph(
        ("bool", going, []), ("int64", order, shape), ("int64", new_first, shape), ("int64", new_last, shape)
    )
    trips, always = nodes.constant(np.int64(count), "count"), nodes.constant(np.bool_(True), "always")
    sorted_order, _, _ = nodes.add("Loop", [trips, always, places, starts, ends], 3, body=graph)
    return nodes.reshape(sorted_order, shape)  # what a Loop carries has no shape for onnx, even if it never changes


def _partners(
    nodes: LayerNodes, body: Body, sides: tuple[str, str], segment: tuple[str, str], places: str, count: int
) -> tuple[str, tuple[str, str, str]]:
    """With which place each changes, and for ``_middle``: how many do, and the k-th lesser and greater places."""
    (less, more), (first, last) = sides, segment
    axis, one = nodes.constant(np.int64(0), "axis"), nodes.constant(np.int64(1), "one")
    beyond = nodes.constant(np.int64(count), "beyond")
    before_less, before_more = (body.add("CumSum", [body.add("Cast", [side], to=INT64), axis]) for side in (less, more))
    rank = body.add("Sub", [before_less, body.add("Gather", [before_less, first])])
    slot_less = body.add("Where", [less, body.add("Add", [first, rank]), beyond])
    rank = body.add("Add", [body.add("Sub", [body.add("Gather", [before_more, last]), before_more]), one])
    slot_more = body.add("Where", [more, body.add("Add", [first, rank]), beyond])
    nowhere = [nodes.constant(np.full(count + 1, place, np.int64), "nowhere") for place in (count, -1)]
    lows, highs = (
        body.add("ScatterElements", [empty, slot, places])
        for empty, slot in zip(nowhere, (slot_less, slot_more), strict=True)
    )
    high = body.add("Gather", [highs, slot_less])
    low = body.add("Gather", [lows, slot_more])
    up = body.add("And", [less, body.add("Greater", [high, places])])
    down = body.add("And", [more, body.add("Less", [low, places])])
    partner = body.add("Where", [up, high, body.add("Where", [down, low, places])])
    running = body.add("CumSum", [body.add("Cast", [up], to=INT64), axis])
    moved = body.add("Sub", [body.add("Gather", [running, last]), body.add("Gather", [running, first])])
    return partner, (moved, lows, highs)


def _middle(nodes: LayerNodes, body: Body, moved: tuple[str, str, str], segment: tuple[str, str]) -> str:
    """Where the first of each segment goes: to the last place that now holds a greater score."""
    (count, lows, highs), (first, last) = moved, segment
    zero, one, none = (nodes.constant(np.int64(value), "number") for value in (0, 1, -1))
    at = body.add("Add", [first, count])
    low = body.add("Where", [body.add("Greater", [count, zero]), body.add("Gather", [lows, at]), none])
    behind = body.add("Add", [at, one])
    inside = body.add("LessOrEqual", [behind, last])
    high = body.add("Where", [inside, body.add("Gather", [highs, behind]), none])
    return body.add("Max", [first, low, high])


def _to_middle(body: Body, places: str, first: str, middle: str) -> str:
    back = body.add("Where", [body.add("Equal", [places, middle]), first, places])
    return body.add("Where", [body.add("Equal", [places, first]), middle, back])
