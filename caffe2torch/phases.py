"""Which layers of a file are run, by the rules of phase, level and stage; and training nets as deploy nets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain, count

from caffe2torch import registry
from caffe2torch.errors import NetError
from caffe2torch.layers import DATA_TYPES
from caffe2torch.net import Fields, Input, Layer, Net, Rule, Shape

# Types without bottoms that compute something themselves.
_SOURCE_TYPES = frozenset({"Input", "DummyData", "Parameter"})


def select(net: Net, phase: str, stages: tuple[str, ...], level: int) -> Net:
    """The layers whose include and exclude rules the state meets, as Caffe's Net::FilterNet chooses them.

    NetError for a layer with rules of both kinds, and a kept one whose propagate_down does not match its bottoms.
    """
    for layer in net.layers:
        if layer.include and layer.exclude:
            raise NetError(
                f"{net.path}: layer {layer.name!r} has both include and exclude rules; Caffe takes one kind or none"
            )
    layers = tuple(
        replace(layer, phase=layer.phase or phase) for layer in net.layers if _included(layer, phase, stages, level)
    )
    for layer in layers:
        if layer.propagate_down and len(layer.propagate_down) != len(layer.bottoms):
            raise NetError(
                f"{net.path}: layer {layer.name!r} sets propagate_down {len(layer.propagate_down)} times for "
                f"{len(layer.bottoms)} bottoms; Caffe wants one a bottom, or none"
            )
    return replace(net, layers=layers)


def _included(layer: Layer, phase: str, stages: tuple[str, ...], level: int) -> bool:
    if layer.include:
        return any(_meets(rule, phase, stages, level) for rule in layer.include)
    return not any(_meets(rule, phase, stages, level) for rule in layer.exclude)


def _meets(rule: Rule, phase: str, stages: tuple[str, ...], level: int) -> bool:
    return (
        rule.phase in (None, phase)
        and (rule.min_level is None or level >= rule.min_level)
        and (rule.max_level is None or level <= rule.max_level)
        and all(stage in stages for stage in rule.stages)
        and not any(stage in stages for stage in rule.not_stages)
    )


def stored(net: Net) -> Net:
    """A net out of a caffemodel as one to be run: stored phases and BatchNorm's ``use_global_stats`` do not count.

    A snapshot holds what its training net was, so its rules have been applied already and do not count. But where
    several layers make one blob (one to train, one to test), those for testing are meant; of data layers, the last.
    """
    return replace(net, layers=tuple(map(_stored, _for_testing(net.layers))))


def _stored(layer: Layer) -> Layer:
    readings = tuple(replace(reading, params=_without_batch(reading.params)) for reading in layer.readings)
    return replace(layer, phase="TEST", params=_without_batch(layer.params), readings=readings)


def _for_testing(layers: Sequence[Layer]) -> Iterator[Layer]:
    makers: dict[str, list[Layer]] = {}
    for layer in layers:
        for index, top in enumerate(layer.tops):
            if not layer.in_place(index):
                makers.setdefault(top, []).append(layer)
    meant: dict[str, list[Layer]] = {}
    for top, several in makers.items():
        kept = [layer for layer in several if _included(layer, "TEST", (), 0)] or several
        meant[top] = kept[-1:] if all(map(is_data, kept)) else kept
    for layer in layers:
        tops = tuple(top for top in layer.tops if top in layer.bottoms or any(layer is each for each in meant[top]))
        if tops == layer.tops:
            yield layer
        elif tops and is_data(layer):
            # What the layer says of its picture is not true of its labels.
            yield replace(layer, tops=tops, params=layer.params if tops[0] == layer.tops[0] else {})


def _without_batch(params: Mapping[str, Fields]) -> Mapping[str, Fields]:
    norm = params.get("batch_norm_param")
    if norm is None or "use_global_stats" not in norm:
        return params
    return {**params, "batch_norm_param": norm.without("use_global_stats")}


def is_data(layer: Layer) -> bool:
    """Whether the layer brings data in from outside: the data layers, and unknown layers without bottoms."""
    return layer.type in DATA_TYPES or (not layer.bottoms and bool(layer.tops) and layer.type not in _SOURCE_TYPES)


def deploy(net: Net) -> Net:
    """Input and data layers as inputs of the net; what they say of the picture's size is kept.

    NetError for an input that is given twice, has a negative size, or comes behind a layer that reads it.
    """
    inputs = list(net.inputs)
    layers: list[Layer] = []
    reader: dict[str, Layer] = {}
    for layer in net.layers:
        if layer.type == "Input":
            found = _declared(layer, net.path)
        elif is_data(layer):
            found = _from_data(layer)
        else:
            layers.append(layer)
            reader.update((bottom, layer) for bottom in layer.bottoms if bottom not in reader)
            continue
        late = next((entry.blob for entry in found if entry.blob in reader), None)
        if late is not None:
            raise NetError(
                f"{net.path}: layer {reader[late].name!r} reads blob {late!r}, which layer {layer.name!r} "
                f"({layer.type}) gives only later; Caffe wants the layers in the order in which they run"
            )
        inputs += found
    _refuse_odd(inputs, net.path)
    taken = {entry.blob for entry in inputs} | {top for layer in layers for top in layer.tops}
    automatic = chain(["(automatic)"], (f"(automatic {number})" for number in count(2)))
    return replace(net, inputs=tuple(inputs), layers=tuple(_with_top(layer, taken, automatic) for layer in layers))


def _with_top(layer: Layer, taken: set[str], automatic: Iterator[str]) -> Layer:
    """A loss without a top with one, as Caffe gives it (AutoTopBlobs); Accuracy is no loss there."""
    operation = registry.find(layer.type)
    if layer.tops or operation is None or not operation.loss or "Loss" not in layer.type:
        return layer
    names = chain([layer.name] if layer.name else [], automatic)
    top = next(name for name in names if name not in taken)
    taken.add(top)
    return replace(layer, tops=(top,))


def _declared(layer: Layer, path: str) -> list[Input]:
    shapes = [tuple(shape.dim) for shape in layer.param("input_param").shape]
    if len(shapes) == 1:
        shapes *= len(layer.tops)
    if shapes and len(shapes) != len(layer.tops):
        raise NetError(f"{path}: layer {layer.name!r} (Input) has {len(layer.tops)} tops but {len(shapes)} shapes")
    return [Input(top, shapes[index] if shapes else None, layer.type) for index, top in enumerate(layer.tops)]


def _from_data(layer: Layer) -> list[Input]:
    """The first top is the picture; how many labels there are only MemoryData tells."""
    transform = layer.param("transform_param")
    crop = transform.crop_size
    shape: Shape | None = None
    label: Shape | None = None
    if layer.type == "MemoryData":
        memory = layer.param("memory_data_param")
        shape = (memory.batch_size, memory.channels, crop or memory.height, crop or memory.width)
        label = (memory.batch_size,)
    first = Input(layer.tops[0], shape, layer.type, crop, transform.mean_value, transform.scale)
    return [first, *(Input(top, label, layer.type) for top in layer.tops[1:])]


def _refuse_odd(inputs: list[Input], path: str) -> None:
    seen: set[str] = set()
    for entry in inputs:
        if entry.blob in seen:
            raise NetError(f"{path}: blob {entry.blob!r} is produced by multiple sources; Caffe refuses this net")
        if min(entry.shape or (0,)) < 0:
            raise NetError(f"{path}: input {entry.blob!r} has the shape {entry.shape}; no size may be negative")
        seen.add(entry.blob)
