"""LSTM, RNN and LSTMUnit against a transcription of Caffe's definition; how they are exported, and trained."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import caffe2torch
from caffe2torch.conversion import graph_of

STEPS, STREAMS, SIZE = 4, 3, 5


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def normal(generator: np.random.Generator, *shape: int) -> np.ndarray:
    return generator.normal(size=shape).astype(np.float32)


def lstm_blobs(generator: np.random.Generator, features: int, static: int = 0, size: int = SIZE) -> list[np.ndarray]:
    """W_xc, b_c, [W_static,] W_hc"""
    between = [normal(generator, 4 * size, static)] if static else []
    return [
        normal(generator, 4 * size, features),
        normal(generator, 4 * size),
        *between,
        normal(generator, 4 * size, size),
    ]


def rnn_blobs(generator: np.random.Generator, features: int, static: int = 0) -> list[np.ndarray]:
    """W_xh, b_h, [W_static,] W_hh, W_ho, b_o"""
    between = [normal(generator, SIZE, static)] if static else []
    return [
        normal(generator, SIZE, features),
        normal(generator, SIZE),
        *between,
        normal(generator, SIZE, SIZE),
        normal(generator, SIZE, SIZE),
        normal(generator, SIZE),
    ]


def unit(c: np.ndarray, gates: np.ndarray, keep: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """LSTMUnitLayer::Forward_cpu, number by number."""
    following, h = np.empty_like(c), np.empty_like(c)
    for n in range(c.shape[0]):
        for d in range(c.shape[1]):
            i, f, o, g = (gates[n, part * c.shape[1] + d] for part in range(4))
            following[n, d] = keep[n] * sigmoid(f) * c[n, d] + sigmoid(i) * np.tanh(g)
            h[n, d] = sigmoid(o) * np.tanh(following[n, d])
    return following, h


def lstm(blobs: list[np.ndarray], x: Any, cont: Any, static: Any = None, h: Any = None, c: Any = None) -> Any:
    weight, bias, *between, recurrent = (blob.astype(np.float64) for blob in blobs)
    size = recurrent.shape[1]
    h = np.zeros((x.shape[1], size)) if h is None else h[0]
    c = np.zeros((x.shape[1], size)) if c is None else c[0]
    outputs = []
    for step, keep in zip(x.reshape(*x.shape[:2], -1), cont, strict=True):
        gates = step @ weight.T + bias + (keep[:, None] * h) @ recurrent.T
        if static is not None:
            gates = gates + static.reshape(len(static), -1) @ between[0].T
        c, h = unit(c, gates, keep)
        outputs.append(h)
    return np.stack(outputs), h[None], c[None]


def rnn(blobs: list[np.ndarray], x: Any, cont: Any, static: Any = None, h: Any = None) -> Any:
    weight, bias, *between, recurrent, out_weight, out_bias = (blob.astype(np.float64) for blob in blobs)
    h = np.zeros((x.shape[1], SIZE)) if h is None else h[0]
    outputs = []
    for step, keep in zip(x.reshape(*x.shape[:2], -1), cont, strict=True):
        total = step @ weight.T + bias + (keep[:, None] * h) @ recurrent.T
        if static is not None:
            total = total + static.reshape(len(static), -1) @ between[0].T
        h = np.tanh(total)
        outputs.append(np.tanh(h @ out_weight.T + out_bias))
    return np.stack(outputs), h[None]


def inputs_for(generator: np.random.Generator, static: bool, states: int) -> dict[str, np.ndarray]:
    given = {
        "x": normal(generator, STEPS, STREAMS, 2, 3),
        "cont": np.array([[0, 1, 0.5], [1, 0, 1], [0.25, 1, 2], [1, 1, 0]], np.float32),
    }
    if static:
        given["static"] = normal(generator, STREAMS, 2, 1)
    return given | {name: normal(generator, 1, STREAMS, SIZE) for name in ("h", "c")[:states]}


@pytest.mark.parametrize("exposed", [False, True])
@pytest.mark.parametrize("static", [False, True])
def test_lstm(one_layer: Any, static: bool, exposed: bool) -> None:
    generator = np.random.default_rng(0)
    inputs = inputs_for(generator, static, 2 if exposed else 0)
    blobs = lstm_blobs(generator, 6, 2 if static else 0)
    tops = 'top: "out" top: "hT" top: "cT"' if exposed else 'top: "out"'
    flag = "expose_hidden: true" if exposed else ""
    given = one_layer.run(f'type: "LSTM" {tops} recurrent_param {{ num_output: {SIZE} {flag} }}', inputs, blobs)
    for blob, wanted in zip(("out", "hT", "cT"), lstm(blobs, **inputs), strict=True):
        if blob in given:
            np.testing.assert_allclose(given[blob], wanted, atol=1e-5, err_msg=blob)
    assert len(given) == (3 if exposed else 1)


@pytest.mark.parametrize("exposed", [False, True])
@pytest.mark.parametrize("static", [False, True])
def test_rnn(one_layer: Any, static: bool, exposed: bool) -> None:
    generator = np.random.default_rng(1)
    inputs = inputs_for(generator, static, 1 if exposed else 0)
    blobs = rnn_blobs(generator, 6, 2 if static else 0)
    tops = 'top: "out" top: "hT"' if exposed else 'top: "out"'
    flag = "expose_hidden: true" if exposed else ""
    given = one_layer.run(f'type: "RNN" {tops} recurrent_param {{ num_output: {SIZE} {flag} }}', inputs, blobs)
    for blob, wanted in zip(("out", "hT"), rnn(blobs, **inputs), strict=True):
        if blob in given:
            np.testing.assert_allclose(given[blob], wanted, atol=1e-5, err_msg=blob)
    assert len(given) == (2 if exposed else 1)


def test_lstm_unit(one_layer: Any) -> None:
    generator = np.random.default_rng(2)
    inputs = {
        "c": normal(generator, 1, 2, 3),
        "gates": normal(generator, 1, 2, 12),
        "cont": np.array([[0.5, 0]], np.float32),
    }
    given = one_layer.run('type: "LSTMUnit" top: "next" top: "h"', inputs)
    c, h = unit(inputs["c"][0], inputs["gates"][0], inputs["cont"][0])
    np.testing.assert_allclose(given["next"][0], c, atol=1e-6)
    np.testing.assert_allclose(given["h"][0], h, atol=1e-6)


def small_lstm(one_layer: Any) -> tuple[Any, dict[str, np.ndarray], list[np.ndarray]]:
    generator = np.random.default_rng(3)
    inputs = {"x": normal(generator, 3, 2, 4), "cont": np.array([[0, 0], [1, 1], [1, 0]], np.float32)}
    blobs = lstm_blobs(generator, 4)
    layer = f'type: "LSTM" top: "out" recurrent_param {{ num_output: {SIZE} }}'
    return one_layer.convert(layer, inputs, blobs), inputs, blobs


def test_time_is_no_batch(one_layer: Any) -> None:
    module, _, _ = small_lstm(one_layer)
    assert not graph_of(module).batch


def test_multiply_adds(one_layer: Any) -> None:
    module, _, _ = small_lstm(one_layer)
    node = graph_of(module).nodes[0]
    assert node.operation.multiply_adds([value.shape for value in node.inputs]) == 3 * 2 * 4 * SIZE * (4 + SIZE)


def test_torch_export_and_compile_see_through_the_loop(one_layer: Any) -> None:
    import torch

    module, inputs, _ = small_lstm(one_layer)
    tensors = tuple(torch.from_numpy(array) for array in inputs.values())
    wanted = module(*tensors)
    torch.testing.assert_close(torch.export.export(module, tensors).module()(*tensors), wanted)
    torch.testing.assert_close(torch.compile(module, backend="eager", fullgraph=True)(*tensors), wanted)


def test_gradients_are_those_of_the_formula(one_layer: Any) -> None:
    """The derivative by each weight, against differences of the transcription."""
    import torch

    module, inputs, blobs = small_lstm(one_layer)
    tensors = [torch.from_numpy(array) for array in inputs.values()]
    module.train()(*tensors).square().sum().backward()
    names = ["layer.input.weight", "layer.input.bias", "layer.hidden.weight"]
    assert [name for name, _ in module.named_parameters()] == names
    generator = np.random.default_rng(4)
    for index, parameter in enumerate(module.parameters()):
        direction = generator.normal(size=blobs[index].shape)
        sums = []
        for sign in (1, -1):
            moved = [blob.astype(np.float64) for blob in blobs]
            moved[index] = moved[index] + sign * 1e-5 * direction
            sums.append((lstm(moved, **inputs)[0] ** 2).sum())
        slope = (sums[0] - sums[1]) / 2e-5
        assert parameter.grad is not None
        assert float((parameter.grad.double().numpy() * direction).sum()) == pytest.approx(slope, rel=1e-3, abs=1e-4)


def test_fillers_without_a_caffemodel(one_layer: Any) -> None:
    inputs = {"x": np.ones((2, 1, 3), np.float32), "cont": np.ones((2, 1), np.float32)}
    fillers = 'weight_filler { type: "constant" value: 0.5 } bias_filler { type: "constant" value: 0.25 }'
    module = one_layer.convert(f'type: "RNN" top: "o" recurrent_param {{ num_output: 2 {fillers} }}', inputs)
    values = {name: set(array.flatten().tolist()) for name, array in module.state_dict().items()}
    assert {name: value == {0.25 if name.endswith("bias") else 0.5} for name, value in values.items()} == dict.fromkeys(
        values, True
    )


@pytest.mark.parametrize(
    ("layer", "shapes", "word"),
    [
        ('type: "LSTM" top: "o"', [(3, 2, 4), (3, 2)], "num_output"),
        ('type: "LSTM" top: "o" recurrent_param { num_output: 5 }', [(3, 2), (3, 2)], "axes"),
        ('type: "LSTM" top: "o" recurrent_param { num_output: 5 }', [(3, 2, 4), (3, 2, 1)], "second bottom"),
        ('type: "LSTM" top: "o" recurrent_param { num_output: 5 }', [(3, 2, 4), (2, 3)], "second bottom"),
        ('type: "LSTM" top: "o" recurrent_param { num_output: 5 }', [(3, 2, 4), (3, 2), (3, 7)], "static"),
        ('type: "LSTM" top: "o" recurrent_param { num_output: 5 }', [(3, 2, 4), (3, 2), (2,)], "static"),
        ('type: "LSTM" top: "o" recurrent_param { num_output: 5 }', [(3, 2, 4), (3, 2), (2, 7), (1, 2, 5)], "bottoms"),
        ('type: "LSTM" top: "o" top: "h" recurrent_param { num_output: 5 }', [(3, 2, 4), (3, 2)], "tops"),
        (
            'type: "LSTM" top: "o" top: "h" top: "c" recurrent_param { num_output: 5 expose_hidden: true }',
            [(3, 2, 4), (3, 2), (2, 5), (1, 2, 5)],
            "state h",
        ),
        (
            'type: "RNN" top: "o" top: "h" recurrent_param { num_output: 5 expose_hidden: true }',
            [(3, 2, 4), (3, 2)],
            "bottoms",
        ),
        ('type: "LSTMUnit" top: "c" top: "h"', [(2, 3, 4), (2, 3, 16), (2, 3)], "first bottom"),
        ('type: "LSTMUnit" top: "c" top: "h"', [(1, 3, 4), (1, 3, 12), (1, 3)], "second bottom"),
        ('type: "LSTMUnit" top: "c" top: "h"', [(1, 3, 4), (1, 3, 16), (1, 3, 1)], "third bottom"),
    ],
)
def test_what_caffe_refuses(refused: Callable[..., str], layer: str, shapes: list[tuple[int, ...]], word: str) -> None:
    assert word in refused(layer, *shapes)


def test_weights_of_another_size_are_refused(one_layer: Any) -> None:
    inputs = {"x": np.zeros((2, 1, 3), np.float32), "cont": np.zeros((2, 1), np.float32)}
    blobs = lstm_blobs(np.random.default_rng(0), 4)
    with pytest.raises(caffe2torch.CaffeError, match=r"input\.weight"):
        one_layer.convert(f'type: "LSTM" top: "o" recurrent_param {{ num_output: {SIZE} }}', inputs, blobs)
