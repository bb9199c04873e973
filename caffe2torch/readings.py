"""How the layers of Caffe's forks are to be read: what a layer type declares, and the messages made of it.

A fork adds fields to LayerParameter, and two forks seldom agree on their numbers or on what lies in them. So a layer
type declares how its fields may be read, and only its own layers are read so:

    @layer("Permute", permute_param="order", proto={"permute_param": "order 1 uint32*"})

    @layer("Upsample", upsample_param="scale", proto={"upsample_param": (
        Reading("segnet synopsys", None, "scale 1 uint32 =2; …"),
        Reading("mobilenet-yolo", 150, "scale 1 int32 =1"),
    )})

The lines are in the notation of notation.py. Text is read by name; a binary file by number: without one, those of the
table forks.json are taken, by field and fork (a line alone stands for every fork that the table has for the field).
``+ name 20 bool`` is BVLC's message with more fields, ``ScaleParameter`` a message of BVLC's as it is.

What fits together is a Candidate: for a fork, or several that do not differ, the reading of each field. All that fit a
layer are kept, and ``parse`` of its class is called with each: ``layer.fork`` has the names of that one's forks. A
class says with LayerError what a layer cannot be. If all that is left computes the same, it is that; otherwise
the number of blobs tells; otherwise the user has to, by ``--fork``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count, product
from typing import Any

from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto
from google.protobuf.message_factory import GetMessageClass

from caffe2torch import forks as known_forks
from caffe2torch import notation, schema
from caffe2torch.fields import of_descriptor
from caffe2torch.net import Fields

V1 = "V1LayerParameter"
_FREE = 400_000_000  # numbers for fields that are only ever read from text
_serial = count(1)


@dataclass(frozen=True)
class Reading:
    """One way to read a field: ``forks``, names as in forks.json separated by spaces, gave it this number and
    message. ``number`` None: the table's. ``asked``: it counts only where nothing else fits, or --fork asks for it.
    """

    forks: str | tuple[str, ...]
    number: int | None
    message: str
    asked: bool = False

    def __post_init__(self) -> None:
        names = tuple(self.forks.split()) if isinstance(self.forks, str) else tuple(self.forks)
        object.__setattr__(self, "forks", names)

    def each(self, name: str) -> Iterator[tuple[str, int | None]]:
        """Its forks with the number each gave to the field ``name``; ("", None) if no fork is known to have it."""
        table = known_forks.numbers(name)
        bvlc = schema.message("LayerParameter").DESCRIPTOR.fields_by_name.get(name)
        for fork in self.forks or tuple(table) or ("",):
            if self.number is not None:
                yield fork, self.number
            else:
                yield fork, table.get(fork, bvlc.number if bvlc else None)


@dataclass(frozen=True, eq=False)
class Candidate:
    """What a layer of one type may hold: field name -> number and message, as one fork or several have it."""

    type: str
    forks: tuple[str, ...]
    fields: Mapping[str, tuple[int | None, str]]
    own: frozenset[str]  # all messages that the type takes into account
    asked: bool = False  # counts only where nothing else fits, or --fork asks for it
    _made: dict[str, Any] = field(default_factory=dict)

    def message(self, generation: str = "LayerParameter") -> Any:
        """The class of LayerParameter, or V1LayerParameter, with these fields in it."""
        if generation not in self._made:
            self._made[generation] = _make(self, generation)
        return self._made[generation]


_declared: dict[str, tuple[Mapping[str, tuple[Reading, ...]], frozenset[str]]] = {}
_candidates: dict[str, tuple[Candidate, ...]] = {}


def declare(type_name: str, proto: Mapping[str, Any], understood: Sequence[str]) -> None:
    """Make known how a layer type's fields may be read; ``registry.layer`` does. ValueError for a faulty line."""
    if not proto:
        return
    read: dict[str, tuple[Reading, ...]] = {}
    for name, given in proto.items():
        several = (given,) if isinstance(given, (str, Reading)) else tuple(given)
        read[name] = tuple(Reading((), None, each) if isinstance(each, str) else each for each in several)
        for reading in read[name]:
            _message(DescriptorProto(), name, reading.message, "")
    _declared[type_name] = (read, frozenset([*read, *understood]))
    _candidates.pop(type_name, None)


def renumbered(fields: Iterable[str]) -> dict[str, str]:
    """Of BVLC's fields, those that a fork has under another number, with their message."""
    bvlc = schema.parameters()
    return {name: bvlc[name].name for name in fields if name in bvlc and known_forks.numbers(name)}


def types_with(field_name: str) -> list[str]:
    """The layer types whose readings have a field."""
    return [name for name, (read, _) in _declared.items() if field_name in read]


def declared() -> frozenset[str]:
    """The types of which something was declared."""
    return frozenset(_declared)


def forget(but: frozenset[str]) -> None:
    """Take back every declaration but those of these types."""
    for name in _declared.keys() - but:
        del _declared[name]
        _candidates.pop(name, None)


def candidates(type_name: str) -> tuple[Candidate, ...]:
    """The ways to read a layer of a type, in the order of their declaration; () for one as BVLC has it."""
    if type_name not in _declared:
        return ()
    if type_name not in _candidates:
        _candidates[type_name] = _combine(type_name, *_declared[type_name])
    return _candidates[type_name]


