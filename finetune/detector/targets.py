"""What the network should say at every cell, and how far it is from that."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

from finetune.detector.network import STRIDE

SPREAD = 0.54  # part of a box whose cells learn its edges (TTFNet, Liu et al. 2019, alpha)
BOX_WEIGHT = 5.0


class Targets(NamedTuple):
    """Of N pictures with h x w cells; see ``targets``."""

    heat: torch.Tensor  # [N, h, w], 1 at the cell of a face's middle, falling off as a Gaussian
    counted: torch.Tensor  # [N, h, w], 0 where it counts neither way
    boxes: torch.Tensor  # [N, h, w, 4], x0 y0 x1 y1 in pixels
    weight: torch.Tensor  # [N, h, w], how much a cell's box counts


def targets(boxes: Sequence[np.ndarray], ignored: Sequence[np.ndarray], size: tuple[int, int]) -> Targets:
    """Targets of pictures of ``size`` (height, width) with ``boxes`` float [K, 4] and ``ignored`` areas float [M, 4].

    The Gaussian is as wide as the box times SPREAD / 6, as in TTFNet; the larger of two boxes gives way to the
    smaller. A box's weights sum to the logarithm of its area in cells, so that large faces do not drown small ones.
    """
    height, width = size[0] // STRIDE, size[1] // STRIDE
    heat = np.zeros((len(boxes), height, width), np.float32)
    counted, weight = np.ones_like(heat), np.zeros_like(heat)
    edges = np.zeros((len(boxes), height, width, 4), np.float32)
    x, y = np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)[:, None]
    for n, (found, left_out) in enumerate(zip(boxes, ignored, strict=True)):
        for x0, y0, x1, y1 in np.rint(left_out / STRIDE).astype(int).clip(0).tolist():
            counted[n, y0 : y1 + 1, x0 : x1 + 1] = 0
        area = (found[:, 2] - found[:, 0]) * (found[:, 3] - found[:, 1]) / STRIDE**2
        for k in np.argsort(-area):
            x0, y0, x1, y1 = (found[k] / STRIDE).tolist()
            column, row = min(int((x0 + x1) / 2), width - 1), min(int((y0 + y1) / 2), height - 1)
            spread = max(x1 - x0, 1.0) * SPREAD / 6, max(y1 - y0, 1.0) * SPREAD / 6
            bell = np.exp(-(((x - column) / spread[0]) ** 2) / 2 - ((y - row) / spread[1]) ** 2 / 2)
            heat[n] = np.maximum(heat[n], bell)
            inside = bell > 0.02
            edges[n][inside] = found[k]
            weight[n][inside] = (bell / bell[inside].sum() * max(1.0, np.log(max(area[k], 1.0) + 1)))[inside]
            counted[n, row, column] = 1
    arrays = (torch.from_numpy(array) for array in (heat, counted, edges, weight))
    return Targets(*arrays)


def face_loss(logits: torch.Tensor, heat: torch.Tensor, counted: torch.Tensor) -> torch.Tensor:
    """CornerNet's focal loss (Law and Deng 2018, alpha 2, beta 4), summed and divided by the number of faces."""
    peak = heat >= 0.9999
    probability = logits.sigmoid()
    at_peaks = F.logsigmoid(logits) * (1 - probability) ** 2
    elsewhere = F.logsigmoid(-logits) * probability**2 * (1 - heat) ** 4 * counted
    return -torch.where(peak, at_peaks, elsewhere).sum() / peak.sum().clamp(min=1)


def box_loss(distances: torch.Tensor, boxes: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """1 - generalised IoU (Rezatofighi et al. 2019) of cells that have a weight, averaged by it."""
    cells = weight > 0
    if not cells.any():
        return distances.sum() * 0
    given, wanted, weight = edges(distances)[cells], boxes[cells], weight[cells]
    overlap = (
        torch.minimum(given[:, 2:], wanted[:, 2:]) - torch.maximum(given[:, :2], wanted[:, :2])
    ).clamp(min=0).prod(1)  # fmt: skip
    union = (given[:, 2:] - given[:, :2]).prod(1) + (wanted[:, 2:] - wanted[:, :2]).prod(1) - overlap
    hull = (torch.maximum(given[:, 2:], wanted[:, 2:]) - torch.minimum(given[:, :2], wanted[:, :2])).prod(1)
    loss = 1 - overlap / union + (hull - union) / hull
    return (loss * weight).sum() / weight.sum()


def edges(distances: torch.Tensor) -> torch.Tensor:
    """Distances [N, h, w, 4] from the middles of cells to x0, y0, x1, y1 in pixels."""
    height, width = distances.shape[1:3]
    x = (torch.arange(width, device=distances.device) + 0.5) * STRIDE
    y = (torch.arange(height, device=distances.device) + 0.5) * STRIDE
    left, top, right, bottom = distances.unbind(-1)
    return torch.stack([x - left, y[:, None] - top, x + right, y[:, None] + bottom], -1)
