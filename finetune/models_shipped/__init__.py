"""The models that come with the package; the file beside each says what it was trained on and what it can do."""

from __future__ import annotations

from pathlib import Path

FACES = "anime_face.onnx"


def default_model() -> Path:
    """The detector of `onnx detect` where no other is named."""
    return Path(__file__).with_name(FACES)
