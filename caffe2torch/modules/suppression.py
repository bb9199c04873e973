"""Overlaps of boxes, and suppression of those that overlap a better one."""

import torch
from torch import Tensor


def overlaps(box: Tensor, others: Tensor, pixel: float = 0.0) -> Tensor:
    """Intersection over union of a box with others (n, 4), given by their corners.

    `pixel`: 1 where the last pixel belongs to a box.
    """
    low, high = others.split(2, dim=1)
    sides = torch.minimum(box[2:], high) - torch.maximum(box[:2], low)
    common = (sides + pixel).prod(1).where((sides >= 0).all(1), 0)
    own = (box[2:] - box[:2] + pixel).clamp(min=0).prod()
    areas = (high - low + pixel).clamp(min=0).prod(1)
    return (common / (own + areas - common)).where(common > 0, 0)


def suppress(
    boxes: Tensor,
    overlap: float,
    eta: float = 1.0,
    pixel: float = 0.0,
    most: int | None = None,
) -> Tensor:
    """Which boxes (n, 4), the best first, stay: those that no kept one overlaps more.

    With each kept box `overlap` shrinks by `eta`, as long as it is above a half.
    """
    worst = boxes.new_zeros(len(boxes))
    kept: list[int] = []
    place = 0
    while len(kept) != most:
        free = (worst[place:] <= overlap).nonzero()
        if not len(free):
            break
        place += int(free[0])
        kept.append(place)
        worst = torch.maximum(worst, overlaps(boxes[place], boxes, pixel))
        place += 1
        if overlap > 0.5:
            overlap *= eta
    return torch.tensor(kept, dtype=torch.long, device=boxes.device)
