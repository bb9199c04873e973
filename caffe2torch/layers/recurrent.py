"""LSTM, RNN and LSTMUnit: time is axis 0, streams (sequences side by side) axis 1."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from caffe2torch.calls import Call, Step
from caffe2torch.net import Fields, Layer, Shape
from caffe2torch.registry import LayerError, Operation, Param, layer

if TYPE_CHECKING:
    from caffe2torch.onnx_model import LayerNodes

_FIELDS = "num_output weight_filler bias_filler debug_info expose_hidden"
Emit = Callable[..., Any]  # (operator, inputs, outputs, **attributes) -> names


@dataclass(frozen=True)
class _Recurrent(Operation):
    """What LSTM and RNN share: an input at each step, one that is the same at every step, a state that is kept.

    Caffe carries the last state into the next forward pass unless ``expose_hidden`` is set; here every pass starts
    from zeros, as Caffe's first one does.
    """

    gates: ClassVar[int]  # rows of the step's matrices for each output
    states: ClassVar[tuple[str, ...]]

    steps: int  # Caffe fixes the length of time
    features: int
    num_output: int
    static: int  # features of the static input, 0 without one
    exposed: bool
    weight_filler: Fields
    bias_filler: Fields

    @classmethod
    def parse(cls, layer: Layer, bottoms: Sequence[Shape]) -> Any:
        p = layer.param("recurrent_param")
        states = len(cls.states) if p.expose_hidden else 0
        if len(bottoms) - states not in (2, 3):
            raise LayerError(f"it has {len(bottoms)} bottoms, Caffe wants {2 + states}, or {3 + states} with a static")
        if len(layer.tops) != 1 + states:
            raise LayerError(f"it has {len(layer.tops)} tops, Caffe wants {1 + states}")
        if p.num_output < 1:
            raise LayerError("num_output is missing or 0")
        x, cont, *rest = bottoms
        if len(x) < 3:
            raise LayerError(f"the first bottom {x} must have the axes time, streams and at least one more")
        if cont != x[:2]:
            raise LayerError(f"the second bottom {cont} must have the first's time and streams {x[:2]}, and no more")
        static = rest.pop(0) if len(rest) > states else None
        if static is not None and (len(static) < 2 or static[0] != x[1]):
            raise LayerError(f"the static input {static} must have {x[1]} streams, and features behind them")
        for name, shape in zip(cls.states, rest, strict=False):
            if shape != (1, x[1], p.num_output):
                raise LayerError(f"the state {name} has the shape {shape}, Caffe wants {(1, x[1], p.num_output)}")
        return cls(
            steps=x[0],
            features=prod(x[2:]),
            num_output=p.num_output,
            static=prod(static[1:]) if static is not None else 0,
            exposed=p.expose_hidden,
            weight_filler=p.weight_filler,
            bias_filler=p.bias_filler,
        )

    def shape(self, bottoms: Sequence[Shape]) -> list[Shape]:
        streams = bottoms[0][1]
        states = len(self.states) if self.exposed else 0
        return [(self.steps, streams, self.num_output), *[(1, streams, self.num_output)] * states]

    def params(self) -> tuple[Param, ...]:
        rows = self.gates * self.num_output
        static = (Param("static.weight", (rows, self.static), self.weight_filler),) if self.static else ()
        return (
            Param("input.weight", (rows, self.features), self.weight_filler),
            Param("input.bias", (rows,), self.bias_filler),
            *static,
            Param("hidden.weight", (rows, self.num_output), self.weight_filler),
        )

    def multiply_adds(self, bottoms: Sequence[Shape]) -> int:
        steps, streams = bottoms[0][:2]
        rows = self.gates * self.num_output
        return streams * rows * (steps * (self.features + self.num_output) + self.static)

    def torch(self) -> Step:
        arguments = ["{0}", "{1}", *(["{2}"] if self.static else [])]
        options = {"static": self.static} if self.static else {}
        call = Call(type(self).__name__, self.features, self.num_output, **options)
        if not self.exposed:
            return Step(f"{{self}}({', '.join(arguments)})[0]", call)
        start = len(arguments)
        arguments += [f"{name}={{{start + index}}}" for index, name in enumerate(self.states)]
        return Step(f"{{self}}({', '.join(arguments)})", call)

    def made(self, bottoms: Sequence[Shape]) -> int:
        return len(self.states) * bottoms[0][1] * self.num_output

    def _scan(self, nodes: LayerNodes, step: Callable[[Emit, list[str], str, str], list[str]]) -> list[str]:
        """Run ``step`` over time. Gives h of all steps (time, streams, size) and the last states (streams, size).

        ``step`` emits the body: from the states, h first, the step's input and cont it makes the next states.
        """
        from onnx import TensorProto, helper

        time, streams = nodes.input_shapes[0][:2]
        rows = self.gates * self.num_output
        wide, narrow = (streams, rows), (streams, self.num_output)
        body: list[Any] = []

        def emit(operator: str, inputs: Sequence[str], outputs: int = 1, **attributes: Any) -> Any:
            names = [nodes.unique(operator.lower()) for _ in range(outputs)]
            body.append(helper.make_node(operator, list(inputs), names, name=names[0], **attributes))
            return names if outputs > 1 else names[0]

        def declared(names: Sequence[str], shape: Shape) -> list[Any]:
            return [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in names]

        states = [nodes.unique(name) for name in self.states]
        gate, keep = nodes.unique("gate"), nodes.unique("keep")
        following = step(emit, states, gate, keep)
        given = [*declared(states, narrow), *declared([gate], wide), *declared([keep], (streams, 1))]
        made = declared([*following, emit("Identity", following[:1])], narrow)
        results: list[str] = nodes.add(
            "Scan",
            [*self._start(nodes, narrow), self._inputs(nodes), nodes.reshape(nodes.inputs[1], [time, streams, 1])],
            len(self.states) + 1,
            num_scan_inputs=2,
            body=helper.make_graph(body, nodes.unique("step"), given, made),
        )
        return [results[-1], *results[:-1]]

    def _start(self, nodes: LayerNodes, shape: Shape) -> list[str]:
        """The states before the first step."""
        if not self.exposed:
            return [nodes.constant(np.zeros(shape, np.float32), "zeros")] * len(self.states)
        return [nodes.reshape(value, shape) for value in nodes.inputs[-len(self.states) :]]

    def _inputs(self, nodes: LayerNodes) -> str:
        """What the inputs, without the state, give to each step: (time, streams, rows)."""
        time, streams = nodes.input_shapes[0][:2]
        flat = nodes.reshape(nodes.inputs[0], [time * streams, self.features])
        rows = nodes.add("Gemm", [flat, nodes.state("input.weight"), nodes.state("input.bias")], transB=1)
        gates: str = nodes.reshape(rows, [time, streams, self.gates * self.num_output])
        if self.static:
            static = nodes.reshape(nodes.inputs[2], [streams, self.static])
            gates = nodes.add("Add", [gates, nodes.add("Gemm", [static, nodes.state("static.weight")], transB=1)])
        return gates

    def _give_states(self, nodes: LayerNodes, states: Sequence[str]) -> None:
        if self.exposed:
            for state, shape, output in zip(states, nodes.output_shapes[1:], nodes.outputs[1:], strict=True):
                nodes.reshape(state, shape, output)


@layer("LSTM", bottoms=(2, 5), tops=(1, 3), recurrent_param=_FIELDS)
@dataclass(frozen=True)
class LSTM(_Recurrent):
    """Gates i, f, o, g from one matrix of the input, one of the carried h, and one bias; cont scales h and c."""

    gates = 4
    states = ("h", "c")

    def onnx(self, nodes: LayerNodes) -> None:
        weight, parts = nodes.state("hidden.weight"), _parts(nodes, self.num_output)

        def step(emit: Emit, states: list[str], gate: str, keep: str) -> list[str]:
            h, c = states
            gates = emit("Gemm", [emit("Mul", [h, keep]), weight, gate], transB=1)
            c, h = _cell(emit, emit("Mul", [c, keep]), gates, parts)
            return [h, c]

        out, *states = self._scan(nodes, step)
        nodes.add("Identity", [out], nodes.outputs[:1])
        self._give_states(nodes, states)


@layer("RNN", bottoms=(2, 4), tops=(1, 2), recurrent_param=_FIELDS)
@dataclass(frozen=True)
class RNN(_Recurrent):
    """h = tanh(W_xh x + W_hh h + b), out = tanh(W_ho h + b_o); cont scales the carried h."""

    gates = 1
    states = ("h",)

    def params(self) -> tuple[Param, ...]:
        return (
            *super().params(),
            Param("output.weight", (self.num_output, self.num_output), self.weight_filler),
            Param("output.bias", (self.num_output,), self.bias_filler),
        )

    def multiply_adds(self, bottoms: Sequence[Shape]) -> int:
        return super().multiply_adds(bottoms) + prod(bottoms[0][:2]) * self.num_output**2

    def onnx(self, nodes: LayerNodes) -> None:
        weight = nodes.state("hidden.weight")

        def step(emit: Emit, states: list[str], gate: str, keep: str) -> list[str]:
            total = emit("Gemm", [emit("Mul", [states[0], keep]), weight, gate], transB=1)
            return [emit("Tanh", [total])]

        hidden, *states = self._scan(nodes, step)
        flat = nodes.reshape(hidden, [-1, self.num_output])
        output = nodes.add("Gemm", [flat, nodes.state("output.weight"), nodes.state("output.bias")], transB=1)
        nodes.reshape(nodes.add("Tanh", [output]), nodes.output_shapes[0], nodes.outputs[0])
        self._give_states(nodes, states)


@layer("LSTMUnit", bottoms=(3, 3), tops=(2, 2))
@dataclass(frozen=True)
class LSTMUnit(Operation):
    """One step of an LSTM: c (1, streams, size), gates (1, streams, 4 size) and cont (1, streams) give c and h."""

    @classmethod
    def parse(cls, layer: Layer, bottoms: Sequence[Shape]) -> LSTMUnit:
        c, gates, cont = bottoms
        if len(c) != 3 or c[0] != 1:
            raise LayerError(f"the first bottom has the shape {c}, Caffe wants (1, streams, size)")
        for name, shape, wanted in (("second", gates, (1, c[1], 4 * c[2])), ("third", cont, c[:2])):
            if shape != wanted:
                raise LayerError(f"the {name} bottom has the shape {shape}, Caffe wants {wanted}")
        return cls()

    def shape(self, bottoms: Sequence[Shape]) -> list[Shape]:
        return [bottoms[0], bottoms[0]]

    def torch(self) -> Step:
        return Step("lstm_unit({0}, {1}, {2})")

    def onnx(self, nodes: LayerNodes) -> None:
        c, gates, cont = nodes.inputs
        kept = nodes.add("Mul", [c, nodes.reshape(cont, [*nodes.input_shapes[2], 1])])
        c, h = _cell(nodes.add, kept, gates, _parts(nodes, nodes.input_shapes[0][2]))
        nodes.add("Identity", [c], nodes.outputs[:1])
        nodes.add("Identity", [h], nodes.outputs[1:])


def _parts(nodes: LayerNodes, size: int) -> str:
    """How the gates are split: i, f and o, which go through a sigmoid, and g."""
    return nodes.constant(np.array([3 * size, size], np.int64), "parts")


def _cell(emit: Emit, kept: str, gates: str, parts: str) -> tuple[str, str]:
    """c and h after one step; ``kept`` is the c that is carried on."""
    bounded, g = emit("Split", [gates, parts], 2, axis=-1)
    i, f, o = emit("Split", [emit("Sigmoid", [bounded])], 3, axis=-1)
    c = emit("Add", [emit("Mul", [f, kept]), emit("Mul", [i, emit("Tanh", [g])])])
    return c, emit("Mul", [o, emit("Tanh", [c])])
