"""Caffe's text files as messages: what Caffe would not read is an error that says at which line.

The layers of Caffe's forks are read as their readings say (readings.py). Fields of forks that change nothing at
inference, as in data layers and losses, are passed over and told.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from dataclasses import field as make
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from caffe2torch import forks, limits, registry, schema
from caffe2torch.errors import FileError, TextError
from caffe2torch.fields import plain_text
from caffe2torch.fitting import Fit, Way, meant
from caffe2torch.layers import DATA_TYPES
from caffe2torch.readings import V1, Candidate, candidates, types_with
from caffe2torch.tensors import open_file
from caffe2torch.text_format import LONGEST, Reader, complete
from caffe2torch.tokens import Tokens
from caffe2torch.upgrade import type_name

_LAYERS = ("caffe.LayerParameter", "caffe.V1LayerParameter")
_WHOLE = ("NetParameter", "LayerParameter", "V1LayerParameter")


@dataclass
class Text:
    """A text file's message, how its layers may be read where a fork has their type, and what was passed over."""

    message: Any
    fits: dict[int, Fit] = make(default_factory=dict)
    passed: list[str] = make(default_factory=list)  # outside of layers


def read(path: Path, kind: str = "NetParameter") -> Any:
    """The message that a text file holds.

    FileError if the file cannot be read; TextError, with line and column, for what Caffe would not read.
    """
    return parse(_bytes(path), str(path), kind)


def read_net(path: Path, fork: str | None = None) -> Text:
    """As ``read``, of a net with layers of Caffe's forks; ``fork``: the one whose reading is meant."""
    return _parse(_bytes(path), str(path), "NetParameter", fork)


def parse(raw: bytes, where: str, kind: str = "NetParameter") -> Any:
    """As ``read``, of a file's content; ``where`` names it in errors."""
    return _parse(raw, where, kind).message


def _bytes(path: Path) -> bytes:
    try:
        with open_file(path) as file:
            raw = file.read(limits.TEXT + 1)
    except OSError as error:
        raise FileError(f"{path}: cannot be read: {error.strerror or error}") from error
    limits.check_text(len(raw), path)
    if b"\0" in raw:
        raise TextError(f"{path}: not text; a prototxt was expected. Is it a .caffemodel?")
    return raw


def _parse(raw: bytes, where: str, kind: str, fork: str | None = None) -> Text:
    text = Text(schema.message(kind)())
    reader = _NetReader(Tokens(raw, where), text, fork)
    while reader.tokens.token.kind != "end":
        reader.field(text.message)
    complete(text.message, where)
    return text


