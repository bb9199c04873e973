"""What Caffe checks of every layer, whatever its type: its tops, its `param` entries, its blobs in the file."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from caffe2torch import forks, limits
from caffe2torch.errors import Problem
from caffe2torch.net import Layer, Shape
from caffe2torch.registry import LayerError, NotSupportedError, Operation

_LAYER = "LayerParameter"
MOST_AXES, MOST_NUMBERS = 32, (1 << 31) - 1  # of a blob in Caffe


def check_tops(layer: Layer, tops: Sequence[Shape]) -> None:
    """LayerError where the shapes of the tops are not as many as the layer names, or cannot be."""
    if len(tops) != len(layer.tops):
        raise LayerError(f"it has {len(layer.tops)} tops, {len(tops)} were to be expected")
    for shape in tops:
        if any(size < 0 for size in shape):
            raise LayerError(f"its output would have the shape {shape}")
        check_size("its output", shape)


def check_size(what: str, shape: Shape) -> None:
    """LayerError for a shape beyond what a blob of Caffe can have; ``what`` has it."""
    if len(shape) > MOST_AXES or prod(shape) > MOST_NUMBERS:
        shown = str(shape) if len(shape) <= MOST_AXES else f"({', '.join(map(str, shape[:8]))}, …)"
        raise LayerError(
            f"{what} would have the shape {shown}; a blob of Caffe has at most {MOST_AXES} axes and "
            f"{MOST_NUMBERS:,} numbers"
        )


def check_made(made: int) -> None:
    """LayerError for a layer with which the numbers that layers make up are too many."""
    if made > limits.MADE:
        raise LayerError(
            f"with it the net makes up {made:,} numbers that no file has, such as prior boxes; {limits.MADE:,} are "
            "allowed. Is its input far too large?"
        )


def no_converter(layer: Layer) -> Problem:
    """What is to be said of a layer whose type is not supported."""
    if layer.type:
        known = next((titles for name in layer.unknown if (titles := forks.titles(forks.who_knows(_LAYER, name)))), "")
        return Problem(layer.name, layer.type, f"no converter (a layer of {known})" if known else "no converter")
    found = next((each for each in layer.unknown if each.startswith("type=")), "")
    return Problem(layer.name, found or "no type", "Caffe knows no such layer type")


def check_values(layer: Layer) -> None:
    """LayerError for a value of an enum that Caffe does not know: it takes the default, but a fork meant something."""
    # Forks have engines of their own, which compute the same.
    odd = [each for each in layer.unknown if "=" in each and "engine=" not in each and not each.startswith("blobs.")]
    if odd:
        raise NotSupportedError(f"Caffe knows no {odd[0]} (a fork may); it cannot be told what is meant")


def check_blobs(layer: Layer, operation: Operation, path: str) -> None:
    """LayerError where Caffe's CopyTrainedLayersFrom refuses: as many blobs as the layer has, of its shapes."""
    params = operation.params()
    for param in params:
        check_size(f"its {param.name}", param.shape)
    if len(layer.specs) > len(params):
        raise LayerError(f"it has {len(layer.specs)} `param` entries, but only {len(params)} blobs")
    for index, shared in layer.shared.items():
        if shared.blob is not None and shared.blob.count != prod(params[index].shape):
            raise LayerError(
                f"its param {shared.name!r} has {shared.blob.count} numbers in {path}, the net wants "
                f"{params[index].shape}"
            )
    if layer.blobs is None:
        return
    if len(layer.blobs) != len(params):
        raise LayerError(
            f"{path} holds {len(layer.blobs)} blobs for it, the layer has {len(params)}"
            + (f" ({', '.join(param.name for param in params)})" if params else "")
        )
    for index, (blob, param) in enumerate(zip(layer.blobs, params, strict=True)):
        if not blob.fits(param.shape):
            raise LayerError(
                f"blob {index} ({param.name}) has the shape {blob.shape} in {path}, the net wants {param.shape}"
            )
        if blob.count != prod(param.shape):
            raise LayerError(
                f"blob {index} ({param.name}) says {blob.shape} in {path}, but {blob.count} numbers lie there"
            )
