"""Which forks of Caffe there are, and which fields each has that BVLC's has not: the table forks.json.

Gathered from the forks' own caffe.proto files: of a field, the number that each fork gave it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from caffe2torch.errors import CaffeError

TABLE = Path(__file__).with_name("forks.json")
BVLC = "bvlc"


@cache
def _table() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(TABLE.read_text(encoding="utf-8"))
    return found


def names() -> list[str]:
    """The forks by the names that `--fork` takes."""
    return [BVLC, *_table()["forks"]]


def title(name: str) -> str:
    """The repository of a fork: ``alexgkendall/caffe-segnet``; the name itself for a plugin's own."""
    if name == BVLC:
        return "BVLC/caffe"
    found = _table()["forks"].get(name)
    return str(found[0]) if found else name


def titles(forks: Iterable[str]) -> str:
    """Several repositories, for a message."""
    return ", ".join(map(title, forks))


def canonical(name: str, more: Iterable[str] = ()) -> str:
    """The fork that a name, a short name or a repository means; ``more``: forks that plugins bring.

    CaffeError lists the known ones.
    """
    known = {each: each for each in (*names(), *more)}
    for fork, (repository, short) in _table()["forks"].items():
        known |= {short: fork, repository.lower(): fork, repository.split()[0].lower(): fork}
    found = known.get(name.strip().lower())
    if found is None:
        raise CaffeError(f"no fork {name!r} is known; known are {', '.join(sorted(set(known.values())))}")
    return found


def numbers(field: str, v1: bool = False) -> Mapping[str, int]:
    """The number of a LayerParameter's (or V1LayerParameter's) field, by fork; {} if no fork is known to have it."""
    found: Mapping[str, int] = _table()["v1_fields" if v1 else "fields"].get(field, {})
    return found


def v1_types() -> Mapping[str, Mapping[str, int]]:
    """The numbers of the forks' own types of V1 layers: enum name -> fork -> number."""
    found: Mapping[str, Mapping[str, int]] = _table()["v1_types"]
    return found


def who_knows(message: str, field: str) -> list[str]:
    """The forks whose message of this name has the field, where BVLC's has not."""
    if message == "LayerParameter":
        return list(numbers(field))
    if message == "V1LayerParameter":
        return list(numbers(field, v1=True)) or list(numbers(field))
    return list(_table()["subfields"].get(message, {}).get(field, ()))


def harmless(message: str, field: str) -> bool:
    """Whether a fork's field of a message changes nothing that a net computes at inference, such as an engine."""
    found: Mapping[str, list[str]] = _table()["harmless"]
    return field in found["*"] or field in found.get(message, ())


def neutral(message: str, field: str, value: str) -> bool:
    """Whether a value, as a text has it, leaves a fork's field of a message as if it were not there: its default."""
    default: str | None = _table()["neutral"].get(message, {}).get(field)
    if default is None or value == default:
        return default is not None
    truths = {"true": 1.0, "True": 1.0, "t": 1.0, "false": 0.0, "False": 0.0, "f": 0.0}
    try:
        return _number(value, truths) == _number(default, truths)
    except ValueError:
        return False


def wire_type(message: str, field: str) -> int:
    """How a binary file holds a fork's field: 0 for a varint, 1 and 5 for 8 and 4 bytes, 2 for a length."""
    return int(_table()["wires"].get(message, {}).get(field, 2))


def meanings(message: str, number: int, wire: int) -> dict[str, list[str]]:
    """The fields that forks gave a number of a message, and that are held in this way: field -> forks."""
    every = _table()["fields" if message == "LayerParameter" else "subfields"]
    named = every if message == "LayerParameter" else every.get(message, {})
    found: dict[str, list[str]] = {}
    for field, by_fork in named.items():
        having = [fork for fork, given in by_fork.items() if given == number]
        found |= {field: having} if having and wire_type(message, field) == wire else {}
    return found


def neutral_word(message: str, field: str) -> bool:
    """Whether a fork's field leaves things as they are at an enum's first name, which a binary file has as 0."""
    default = _table()["neutral"].get(message, {}).get(field, "")
    return default in ("NONE_FUSION", "None", "tflite")


def _number(text: str, truths: Mapping[str, float]) -> float:
    return truths[text] if text in truths else float(text.rstrip("fF"))


def fields_of_number(number: int) -> dict[str, list[str]]:
    """The fields that forks gave a number of LayerParameter: field -> forks."""
    found: dict[str, list[str]] = {}
    for field, by_fork in _table()["fields"].items():
        found |= {field: having} if (having := [fork for fork, given in by_fork.items() if given == number]) else {}
    return found
