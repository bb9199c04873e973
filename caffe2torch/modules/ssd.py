"""What SSD finds."""

import torch
from torch import Tensor, nn

from caffe2torch.modules.suppression import suppress


class DetectionOutput(nn.Module):
    """What SSD finds: rows (image, label, score, x1, y1, x2, y2) as (1, 1, rows, 7).

    They stand by image, label and falling score. Of a class the `top_k` best above
    `threshold` take part in suppression; of an image the `keep` best remain.
    `shared`: one box for all classes. `encoded`: variances are in the locations.
    Where nothing is found, there is a row (i, -1, -1, -1, -1, -1, -1) for each image.
    """

    def __init__(
        self,
        classes: int,
        code: str = "CORNER",
        shared: bool = True,
        background: int = 0,
        encoded: bool = False,
        threshold: float | None = None,
        overlap: float = 0.3,
        eta: float = 1.0,
        top_k: int | None = None,
        keep: int | None = None,
    ) -> None:
        super().__init__()
        self.classes = classes
        self.code = code
        self.shared = shared
        self.labels = [label for label in range(classes) if label != background]
        self.encoded = encoded
        self.threshold = threshold
        self.overlap = overlap
        self.eta = eta
        self.top_k = top_k
        self.keep = keep

    def forward(self, location: Tensor, score: Tensor, prior: Tensor) -> Tensor:
        images = len(score)
        prior = prior.reshape(2, -1, 1, 4)
        classes = 1 if self.shared else self.classes
        boxes = self.decode(location.reshape(images, -1, classes, 4), *prior)
        score = score.reshape(images, -1, self.classes)
        rows = torch.cat([self.find(i, boxes[i], score[i]) for i in range(images)])
        if not len(rows):
            rows = score.new_full((images, 7), -1)
            rows[:, 0] = torch.arange(images, device=rows.device)
        return rows[None, None]

    def decode(self, change: Tensor, prior: Tensor, variance: Tensor) -> Tensor:
        if not self.encoded:
            change = variance * change
        if self.code == "CORNER":
            return prior + change
        low, high = prior.chunk(2, -1)
        size = high - low
        if self.code == "CORNER_SIZE":
            return prior + change * torch.cat((size, size), -1)
        shift, growth = change.chunk(2, -1)
        centre = shift * size + (low + high) / 2
        reach = growth.exp() * size / 2
        return torch.cat((centre - reach, centre + reach), -1)

    def find(self, image: int, boxes: Tensor, scores: Tensor) -> Tensor:
        rows = [boxes.new_zeros(0, 7)]
        for label in self.labels:
            box = boxes[:, 0 if self.shared else label]
            score, order = scores[:, label].sort(stable=True, descending=True)
            if self.threshold is not None:
                order = order[score > self.threshold]
            order = order[: self.top_k]
            order = order[suppress(box[order], self.overlap, self.eta)]
            head = box.new_tensor([image, label]).expand(len(order), 2)
            rows.append(torch.cat((head, scores[order, label, None], box[order]), 1))
        found = torch.cat(rows)
        if self.keep is None or len(found) <= self.keep:
            return found
        best = found[:, 2].sort(stable=True, descending=True).indices[: self.keep]
        return found[best.sort().values]
