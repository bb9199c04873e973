"""Reduction and ArgMax against transcriptions of Caffe's loops, ties included."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np
import pytest

Shape = tuple[int, ...]
SHAPES: list[Shape] = [(5,), (4, 6), (2, 3, 4), (2, 3, 4, 2), (2, 2, 3, 1, 2)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(("operation", "coeff"), [("SUM", 1), ("MEAN", 3), ("ASUM", -1), ("SUMSQ", 0.5), ("SUM", 0)])
def test_reduction(one_layer: Any, shape: Shape, operation: str, coeff: float) -> None:
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    for axis in (0, -1, len(shape) - 2):
        if not -len(shape) <= axis < len(shape):
            continue
        rows = x.reshape(prod(shape[: axis % len(shape)]), -1)
        reduce = {"SUM": np.sum, "MEAN": np.mean}.get(operation, np.sum)
        part = {"ASUM": np.abs, "SUMSQ": np.square}.get(operation, np.asarray)
        want = np.array([coeff * reduce(part(row)) for row in rows]).reshape(shape[: axis % len(shape)])
        fields = f"operation: {operation} axis: {axis} coeff: {coeff}"
        found = one_layer.run(f'type: "Reduction" top: "y" reduction_param {{ {fields} }}', {"x": x})["y"]
        np.testing.assert_allclose(found, want, rtol=1e-4, atol=1e-5)


def argmax(x: np.ndarray, axis: int | None, k: int, values: bool) -> np.ndarray:
    """ArgMaxLayer::Forward_cpu: pairs of value and index, partially sorted by std::greater."""
    if axis is None:
        dim, distance = prod(x.shape[1:]), 1
        shape = [1] * max(x.ndim, 3)
        shape[0], shape[2] = x.shape[0], k
        if values:
            shape[1] = 2
    else:
        axis %= x.ndim
        dim, distance = x.shape[axis], prod(x.shape[axis:]) // x.shape[axis]
        shape = [*x.shape[:axis], k, *x.shape[axis + 1 :]]
    flat, top = x.ravel(), np.zeros(prod(shape), np.float32)
    for i in range(x.size // dim):
        pairs = [(flat[(i // distance * dim + j) * distance + i % distance], j) for j in range(dim)]
        for j, (value, index) in enumerate(sorted(pairs, reverse=True)[:k]):
            place = (i // distance * k + j) * distance + i % distance
            if not values:
                top[place] = index
            elif axis is not None:
                top[place] = value
            else:
                top[2 * i * k + j], top[2 * i * k + k + j] = index, value
    return top.reshape(shape)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("values", [False, True])
@pytest.mark.parametrize("k", [1, 2])
def test_argmax(one_layer: Any, shape: Shape, values: bool, k: int) -> None:
    x = np.random.default_rng(0).integers(-2, 3, shape).astype(np.float32)  # with many ties
    for axis in {None, 0, len(shape) // 2, -1}:
        if k > (prod(shape[1:]) if axis is None else shape[axis]):
            continue
        fields = f"top_k: {k} out_max_val: {str(values).lower()}" + (f" axis: {axis}" if axis is not None else "")
        found = one_layer.run(f'type: "ArgMax" top: "y" argmax_param {{ {fields} }}', {"x": x})["y"]
        np.testing.assert_array_equal(found, argmax(x, axis, k, values), err_msg=str(axis))


def test_the_largest_numbers_can_be_learned_from() -> None:
    import torch

    from caffe2torch.modules.selection import Largest

    x = torch.tensor([[1.0, 3.0, 2.0, 3.0]], requires_grad=True)
    index, values = Largest(2)(x)
    values.sum().backward()
    assert index.tolist() == [[3, 1]]
    assert x.grad is not None
    assert x.grad.tolist() == [[0, 1, 0, 1]]


@pytest.mark.parametrize(
    ("layer", "shape", "words"),
    [
        ('"Reduction" top: "y" reduction_param { axis: 2 }', (2, 3), "axis 2"),
        ('"ArgMax" top: "y" argmax_param { top_k: 0 }', (2, 3), "top_k 0"),
        ('"ArgMax" top: "y" argmax_param { top_k: 4 }', (2, 3), "between 1 and 3"),
        ('"ArgMax" top: "y" argmax_param { axis: 0 top_k: 3 }', (2, 3), "between 1 and 2"),
        ('"ArgMax" top: "y" argmax_param { axis: -3 }', (2, 3), "axis -3"),
    ],
)
def test_refusals(refused: Callable[..., str], layer: str, shape: Shape, words: str) -> None:
    assert words in refused(f"type: {layer}", shape)
