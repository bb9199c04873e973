"""The headers of a protobuf file, read through a small window; payloads are jumped over."""

from __future__ import annotations

from io import FileIO
from pathlib import Path
from typing import NoReturn

import numpy as np

from caffe2torch.errors import WireError
from caffe2torch.lookalikes import HEAD, lookalike
from caffe2torch.tensors import TensorFile, reading

WINDOW = 1 << 14  # bytes read at a time
MOST_FIELDS = 1 << 20  # a net of a thousand layers has some twenty thousand
MOST_BYTES = 1 << 26  # of a net without its tensors
DEEPEST_GROUP = 100  # as in protobuf

VARINT, FIXED64, BYTES, GROUP, END_GROUP, FIXED32 = range(6)  # wire types; 6 and 7 do not exist

Field = tuple[int, int, int, int]  # number, wire type, where the value begins, where it ends


class Headers:
    """One open file that should be a ``kind``, known by its first byte if ``first`` gives one.

    All positions are bytes from the file's start.

    Every method raises WireError where the bytes are no protobuf message. Time and memory are bounded for hostile
    files: so many fields, so many bytes beside the tensors, no recursion.
    """

    def __init__(self, file: FileIO, path: Path, kind: str, first: bytes | None = None) -> None:
        self.file = TensorFile.of(file, path)
        self._raw = file
        self._kind = f"an {kind}" if kind[0] in "AEIO" else f"a {kind}"
        self._first = first
        self._fields = 0
        self._copied = 0
        self._load(0)
        self._head = self._window[:HEAD]
        if not self.file.size:
            raise WireError(f"{path}: the file is empty; {self._kind} was expected")

    def field(self, position: int, end: int) -> Field:
        """The field at ``position`` of a message that ends at ``end``; a group counts as one field."""
        number, wire, value, after = self._token(position, end)
        if wire == GROUP:
            after = self._end_of_group(number, after, end)
        elif wire == END_GROUP:
            self.fail("a group ends that was not open", position)
        return number, wire, value, after

    def same_tags(self, position: int, after: int, end: int) -> int:
        """Where a run of equally tagged fields of one size ends; the first lies from ``position`` to ``after``.

        Its tag is one byte long. Looks at blocks of up to a megabyte, not at one field after another.
        """
        stride = after - position
        tag = self._peek(position, position + 1)[0]
        block = 64 * stride
        while True:
            seen = np.frombuffer(self._peek(after, min(after + block, end)), np.uint8)
            tags = seen[: len(seen) // stride * stride : stride]
            others = np.flatnonzero(tags != tag)
            if len(others) or not len(tags):
                return after + stride * int(others[0] if len(others) else 0)
            after += stride * len(tags)
            block = min(block * 4, 1 << 20)

    def varint(self, position: int, end: int) -> tuple[int, int]:
        """A number of at most 10 bytes, and where it ends."""
        window, at = self._window, position - self._window_start
        if at < 0 or (at + 10 > len(window) and self._window_start + len(window) < self.file.size):
            self._load(position)
            window, at = self._window, 0
        result = 0
        for index in range(10):
            if position + index >= end or at + index >= len(window):
                self._overrun(position, position + index + 1, end)
            byte = window[at + index]
            result |= (byte & 0x7F) << 7 * index
            if byte < 0x80:
                return result & 0xFFFF_FFFF_FFFF_FFFF, position + index + 1
        self.fail("a number of more than 10 bytes", position)

    def copy(self, start: int, end: int) -> bytes:
        """Bytes that are no tensor's; of a whole file there may be only so many."""
        self._copied += end - start
        if self._copied > MOST_BYTES:
            self.fail(f"more than {MOST_BYTES >> 20} MiB beside its tensors, as no net has", start)
        return self._peek(start, end)

    def fail(self, reason: str, position: int = 0) -> NoReturn:
        """Raise a WireError that says what is wrong and where, or what the file seems to be instead."""
        found = self._lookalike()
        if found:
            raise WireError(f"{self.file.path}: not {self._kind}; it looks like {found}")
        raise WireError(f"{self.file.path}: not {self._kind}, or a damaged one: at byte {position:,}: {reason}")

    def _end_of_group(self, number: int, position: int, end: int) -> int:
        unclosed = [number]
        while unclosed:
            inner, wire, _, after = self._token(position, end)
            if wire == GROUP:
                unclosed.append(inner)
                if len(unclosed) > DEEPEST_GROUP:
                    self.fail(f"more than {DEEPEST_GROUP} groups within each other", position)
            elif wire == END_GROUP and inner != unclosed.pop():
                self.fail("a group ends that was not open", position)
            position = after
        return position

    def _token(self, position: int, end: int) -> Field:
        """As ``field``, but the beginning and the end of a group are fields of their own."""
        self._fields += 1
        if self._fields > MOST_FIELDS:
            self.fail(f"more than {MOST_FIELDS:,} fields, as no net has", position)
        tag, value = self.varint(position, end)
        number, wire = tag >> 3, tag & 7
        if wire == BYTES:
            length, value = self.varint(value, end)
            after = value + length
        elif wire == VARINT:
            after = self.varint(value, end)[1]
        elif wire == FIXED32:
            after = value + 4
        elif wire == FIXED64:
            after = value + 8
        elif wire in (GROUP, END_GROUP):
            after = value
        else:
            self.fail(f"wire type {wire} does not exist", position)
        if not 0 < number < 1 << 29:
            self.fail(f"field number {number} does not exist", position)
        if after > end:
            self._overrun(position, after, end)
        return number, wire, value, after

    def _overrun(self, position: int, after: int, end: int) -> NoReturn:
        if end < self.file.size or self._lookalike():
            self.fail("a field reaches beyond the message that holds it", position)
        raise WireError(
            f"{self.file.path}: cut short, or not {self._kind}: the field at byte {position:,} "
            f"needs {after - position:,} bytes, of which {end - position:,} are there; copy or download the file again"
        )

    def _lookalike(self) -> str | None:
        """What other kind of file it seems to be."""
        return None if self._head[:1] == self._first else lookalike(self._head)

    def _peek(self, start: int, end: int) -> bytes:
        at = start - self._window_start
        if at < 0 or end - self._window_start > len(self._window):
            if end - start > WINDOW:
                return self._read(start, end - start)
            self._load(start)
            at = 0
        return self._window[at : at + end - start]

    def _load(self, position: int) -> None:
        self._window = self._read(position, WINDOW)
        self._window_start = position

    def _read(self, position: int, count: int) -> bytes:
        with reading(self.file.path):
            self._raw.seek(position)
            return self._raw.read(count)
