"""A probability at every pixel, drawn over its picture."""

from __future__ import annotations

import numpy as np

COLOUR = np.array([255, 40, 120], np.float32)  # of what is surely a face
STRENGTH = 0.65  # of the colour there


def overlaid(picture: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """uint8 (H, W, 3) and a probability 0..1 (H, W) -> the picture, tinted the more the more probable, uint8."""
    share = (STRENGTH * mask.astype(np.float32))[..., None]
    grey = picture.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
    muted = 0.5 * picture + 0.5 * grey[..., None]
    return np.rint(muted * (1 - share) + COLOUR * share).clip(0, 255).astype(np.uint8)