class _NetReader(Reader):
    """Reads layers by their types."""

    def __init__(self, tokens: Tokens, text: Text, fork: str | None) -> None:
        super().__init__(tokens)
        self.text, self.fork = text, fork
        self.kind = ""  # the type of the layer that is being read
        self.passed = text.passed

    def value(self, message: Any, field: Any) -> None:
        """As of every message; of layers, and of engines that only forks have, otherwise."""
        if field.message_type is not None and field.message_type.full_name in _LAYERS:
            holder = getattr(message, field.name)
            inner = holder.add()
            limits.check_layers(len(holder), self.tokens.where)
            self._layer(inner, (len(holder) - 1) if message is self.text.message else None)
        elif field.name == "engine" and field.enum_type is not None and self._strange_engine(field):
            self.passed.append(f"{message.DESCRIPTOR.name}.engine")
        else:
            super().value(message, field)

    def _strange_engine(self, field: Any) -> bool:
        """Whether an engine of a fork comes next, such as MKLDNN; it is passed over, as it computes the same."""
        token = self.tokens.token
        strange = token.kind == "word" and token.text not in field.enum_type.values_by_name
        if strange:
            self.tokens.take()
        return strange

    def _layer(self, message: Any, place: int | None) -> None:
        """A layer by the readings of its type; ``message`` gets what BVLC's schema has of it."""
        tokens = self.tokens
        start, generation = tokens.mark(), message.DESCRIPTOR.name
        self.kind = self._type_ahead(generation)
        self.passed, before = [], self.passed
        ways = self._ways(message, start)
        if place is not None and (ways or self.passed):
            self.text.fits[place] = Fit(tuple(ways), passed=tuple(dict.fromkeys(self.passed)))
        self.kind, self.passed = "", before

    def _ways(self, message: Any, start: Any) -> list[Way]:
        ways: list[Way] = []
        faults: list[tuple[int, TextError]] = []
        seen: dict[Any, int | None] = {}  # messages that were tried, and the way that came of them
        for candidate in sorted(meant(_candidates(self.kind, message.DESCRIPTOR), self.fork), key=_asked):
            if candidate.asked and ways:
                break
            lines = tuple((name, line) for name, (_, line) in candidate.fields.items())
            if lines in seen:  # forks that differ in numbers only, which texts have not
                place = seen[lines]
                if place is not None:
                    ways[place] = Way(ways[place].forks + candidate.forks, ways[place].message)
                continue
            seen[lines] = None
            self.tokens.back(start)
            passed = len(self.passed)
            read = candidate.message(message.DESCRIPTOR.name)()
            try:
                self.message(read)
                complete(read, self.tokens.where)
            except TextError as error:
                faults.append((self.tokens.token.start, error))
                del self.passed[passed:]
                continue
            seen[lines] = len(ways)
            ways.append(Way(candidate.forks, read))
            end = self.tokens.mark()
            if forks.BVLC in candidate.forks:
                break
        if not ways and faults:
            raise max(faults, key=lambda fault: fault[0])[1]
        if not ways:
            self.message(message)
            return []
        self.tokens.back(end)
        common = type(ways[0].message).FromString(ways[0].message.SerializePartialToString())
        for field, _ in common.ListFields():
            known = message.DESCRIPTOR.fields_by_name.get(field.name)
            if known is None or known.number != field.number or known.message_type is not field.message_type:
                common.ClearField(field.name)
        message.MergeFromString(common.SerializePartialToString())
        return ways

    def _type_ahead(self, generation: str) -> str:
        """The type of the layer whose block begins here, as today's files name it; "" if it has none."""
        tokens, start = self.tokens, self.tokens.mark()
        found, depth = "", 0
        with suppress(TextError):  # what cannot be read is told when it is read in earnest
            while tokens.token.kind != "end":
                token = tokens.take()
                depth += (token.text in ("{", "<")) - (token.text in ("}", ">"))
                if depth == 0:
                    break
                if depth == 1 and token.text == "type" and tokens.found(":"):
                    found = self._type_name(generation)
                    break
        tokens.back(start)
        return found

    def _type_name(self, generation: str) -> str:
        token = self.tokens.token
        if generation == "LayerParameter":
            return plain_text(self.tokens.string())
        if token.kind == "integer":
            names = schema.message(generation).DESCRIPTOR.fields_by_name["type"].enum_type.values_by_number
            number = -1 if len(token.text) > LONGEST else int(token.text, 0)
            return type_name(names[number].name) if number in names else ""
        return type_name(token.text)

    def unknown(self, descriptor: Any, name: str) -> None:
        """Skip a field that the schema does not know, if nothing depends on it; TextError otherwise."""
        if not descriptor.fields:  # a message that nobody looks into, as SSD's save_output_param
            self._skip()
            return
        near = get_close_matches(name, [field.name for field in descriptor.fields], 1, cutoff=0.85)
        known = forks.who_knows(descriptor.name, name)
        stranger = self.kind not in ("", "Input", *DATA_TYPES) and registry.find(self.kind) is None
        if not (
            forks.harmless(descriptor.name, name)
            or forks.neutral(descriptor.name, name, self._value_ahead())
            or stranger  # that its type is not known is the graver fault, and tells more
            or (self._unused(descriptor) and (known or not near))
        ):
            self.tokens.fail(_no_field(descriptor, name, self.kind, near, known))
        inside = "" if descriptor.name in _WHOLE else f"{descriptor.name}."
        self.passed.append(inside + name)
        self._skip()

    def _value_ahead(self) -> str:
        """The text of a single value behind the name that comes next."""
        tokens = self.tokens
        start = tokens.mark()
        tokens.take()
        minus = "-" if tokens.found(":") and tokens.found("-") else ""
        found = minus + tokens.token.text.strip("\"'")
        tokens.back(start)
        return found

    def _skip(self) -> None:
        self.tokens.take()
        self.tokens.skip_value()
        self.tokens.found(";", ",")

    def _unused(self, descriptor: Any) -> bool:
        """Whether inference does not depend on a message of the present layer: it serves training, or brings data."""
        return descriptor.name == "TransformationParameter" or (self.kind != "" and not registry.infers(self.kind))


def _asked(candidate: Candidate) -> bool:
    return candidate.asked


def _candidates(kind: str, descriptor: Any) -> tuple[Candidate, ...]:
    """The ways to read a layer; of a V1 type that only forks have, one at least."""
    registry.find(kind)  # declares what forks have in it
    found = candidates(kind)
    if not found and descriptor.name == V1 and any(type_name(name) == kind for name in forks.v1_types()):
        return (Candidate(kind, (), {}, frozenset()),)
    return found


def _no_field(descriptor: Any, name: str, kind: str, near: list[str], known: list[str]) -> str:
    """Why a field cannot be read: a slip of the pen, a fork's field where it has none, or nobody's."""
    said = f"{descriptor.name} has no field {name!r}"
    if near:
        return f"{said}; did you mean {near[0]}?"
    where = f" on a layer of type {kind}" if kind else ""
    if known:
        registry.load_all()
        types = types_with(name) if descriptor.name in _WHOLE else []
        understood = f"; it is understood on layers of type {', '.join(types)}" if types else ""
        return (
            f"{said} in BVLC's Caffe{understood}. It is known by {forks.titles(known)}, but not understood{where}: "
            "leave it out if the layer computes the same without it"
        )
    return (
        f"{said}{where}; it may be a field of one of Caffe's forks: "
        "leave it out if the layer computes the same without it"
    )
