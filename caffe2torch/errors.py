"""Every error that is about something a user gave us.

    CaffeError
    ├── FileError            a file is missing, unreadable or not what it should be
    │   ├── WireError        bytes that are not a .caffemodel
    │   └── TextError        text that is not a .prototxt
    ├── NetError             the net cannot be built: what Caffe refuses, and what we cannot convert
    ├── ShapeError           the net does not say how large its input is
    ├── OutputError          the place to write to exists already, or cannot be written
    ├── VerifyError          what was written does not compute what it should
    ├── DataError            pictures and folders of pictures
    ├── ModelError           an ONNX file or a training run that is not ours
    └── DeviceError          a device or an execution provider that is not to be had

A message says what is wrong, where (file, layer, field), why, and what to do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

LONGEST = 1_000  # characters of a reason that are shown: a hostile file can make it of megabytes
MOST_TOLD = 100  # problems of one net that are told; 20,000 layers can have one each


class CaffeError(Exception):
    """Base of all errors about a user's file, net, data or machine."""


class FileError(CaffeError):
    """A file is missing, unreadable or not what it should be."""


class WireError(FileError):
    """Bytes that are not a .caffemodel."""


class TextError(FileError):
    """Text that is not a .prototxt."""


class ShapeError(CaffeError):
    """The net does not say how large its input is."""


class OutputError(CaffeError):
    """The place to write to exists already, or cannot be written."""


class VerifyError(CaffeError):
    """What was written does not compute what it should."""


class DataError(CaffeError):
    """Pictures, or folders of pictures, that cannot be used."""


class ModelError(CaffeError):
    """An ONNX file or a training run that is not ours, or is damaged."""


class DeviceError(CaffeError):
    """A device or an execution provider that was asked for and is not to be had."""


@dataclass(frozen=True)
class Problem:
    """One layer that cannot be converted, and why."""

    layer: str
    type: str
    reason: str

    def __str__(self) -> str:
        reason = self.reason
        if len(reason) > LONGEST:  # of a long shape in it, the middle goes
            reason = f"{reason[: LONGEST // 2]} … {reason[3 - LONGEST // 2 :]}"
        return f"{self.layer} ({self.type}): {reason}"


class NetError(CaffeError):
    """The net cannot be built: what Caffe refuses, and what we cannot convert.

    ``problems`` holds one entry a layer where single layers are to blame, else it is empty.
    """

    def __init__(self, message: str, problems: Sequence[Problem] = ()) -> None:
        super().__init__(message)
        self.problems = tuple(problems)

    @classmethod
    def of(cls, problems: Sequence[Problem], layers: int, where: str) -> NetError:
        """One error for all problems of a net of ``layers`` layers; the first of many are told."""
        head = f"{where}: {len(problems)} of {layers} layers cannot be converted:"
        return cls("\n".join([head, *(f"  {line}" for line in told(problems))]), problems)


def told(problems: Sequence[Problem]) -> list[str]:
    """A line for each of the first problems, and one that counts the others."""
    others = [f"… and {len(problems) - MOST_TOLD:,} more"] if len(problems) > MOST_TOLD else []
    return [*map(str, problems[:MOST_TOLD]), *others]
