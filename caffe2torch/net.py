"""What a Caffe file says, as plain frozen data: no protobuf, no torch, no tensor read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any

import numpy as np

from caffe2torch.tensors import Piece

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Blob:
    """One tensor of a layer, as the file describes it; ``read`` fetches its numbers."""

    shape: Shape  # () for a scalar; four axes where the file has num, channels, height, width
    legacy: bool  # the file has num, channels, height, width
    count: int  # numbers that lie in the file
    read: Callable[[], np.ndarray] = field(compare=False, repr=False)  # float32, (count,)
    order: int = -1  # among the layers of the file of weights; -1: it stands in the prototxt
    index: int = 0  # among the blobs of its layer
    flat: bool = False  # lent by another layer: any shape of as many numbers will do
    # The same numbers in pieces, each good until so many more are asked for; None: there is only ``read``.
    in_pieces: Callable[[int], Iterator[Piece]] | None = field(default=None, compare=False, repr=False)

    def pieces(self, copies: int = 0) -> Iterator[Piece]:
        """The numbers in order, in pieces that are each good until ``copies`` more are asked for."""
        return iter([Piece(self.read())]) if self.in_pieces is None else self.in_pieces(copies)

    def fits(self, shape: Shape) -> bool:
        """Whether Caffe copies this blob into one of ``shape``: legacy sizes count as padded with 1s in front."""
        if self.flat:
            return self.count == prod(shape)
        if self.legacy:
            return len(shape) <= 4 and self.shape == (1,) * (4 - len(shape)) + shape
        return self.shape == shape


class Fields(Mapping[str, Any]):
    """The fields of one ``*_param`` message: those that are set as a mapping, defaults by attribute.

    >>> p.stride          # the value, or the schema's default
    >>> "stride" in p     # whether the file sets it
    """

    __slots__ = ("_defaults", "_set")

    def __init__(self, given: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
        self._set = dict(given)
        self._defaults = defaults

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        if name in self._set:
            return self._set[name]
        try:
            return self._defaults[name]
        except KeyError:
            raise AttributeError(f"no field {name}") from None

    def __getitem__(self, name: str) -> Any:
        return self._set[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._set)

    def __len__(self) -> int:
        return len(self._set)

    def at_default(self, name: str) -> bool:
        """Whether the file sets a field to what it would be anyway."""
        return name in self._defaults and bool(self._set[name] == self._defaults[name])

    def without(self, name: str) -> Fields:
        """The same fields with one of them unset."""
        return Fields({key: value for key, value in self._set.items() if key != name}, self._defaults)

    def __repr__(self) -> str:
        return f"Fields({self._set})"

    def __reduce__(self) -> tuple[Any, ...]:
        return Fields, (self._set, self._defaults)


@dataclass(frozen=True)
class ParamSpec:
    """A layer's ``param { }``: how one of its blobs is shared and trained."""

    name: str = ""
    lr_mult: float = 1.0
    decay_mult: float = 1.0
    permissive: bool = False  # share_mode: the counts must agree, not the shapes
    given: tuple[str, ...] = ()  # of lr_mult and decay_mult, those that the file sets


@dataclass(frozen=True)
class Shared:
    """A blob of a layer that others have as well, by its ``param { name }``; the first of them owns it."""

    name: str
    owner: str  # the owning layer's name
    owned: bool  # this layer is the owner
    blob: Blob | None  # what the file has of it, of several the last; None: filled as the owner says


@dataclass(frozen=True)
class Rule:
    """An ``include`` or ``exclude`` rule; None and () do not restrict."""

    phase: str | None = None
    min_level: int | None = None
    max_level: int | None = None
    stages: tuple[str, ...] = ()
    not_stages: tuple[str, ...] = ()


@dataclass(frozen=True)
class ReadAs:
    """The parameters of a layer as one fork of Caffe, or several, would read them."""

    forks: tuple[str, ...]
    params: Mapping[str, Fields]


@dataclass(frozen=True)
class Layer:
    """One layer in today's form, whatever generation of Caffe wrote it."""

    name: str
    type: str
    bottoms: tuple[str, ...] = ()
    tops: tuple[str, ...] = ()
    params: Mapping[str, Fields] = field(default_factory=dict)  # set messages only, by field name
    specs: tuple[ParamSpec, ...] = ()
    include: tuple[Rule, ...] = ()
    exclude: tuple[Rule, ...] = ()
    phase: str | None = None
    loss_weights: tuple[float, ...] = ()
    propagate_down: tuple[bool, ...] = ()
    blobs: tuple[Blob, ...] | None = None  # None: no file says anything about this layer's weights
    shared: Mapping[int, Shared] = field(default_factory=dict)  # blobs that other layers have too, by place
    unknown: tuple[str, ...] = ()  # fields of the binary file that the schema does not know
    folder: str | None = None  # of the file that describes the net: files named in it are looked for here
    fork: tuple[str, ...] = ()  # the forks whose fields its parameters are; () for BVLC's own
    readings: tuple[ReadAs, ...] = ()  # all that fit, where the type has a meaning in some fork; params is the first
    misread: str = ""  # why none fits

    def param(self, name: str) -> Fields:
        """The fields of the message ``name``; all at their defaults where the file does not have it."""
        if name in self.params:
            return self.params[name]
        from caffe2torch.readings import empty

        return empty(self.type, self.fork, name)

    def as_read(self, reading: ReadAs) -> Layer:
        """The same layer with the parameters of one reading only."""
        return replace(self, params=reading.params, fork=reading.forks, readings=())

    def in_place(self, index: int) -> bool:
        """Whether top ``index`` is written over its bottom."""
        return index < len(self.bottoms) and self.bottoms[index] == self.tops[index]


@dataclass(frozen=True)
class Input:
    """A blob that is given from outside; ``shape`` is None where the file does not say it."""

    blob: str
    shape: Shape | None
    origin: str = "input"  # the type of the layer it stands for, as Data or Input
    crop: int = 0  # pictures are cut to this size; 0: not said
    mean: tuple[float, ...] = ()  # as its data layer says it; (): not said
    scale: float = 1.0


@dataclass(frozen=True)
class Net:
    """A whole net: its inputs, its layers in file order, and what a reader should be told about it."""

    name: str
    inputs: tuple[Input, ...]
    layers: tuple[Layer, ...]
    path: str  # the file that describes the net, for messages
    weights_path: str | None = None
    stored_form: bool = False  # read out of a caffemodel: stored phase and use_global_stats do not count
    notes: tuple[str, ...] = ()
    headers: bytes = b""  # SHA-256 of the file of weights without its tensors; b"": there is none
    whole: Net | None = None  # the net before layers were dropped, which tell how large its input is

    def with_notes(self, *notes: str) -> Net:
        """The same net with more to tell."""
        return replace(self, notes=self.notes + notes)

    def blobs(self) -> list[str]:
        """All blob names in order of their first appearance."""
        names = [entry.blob for entry in self.inputs]
        names += [top for layer in self.layers for top in layer.tops]
        return list(dict.fromkeys(names))
