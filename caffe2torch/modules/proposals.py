"""What a region proposal network finds."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from caffe2torch.modules.suppression import suppress


def moved_anchors(
    anchors: tuple[tuple[float, ...], ...], stride: int, change: Tensor, info: Tensor
) -> Tensor:
    """Anchors of every place of a map, moved and grown, cut to the picture.

    `change`: (items, 4 * anchors, height, width); `info`: the picture's height, width.
    Gives corners (items, boxes, 4); the last pixel belongs to a box.
    """
    height, width = change.shape[2:]
    y = torch.arange(height, device=change.device)[:, None].expand(height, width)
    x = torch.arange(width, device=change.device).expand(height, width)
    shifts = torch.stack((x, y, x, y), -1)[:, :, None] * stride
    boxes = (shifts + change.new_tensor(anchors)).reshape(-1, 4)
    size = boxes[:, 2:] - boxes[:, :2] + 1
    centre = boxes[:, :2] + size / 2
    change = change.unflatten(1, (-1, 4)).permute(0, 3, 4, 1, 2).flatten(1, 3)
    shift, growth = change.chunk(2, -1)
    centre = shift * size + centre
    reach = growth.exp() * size / 2
    corners = torch.cat((centre - reach, centre + reach), -1)
    return corners.minimum(info[[1, 0, 1, 0]] - 1).clamp(min=0)


def side_lengths(boxes: Tensor) -> Tensor:
    """Width and height of boxes to which their last pixel belongs."""
    return boxes[..., 2:] - boxes[..., :2] + 1


def quicksorted(scores: Tensor) -> Tensor:
    """The order in which PVANet's quicksort leaves scores: falling, not stable.

    It parts a segment by its first score: from both ends the k-th lesser and the k-th
    greater one change places as long as the lesser stands before; then the first changes
    with the last greater one. Here all segments are parted at once.
    """
    count = len(scores)
    order = places = torch.arange(count, device=scores.device)
    first, last = torch.zeros_like(order), torch.full_like(order, count - 1)
    while (scores[order] != scores[order][first]).any():
        pivot = scores[order][first]
        less, more = scores[order] < pivot, scores[order] > pivot
        rank_less, rank_more = less.cumsum(0), more.cumsum(0)
        rank_less = rank_less - rank_less[first]
        rank_more = rank_more[last] - rank_more + 1
        low, high = torch.full_like(order, count), torch.full_like(order, -1)
        low[(first + rank_less)[less]] = places[less]
        high[(first + rank_more)[more]] = places[more]
        change = low < high
        partner = places.clone()
        partner[low[change]] = high[change]
        partner[high[change]] = low[change]
        order = order[partner]
        greater = scores[order] > pivot
        middle = places.where(greater, first).cummax(0).values[last]
        partner = places.where(places != middle, first)
        order = order[partner.where(places != first, middle)]
        before, behind = places < middle, places > middle
        first = first.where(before, (middle + 1).where(behind, places))
        last = (middle - 1).where(before, last.where(behind, places))
    return order


class Proposal(nn.Module):
    """Regions (item, x1, y1, x2, y2) that a region proposal network finds, and scores.

    `anchors` are corners, a map's places lie `stride` pixels apart. A box with a side of
    less than `least` pixels (times the picture's scales if `scaled`) has score 0.
    `before` take part in suppression, `after` remain at most.
    """

    def __init__(
        self,
        anchors: tuple[tuple[float, ...], ...],
        stride: int,
        least: int,
        overlap: float,
        before: int,
        after: int,
        scaled: bool = False,
    ) -> None:
        super().__init__()
        self.anchors = anchors
        self.stride = stride
        self.least = least
        self.overlap = overlap
        self.before = before
        self.after = after
        self.scaled = scaled

    def forward(
        self, score: Tensor, change: Tensor, info: Tensor
    ) -> tuple[Tensor, Tensor]:
        info = info.flatten()
        boxes = moved_anchors(self.anchors, self.stride, change, info)
        scale = info[[3, 2]] if self.scaled else torch.ones_like(info[:2])
        score = score.chunk(2, 1)[1].permute(0, 2, 3, 1).flatten(1)
        score = score * (side_lengths(boxes) >= self.least * scale).all(-1)
        rows, scores = [], []
        for item in range(len(score)):
            order = quicksorted(score[item])[: self.before]
            box = boxes[item, order]
            order = order[suppress(box, self.overlap, pixel=1, most=self.after)]
            rows.append(F.pad(boxes[item, order], (1, 0), value=item))
            scores.append(score[item, order])
        return torch.cat(rows), torch.cat(scores)


class PythonProposal(nn.Module):
    """Regions (0, x1, y1, x2, y2) that a region proposal network finds, and scores.

    `anchors` are corners, a map's places lie `stride` pixels apart. A box with a side of
    less than `least` pixels times the picture's scale does not count. `before` take
    part in suppression, `after` remain at most.
    """

    def __init__(
        self,
        anchors: tuple[tuple[float, ...], ...],
        stride: int,
        least: int,
        overlap: float,
        before: int,
        after: int,
    ) -> None:
        super().__init__()
        self.anchors = anchors
        self.stride = stride
        self.least = least
        self.overlap = overlap
        self.before = before
        self.after = after

    def forward(
        self, score: Tensor, change: Tensor, info: Tensor
    ) -> tuple[Tensor, Tensor]:
        info = info.flatten()
        boxes = moved_anchors(self.anchors, self.stride, change, info)[0]
        score = score.chunk(2, 1)[1].permute(0, 2, 3, 1).flatten()
        large = (side_lengths(boxes) >= self.least * info[2]).all(-1)
        boxes, score = boxes[large], score[large]
        order = score.sort(stable=True, descending=True).indices[: self.before]
        box = boxes[order]
        order = order[suppress(box, self.overlap, pixel=1, most=self.after)]
        return F.pad(boxes[order], (1, 0)), score[order, None]
