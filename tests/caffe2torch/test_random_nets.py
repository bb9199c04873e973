"""Small random nets: torch = printed source = onnxruntime, and shape() is what both give."""

from __future__ import annotations

import subprocess
import sys
from math import ceil
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

import caffe2torch
from tests.caffe2torch import nets
from tests.caffe2torch.nets import Arrays, agree, examples

DRAWN = examples(60)
XAVIER = 'weight_filler { type: "xavier" } bias_filler { type: "uniform" min: -0.5 max: 0.5 }'
IN_PLACE = {
    "ReLU": ["", "relu_param { negative_slope: 0.2 }"],
    "PReLU": ["", "prelu_param { channel_shared: true }"],
    "ELU": ["", "elu_param { alpha: 0.5 }"],
    "Sigmoid": [""],
    "TanH": [""],
    "Dropout": [""],
    "BatchNorm": ["batch_norm_param { use_global_stats: false eps: 0.01 }"],
    "Scale": ["scale_param { bias_term: true }", "scale_param { axis: 0 num_axes: 0 filler { value: 2 } }"],
    "Bias": ["bias_param { filler { value: 0.5 } }"],
    "Power": ["power_param { power: 2 scale: 0.5 shift: 1 }"],
    "AbsVal": [""],
    "BNLL": [""],
    "Softmax": ["", "softmax_param { axis: -1 }"],
    "MVN": ["mvn_param { eps: 0.1 }", "mvn_param { across_channels: true normalize_variance: false }"],
}


