"""Which layers of a file belong to the net that is run: rules by phase, level and stage; training nets as deploy nets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from caffe2torch.errors import NetError
from caffe2torch.net import Fields, Input, Layer, Net, Rule, Shape

DATA_TYPES = frozenset(
    {"Data", "ImageData", "HDF5Data", "MemoryData", "WindowData", "AnnotatedData", "VideoData", "DenseImageData"}
)
# Types without bottoms that compute something themselves.
_SOURCE_TYPES = frozenset({"Input", "DummyData", "Parameter"})


def select(net: Net, phase: str, stages: tuple[str, ...], level: int) -> Net:
    """The layers whose include and exclude rules the state meets, as Caffe's Net::FilterNet chooses them."""
    for layer in net.layers:
        if layer.include and layer.exclude:
            raise NetError(
                f"{net.path}: layer {layer.name!r} has both include and exclude rules; Caffe takes one kind or none"
            )
    layers = tuple(
        replace(layer, phase=layer.phase or phase) for layer in net.layers if _included(layer, phase, stages, level)
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

    Of several data layers that feed the same blobs (one to train, one to test) keep the one for testing.

    A snapshot holds what its training net was, so its other rules have been applied already and do not count.
    """
    chosen: dict[tuple[str, ...], Layer] = {}
    for layer in net.layers:
        if is_data(layer) and (layer.tops not in chosen or _included(layer, "TEST", (), 0)):
            chosen[layer.tops] = layer
    kept = (layer for layer in net.layers if not is_data(layer) or chosen[layer.tops] is layer)
    return replace(net, layers=tuple(replace(layer, phase="TEST", params=_without_batch(layer)) for layer in kept))


def _without_batch(layer: Layer) -> Mapping[str, Fields]:
    norm = layer.params.get("batch_norm_param")
    if norm is None or "use_global_stats" not in norm:
        return layer.params
    return {**layer.params, "batch_norm_param": norm.without("use_global_stats")}


def is_data(layer: Layer) -> bool:
    """Whether the layer brings data in from outside: the data layers, and unknown layers without bottoms."""
    return layer.type in DATA_TYPES or (not layer.bottoms and bool(layer.tops) and layer.type not in _SOURCE_TYPES)


def deploy(net: Net) -> Net:
    """Input and data layers as inputs of the net; what they say of the picture's size is kept."""
    inputs = list(net.inputs)
    layers: list[Layer] = []
    for layer in net.layers:
        if layer.type == "Input":
            inputs += _declared(layer, net.path)
        elif is_data(layer):
            inputs += _from_data(layer)
        else:
            layers.append(layer)
    _refuse_twice(inputs, net.path)
    return replace(net, inputs=tuple(inputs), layers=tuple(layers))


def _declared(layer: Layer, path: str) -> list[Input]:
    shapes = [tuple(shape.dim) for shape in layer.param("input_param").shape]
    if len(shapes) == 1:
        shapes *= len(layer.tops)
    if shapes and len(shapes) != len(layer.tops):
        raise NetError(f"{path}: layer {layer.name!r} (Input) has {len(layer.tops)} tops but {len(shapes)} shapes")
    return [Input(top, shapes[index] if shapes else None, layer.type) for index, top in enumerate(layer.tops)]


def _from_data(layer: Layer) -> list[Input]:
    """The first top is the picture; a label's shape is not told."""
    transform = layer.param("transform_param")
    crop = transform.crop_size
    shape: Shape | None = None
    if layer.type == "MemoryData":
        memory = layer.param("memory_data_param")
        shape = (memory.batch_size, memory.channels, crop or memory.height, crop or memory.width)
    first = Input(layer.tops[0], shape, layer.type, crop, transform.mean_value, transform.scale)
    return [first, *(Input(top, None, layer.type) for top in layer.tops[1:])]


def _refuse_twice(inputs: list[Input], path: str) -> None:
    seen: set[str] = set()
    for entry in inputs:
        if entry.blob in seen:
            raise NetError(f"{path}: blob {entry.blob!r} is produced by multiple sources; Caffe refuses this net")
        seen.add(entry.blob)
