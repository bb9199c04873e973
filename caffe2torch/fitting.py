"""Which forks' readings fit a layer out of a binary file: its fields' numbers and shapes decide.

Text has names, so there it is enough that a reading's message takes all of them (prototxt.py).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from typing import Any

from google.protobuf.message import DecodeError

from caffe2torch import fields, forks, registry, strangers
from caffe2torch.errors import NetError
from caffe2torch.readings import V1, Candidate, candidates
from caffe2torch.upgrade import type_name

_COMMON = frozenset({"transform_param", "loss_param"})


@dataclass(frozen=True)
class Way:
    """A layer as one fork or several would read it: a LayerParameter, or V1LayerParameter, with their fields."""

    forks: tuple[str, ...]
    message: Any


@dataclass(frozen=True)
class Fit:
    """All ways to read one layer; ``misread`` says why there is none."""

    ways: tuple[Way, ...] = ()
    misread: str = ""
    passed: tuple[str, ...] = ()  # fields of a text that were passed over


@dataclass(frozen=True)
class _Judged:
    candidate: Candidate
    message: Any
    unknown: tuple[str, ...]
    foreign: int  # messages of other layer types
    missing: tuple[str, ...]  # required fields that are not there

    @property
    def worth(self) -> tuple[int, int, int, bool]:
        """The less, the better it fits."""
        return len(self.unknown), self.foreign, len(self.missing), self.candidate.asked

    @property
    def own(self) -> bool:
        """Whether a field of the fork's is there."""
        return any(self.message.HasField(name) for name in self.candidate.fields)

    def differs(self, other: _Judged) -> bool:
        """Whether it takes what is there for something else than the other does."""
        names = [name for name in self.candidate.fields if self.message.HasField(name)]
        return any(_content(self.message, name) != _content(other.message, name) for name in names)

    @property
    def inner(self) -> tuple[str, ...]:
        """What lies in the fork's fields and it does not know."""
        return tuple(name for name in self.unknown if name.split(".")[0] in self.candidate.fields and "=" not in name)


def meant(found: Sequence[Candidate], fork: str | None) -> tuple[Candidate, ...]:
    """The candidates of a fork that was asked for; all of them where it has no say in the matter."""
    asked = tuple(each for each in found if fork in each.forks)
    return asked or tuple(found)


def of_net(net: Any, where: str, fork: str | None = None, raw: bytes = b"") -> dict[int, Fit]:
    """How the layers of a binary NetParameter are to be read, by place, for the types that a fork has.

    ``raw``: the bytes it was read from, since a number that BVLC's schema takes for a bool would be lost.

    NetError where two forks have different V1 types of one number, and the layers do not tell which they are.
    """
    found = {} if net.layer else _v1_types(net.layers, where, fork)
    contents = _contents(raw, 100 if net.layer else 2)
    for place, layer in enumerate(net.layer or net.layers):
        kind = fields.plain_text(layer.type if net.layer else type_name(_enum_name(layer)))
        registry.find(kind)  # declares what forks have in it
        declared = candidates(kind)
        if declared and place not in found:
            generation = "LayerParameter" if net.layer else V1
            forced = any(fork in each.forks for each in declared)
            content = contents[place] if contents else layer.SerializePartialToString()
            found[place] = fit(content, meant(declared, fork), generation, forced)
        fitting = found.get(place, Fit())
        refused = fitting.misread
        if not refused and registry.infers(kind):  # what serves training matters to none
            refused = strangers.refusal(fitting.ways[0].message if fitting.ways else layer, fork)
        if refused:
            found[place] = replace(fitting, misread=refused)
    return _of_one_fork(found)


def _contents(raw: bytes, number: int) -> list[bytes]:
    """The layers' own bytes."""
    from google.protobuf.empty_pb2 import Empty
    from google.protobuf.unknown_fields import UnknownFieldSet

    found = UnknownFieldSet(Empty.FromString(raw))
    return [field.data for field in found if field.field_number == number and field.wire_type == 2]


def fit(content: bytes, declared: Sequence[Candidate], generation: str = "LayerParameter", forced: bool = False) -> Fit:
    """Judge a layer's bytes by every candidate. ``forced``: the user named the fork, so nothing is refused."""
    judged = [each for each in (_judge(candidate, content, generation) for candidate in declared) if each is not None]
    if not judged:
        return Fit(misread=f"no fork's fields fit what the file has for it; known are {_who(declared)}")
    best = [each for each in judged if each.worth == min(other.worth for other in judged)]
    if forks.BVLC in best[0].candidate.forks:
        best = [best[0], *(each for each in best[1:] if each.differs(best[0]))]
    ways = tuple(Way(each.candidate.forks, each.message) for each in best)
    return Fit(ways, _lacking(best[0]) or ("" if forced else _misread(best)))


def _content(message: Any, name: str) -> Any:
    known = message.DESCRIPTOR.fields_by_name.get(name)
    return {**fields.from_message(getattr(message, name))} if known is not None and message.HasField(name) else None


def _of_one_fork(found: dict[int, Fit]) -> dict[int, Fit]:
    """Of several ways to read a layer those of the fork, or forks, that all others are of which only forks have."""
    sure = [{fork for way in fit.ways for fork in way.forks} for fit in found.values() if fit.ways]
    sure = [named for named in sure if named and forks.BVLC not in named]
    common = set.intersection(*sure) if sure else set()
    return {place: replace(fit, ways=_of_forks(fit.ways, common)) for place, fit in found.items()}


