"""Weights without a file: Caffe's fillers, seeded. Formulas: BVLC Caffe, include/caffe/filler.hpp."""

from __future__ import annotations

from collections.abc import Callable
from math import ceil, prod, sqrt

import numpy as np

from caffe2torch.net import Fields, Shape

AT_ONCE = 1 << 20  # numbers that are drawn


def fill(filler: Fields | float, shape: Shape, generator: np.random.Generator) -> np.ndarray:
    """float32 values of ``shape``; a number fills with itself. ValueError for an unknown or impossible filler."""
    if isinstance(filler, (int, float)):
        return np.full(shape, filler, np.float32)
    kind = filler.type
    if kind not in _KINDS:
        raise ValueError(f"filler type {kind!r} is not one of Caffe's ({', '.join(_KINDS)})")
    if filler.sparse < -1 or (filler.sparse >= 0 and kind != "gaussian"):
        raise ValueError(f"filler {kind!r} does not take sparse: {filler.sparse}")
    if not shape and kind not in ("constant", "uniform", "gaussian"):
        raise ValueError(f"filler {kind!r} wants a blob with axes, not a single number")
    values = _KINDS[kind](filler, shape, generator)
    return values.astype(np.float32, copy=False) if values.shape == shape else np.full(shape, values, np.float32)


def _constant(filler: Fields, shape: Shape, generator: np.random.Generator) -> np.ndarray:
    return np.asarray(filler.value)


def _uniform(filler: Fields, shape: Shape, generator: np.random.Generator) -> np.ndarray:
    return _drawn(shape, lambda count: generator.uniform(filler.min, filler.max, count))


def _gaussian(filler: Fields, shape: Shape, generator: np.random.Generator) -> np.ndarray:
    if filler.sparse >= 0 and not shape:
        raise ValueError("filler 'gaussian' with sparse wants a blob with axes, not a single number")
    values = _drawn(shape, lambda count: generator.normal(filler.mean, filler.std, count))
    if filler.sparse >= 0:
        values *= generator.random(shape) < filler.sparse / shape[0]
    return values


def _drawn(shape: Shape, draw: Callable[[int], np.ndarray]) -> np.ndarray:
    """float32 of float64 numbers that are drawn one after another, some at a time: they take twice the room."""
    values = np.empty(prod(shape), np.float32)
    for start in range(0, len(values), AT_ONCE):
        part = values[start : start + AT_ONCE]
        part[:] = draw(len(part))
    return values.reshape(shape)


def _positive_unitball(filler: Fields, shape: Shape, generator: np.random.Generator) -> np.ndarray:
    values = generator.random(shape).reshape(shape[0], -1)
    return (values / values.sum(axis=1, keepdims=True)).reshape(shape)


def _xavier(filler: Fields, shape: Shape, generator: np.random.Generator) -> np.ndarray:
    limit = sqrt(3 / _fan(filler, shape))
    return _drawn(shape, lambda count: generator.uniform(-limit, limit, count))


def _msra(filler: Fields, shape: Shape, generator: np.random.Generator) -> np.ndarray:
    deviation = sqrt(2 / _fan(filler, shape))
    return _drawn(shape, lambda count: generator.normal(0, deviation, count))


def _fan(filler: Fields, shape: Shape) -> float:
    count = prod(shape)
    into, out = count / shape[0], count / (shape[1] if len(shape) > 1 else 1)
    return {"FAN_IN": into, "FAN_OUT": out}.get(filler.variance_norm, (into + out) / 2)


def _bilinear(filler: Fields, shape: Shape, generator: np.random.Generator) -> np.ndarray:
    if len(shape) != 4 or shape[2] != shape[3]:
        raise ValueError(f"filler 'bilinear' wants square kernels of 4 axes, not {shape}")
    width = shape[3]
    factor = ceil(width / 2)
    centre = (width - 1) / (2 * factor)  # since BVLC/caffe#5713; before, 3, 6, 7 and 10 were not symmetric
    ramp = 1 - np.abs(np.arange(width) / factor - centre)
    return np.multiply.outer(ramp, ramp)


_KINDS = {
    "constant": _constant,
    "uniform": _uniform,
    "gaussian": _gaussian,
    "positive_unitball": _positive_unitball,
    "xavier": _xavier,
    "msra": _msra,
    "bilinear": _bilinear,
}
