"""Which layer types there are: the decorator that registers one, and the look-up."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, TypeVar

import numpy as np

from caffe2torch import forks, layers, readings
from caffe2torch.calls import Step
from caffe2torch.net import Fields, Layer, Shape

if TYPE_CHECKING:
    from caffe2torch.onnx_model import LayerNodes
    from caffe2torch.readings import Reading


class LayerError(Exception):
    """Why one layer cannot be converted; the graph gathers these into one NetError."""


class NotSupportedError(LayerError):
    """What Caffe or one of its forks may well take, but is not understood here, or wants a file that is not there."""


@dataclass(frozen=True)
class Param:
    """One learned blob of a layer: its name in torch, its shape in Caffe, and how Caffe fills it without a file."""

    name: str
    shape: Shape
    filler: Fields | float = 0.0


@dataclass(frozen=True)
class Operation:
    """What a layer means: made by ``parse``, it tells shapes, torch code and ONNX nodes.

    Subclasses are frozen dataclasses of resolved parameters. Two of them are equal exactly when they compute the same
    function, whatever the batch size.
    """

    family: ClassVar[str]
    types: ClassVar[tuple[str, ...]]
    understood: ClassVar[Mapping[str, tuple[str, ...]]]
    bottoms: ClassVar[tuple[int, float]] = (1, 1)  # fewest and most
    tops: ClassVar[tuple[int, float]] = (1, 1)
    loss: ClassVar[bool] = False  # only for training: dropped unless asked for
    measured: ClassVar[tuple[int, ...]] = ()  # bottoms of which only the shape matters: they are not computed for it
    selects: ClassVar[bool] = False  # how many items its tops have, the data tells
    rows_axis: ClassVar[int] = 0  # the axis that counts them
    completed: ClassVar[tuple[str, ...]] = ()  # messages that the caffemodel tells where the prototxt has none

    @classmethod
    def parse(cls, layer: Layer, bottoms: Sequence[Shape]) -> Operation:
        """Resolve the layer's fields against its bottoms' shapes; LayerError for what Caffe or we refuse."""
        raise NotImplementedError

    def shape(self, bottoms: Sequence[Shape]) -> list[Shape]:
        """The shapes of the tops."""
        return [bottoms[0]]

    def params(self) -> tuple[Param, ...]:
        """The learned blobs, in Caffe's order."""
        return ()

    def state(self, blobs: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        """Caffe's blobs (in the shapes of ``params``) as the submodule's state_dict; views of them will do."""
        return {param.name: blob for param, blob in zip(self.params(), blobs, strict=True)}

    def holding(self, index: int, shape: Shape) -> Operation | None:
        """The same with blob ``index`` kept in the state row by row in ``shape``, as another layer has it.

        None if there is no such form.
        """
        return None

    def made(self, bottoms: Sequence[Shape]) -> int:
        """Roughly the numbers that it makes up, which no file has, such as PriorBox's boxes: they are limited."""
        return 0

    def multiply_adds(self, bottoms: Sequence[Shape]) -> int:
        """Multiply-adds of one forward pass; 0 where there is nothing worth counting."""
        return 0

    def torch(self) -> Step:
        """The layer in torch."""
        raise NotImplementedError

    def onnx(self, nodes: LayerNodes) -> None:
        """Emit the layer as standard ONNX operators."""
        raise NotImplementedError


OperationType = TypeVar("OperationType", bound=type[Operation])

_registered: dict[str, type[Operation]] = {}


def layer(
    *types: str,
    bottoms: tuple[int, float] = (1, 1),
    tops: tuple[int, float] = (1, 1),
    loss: bool = False,
    proto: Mapping[str, str | Reading | Sequence[Reading]] | None = None,
    **understood: str,
) -> Callable[[OperationType], OperationType]:
    """Register an Operation for layer types.

    ``understood`` names, for each ``*_param`` message, the fields that ``parse`` takes into account (or that do not
    matter for the result, such as ``engine``), separated by spaces. Any other field that a file sets is an error.
    ``proto``: the fields that BVLC's Caffe has not, or has otherwise, as readings.py describes them. A ``type:
    "Python"`` layer is registered as ``Python:module.layer``, by its python_param.
    """

    def register(cls: OperationType) -> OperationType:
        cls.types = types
        cls.family = cls.__module__.rpartition(".")[2]
        cls.bottoms, cls.tops, cls.loss = bottoms, tops, loss
        cls.understood = {message: tuple(names.split()) for message, names in understood.items()}
        for name in types:
            if name in _registered:
                raise ValueError(f"layer type {name} is registered twice")
            readings.declare(name, {**readings.renumbered(understood), **(proto or {})}, tuple(understood))
            _registered[name] = cls
        return cls

    return register


def find(type_name: str) -> type[Operation] | None:
    """The Operation class of a layer type, or None; how its fields may be read is declared from here on."""
    if type_name in _registered or type_name in layers.WITHOUT_FAMILY:
        return _registered.get(type_name)
    if type_name in _families():
        importlib.import_module(f"{layers.__name__}.{_families()[type_name]}")
    return _registered.get(type_name) or load_all().get(type_name)


def infers(type_name: str) -> bool:
    """Whether a net computes something with layers of a type: they bring no data, serve no loss, and are known."""
    cls = find(type_name)
    return type_name == "Input" or (cls is not None and not cls.loss and not type_name.endswith("Loss"))


def foreign(layer: Layer) -> list[str]:
    """The ``*_param`` messages that a layer sets, but that are read by layers of other types only."""
    cls = find(layer.type)
    own = set(cls.understood if cls else layer.params)
    own.update(name for each in readings.candidates(layer.type) for name in each.own)
    more = [message for message in layer.params if message not in own]
    others = {message for each in load_all().values() for message in each.understood} if more else set()
    return [message for message in more if message in others]


def operations() -> Iterator[tuple[str, type[Operation]]]:
    """All layer types with their classes, sorted by family, then type."""
    return iter(sorted(load_all().items(), key=lambda item: (item[1].family, item[0])))


@cache
def _families() -> dict[str, str]:
    """Layer type -> the file that registers it."""
    return {type_name: family for family, types in layers.FAMILIES.items() for type_name in types.split()}


@cache
def load_all() -> dict[str, type[Operation]]:
    """All layer types, those of installed packages too; how forks' fields may be read is declared from here on."""
    from caffe2torch import plugins

    for module in pkgutil.iter_modules(layers.__path__):
        importlib.import_module(f"{layers.__name__}.{module.name}")
    plugins.load_packages()
    return _registered


@contextmanager
def restored_on_error() -> Iterator[None]:
    """If the block fails, no layer that it registered stays."""
    before, declared = dict(_registered), readings.declared()
    try:
        yield
    except BaseException:
        for name in _registered.keys() - before.keys():
            del _registered[name]
        readings.forget(declared)
        raise


def parse(cls: type[Operation], layer: Layer, bottoms: Sequence[Shape]) -> Operation:
    """``cls.parse`` with the checks that hold for every layer: counts of bottoms and tops, fields understood."""
    return read(cls, layer, bottoms).operation


class Read(NamedTuple):
    """A layer's operation, and the forks whose reading it is, where several fit; () for BVLC's own.

    ``others``: forks that would mean something else by the same fields, which may be of BVLC's Caffe.
    """

    operation: Operation
    forks: tuple[str, ...]
    others: tuple[str, ...] = ()


def read(cls: type[Operation], layer: Layer, bottoms: Sequence[Shape], fork: str = "") -> Read:
    """As ``parse``, of all readings that fit; ``fork``: whose counts where only others' forks and BVLC's differ.

    LayerError if none holds, or if they differ in what is computed and the layer's blobs do not tell.
    """
    if layer.misread:
        raise NotSupportedError(layer.misread)
    if len(layer.readings) < 2:
        return Read(_parse(cls, layer, bottoms), layer.fork)
    found: list[tuple[Operation, tuple[str, ...]]] = []
    faults: dict[str, tuple[str, ...]] = {}
    for reading in layer.readings:
        try:
            found.append((_parse(cls, layer.as_read(reading), bottoms), reading.forks))
        except LayerError as error:
            faults[str(error)] = faults.get(str(error), ()) + reading.forks
    if not found:
        raise NotSupportedError(
            next(iter(faults))
            if len(faults) == 1
            else "; ".join(f"read as {', '.join(forks)}: {fault}" for fault, forks in faults.items())
        )
    held = [(operation, forks) for operation, forks in found if _has_blobs(layer, operation)] or found
    others = [each for each in held if each[0] != held[0][0]]
    if others and forks.BVLC not in held[0][1]:
        raise NotSupportedError(_ambiguous(held))
    chosen = next((each for each in others if fork in each[1]), held[0])
    return Read(*chosen, tuple(name for each in held if each[0] != chosen[0] for name in each[1]))


def _has_blobs(layer: Layer, operation: Operation) -> bool:
    """Whether the file's blobs, if there are some, are those of the operation."""
    params = operation.params()
    return layer.blobs is None or (
        len(layer.blobs) == len(params)
        and all(blob.fits(param.shape) for blob, param in zip(layer.blobs, params, strict=True))
    )


def _ambiguous(found: Sequence[tuple[Operation, tuple[str, ...]]]) -> str:
    told = "; ".join(f"as {' or '.join(forks)} it is {_short(operation, 120)}" for operation, forks in found)
    return f"forks of Caffe mean different things by it: {told}. Say which is meant: --fork {found[0][1][0]}"


def _parse(cls: type[Operation], layer: Layer, bottoms: Sequence[Shape]) -> Operation:
    _check_count("bottom", len(layer.bottoms), cls.bottoms)
    _check_count("top", len(layer.tops), cls.tops)
    if layer.loss_weights and len(layer.loss_weights) != len(layer.tops):
        raise LayerError(f"loss_weight is set {len(layer.loss_weights)} times for {len(layer.tops)} tops")
    for message, names in cls.understood.items():
        given = layer.params.get(message, Fields({}, {}))
        unread = [name for name in given if name not in names and not given.at_default(name)]
        if unread:
            raise NotSupportedError(f"{message}.{unread[0]}={_short(given[unread[0]])} is not supported")
    try:
        with np.errstate(all="ignore"):
            return cls.parse(layer, bottoms)
    except (ArithmeticError, ValueError) as error:  # NaN and infinity are numbers in a file, too
        if not cls.__module__.startswith("caffe2torch.layers."):
            raise  # a plugin's fault is told as such
        raise LayerError(f"nothing can be computed with its numbers: {error}") from error


def _check_count(kind: str, count: int, allowed: tuple[int, float]) -> None:
    fewest, most = allowed
    if not fewest <= count <= most:
        wanted = (
            f"{fewest}" if fewest == most else f"{fewest} or more" if most == float("inf") else f"{fewest} to {most}"
        )
        raise LayerError(f"it has {count} {kind}s, Caffe wants {wanted}")


def _short(value: Any, most: int = 40) -> str:
    text = str(value)
    return text if len(text) <= most else text[: most - 3] + "..."


def canonical_axis(axis: int, axes: int) -> int:
    """A possibly negative axis as an index below ``axes``; LayerError as Caffe's CanonicalAxisIndex refuses."""
    if not -axes <= axis < axes:
        raise LayerError(f"axis {axis} is out of range for a blob of {axes} axes")
    return axis % axes if axes else 0


def refuse_in_place(layer: Layer) -> None:
    """LayerError if the first top is written over the first bottom, for the layers where Caffe does not allow it."""
    if layer.in_place(0):
        raise LayerError(
            f"it writes blob {layer.tops[0]!r} in place, which Caffe refuses here; give its top another name"
        )
