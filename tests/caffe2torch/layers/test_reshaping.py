"""Reshape and Flatten against transcriptions of Caffe's Reshape methods, over every combination of small fields."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from caffe2torch import registry
from caffe2torch.fields import defaults
from caffe2torch.layers.reshaping import Flatten, Reshape
from caffe2torch.net import Fields, Layer
from caffe2torch.registry import LayerError

Shape = tuple[int, ...]


def caffe_reshape(bottom: Shape, dims: list[int], axis: int, num_axes: int) -> Shape | None:
    """ReshapeLayer::LayerSetUp and Reshape, check by check; None where one of them fails."""
    inferred, constant, copied = -1, 1, []
    for i, dim in enumerate(dims):
        if dim == 0:
            copied.append(i)
        elif dim == -1:
            if inferred != -1:
                return None
            inferred = i
        else:
            constant *= dim
    start = axis if axis >= 0 else len(bottom) + axis + 1
    if not 0 <= start <= len(bottom) or num_axes < -1:
        return None
    end = len(bottom) if num_axes == -1 else start + num_axes
    if end > len(bottom):
        return None
    top = [*bottom[:start], *dims, *bottom[end:]]
    for i in copied:
        if start + i >= len(bottom):
            return None
        top[start + i] = bottom[start + i]
    if inferred >= 0:
        explicit = constant * int(np.prod(bottom[:start])) * int(np.prod(bottom[end:]))
        for i in copied:
            explicit *= top[start + i]
        if np.prod(bottom) % explicit:
            return None
        top[start + inferred] = int(np.prod(bottom)) // explicit
    return tuple(top) if np.prod(top) == np.prod(bottom) else None


def parsed(cls: type, kind: str, fields: dict[str, Any], bottom: Shape) -> Any:
    layer = Layer(
        "layer", kind, ("x",), ("y",), {f"{kind.lower()}_param": Fields(fields, defaults(f"{kind.lower()}_param"))}
    )
    return registry.parse(cls, layer, [bottom])


BOTTOMS = [(2, 3, 4), (1, 6), (4,), (2, 2, 3, 2), (3, 1, 2)]


@pytest.mark.parametrize("bottom", BOTTOMS, ids=str)
def test_reshape_is_caffes(bottom: Shape) -> None:
    accepted = 0
    x = np.arange(np.prod(bottom)).reshape(bottom)
    for count, axis, num_axes in itertools.product(range(4), range(-5, 5), (-2, -1, 0, 1, 2)):
        for dims in itertools.product((-1, 0, 1, 2, 6), repeat=count):
            want = caffe_reshape(bottom, list(dims), axis, num_axes)
            fields = {"shape": Fields({"dim": dims}, {"dim": ()}), "axis": axis, "num_axes": num_axes}
            try:
                operation = parsed(Reshape, "Reshape", fields, bottom)
                found = operation.shape([bottom])[0]
            except LayerError:
                found = None
            assert found == want, (dims, axis, num_axes)
            if found is not None:
                accepted += 1
                assert x.reshape(operation.sizes).shape == want
    assert accepted > 50


def caffe_flatten(bottom: Shape, axis: int, end_axis: int) -> Shape | None:
    axes = len(bottom)
    if not (-axes <= axis < axes and -axes <= end_axis < axes):
        return None
    start, end = axis % axes, end_axis % axes
    if start > end + 1:  # Blob::count(start, end + 1)
        return None
    return (*bottom[:start], int(np.prod(bottom[start : end + 1])), *bottom[end + 1 :])


@pytest.mark.parametrize("bottom", BOTTOMS, ids=str)
def test_flatten_is_caffes(one_layer: Any, bottom: Shape) -> None:
    x = np.arange(np.prod(bottom), dtype=np.float32).reshape(bottom)
    for axis, end in itertools.product(range(-5, 5), repeat=2):
        want = caffe_flatten(bottom, axis, end)
        try:
            found = parsed(Flatten, "Flatten", {"axis": axis, "end_axis": end}, bottom).shape([bottom])[0]
        except LayerError:
            found = None
        assert found == want, (axis, end)
        if want and axis in (-1, 0, 1) and end in (-2, -1, 0, 1):
            layer = f'type: "Flatten" top: "y" flatten_param {{ axis: {axis} end_axis: {end} }}'
            np.testing.assert_array_equal(one_layer.run(layer, {"x": x})["y"], x.reshape(want))


@pytest.mark.parametrize(
    ("fields", "expression"),
    [
        ("shape { dim: 0 dim: -1 }", "x.reshape(-1, 60)"),
        ("shape { dim: 0 dim: 0 dim: -1 }", "x.reshape(-1, 3, 20)"),
        ("shape { dim: -1 dim: 4 dim: 5 }", "x.reshape(-1, 4, 5)"),
        ("shape { dim: 1 } num_axes: 0", "x.reshape(1, -1, 3, 4, 5)"),
        ("shape { dim: 2 dim: 60 }", "x.reshape(2, 60)"),
        ("shape { dim: 20 dim: 1 } axis: 2", "x.reshape(-1, 3, 20, 1)"),
    ],
)
def test_printed_without_the_batch_size_where_it_can_be(one_layer: Any, fields: str, expression: str) -> None:
    import caffe2torch

    x = np.arange(120, dtype=np.float32).reshape(2, 3, 4, 5)
    layer = f'type: "Reshape" top: "y" reshape_param {{ {fields} }}'
    found = one_layer.run(layer, {"x": x})["y"]
    np.testing.assert_array_equal(found.ravel(), x.ravel())
    assert f"y = {expression}" in caffe2torch.to_source(one_layer.convert(layer, {"x": x}))


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        ('type: "Reshape" top: "in0" reshape_param { shape { dim: 6 } }', "in place"),
        ('type: "Reshape" top: "y" reshape_param { shape { dim: -1 dim: -1 } }', "more than one -1"),
        ('type: "Reshape" top: "y" reshape_param { shape { dim: -2 dim: -3 } }', "negative"),
        ('type: "Reshape" top: "y" reshape_param { shape { dim: -1 dim: 4 } }', "do not divide"),
        ('type: "Reshape" top: "y" reshape_param { shape { dim: 2 dim: 2 } }', "4 numbers"),
        ('type: "Reshape" top: "y" reshape_param { shape { dim: 2 dim: 3 dim: 0 } }', "no axis to copy"),
        ('type: "Reshape" top: "y" reshape_param { axis: 3 }', "axis 3"),
        ('type: "Reshape" top: "y" reshape_param { num_axes: 3 }', "num_axes 3"),
        ('type: "Flatten" top: "in0"', "in place"),
        ('type: "Flatten" top: "y" flatten_param { axis: 2 }', "axis 2"),
    ],
)
def test_refusals(refused: Callable[..., str], layer: str, words: str) -> None:
    assert words in refused(layer, (2, 3))