def empty(type_name: str, forks: Sequence[str], field_name: str) -> Fields:
    """A layer's message ``field_name`` with nothing set; KeyError as of ``descriptor``."""
    return of_descriptor(descriptor(type_name, forks, field_name), {})


def descriptor(type_name: str, forks: Sequence[str], field_name: str) -> Any:
    """The message in a layer's field, as the type's first reading for one of the forks has it, or else BVLC.

    KeyError if no reading has the field, nor BVLC.
    """
    having = [each for each in candidates(type_name) if field_name in each.fields]
    meant = [each for each in having if set(each.forks) & set(forks)]
    if not meant and (field_name in schema.parameters() or not having):
        return schema.parameters()[field_name]
    return (meant or having)[0].message().DESCRIPTOR.fields_by_name[field_name].message_type


def fork_names() -> set[str]:
    """All forks that some layer type's readings name."""
    read = (reading for fields, _ in _declared.values() for several in fields.values() for reading in several)
    return {fork for reading in read for fork in reading.forks}


def _combine(type_name: str, declared: Mapping[str, tuple[Reading, ...]], own: frozenset[str]) -> tuple[Candidate, ...]:
    """Fork by fork, what it has for each field; forks that do not differ are one candidate."""
    by_fork: dict[str, dict[str, list[tuple[int | None, str]]]] = {}
    asked: set[str] = set()
    for name, readings in declared.items():
        for reading in readings:
            for fork, number in reading.each(name):
                by_fork.setdefault(fork, {}).setdefault(name, []).append((number, reading.message))
                asked |= {fork} if reading.asked else set()
        if name in schema.parameters():
            by_fork.setdefault(known_forks.BVLC, {})
    anywhere = by_fork.pop("", {})
    by_fork = by_fork or {"": {}}
    found: dict[tuple[bool, tuple[Any, ...]], list[str]] = {}
    for fork, own_fields in by_fork.items():
        fields = own_fields if fork == known_forks.BVLC else {**anywhere, **own_fields}
        for chosen in product(*fields.values()):
            found.setdefault((fork in asked, tuple(zip(fields, chosen, strict=True))), []).append(fork)
    ordered = sorted(found.items(), key=lambda item: known_forks.BVLC not in item[1])
    return tuple(
        Candidate(type_name, tuple(filter(None, forks)), dict(fields), own, rare) for (rare, fields), forks in ordered
    )


def _make(candidate: Candidate, generation: str) -> Any:
    """A message class in schema's pool, in a file and a package of its own."""
    package = f"caffe.reading{next(_serial)}"
    message = DescriptorProto()
    schema.message(generation).DESCRIPTOR.CopyToProto(message)
    message.name = generation
    nested = {f".caffe.{generation}.{each.name}" for each in (*message.nested_type, *message.enum_type)}
    for each in message.field:
        if each.type_name in nested:
            each.type_name = f".{package}" + each.type_name.removeprefix(".caffe")
    for place, (name, (given, text)) in enumerate(candidate.fields.items()):
        old = _of_fork(candidate.forks, known_forks.numbers(name, v1=True))
        number = next((each for each in (old if generation == V1 else given,) if each is not None), _FREE + place)
        kept = [each for each in message.field if each.name != name and each.number != number]
        del message.field[:]
        message.field.extend(kept)
        added = message.field.add(name=name, number=number, label=FieldDescriptorProto.LABEL_OPTIONAL)
        added.type = FieldDescriptorProto.TYPE_MESSAGE
        added.type_name = _message(message, name, text, f".{package}.{generation}")
    if generation == V1:
        _name_types(message, candidate)
    file = FileDescriptorProto(
        name=f"{package}.proto",
        package=package,
        dependency=[schema.message(generation).DESCRIPTOR.file.name],
        syntax="proto2",
    )
    file.message_type.append(message)
    schema.pool().AddSerializedFile(file.SerializeToString())
    return GetMessageClass(schema.pool().FindMessageTypeByName(f"{package}.{generation}"))


def _name_types(message: DescriptorProto, candidate: Candidate) -> None:
    """Add the enum names that the forks gave this type in V1's ``layers``."""
    enum = next(each for each in message.enum_type if each.name == "LayerType")
    for place, (name, numbers) in enumerate(known_forks.v1_types().items()):
        number = _of_fork(candidate.forks, numbers)
        enum.value.add(name=name, number=_FREE + place if number is None else number)


def _of_fork(forks: Sequence[str], numbers: Mapping[str, int]) -> int | None:
    return next((numbers[fork] for fork in forks if fork in numbers), None)


def _message(layer: DescriptorProto, field_name: str, text: str, scope: str) -> str:
    """The full name of a reading's message, which is put into the layer's if it is not BVLC's own."""
    text = text.strip()
    if text in schema.types():
        return schema.types()[text][0]
    name = "".join(word.capitalize() for word in field_name.split("_")) + "eter"
    inherited = schema.parameters().get(field_name) if text.startswith("+") else None
    made = notation.declare(text.removeprefix("+"), inherited.name if inherited else name, scope, schema.types())
    if inherited is not None:
        own = DescriptorProto()
        inherited.CopyToProto(own)
        taken = {each.number for each in made.field} | {each.name for each in made.field}
        made.field.extend(each for each in own.field if each.number not in taken and each.name not in taken)
    layer.nested_type.append(made)
    return f"{scope}.{made.name}"
