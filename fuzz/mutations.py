"""Damage to a file: each step is a kind, a place and a number, so that any of it can be drawn, repeated and reduced."""

from __future__ import annotations

from collections.abc import Callable, Sequence

Step = tuple[str, int, int]
# Numbers at the edges of what fits: as text, and as varints.
NUMBERS = (0, 1, -1, 127, 128, 255, 1 << 15, 1 << 20, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 60, (1 << 63) - 1)


def _cut(data: bytes, place: int, number: int) -> bytes:
    return data[:place]


def _flip(data: bytes, place: int, number: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 1 << number % 8]) + data[place + 1 :]


def _put(data: bytes, place: int, number: int) -> bytes:
    return data[:place] + bytes([number % 256]) + data[place + 1 :]


def _insert(data: bytes, place: int, number: int) -> bytes:
    return data[:place] + bytes([number % 256]) * (1 + number % 9) + data[place:]


def _drop(data: bytes, place: int, number: int) -> bytes:
    return data[:place] + data[place + 1 + number % 50 :]


def _again(data: bytes, place: int, number: int) -> bytes:
    return data[: place + number % 200] + data[place:]


def _move(data: bytes, place: int, number: int) -> bytes:
    part = data[place : place + 1 + number % 100]
    rest = data[:place] + data[place + len(part) :]
    to = number % (len(rest) + 1)
    return rest[:to] + part + rest[to:]


def _varint(data: bytes, place: int, number: int) -> bytes:
    value, out = NUMBERS[number % len(NUMBERS)] & (1 << 64) - 1, bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return data[:place] + bytes([*out, value]) + data[place + 1 :]


def _digits(data: bytes, place: int, number: int) -> bytes:
    """The number that stands at or behind a place, as another one."""
    start = next((at for at in range(place, len(data)) if 48 <= data[at] < 58), len(data))
    end = next((at for at in range(start, len(data)) if not 48 <= data[at] < 58), len(data))
    return data[:start] + str(NUMBERS[number % len(NUMBERS)]).encode() + data[end:]


KINDS: dict[str, Callable[[bytes, int, int], bytes]] = {
    "cut": _cut,
    "flip": _flip,
    "put": _put,
    "insert": _insert,
    "drop": _drop,
    "again": _again,
    "move": _move,
    "varint": _varint,
    "digits": _digits,
}


def mutated(data: bytes, steps: Sequence[Step]) -> bytes:
    """The file after these steps; places count around its end."""
    for kind, place, number in steps:
        if data:
            data = KINDS[kind](data, place % len(data), number)
    return data
