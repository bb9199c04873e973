"""Which blobs a net gives, and which layers only serve training."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from caffe2torch import registry
from caffe2torch.errors import NetError, Problem
from caffe2torch.net import Layer, Net, Shape
from caffe2torch.registry import NotSupportedError
from caffe2torch.resolver import Resolver
from caffe2torch.wiring import Wiring

# Of Caffe's forks, losses and measures whose names do not say so.
_TRAINING = frozenset(
    {"BoxAnnotatorOHEM", "DetectionEvaluate", "EvalDetection", "SegAccuracy", "SegmentationEvaluate", "Yolov3"}
)


def targets(net: Net, wiring: Wiring, outputs: Sequence[str] | None) -> tuple[list[str], list[int]]:
    """The blobs asked for (None: those that nothing consumes, losses aside), and their values.

    Raises NetError for a blob there is not, and where no layer gives anything.
    """
    if outputs is not None:
        missing = [name for name in outputs if name not in wiring.last]
        known = ", ".join(net.blobs()[-12:])
        if not outputs:
            raise NetError(f"{net.path}: no output is asked for; the last blobs are {known}")
        if missing:
            raise NetError(f"{net.path}: there is no blob {missing[0]!r}; the last blobs are {known}")
        return list(outputs), [wiring.last[name] for name in outputs]
    for serves in (lambda layer: not is_loss(layer), lambda layer: bool(layer.tops)):
        wires = [entry for entry in wiring.wires if serves(entry.layer)]
        consumed = {value for entry in wires for value in entry.inputs}
        free = [value for entry in wires for value in entry.outputs if value not in consumed]
        free = _without_labels(wiring, free)
        if free:
            return [wiring.blob_of[value] for value in free], free
    raise NetError(f"{net.path}: no layer is left that gives an output")


def is_loss(layer: Layer) -> bool:
    """Whether a layer serves training only (a loss, Accuracy), or gives nothing (Silence).

    Of types that are not known, those do that a snapshot says are for phase TRAIN.
    """
    operation = registry.find(layer.type)
    if operation is None and (layer.type in _TRAINING or _for_training(layer)):
        return True
    return (operation is not None and operation.loss) or layer.type.endswith("Loss") or not layer.tops


def _for_training(layer: Layer) -> bool:
    return bool(layer.include) and all(rule.phase == "TRAIN" for rule in layer.include)


def check_dropped(net: Net, wiring: Wiring, kept: Collection[int], shapes: Mapping[str, Shape]) -> list[str]:
    """NetError if Caffe refuses a loss, Accuracy or Silence that is dropped; notes on those that are not understood.

    They are checked only with a prototxt, all of it, and with inputs of the sizes that it says.
    """
    dropped = {id(layer): layer for layer in net.layers if id(layer) not in kept and layer.type != "Split"}
    notes = [
        f"layer {layer.name} ({layer.type}): an unknown type, dropped as what serves training only"
        for layer in dropped.values()
        if registry.find(layer.type) is None
    ]
    declared = {entry.blob: entry.shape for entry in net.inputs if entry.shape and 0 not in entry.shape}
    if net.stored_form or net.whole is not None or any(declared.get(blob) != shape for blob, shape in shapes.items()):
        return notes
    resolver = Resolver.whole(net, wiring)
    problems = []
    for layer, error in resolver.faults(declared):
        if isinstance(error, NotSupportedError):
            notes.append(f"layer {layer.name} ({layer.type}) is dropped unchecked: {error}")
        elif id(layer) in dropped:
            problems.append(Problem(layer.name, layer.type, str(error)))
    if problems:
        raise NetError.of(problems, len(wiring.wires), net.path)
    return notes


def _without_labels(wiring: Wiring, free: list[int]) -> list[int]:
    """Without what only prepares labels for the dropped losses: no learned layer lies on its way."""
    learned: set[int] = set()
    for entry in wiring.wires:
        if entry.layer.blobs or learned.intersection(entry.inputs):
            learned.update(entry.outputs)
    for_losses = {value for entry in wiring.wires if is_loss(entry.layer) for value in entry.inputs}
    kept = [value for value in free if value in learned or value not in for_losses]
    return kept if learned.intersection(kept) else free
