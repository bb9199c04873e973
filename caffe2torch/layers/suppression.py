"""Suppression of boxes that overlap a better one, in ONNX; in torch it is ``suppress`` of modules/suppression.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from caffe2torch.layers.loops import Body

if TYPE_CHECKING:
    from caffe2torch.onnx_model import LayerNodes


def greedy(
    nodes: LayerNodes, boxes: str, scores: str, overlap: float, most: int, floor: float, pixel: float = 0.0
) -> str:
    """What is left, (rows, 3) of batch, class and place, best first: of equal scores the first place.

    ``boxes``: (batch, places, 4) corners, ``scores``: (batch, classes, places), of which those above ``floor`` count.
    ``pixel`` is 1 where the last pixel belongs to a box. A box whose corners are the wrong way round overlaps nothing.
    """
    low, high = nodes.add("Split", [boxes], 2, axis=-1)
    if pixel:
        high = nodes.add("Add", [high, nodes.constant(np.float32(pixel), "pixel")])
    # NonMaxSuppression would turn such a box round; as narrow as nothing it overlaps nothing.
    upright = nodes.add("Concat", [low, nodes.add("Max", [low, high])], axis=-1)
    limits = [
        nodes.constant(np.array([most], np.int64), "most"),
        nodes.constant(np.array([min(overlap, 1.0)], np.float32), "overlap"),
        nodes.constant(np.array([floor], np.float32), "threshold"),
    ]
    found: str = nodes.add("NonMaxSuppression", [upright, scores, *limits])
    return found


def shrinking(nodes: LayerNodes, boxes: str, usable: str, overlap: float, eta: float, count: int) -> str:
    """Which boxes are left, (images, labels, count) as bool, where the allowed overlap shrinks with each that is kept.

    ``boxes``: (images, labels, count, 4), best first; ``usable``: (images, labels, count), whether they count at all.
    After each kept box the overlap is multiplied by ``eta``, as long as it is above a half.
    """
    rows = nodes.reshape(nodes.add("Cast", [usable], to=1), [-1, count])
    flat = nodes.reshape(boxes, [-1, count, 4])
    zero = nodes.constant(np.float32(0), "zero")
    worst = nodes.add("Mul", [rows, zero])
    first = nodes.add("Slice", [worst, *(nodes.constant(np.array([each], np.int64), "bound") for each in (0, 1, 1))])
    limit = nodes.add("Add", [first, nodes.constant(np.float32(overlap), "overlap")])
    low, high = nodes.add("Split", [flat], 2, axis=-1)
    area = _area(nodes, low, high, zero)

    body = Body(nodes, "suppress")
    trip, going, worst_in, limit_in = body.inputs(
        ("int64", []), ("bool", []), ("float32", [None, count]), ("float32", [None, 1])
    )
    at = body.add("Unsqueeze", [trip, nodes.constant(np.array([0], np.int64), "axis")])
    so_far, used, own, near, far = (
        body.add("Gather", [value, at], axis=1) for value in (worst_in, rows, area, low, high)
    )
    kept = body.add("And", [body.add("LessOrEqual", [so_far, limit_in]), body.add("Cast", [used], to=9)])
    common = body.add("Sub", [body.add("Min", [high, far]), body.add("Max", [low, near])])
    common = body.add("Max", [common, zero])
    shared = body.add("ReduceProd", [common], axes=[2], keepdims=0)
    union = body.add("Sub", [body.add("Add", [area, own]), shared])
    ratio = body.add("Where", [body.add("Greater", [shared, zero]), body.add("Div", [shared, union]), zero])
    worse = body.add("Where", [kept, body.add("Max", [worst_in, ratio]), worst_in])
    half = nodes.constant(np.float32(0.5), "half")
    shrinks = body.add("And", [kept, body.add("Greater", [limit_in, half])])
    smaller = body.add("Mul", [limit_in, nodes.constant(np.float32(eta), "eta")])
    less = body.add("Where", [shrinks, smaller, limit_in])
    on = body.add("Identity", [going])
    told = body.add("Squeeze", [kept, nodes.constant(np.array([1], np.int64), "axis")])
    graph = body.graph(
        ("bool", on, []), ("float32", worse, [None, count]), ("float32", less, [None, 1]), ("bool", told, [None])
    )
    trips, always = nodes.constant(np.int64(count), "count"), nodes.constant(np.bool_(True), "always")
    _, _, kept_all = nodes.add("Loop", [trips, always, worst, limit], 3, body=graph)
    by_row = nodes.add("Transpose", [kept_all], perm=[1, 0])
    return str(nodes.add("Reshape", [by_row, nodes.add("Shape", [usable])]))


def _area(nodes: LayerNodes, low: str, high: str, zero: str) -> str:
    sides = nodes.add("Max", [nodes.add("Sub", [high, low]), zero])
    area: str = nodes.add("ReduceProd", [sides], axes=[2], keepdims=0)
    return area
