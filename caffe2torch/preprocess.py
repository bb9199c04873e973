"""What a picture goes through before a net sees it: size, channel order, mean, scale."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from io import BufferedReader
from pathlib import Path
from typing import Any

import numpy as np

from caffe2torch import limits
from caffe2torch.errors import CaffeError, FileError
from caffe2torch.net import Input
from caffe2torch.tensors import open_file

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601: grey of RGB, as OpenCV and Pillow make it
ORDERS = {"BGR": 3, "RGB": 3, "GRAY": 1}


@dataclass(frozen=True)
class Preprocessing:
    """Network input = (pixel in ``channel_order`` - mean) * scale, for pixels from 0 to 255."""

    channel_order: str = "BGR"  # or RGB, GRAY
    mean: tuple[float, ...] | None = None  # one value a channel, in channel_order; None: not known
    scale: float = 1.0
    size: tuple[int, int] | None = None  # height, width
    assumed: bool = False  # the channel order is Caffe's own, told by nothing

    def __post_init__(self) -> None:
        if self.channel_order not in ORDERS:
            raise CaffeError(f"channel order {self.channel_order!r} is not one of {', '.join(ORDERS)}")
        if self.mean is not None and len(self.mean) != ORDERS[self.channel_order]:
            raise CaffeError(
                f"the mean has {len(self.mean)} values, {self.channel_order} pictures have "
                f"{ORDERS[self.channel_order]} channels"
            )

    @property
    def channels(self) -> int:
        """Channels of the net's input."""
        return ORDERS[self.channel_order]

    def text(self) -> str:
        """``BGR, 0 to 255, minus (104, 117, 123)``; ``BGR (assumed), 0 to 255, mean not known``"""
        words = f"{self.channel_order}{' (assumed)' if self.assumed else ''}, 0 to 255"
        if self.mean is None:
            return f"{words}, mean not known"
        if any(self.mean):
            words += f", minus ({', '.join(f'{value:g}' for value in self.mean)})"
        return words if self.scale == 1 else f"{words}, times {self.scale:g}"

    def to_json(self) -> dict[str, Any]:
        """As kept in config.json."""
        return {
            "channel_order": self.channel_order,
            "mean": None if self.mean is None else list(self.mean),
            "scale": self.scale,
            "size": None if self.size is None else list(self.size),
            "assumed": self.assumed,
        }

    @classmethod
    def from_json(cls, given: Mapping[str, Any]) -> Preprocessing:
        """Of what ``to_json`` gave; CaffeError where it is something else."""
        try:
            mean, size = given.get("mean"), given.get("size")
            return cls(
                str(given["channel_order"]),
                None if mean is None else tuple(float(value) for value in mean),
                float(given.get("scale", 1.0)),
                None if size is None else (int(size[0]), int(size[1])),
                bool(given.get("assumed", False)),
            )
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            raise CaffeError(f"preprocessing is not what was expected: {error}") from error

    def of_input(self, entry: Input) -> Preprocessing:
        """With what the net's data layer says of mean and scale."""
        mean = entry.mean * self.channels if len(entry.mean) == 1 else entry.mean
        return replace(self, mean=mean or self.mean, scale=entry.scale)


def read_mean(text: str, channels: int) -> tuple[float, ...]:
    """``--mean``: numbers as ``104,117,123``, a .binaryproto or a .npy (a picture is averaged to one value a channel).

    FileError if it is none of these, or of another number of channels.
    """
    path = Path(text)
    if path.suffix == ".npy":
        values = _per_channel(_load_npy(path), text)
    elif path.suffix == ".binaryproto" or path.is_file():
        values = _per_channel(load_binaryproto(path), text)
    else:
        try:
            values = tuple(float(part) for part in text.split(","))
        except ValueError:
            what = "no such file, nor numbers"
            if os.path.lexists(path):
                what = "a folder, pipe or device" if path.exists() else "a link that leads nowhere"
            raise FileError(f"--mean {text}: {what}; give B,G,R (as 104,117,123), a .binaryproto or a .npy") from None
    if len(values) == 1:
        values *= channels
    if len(values) != channels:
        raise FileError(f"--mean {text}: {len(values)} values for {channels} channels")
    if not np.isfinite(values).all():
        raise FileError(f"--mean {text}: not all values are numbers")
    return values


def _per_channel(picture: np.ndarray, text: str) -> tuple[float, ...]:
    shape = picture.shape[-3:] if picture.ndim >= 3 else (picture.size, 1, 1)
    if picture.size == 0 or picture.size != np.prod(shape):
        raise FileError(f"--mean {text}: shape {picture.shape} is no mean picture (channels x height x width)")
    array = picture.reshape(shape)
    return tuple(round(float(value), 6) for value in array.mean(axis=(1, 2), dtype=np.float64))


def _load_npy(path: Path) -> np.ndarray:
    try:
        with BufferedReader(open_file(path)) as file:
            _check_size(path, os.fstat(file.fileno()).st_size)
            return np.asarray(np.load(file, allow_pickle=False), np.float64)
    except FileError:
        raise
    except (OSError, ValueError, TypeError, EOFError, MemoryError) as error:
        raise FileError(f"{path}: not a .npy of numbers: {error}") from error


def _check_size(path: Path, size: int) -> None:
    if size > limits.MEAN:
        raise FileError(f"{path}: {size:,} bytes; a mean picture has {limits.MEAN:,} at most")


def load_binaryproto(path: Path) -> np.ndarray:
    """The blob in a .binaryproto as float32, in its shape; FileError (or WireError) if it cannot be read."""
    from caffe2torch import schema, wire

    walk = wire.walk_blob(path)
    _check_size(path, walk.file.size)
    message: Any = schema.message("BlobProto")()
    message.ParseFromString(walk.message)
    shape = tuple(message.shape.dim) or (message.num, message.channels, message.height, message.width)
    values = wire.read(walk, walk.place)
    if values.size != np.prod(shape):
        raise FileError(f"{path}: says {shape}, but holds {values.size} numbers")
    return values.reshape(shape)
