"""SoftmaxWithLoss, InfogainLoss and SigmoidCrossEntropyLoss: labels may be ignored, the sum is divided by choice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from caffe2torch.calls import Call, Step
from caffe2torch.errors import FileError
from caffe2torch.layers.labels import Labels, check_loss, class_axis, normalized
from caffe2torch.net import Fields, Layer, Shape
from caffe2torch.preprocess import load_binaryproto
from caffe2torch.registry import LayerError, NotSupportedError, Operation, layer

if TYPE_CHECKING:
    from caffe2torch.onnx_model import LayerNodes

LOWEST_SOFTMAX = float(np.finfo(np.float32).tiny)  # FLT_MIN
LOWEST_INFOGAIN = 1e-20  # kLOG_THRESHOLD


def _normalization(p: Fields, default: str) -> str:
    """The mode that is set; ``normalize`` is its old form."""
    if "normalization" not in p and "normalize" in p:
        return "VALID" if p.normalize else "BATCH_SIZE"
    return str(p.get("normalization", default))


@dataclass(frozen=True)
class _OverClasses(Operation):
    """What SoftmaxWithLoss and InfogainLoss share: a softmax along the axis of the classes."""

    axis: int
    ignore_label: int | None
    normalization: str
    softmax: bool  # a second top gives it

    def shape(self, bottoms: Sequence[Shape]) -> list[Shape]:
        return [(), bottoms[0]] if self.softmax else [()]

    def _options(self, **extra: Any) -> dict[str, Any]:
        options = {
            "axis": (self.axis, 1),
            "ignore_label": (self.ignore_label, None),
            "normalization": (self.normalization, "VALID"),
        }
        return {name: value for name, (value, default) in options.items() if value != default} | extra

    def _step(self, loss: str, call: Call) -> Step:
        return Step(f"{loss}, F.softmax({{0}}, dim={self.axis})" if self.softmax else loss, call)

    def _log_softmax(self, nodes: LayerNodes, lowest: float) -> str:
        """The logarithm of the softmax, floored, and of the softmax itself if it is a top."""
        if self.softmax:
            nodes.add("Softmax", nodes.inputs[:1], nodes.outputs[1:], axis=self.axis)
        floor = nodes.constant(np.float32(np.log(lowest)), "floor")
        floored: str = nodes.add("Max", [nodes.add("LogSoftmax", nodes.inputs[:1], axis=self.axis), floor])
        return floored

    def _labels(self, nodes: LayerNodes, kept: Sequence[int]) -> Labels:
        """The labels, the axis of the classes left out or (``kept`` is [1]) of size 1."""
        shape = nodes.input_shapes[0]
        wanted = nodes.batched([*shape[: self.axis], *kept, *shape[self.axis + 1 :]])
        return Labels.emit(nodes, nodes.inputs[1], wanted, self.ignore_label)

    def _inner(self, nodes: LayerNodes) -> int:
        return prod(nodes.input_shapes[0][self.axis + 1 :])


@layer(
    "SoftmaxWithLoss",
    bottoms=(2, 2),
    tops=(1, 2),
    loss=True,
    loss_param="ignore_label normalization normalize",
    softmax_param="axis engine",
)
@dataclass(frozen=True)
class SoftmaxWithLoss(_OverClasses):
    """-log softmax(x)[label]; a softmax below FLT_MIN counts as that."""

    @classmethod
    def parse(cls, layer: Layer, bottoms: Sequence[Shape]) -> SoftmaxWithLoss:
        check_loss(layer, bottoms)
        p = layer.param("loss_param")
        axis = class_axis(layer.param("softmax_param").axis, *bottoms)
        return cls(axis, p.get("ignore_label"), _normalization(p, "VALID"), len(layer.tops) > 1)

    def torch(self) -> Step:
        return self._step("{self}({0}, {1})", Call("SoftmaxWithLoss", **self._options()))

    def onnx(self, nodes: LayerNodes) -> None:
        log_softmax = self._log_softmax(nodes, LOWEST_SOFTMAX)
        labels = self._labels(nodes, [1])
        picked = nodes.add("GatherElements", [log_softmax, labels.values], axis=self.axis)
        normalized(nodes, nodes.add("Neg", [picked]), labels, self.normalization, self._inner(nodes))


@layer(
    "InfogainLoss",
    bottoms=(2, 3),
    tops=(1, 2),
    loss=True,
    loss_param="ignore_label normalization",
    infogain_loss_param="source axis",
    softmax_param="axis engine",
)
@dataclass(frozen=True)
class InfogainLoss(_OverClasses):
    """-log softmax(x), summed over the classes with the weights in the label's row of a matrix."""

    classes: int
    own: bool  # the matrix comes from a file
    source: Path | None  # None: it has been read, and lies with the weights

    @classmethod
    def parse(cls, layer: Layer, bottoms: Sequence[Shape]) -> InfogainLoss:
        check_loss(layer, bottoms)
        p = layer.param("loss_param")
        axis = class_axis(layer.param("infogain_loss_param").axis, *bottoms[:2])
        classes, own = bottoms[0][axis], len(bottoms) == 2
        source = _source(layer) if own else None
        count = prod(bottoms[2]) if not own else _read(source).size if source else classes**2
        if count != classes**2:
            raise LayerError(f"the infogain matrix has {count} numbers; {classes} classes want {classes**2}")
        normalization = _normalization(p, "VALID")
        return cls(axis, p.get("ignore_label"), normalization, len(layer.tops) > 1, classes, own, source)

    def state(self, blobs: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        if not self.own:
            return {}
        shape = (self.classes, self.classes)
        return {"matrix": _read(self.source).reshape(shape) if self.source else np.full(shape, np.nan, np.float32)}

    def torch(self) -> Step:
        if self.own:
            call = Call("InfogainLoss", **self._options(classes=self.classes))
            return self._step("{self}({0}, {1}, {self}.matrix)", call)
        return self._step("{self}({0}, {1}, {2})", Call("InfogainLoss", **self._options()))

    def onnx(self, nodes: LayerNodes) -> None:
        log_softmax = self._log_softmax(nodes, LOWEST_INFOGAIN)
        axes = len(nodes.input_shapes[0])
        order = [axis for axis in range(axes) if axis != self.axis] + [self.axis]
        matrix = nodes.state("matrix") if self.own else nodes.reshape(nodes.inputs[2], [self.classes] * 2)
        labels = self._labels(nodes, [])
        rows = nodes.add("Gather", [matrix, labels.values])
        weighted = nodes.add("Mul", [rows, nodes.add("Transpose", [log_softmax], perm=order)])
        last = nodes.constant(np.array([-1], np.int64), "last")
        losses = nodes.add("Neg", [nodes.add("ReduceSum", [weighted, last], keepdims=0)])
        normalized(nodes, losses, labels, self.normalization, self._inner(nodes))


def _source(layer: Layer) -> Path | None:
    """Where the matrix lies: beside the net's file, never outside its folder. None where it has been read already."""
    source = layer.param("infogain_loss_param").source
    if not source:
        raise LayerError("infogain_loss_param.source must name the matrix's file, or a third bottom give it")
    if layer.folder is None:
        return None
    folder = Path(layer.folder).resolve()
    path = (folder / source).resolve()
    if not path.is_relative_to(folder):
        raise NotSupportedError(f"infogain_loss_param.source {source!r} leads out of {folder}; put the file there")
    return path


def _read(source: Path) -> np.ndarray:
    try:
        return load_binaryproto(source)
    except FileError as error:
        raise NotSupportedError(f"the infogain matrix cannot be read: {error}") from error


@layer(
    "SigmoidCrossEntropyLoss",
    bottoms=(2, 2),
    loss=True,
    loss_param="ignore_label normalization normalize",
    sigmoid_param="engine",
)
@dataclass(frozen=True)
class SigmoidCrossEntropyLoss(Operation):
    """Cross entropy of sigmoid(first bottom) against the second."""

    ignore_label: int | None
    normalization: str
    same: bool  # both bottoms have one shape

    @classmethod
    def parse(cls, layer: Layer, bottoms: Sequence[Shape]) -> SigmoidCrossEntropyLoss:
        check_loss(layer, bottoms)
        if prod(bottoms[0]) != prod(bottoms[1]):
            raise LayerError(f"its bottoms {bottoms[0]} and {bottoms[1]} must have the same count")
        p = layer.param("loss_param")
        return cls(p.get("ignore_label"), _normalization(p, "BATCH_SIZE"), bottoms[0] == bottoms[1])

    def shape(self, bottoms: Sequence[Shape]) -> list[Shape]:
        return [()]

    def torch(self) -> Step:
        if self.ignore_label is not None:
            options = {} if self.normalization == "BATCH_SIZE" else {"normalization": self.normalization}
            return Step("{self}({0}, {1})", Call("SigmoidCrossEntropyLoss", self.ignore_label, **options))
        arguments = "{0}, {1}" if self.same else "{0}, {1}.reshape({0}.shape)"
        if self.normalization in ("FULL", "VALID"):
            return Step(f"F.binary_cross_entropy_with_logits({arguments})")
        divisor = " / len({0})" if self.normalization == "BATCH_SIZE" else ""
        return Step(f'F.binary_cross_entropy_with_logits({arguments}, reduction="sum"){divisor}')

    def onnx(self, nodes: LayerNodes) -> None:
        x, target = nodes.inputs
        shape = nodes.input_shapes[0]
        if not self.same:
            target = nodes.reshape(target, nodes.batched(shape))
        labels = Labels.emit(nodes, target, nodes.batched(shape), self.ignore_label)
        # max(x, 0) - x * target + log(1 + exp(-|x|)), which never overflows.
        softplus = nodes.add("Softplus", [nodes.add("Neg", [nodes.add("Abs", [x])])])
        linear = nodes.add("Sub", [nodes.add("Relu", [x]), nodes.add("Mul", [x, target])])
        losses = nodes.add("Add", [linear, softplus])
        normalized(nodes, losses, labels, self.normalization, prod(shape[1:]))
