"""Pictures inside a page: small, as data URLs."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
from PIL import Image

from caffe2torch import whole_file
from caffe2torch.errors import DataError
from finetune.data.source import Source, read_source

SIDE = 128  # pixels of a thumbnail's longer side
MOST = 1 << 24  # bytes of a plot
LEAST = 32  # smaller pictures are enlarged to it by whole pixels


def thumbnail(source: Source, side: int = SIDE) -> str | None:
    """A data URL of the picture, not larger than ``side``; None if it cannot be read any more."""
    try:
        image = Image.fromarray(read_source(source))
    except (DataError, ValueError, OSError):
        return None
    if max(image.size) < LEAST:
        factor = -(-LEAST // max(image.size))
        image = image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=82)
    return _url("jpeg", file.getvalue())


def png_file(path: Path) -> str | None:
    """A data URL of a PNG that the run wrote; None if it is not there. Raises FileError for anything too large."""
    return _url("png", whole_file.read(path, MOST)) if path.is_file() else None


def heat(shares: np.ndarray, side: int = 720) -> str:
    """A data URL of a matrix of shares 0..1, white to dark blue, wrong ones (off the diagonal) white to red."""
    share = np.sqrt(np.clip(shares, 0, 1))[:, :, None]  # small shares can be seen
    diagonal = np.eye(len(shares), dtype=bool)[:, :, None]
    colour = np.where(diagonal, [30, 80, 140], [200, 40, 40])
    pixels = (255 + share * (colour - 255)).astype(np.uint8)
    factor = max(1, side // len(shares))
    image = Image.fromarray(pixels.repeat(factor, axis=0).repeat(factor, axis=1))
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True)
    return _url("png", file.getvalue())


def _url(kind: str, content: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"
