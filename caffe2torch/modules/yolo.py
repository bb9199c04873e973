"""Darknet's reordering, and what YOLO finds."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from caffe2torch.modules.suppression import overlaps


def reorg(x: Tensor, stride: int, turned: bool = False) -> Tensor:
    """Darknet's: blocks of stride x stride numbers become channels, `stride`² of them.

    But the memory of each item of x is read as that of fewer channels of larger maps.
    `turned`: with height and width changed.
    """
    items, _, height, width = x.shape
    rows, columns = (width, height) if turned else (height, width)
    x = x.reshape(items, -1, rows, stride, columns, stride).permute(0, 3, 5, 1, 2, 4)
    return x.reshape(items, -1, height // stride, width // stride)


def reorg_reverse(x: Tensor, stride: int) -> Tensor:
    """Darknet's: `stride`² groups of channels become blocks of stride x stride pixels."""
    blocks = x.unflatten(1, (stride, stride, -1)).permute(0, 3, 4, 1, 5, 2)
    return blocks.flatten(4, 5).flatten(2, 3)


class Region(nn.Module):
    """YOLOv2's output: sigmoids of x, y and objectness, and the softmax of the classes.

    Of each box there are x, y, width, height (`coords` in all), objectness, classes.
    """

    def __init__(self, boxes: int, coords: int = 4) -> None:
        super().__init__()
        self.boxes = boxes
        self.coords = coords

    def forward(self, x: Tensor) -> Tensor:
        sizes = [2, self.coords - 2, 1]
        box = x.unflatten(1, (self.boxes, -1))
        sizes.append(box.shape[2] - sum(sizes))
        place, size, seen, classes = box.split(sizes, 2)
        parts = (place.sigmoid(), size, seen.sigmoid(), classes.softmax(2))
        return torch.cat(parts, 2).flatten(1, 2)


def yolo_corners(
    shift: Tensor, growth: Tensor, anchors: Tensor, size: tuple[float, float]
) -> Tensor:
    """Corners (boxes, 4), as fractions of a picture, of what YOLO says of each cell.

    shift, growth: (items, height, width, anchors, 2); anchors: (anchors, 2) widths and
    heights in a picture of `size`. If that is not square it is the middle of a square.
    """
    height, width = shift.shape[1:3]
    x = torch.arange(width, device=shift.device).expand(height, width)
    y = torch.arange(height, device=shift.device)[:, None].expand(height, width)
    cells = torch.stack((x, y), -1)[:, :, None]
    centre = (shift.sigmoid() + cells) / shift.new_tensor([width, height])
    inside = shift.new_tensor(size)
    centre = (centre - 0.5) * (inside.max() / inside) + 0.5
    reach = growth.exp() * anchors / inside / 2
    return torch.cat((centre - reach, centre + reach), -1).flatten(0, 3)


def yolo_rows(
    box: Tensor, score: Tensor, label: Tensor, overlap: float, items: int
) -> Tensor:
    """Rows (0, label + 1, score, x1, y1, x2, y2), the best first, as (1, 1, rows, 7).

    A box that a kept one overlaps by `overlap` or more is left out. Where nothing is
    found, there is a row (i, -1, -1, -1, -1, -1, -1) for each item.
    """
    order = score.sort(stable=True, descending=True).indices
    kept = []
    while len(order):
        best, order = order[0], order[1:]
        kept.append(best)
        order = order[~(overlaps(box[best], box[order]) >= overlap)]
    if not kept:
        rows = box.new_full((items, 7), -1)
        rows[:, 0] = torch.arange(items, device=rows.device)
        return rows[None, None]
    place = torch.stack(kept)
    head = torch.stack((label[place] + 1, score[place]), 1)
    return F.pad(torch.cat((head, box[place]), 1), (1, 0))[None, None]


class Yolov3Detections(nn.Module):
    """What YOLOv3 finds in some maps, as rows of `yolo_rows`.

    For each map there are anchors (widths and heights in pixels of the picture), and a
    scale: pixels of the picture to one of the map. Of a map, width * scale counts as the
    picture's width and height.
    `gaussian`: each coordinate is followed by its uncertainty; the objectness is the
    first of the classes.
    """

    def __init__(
        self,
        anchors: tuple[tuple[tuple[float, float], ...], ...],
        scales: tuple[int, ...],
        classes: int,
        threshold: float = 0.01,
        overlap: float = 0.45,
        gaussian: bool = False,
    ) -> None:
        super().__init__()
        self.anchors = anchors
        self.scales = scales
        self.classes = classes
        self.threshold = threshold
        self.overlap = overlap
        self.gaussian = gaussian

    def forward(self, *maps: Tensor) -> Tensor:
        heads = zip(maps, self.anchors, self.scales, strict=True)
        found = zip(*(self.find(*head) for head in heads), strict=True)
        box, score = (torch.cat(each) for each in found)
        place, label = (score > self.threshold).nonzero(as_tuple=True)
        score = score[place, label]
        return yolo_rows(box[place], score, label, self.overlap, len(maps[0]))

    def find(
        self, x: Tensor, anchors: tuple[tuple[float, float], ...], scale: int
    ) -> tuple[Tensor, Tensor]:
        height, width = x.shape[2:]
        x = x.unflatten(1, (len(anchors), -1)).permute(0, 3, 4, 1, 2)
        if self.gaussian:
            place, classes = x[..., :8:2], x[..., 8 : 8 + self.classes].sigmoid()
            seen = x[..., 8:9].sigmoid() * (1 - x[..., 1:8:2].sigmoid().mean(-1, True))
        else:
            place, seen, classes = x.split((4, 1, self.classes), -1)
            seen, classes = seen.sigmoid(), classes.sigmoid()
        side = width * scale
        size = (min(side, width * side // height), min(side, height * side // width))
        shift, growth = place.chunk(2, -1)
        box = yolo_corners(shift, growth, x.new_tensor(anchors), size)
        return box, (classes * seen).flatten(0, 3)


class Yolov2Detections(nn.Module):
    """What YOLOv2 finds in some maps, as rows of `yolo_rows`, with one class for a box.

    Anchors are widths and heights in pixels of the maps.
    """

    def __init__(
        self,
        anchors: tuple[tuple[float, float], ...],
        classes: int,
        threshold: float = 0.01,
        overlap: float = 0.45,
    ) -> None:
        super().__init__()
        self.anchors = anchors
        self.classes = classes
        self.threshold = threshold
        self.overlap = overlap

    def forward(self, *maps: Tensor) -> Tensor:
        found = zip(*(self.find(x) for x in maps), strict=True)
        box, score, label = (torch.cat(each) for each in found)
        place = (score >= self.threshold).nonzero()[:, 0]
        box, score, label = box[place], score[place], label[place]
        return yolo_rows(box, score, label, self.overlap, len(maps[0]))

    def find(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        size = (x.shape[3], x.shape[2])
        x = x.unflatten(1, (len(self.anchors), -1)).permute(0, 3, 4, 1, 2)
        box = yolo_corners(x[..., :2], x[..., 2:4], x.new_tensor(self.anchors), size)
        chance, label = x[..., 5 : 5 + self.classes].softmax(-1).max(-1)
        return box, (x[..., 4].sigmoid() * chance).flatten(), label.flatten()
