"""SHA-256 of what a conversion came from and of what it wrote, made beside the reading and writing.

What a conversion came from is the file without its tensors, and the tensors that were kept; the rest is not read. Its
digest is the SHA-256 of the SHA-256 of the first and those of the kept tensors, as they lie, in the file's order.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from queue import SimpleQueue
from threading import Semaphore, Thread
from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

SMALL = 1 << 18  # bytes that are summed at once rather than handed over
AHEAD = 2  # pieces that may wait to be summed

Sum = Any  # hashlib's objects have no name of their own before Python 3.12


def sha256() -> Sum:
    """A new sum."""
    return hashlib.sha256(usedforsecurity=False)


def of_source(message: bytes, tensors: Iterable[bytes]) -> str:
    """The digest of a source, in hexadecimal: from that of its message, and those of its tensors."""
    return hashlib.sha256(b"".join([message, *tensors]), usedforsecurity=False).hexdigest()


def of_net(source: str, state: Mapping[str, np.ndarray]) -> str:
    """The SHA-256 of what a net computes, in hexadecimal: of its layers, as printed source, and of its weights."""
    found = hashlib.sha256(source.encode(), usedforsecurity=False)
    for name, array in sorted(state.items()):
        found.update(f"{name} {array.dtype} {array.shape}\n".encode())
        found.update(array.data if array.flags.c_contiguous else array.tobytes())
    return found.hexdigest()


class Sums:
    """Adds pieces of data to sums in a thread of its own; a context manager.

    A piece may be overwritten when ``AHEAD`` more were added, or after ``wait``.
    """

    def __init__(self) -> None:
        self._queue: SimpleQueue[tuple[tuple[Sum, ...], Any] | None] = SimpleQueue()
        self._free = Semaphore(AHEAD)
        self._thread: Thread | None = None

    def __enter__(self) -> Sums:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join()

    def add(self, data: memoryview, *sums: Sum) -> None:
        """Let ``data`` be added to each of the sums, after what was added before."""
        if len(data) < SMALL:
            self.wait()
            for each in sums:
                each.update(data)
            return
        if self._thread is None:
            self._thread = Thread(target=self._run, daemon=True)
            self._thread.start()
        self._free.acquire()
        self._queue.put((sums, data))

    def wait(self) -> None:
        """Until everything is added."""
        if self._thread is None:
            return
        for _ in range(AHEAD):
            self._free.acquire()
        self._free.release(AHEAD)

    def _run(self) -> None:
        while (work := self._queue.get()) is not None:
            sums, data = work
            for each in sums:
                each.update(data)
            self._free.release()
