"""Features of pictures kept on disk: computed once, found again by what they were computed from.

A store is a folder for one way of computing features. Each run that computes some writes a segment of its own: the
features one after another in NAME.rows, and then their keys in NAME.keys. A segment that a killed run left counts as
far as both go. So nothing needs a lock, and nothing is ever changed; a store, or all, may be deleted at any time.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import IO, Any

import numpy as np

from caffe2torch.errors import OutputError
from caffe2torch.files import FULL, write_whole

KEY_BYTES = 16
FLUSHED = 64 << 20  # bytes of features between two appearances of keys
MAPPED = 256 << 20  # bytes of a mapping that are read before its pages are handed back to the system
FORMAT = "features 1"
ELSEWHERE = "--cache-folder puts them elsewhere, --no-cache runs the trunk in every epoch instead"


def default_cache() -> Path:
    """$XDG_CACHE_HOME/caffe2torch/features; without that, below ~/.cache."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "caffe2torch" / "features"


def key_of(digest: bytes, mirrored: bool) -> bytes:
    """The key of a picture with that digest of its bytes, or of its mirror image."""
    return hashlib.sha256(digest + (b"mirrored" if mirrored else b"")).digest()[:KEY_BYTES]


@dataclass
class Segment:
    """What one run wrote: ``keys`` and a view of as many rows."""

    keys: list[bytes]
    rows: np.ndarray
    mapping: mmap.mmap
    read: int = field(default=0)  # bytes since its pages were last handed back

    def hand_back(self) -> None:
        """Give the mapping's pages back to the system: the process does not grow with what it has read."""
        self.read = 0
        if hasattr(mmap, "MADV_DONTNEED"):  # not on Windows
            self.mapping.madvise(mmap.MADV_DONTNEED)


class Store:
    """The features of one way of computing them: rows of ``shape`` and ``dtype`` (float16 or float32)."""

    def __init__(self, cache: Path, about: Mapping[str, Any], shape: tuple[int, ...], half: bool) -> None:
        """``about`` says all that the features depend on beside the picture; it names the folder."""
        self.shape = shape
        self.dtype = np.dtype(np.float16 if half else np.float32)
        said = {"format": FORMAT, **about, "shape": list(shape), "dtype": self.dtype.name}
        text = json.dumps(said, indent=1, sort_keys=True, ensure_ascii=False)
        self.folder = cache / hashlib.sha256(text.encode()).hexdigest()[:24]
        self._text = text
        self._segments: list[Segment] = []
        self._places: dict[bytes, int] = {}
        self.reopen()

    @property
    def row_bytes(self) -> int:
        """Of one picture, or of its mirror image."""
        return prod(self.shape) * self.dtype.itemsize

    def reopen(self) -> None:
        """Look at what is there now, of this run and of others."""
        self._segments = [found for path in sorted(self.folder.glob("*.keys")) if (found := self._segment(path))]
        self._places = {}
        start = 0
        for segment in self._segments:
            for place, key in enumerate(segment.keys):
                self._places.setdefault(key, start + place)
            start += len(segment.keys)

    def __contains__(self, key: bytes) -> bool:
        return key in self._places

    def places(self, keys: Sequence[bytes]) -> np.ndarray:
        """Where the features of each key are, int64; -1 where they are not kept."""
        return np.array([self._places.get(key, -1) for key in keys], np.int64)

    def rows(self, places: np.ndarray) -> np.ndarray:
        """The features at those places, (N, *shape), a copy."""
        found = np.empty((len(places), *self.shape), self.dtype)
        start = 0
        for segment in self._segments:
            here = (places >= start) & (places < start + len(segment.keys))
            if here.any():
                found[here] = segment.rows[places[here] - start]
                segment.read += int(here.sum()) * self.row_bytes
                if segment.read > MAPPED:
                    segment.hand_back()
            start += len(segment.keys)
        return found

    @contextmanager
    def writing(self) -> Iterator[Writer]:
        """A new segment to write to; what was written is to be found after ``reopen``.

        Raises OutputError when the disk is full; what was written until then counts.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if not (self.folder / "about.json").exists():
                write_whole(self.folder / "about.json", self._text + "\n")
            stem = self.folder / f"{time.time_ns():x}-{os.getpid()}"
            with open(f"{stem}.rows", "xb") as rows, open(f"{stem}.keys", "xb") as keys:
                writer = Writer(self, rows, keys)
                try:
                    yield writer
                finally:
                    writer.flush()
        except OSError as error:
            if error.errno not in FULL:
                raise
            raise OutputError(f"{self.folder.parent}: the disk is full; {ELSEWHERE}") from error

    def check_room(self, rows: int) -> None:
        """Raise OutputError unless the disk has room for that many more."""
        place = self.folder
        while not place.exists():
            place = place.parent
        free, needed = shutil.disk_usage(place).free, rows * self.row_bytes
        if needed > free:
            raise OutputError(
                f"{self.folder.parent}: the features need {needed / 1e6:,.1f} MB, {free / 1e6:,.1f} MB are free; "
                + ELSEWHERE
            )

    def _segment(self, path: Path) -> Segment | None:
        """A segment as far as it is whole; None for one without a row."""
        rows = path.with_suffix(".rows")
        try:
            written = path.read_bytes()
            with open(rows, "rb") as file:
                count = min(len(written) // KEY_BYTES, os.fstat(file.fileno()).st_size // self.row_bytes)
                if not count:
                    return None
                mapping = mmap.mmap(file.fileno(), count * self.row_bytes, access=mmap.ACCESS_READ)
        except FileNotFoundError:  # deleted meanwhile
            return None
        keys = [written[start : start + KEY_BYTES] for start in range(0, count * KEY_BYTES, KEY_BYTES)]
        view = np.frombuffer(mapping, self.dtype).reshape(count, *self.shape)
        return Segment(keys, view, mapping)


class Writer:
    """Appends features to a segment; their keys follow when they are on the disk."""

    def __init__(self, store: Store, rows: IO[bytes], keys: IO[bytes]) -> None:
        self._store, self._rows, self._keys = store, rows, keys
        self._pending: list[bytes] = []
        self._bytes = 0

    def add(self, keys: Sequence[bytes], features: np.ndarray) -> None:
        """Keep features (N, *shape), float32. Raises OutputError for values that half precision has not."""
        with np.errstate(over="ignore"):
            kept = np.ascontiguousarray(features, self._store.dtype).reshape(len(keys), *self._store.shape)
        if not np.isfinite(kept).all():
            if np.isfinite(features).all():
                raise OutputError(
                    f"features up to {np.abs(features).max():.3g} are too large for half precision: --features full"
                )
            raise OutputError("the trunk gives features that are no numbers (NaN or infinite); are its weights whole?")
        self._rows.write(kept.data)
        self._pending += keys
        self._bytes += kept.nbytes
        if self._bytes >= FLUSHED:
            self.flush()

    def flush(self) -> None:
        """Bring features and then keys to the disk."""
        self._rows.flush()
        os.fsync(self._rows.fileno())
        self._keys.write(b"".join(self._pending))
        self._keys.flush()
        self._pending, self._bytes = [], 0