def _of_forks(ways: tuple[Way, ...], common: set[str]) -> tuple[Way, ...]:
    """BVLC's own way stays, unless each of the forks has another."""
    own = [way for way in ways if common.intersection(way.forks)]
    if len(ways) < 2 or not own:
        return ways
    every = common <= {fork for way in own for fork in way.forks}
    return tuple(way for way in ways if way in own or (forks.BVLC in way.forks and not every))


def _judge(candidate: Candidate, content: bytes, generation: str) -> _Judged | None:
    message = candidate.message(generation)()
    try:
        message.ParseFromString(content)
    except (DecodeError, ValueError):
        return None
    unknown = tuple(name for name in fields.unknown(message) if not name.startswith("blobs."))
    own = candidate.own | candidate.fields.keys() | _COMMON
    present = {field.name for field, _ in message.ListFields() if field.name.endswith("_param")}
    return _Judged(candidate, message, unknown, len(present - own), tuple(message.FindInitializationErrors()))


def _lacking(best: _Judged) -> str:
    return f"its required field {best.missing[0]} is missing in the file" if best.missing else ""


def _misread(best: Sequence[_Judged]) -> str:
    """Why even the best readings are none: a field of a variant that nobody described, instead of their own."""
    first = best[0]
    if forks.BVLC in first.candidate.forks:
        return ""
    who = _who([each.candidate for each in best])
    if first.inner:
        return f"its {first.inner[0]} is a field that {who} does not have; --fork NAME reads it nevertheless"
    strange = _strange(first, {fork for each in best for fork in each.candidate.forks})
    if strange and not any(each.own for each in best):
        known = "; ".join(f"{name} in {forks.titles(of)}" for name, of in forks.fields_of_number(strange[0]).items())
        return (
            f"it has a field {strange[0]}, which no fork known to have this layer gave it "
            f"({known or 'no fork is known to use the number'}); --fork NAME reads it without that field"
        )
    return ""


def _strange(judged: _Judged, having: AbstractSet[str]) -> list[int]:
    """The numbers under which a layer's own fields may lie: not those of what cannot but be harmless in the forks
    ``having`` the layer.

    Nor is a message of BVLC's sure to be what it seems, where forks have its number and the type has no use for it.
    """
    from google.protobuf.unknown_fields import UnknownFieldSet

    found = [
        each.field_number
        for each in UnknownFieldSet(judged.message)
        if str(each.field_number) in judged.unknown and not _harmless(each, having)
    ]
    own = judged.candidate.own | judged.candidate.fields.keys() | _COMMON
    others = [field for field, _ in judged.message.ListFields() if field.name.endswith("_param")]
    return found + [each.number for each in others if each.name not in own and forks.fields_of_number(each.number)]


def _harmless(found: Any, having: AbstractSet[str]) -> bool:
    """Whether an unknown field of LayerParameter can be one that changes nothing."""
    known = forks.meanings("LayerParameter", found.field_number, found.wire_type)
    return any(forks.harmless("LayerParameter", name) and not having.isdisjoint(of) for name, of in known.items())


def _who(found: Sequence[Candidate]) -> str:
    return ", ".join(dict.fromkeys(forks.title(fork) for each in found for fork in each.forks)) or found[0].type


def _enum_name(layer: Any) -> str:
    value = layer.DESCRIPTOR.fields_by_name["type"].enum_type.values_by_number.get(layer.type)
    return str(value.name) if value is not None and layer.HasField("type") else "NONE"


def _v1_types(layers: Any, where: str, asked: str | None) -> dict[int, Fit]:
    """The V1 layers whose type BVLC does not know: the whole file is one fork's, the one that fits all of them."""
    numbers: dict[int, int] = {}
    for place, layer in enumerate(layers):
        strange = next((name for name in fields.unknown(layer) if re.fullmatch(r"type=\d+", name)), "")
        numbers |= {place: int(strange.removeprefix("type="))} if strange else {}
    if not numbers:
        return {}
    by_fork: dict[str, dict[int, str]] = {}
    for name, given in forks.v1_types().items():
        for fork, number in given.items():
            by_fork.setdefault(fork, {})[number] = name
    fits: dict[str, dict[int, Fit]] = {}
    for fork, names in by_fork.items():
        if set(numbers.values()) <= names.keys() and asked in (None, fork):
            found = {place: _v1_fit(layers[place], fork, type_name(names[number])) for place, number in numbers.items()}
            if all(each.ways and not each.misread for each in found.values()):
                fits[fork] = found
    if len({tuple(by_fork[fork][number] for number in numbers.values()) for fork in fits}) > 1:
        raise NetError(
            f"{where}: layer {layers[next(iter(numbers))].name!r} and others have types by numbers that mean "
            f"different layers in {forks.titles(fits)}; say which is meant: --fork {next(iter(fits))}"
        )
    return next(iter(fits.values()), {})


def _v1_fit(layer: Any, fork: str, kind: str) -> Fit:
    registry.find(kind)
    declared = [each for each in candidates(kind) if fork in each.forks]
    own = declared or [Candidate(kind, (fork,), {}, frozenset())]
    return fit(layer.SerializePartialToString(), own, V1)