class Drawn:
    """A net as it grows: lines of prototxt, and the shapes of the blobs that may still be read."""

    def __init__(self, draw: Any) -> None:
        self.draw = draw
        self.lines: list[str] = []
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.fresh: set[str] = set()  # not read yet, so that they may be changed in place

    def pick(self, options: Any) -> Any:
        return self.draw(st.sampled_from(list(options)))

    def number(self, low: int, high: int) -> int:
        return int(self.draw(st.integers(low, high)))

    def input(self, name: str) -> None:
        shape = (2, self.number(1, 4), self.number(3, 9), self.number(3, 9))
        self.lines.append(nets.given(name, *shape))
        self.shapes[name] = shape

    def add(self, kind: str, bottoms: list[str], *shapes: tuple[int, ...], more: str = "") -> None:
        """A layer with tops of their own."""
        name = f"{self.pick(['', 'a/', 'b-', '1 '])}{kind.lower()}{len(self.lines)}"
        tops = [f"{name}_{index}" if index else name for index in range(len(shapes))]
        self.lines.append(nets.layer(name, kind, bottoms, tops, more))
        self.fresh -= set(bottoms)
        self.shapes.update(zip(tops, shapes, strict=True))
        self.fresh.update(tops)

    def step(self) -> None:
        bottom = self.pick(self.shapes)
        shape = self.shapes[bottom]
        kinds = ["one", "one", "join", "slice", "product"]
        if len(shape) == 4:
            kinds += ["convolution", "convolution", "pooling", "pooling", "lrn", "flatten", "deconvolution"]
        getattr(self, f"_{self.pick(kinds)}")(bottom, shape)

    def _one(self, bottom: str, shape: tuple[int, ...]) -> None:
        kind = self.pick(IN_PLACE)
        if kind == "MVN" and len(shape) < 4:
            kind = "TanH"
        more = self.pick(IN_PLACE[kind])
        if bottom in self.fresh and kind not in ("AbsVal", "MVN") and self.draw(st.booleans()):
            self.lines.append(nets.layer(f"{kind.lower()}{len(self.lines)}", kind, [bottom], [bottom], more))
        else:
            self.add(kind, [bottom], shape, more=more)

    def _join(self, bottom: str, shape: tuple[int, ...]) -> None:
        alike = [blob for blob, other in self.shapes.items() if other == shape]
        if self.draw(st.booleans()):
            bottoms = [bottom, *(self.pick(alike) for _ in range(self.number(1, 2)))]
            more = self.pick(["", "operation: MAX", "operation: PROD", "coeff: 0.5 " * len(bottoms)])
            self.add("Eltwise", bottoms, shape, more=f"eltwise_param {{ {more} }}")
            return
        axis = self.number(1, len(shape) - 1)
        rest = shape[:axis] + shape[axis + 1 :]
        fitting = [b for b, other in self.shapes.items() if other[:axis] + other[axis + 1 :] == rest]
        bottoms = [bottom, *(self.pick(fitting) for _ in range(self.number(0, 2)))]
        total = sum(self.shapes[blob][axis] for blob in bottoms)
        whole = (*shape[:axis], total, *shape[axis + 1 :])
        self.add("Concat", bottoms, whole, more=f"concat_param {{ axis: {axis} }}")

    def _slice(self, bottom: str, shape: tuple[int, ...]) -> None:
        axis = self.number(1, len(shape) - 1)
        if shape[axis] < 2:
            return
        point = self.number(1, shape[axis] - 1)
        parts = [(*shape[:axis], size, *shape[axis + 1 :]) for size in (point, shape[axis] - point)]
        self.add("Slice", [bottom], *parts, more=f"slice_param {{ axis: {axis} slice_point: {point} }}")

    def _product(self, bottom: str, shape: tuple[int, ...]) -> None:
        outputs, axis = self.number(1, 5), self.number(1, len(shape) - 1)
        more = f"inner_product_param {{ num_output: {outputs} axis: {axis} {XAVIER} }}"
        self.add("InnerProduct", [bottom], (*shape[:axis], outputs), more=more)

    def _flatten(self, bottom: str, shape: tuple[int, ...]) -> None:
        self.add("Flatten", [bottom], (shape[0], shape[1] * shape[2] * shape[3]))

    def _lrn(self, bottom: str, shape: tuple[int, ...]) -> None:
        region = self.pick(["", "norm_region: WITHIN_CHANNEL"])
        self.add("LRN", [bottom], shape, more=f"lrn_param {{ local_size: {self.pick([1, 3, 5])} alpha: 0.5 {region} }}")

    def _convolution(self, bottom: str, shape: tuple[int, ...]) -> None:
        kernel, stride, pad, dilation = self.number(1, 3), self.number(1, 2), self.number(0, 2), self.number(1, 2)
        extent = dilation * (kernel - 1) + 1
        if min(shape[2:]) + 2 * pad < extent:
            return
        group = self.pick([size for size in (1, 2, 3) if shape[1] % size == 0])
        outputs = group * self.number(1, 3)
        sides = [(size + 2 * pad - extent) // stride + 1 for size in shape[2:]]
        fields = f"num_output: {outputs} kernel_size: {kernel} stride: {stride} pad: {pad} dilation: {dilation}"
        more = f"convolution_param {{ {fields} group: {group} {XAVIER} }}"
        self.add("Convolution", [bottom], (shape[0], outputs, *sides), more=more)

    def _deconvolution(self, bottom: str, shape: tuple[int, ...]) -> None:
        kernel, stride = self.number(1, 3), self.number(1, 2)
        outputs = self.number(1, 3)
        sides = [stride * (size - 1) + kernel for size in shape[2:]]
        if max(sides) > 20:
            return
        more = f"convolution_param {{ num_output: {outputs} kernel_size: {kernel} stride: {stride} {XAVIER} }}"
        self.add("Deconvolution", [bottom], (shape[0], outputs, *sides), more=more)

    def _pooling(self, bottom: str, shape: tuple[int, ...]) -> None:
        kernel, stride = self.number(1, 4), self.number(1, 3)
        pad = self.number(0, min(kernel - 1, 2))
        sides = []
        for size in shape[2:]:
            count = ceil((size + 2 * pad - kernel) / stride) + 1
            if pad and (count - 1) * stride >= size + pad:
                count -= 1
            # Windows behind the input give -3e38, which later layers make infinite.
            if count < 1 or (count - 1) * stride >= size + pad:
                return
            sides.append(count)
        method = self.pick(["MAX", "AVE"])
        more = f"pooling_param {{ pool: {method} kernel_size: {kernel} stride: {stride} pad: {pad} }}"
        self.add("Pooling", [bottom], (*shape[:2], *sides), more=more)


@st.composite
def random_nets(draw: Any) -> Drawn:
    """One to fourteen layers over one or two inputs."""
    net = Drawn(draw)
    for name in ["data", "more"][: draw(st.integers(1, 2))]:
        net.input(name)
    for _ in range(draw(st.integers(1, 14))):
        net.step()
    return net


def convert(net: Drawn, folder: Path) -> Any:
    """With all blobs as outputs: none may be lost."""
    made = [blob for blob in net.shapes if blob not in ("data", "more")]
    return nets.module(folder, *net.lines, outputs=made or ["data"])


@DRAWN
@given(net=random_nets())
def test_random_nets(net: Drawn, tmp_path: Path) -> None:
    converted = convert(net, tmp_path)
    results: Arrays = dict(zip(converted.output_names, agree(converted, tmp_path), strict=True))
    for blob, result in results.items():
        assert result.shape == net.shapes[blob], blob


@examples(40)
@given(net=random_nets())
def test_only_the_loose_ends_are_given(net: Drawn, tmp_path: Path) -> None:
    """Without outputs asked for, a net gives what nothing reads."""
    if not net.fresh:
        return
    converted = nets.module(tmp_path, *net.lines)
    assert set(converted.output_names) == net.fresh


def test_ruff_leaves_random_nets_alone(tmp_path: Path) -> None:
    count = 0

    @examples(40)
    @given(net=random_nets())
    def collect(net: Drawn) -> None:
        nonlocal count
        count += 1
        (tmp_path / f"net{count}.py").write_text(caffe2torch.to_source(convert(net, tmp_path)))

    collect()
    command = [sys.executable, "-m", "ruff", "format", "--isolated", "--diff", str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout[:4000]
