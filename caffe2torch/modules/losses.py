"""Losses and accuracy."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def counted(label: Tensor, ignore_label: int | None) -> Tensor:
    """Which labels count."""
    if ignore_label is None:
        return torch.ones_like(label, dtype=torch.bool)
    return label != ignore_label


def loss_divisor(valid: Tensor, mode: str, batch: int) -> Tensor | int:
    """What a sum over labels is divided by; `valid` tells which of them count."""
    if mode == "VALID":
        return valid.sum().clamp(min=1)
    return {"FULL": valid.numel(), "BATCH_SIZE": batch, "NONE": 1}[mode]


def floored_log_softmax(x: Tensor, axis: int, floor: float) -> Tensor:
    """log_softmax, but at least `floor`; its gradient is log_softmax's everywhere."""
    y = F.log_softmax(x, axis).clamp(min=torch.finfo(x.dtype).min)
    return y.clamp(min=floor).detach() + (y - y.detach())


class SoftmaxWithLoss(nn.Module):
    """-log softmax(x)[label], where no softmax counts as less than float32's 1.2e-38."""

    def __init__(
        self,
        axis: int = 1,
        ignore_label: int | None = None,
        normalization: str = "VALID",
    ) -> None:
        super().__init__()
        self.axis = axis
        self.ignore_label = ignore_label
        self.normalization = normalization

    def forward(self, x: Tensor, label: Tensor) -> Tensor:
        log_p = floored_log_softmax(x, self.axis, -87.33654475)
        label = label.long().reshape(x.select(self.axis, 0).shape)
        valid = counted(label, self.ignore_label)
        label = label.where(valid, 0).unsqueeze(self.axis)
        losses = -log_p.gather(self.axis, label).squeeze(self.axis)
        batch = x.shape[: self.axis].numel()
        divisor = loss_divisor(valid, self.normalization, batch)
        return losses.where(valid, 0).sum() / divisor


class InfogainLoss(nn.Module):
    """-log softmax(x), summed with the weights that matrix[label] gives to each class.

    `classes`: the size of a matrix of its own; 0 if it is always given.
    """

    def __init__(
        self,
        axis: int = 1,
        ignore_label: int | None = None,
        normalization: str = "VALID",
        classes: int = 0,
    ) -> None:
        super().__init__()
        self.axis = axis
        self.ignore_label = ignore_label
        self.normalization = normalization
        if classes:
            self.register_buffer("matrix", torch.eye(classes))

    def forward(self, x: Tensor, label: Tensor, matrix: Tensor) -> Tensor:
        log_p = floored_log_softmax(x, self.axis, -46.05170186).movedim(self.axis, -1)
        label = label.long().reshape(log_p.shape[:-1])
        valid = counted(label, self.ignore_label)
        weights = matrix.reshape(-1, x.shape[self.axis])[label.where(valid, 0)]
        losses = -(weights * log_p).sum(-1)
        batch = x.shape[: self.axis].numel()
        divisor = loss_divisor(valid, self.normalization, batch)
        return losses.where(valid, 0).sum() / divisor


class SigmoidCrossEntropyLoss(nn.Module):
    """Cross entropy of sigmoid(x) with targets, some of which do not count."""

    def __init__(self, ignore_label: int, normalization: str = "BATCH_SIZE") -> None:
        super().__init__()
        self.ignore_label = ignore_label
        self.normalization = normalization

    def forward(self, x: Tensor, target: Tensor) -> Tensor:
        target = target.reshape(x.shape)
        valid = counted(target.long(), self.ignore_label)
        losses = F.binary_cross_entropy_with_logits(x, target, reduction="none")
        divisor = loss_divisor(valid, self.normalization, len(x))
        return losses.where(valid, 0).sum() / divisor


class HingeLoss(nn.Module):
    """What x lacks of 1 at the label, and of -1 at every other class."""

    def __init__(self, squared: bool = False) -> None:
        super().__init__()
        self.squared = squared

    def forward(self, x: Tensor, label: Tensor) -> Tensor:
        x = x.reshape(len(x), -1)
        label = label.long().flatten()[: len(x)]
        losses = F.relu(1 + x * (1 - 2 * F.one_hot(label, x.shape[1])))
        return (losses.square() if self.squared else losses).sum() / len(x)


class ContrastiveLoss(nn.Module):
    """Half the squared distance of pairs that are alike, of others what lacks to margin.

    `legacy`: margin - distance^2 instead of (margin - distance)^2.
    """

    def __init__(self, margin: float = 1.0, legacy: bool = False) -> None:
        super().__init__()
        self.margin = margin
        self.legacy = legacy

    def forward(self, a: Tensor, b: Tensor, alike: Tensor) -> Tensor:
        difference = a.reshape(len(a), -1) - b.reshape(len(a), -1)
        distance = torch.linalg.vector_norm(difference, dim=1)
        squared = distance.square()
        apart = F.relu(self.margin - (squared if self.legacy else distance))
        apart = apart if self.legacy else apart.square()
        alike = alike.long().flatten()[: len(a)] != 0
        return torch.where(alike, squared, apart).sum() / (2 * len(a))


class Accuracy(nn.Module):
    """How many labels are among the `top_k` best; a tie counts against the label.

    `per_class`: the same for each class, 0 where no label is of it, as well.
    """

    def __init__(
        self,
        axis: int = 1,
        top_k: int = 1,
        ignore_label: int | None = None,
        per_class: bool = False,
    ) -> None:
        super().__init__()
        self.axis = axis
        self.top_k = top_k
        self.ignore_label = ignore_label
        self.per_class = per_class

    def forward(self, x: Tensor, label: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        label = label.long().reshape(x.select(self.axis, 0).shape)
        valid = counted(label, self.ignore_label)
        label = label.where(valid, 0)
        score = x.gather(self.axis, label.unsqueeze(self.axis))
        better = (x >= score).sum(self.axis) - 1
        right = (better < self.top_k) & valid
        accuracy = right.sum() / valid.sum().clamp(min=1)
        if not self.per_class:
            return accuracy
        classes = F.one_hot(label.flatten(), x.shape[self.axis])
        hits = (classes * right.reshape(-1, 1)).sum(0)
        return accuracy, hits / (classes * valid.reshape(-1, 1)).sum(0).clamp(min=1)
