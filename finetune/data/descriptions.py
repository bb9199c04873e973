"""Descriptions of pictures: alike where pictures are, whether mirrored, turned by 90°, resized or saved again.

A picture is described by its low frequencies (a cosine transform of 16 x 16 coefficients, as perceptual hashes use)
weighted by frequency, so that fine differences count as much as coarse ones, relative to its contrast; and by its mean
colour. Mirroring and turning only change signs of the coefficients and transpose them, so all eight positions of a
picture are compared without decoding it again.
"""

from __future__ import annotations

import functools

import numpy as np

FREQUENCIES = 16
LENGTH = FREQUENCIES * FREQUENCIES + 3  # of a description
CONTRAST = 6.0  # levels (0..255) below which a picture counts as flat, weighted by frequency
COLOUR = 0.007  # of distance, for a level of the mean colour

# Parts of a picture that are described too: what is cut off left, above, right and below, as shares of the sides.
CUT = 0.05
PARTS = (
    (CUT / 2, CUT / 2, CUT / 2, CUT / 2),
    (0, 0, CUT, CUT), (CUT, 0, 0, CUT), (0, CUT, CUT, 0), (CUT, CUT, 0, 0),
    (CUT, CUT, CUT, CUT),
)  # fmt: skip


def describe(pictures: np.ndarray) -> np.ndarray:
    """Descriptions float16 (N, 259) of pictures uint8 (N, H, W, 3)."""
    height, width = pictures.shape[1:3]
    values = np.asarray(pictures, np.float32)
    luma = values @ np.array([0.299, 0.587, 0.114], np.float32)
    found = _basis(height) @ luma @ _basis(width).T
    found[:, 0, 0] = 0
    places = np.arange(FREQUENCIES)
    found *= np.hypot(places[:, None], places[None])
    flat = found.reshape(len(found), FREQUENCIES**2)
    flat /= np.sqrt((flat**2).sum(axis=1, keepdims=True) + CONTRAST**2)
    return np.concatenate([flat, values.mean(axis=(1, 2)) * COLOUR], axis=1).astype(np.float16)


def describe_parts(pictures: np.ndarray) -> np.ndarray:
    """Descriptions float16 (N, 6, 259) of the PARTS of pictures uint8 (N, H, W, 3)."""
    height, width = pictures.shape[1:3]
    found = []
    for left, above, right, below in PARTS:
        rows = slice(round(height * above), height - round(height * below))
        found.append(describe(pictures[:, rows, round(width * left) : width - round(width * right)]))
    return np.stack(found, axis=1)


def distance(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Distances float32 (N,) of pairs described (N, 259), each in the position of ``right`` that is nearest."""
    one, other = np.asarray(left, np.float32), np.asarray(right, np.float32)
    colour = ((one[:, -3:] - other[:, -3:]) ** 2).sum(axis=1)
    square, turned = (part[:, :-3].reshape(-1, FREQUENCIES, FREQUENCIES) for part in (one, other))
    energy = (square**2).sum(axis=(1, 2)) + (turned**2).sum(axis=(1, 2))
    odd = np.arange(FREQUENCIES) % 2
    alike = np.full(len(one), -np.inf, np.float32)
    for position in (turned, turned.transpose(0, 2, 1)):
        product = square * position
        # The sums over even and odd rows and columns; mirroring changes the sign of the odd ones.
        parts = [[product[:, odd == a][:, :, odd == b].sum(axis=(1, 2)) for b in (0, 1)] for a in (0, 1)]
        for rows in (1, -1):
            for columns in (1, -1):
                total = parts[0][0] + columns * parts[0][1] + rows * (parts[1][0] + columns * parts[1][1])
                alike = np.maximum(alike, total)
    return np.asarray(np.sqrt(np.maximum(energy - 2 * alike, 0) + colour))


def invariant(descriptions: np.ndarray) -> np.ndarray:
    """float32 (N, 139): what mirroring and turning leave as it is, and no further apart than the pictures are."""
    square = np.asarray(descriptions[:, :-3], np.float32).reshape(-1, FREQUENCIES, FREQUENCIES) ** 2
    rows, columns = np.triu_indices(FREQUENCIES)
    paired = np.where(rows == columns, 0, square[:, columns, rows])
    return np.concatenate(
        [np.sqrt(square[:, rows, columns] + paired), np.asarray(descriptions[:, -3:], np.float32)], axis=1
    )


@functools.cache
def _basis(length: int) -> np.ndarray:
    """float32 (16, length): a side's cosine transform such that the squares of a picture's coefficients sum to its
    variance at most; frequencies that so few pixels cannot have are 0."""
    frequency, place = np.arange(FREQUENCIES)[:, None], np.arange(length)[None]
    waves = np.cos(np.pi * (2 * place + 1) * frequency / (2 * length)) * np.sqrt(2) / length
    waves[0] /= np.sqrt(2)
    waves[length:] = 0
    return np.asarray(waves, np.float32)
