"""nn.Modules that torch lacks. Each stands alone: its source is printed into model.py where a net needs it."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Scale(nn.Module):
    """x * weight (+ bias): one number for each index of some axes; `trailing` axes follow."""

    def __init__(
        self,
        shape: int | tuple[int, ...],
        trailing: int = 2,
        bias: bool = False,
    ) -> None:
        super().__init__()
        self.trailing = trailing
        self.weight = nn.Parameter(torch.ones(shape))
        self.bias = nn.Parameter(torch.zeros(shape)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        behind = (...,) + (None,) * self.trailing
        x = x * self.weight[behind]
        return x if self.bias is None else x + self.bias[behind]


class Bias(nn.Module):
    """x + bias: one number for each index of some axes; `trailing` axes follow."""

    def __init__(self, shape: int | tuple[int, ...], trailing: int = 2) -> None:
        super().__init__()
        self.trailing = trailing
        self.bias = nn.Parameter(torch.zeros(shape))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.bias[(...,) + (None,) * self.trailing]


class ClippedAvgPool2d(nn.Module):
    """Average over windows, each divided by its size clipped to the padded input.

    `pad`: rows and columns of zeros before the input; `end`: behind it, as far as the
    last window reaches.
    """

    def __init__(
        self,
        kernel: int | tuple[int, int],
        stride: int | tuple[int, int],
        pad: tuple[int, int],
        end: tuple[int, int],
    ) -> None:
        super().__init__()
        self.kernel = (kernel, kernel) if isinstance(kernel, int) else kernel
        self.stride = (stride, stride) if isinstance(stride, int) else stride
        self.pad = pad
        self.end = end

    def forward(self, x: Tensor) -> Tensor:
        padded = F.pad(x, (self.pad[1], self.end[1], self.pad[0], self.end[0]))
        sums = F.avg_pool2d(padded, self.kernel, self.stride, divisor_override=1)
        rows, columns = (self.lengths(x, sums, axis) for axis in (0, 1))
        return sums / (rows[:, None] * columns)

    def lengths(self, x: Tensor, sums: Tensor, axis: int) -> Tensor:
        start = torch.arange(sums.shape[axis + 2], device=x.device) * self.stride[axis]
        start = start - self.pad[axis]
        last = x.shape[axis + 2] + self.pad[axis]
        return (start + self.kernel[axis]).clamp(max=last) - start


class MaxPool2dWithMask(nn.Module):
    """Maximum over windows, and where it was: row * width + column, -1 for nowhere."""

    def __init__(
        self,
        kernel: int | tuple[int, int],
        stride: int | tuple[int, int],
        pad: tuple[int, int],
        end: tuple[int, int],
    ) -> None:
        super().__init__()
        self.kernel = kernel
        self.stride = stride
        self.pad = pad
        self.end = end

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        lowest = torch.finfo(x.dtype).min
        sides = (self.pad[1], self.end[1], self.pad[0], self.end[0])
        padded = F.pad(x, sides, value=lowest)
        top, index = F.max_pool2d(padded, self.kernel, self.stride, return_indices=True)
        row = index // padded.shape[3] - self.pad[0]
        column = index % padded.shape[3] - self.pad[1]
        mask = (row * x.shape[3] + column).to(x.dtype)
        return top, torch.where(top == lowest, -1, mask)


def lstm_unit(c: Tensor, gates: Tensor, keep: Tensor) -> tuple[Tensor, Tensor]:
    """One step of an LSTM: the next c and h. Gates: i, f, o, g; `keep` scales c."""
    i, f, o, g = gates.chunk(4, dim=-1)
    c = torch.sigmoid(f) * keep.unsqueeze(-1) * c + torch.sigmoid(i) * torch.tanh(g)
    return c, torch.sigmoid(o) * torch.tanh(c)


class LSTM(nn.Module):
    """Caffe's LSTM: (time, streams, ...) -> (time, streams, size), and the last h and c.

    `cont` (time, streams) scales the state that a step takes over: 0 starts afresh.
    `static` (streams, ...) goes into every step. h and c: (1, streams, size).
    """

    def __init__(self, features: int, size: int, static: int = 0) -> None:
        super().__init__()
        self.input = nn.Linear(features, 4 * size)
        self.static = nn.Linear(static, 4 * size, bias=False) if static else None
        self.hidden = nn.Linear(size, 4 * size, bias=False)

    def forward(
        self,
        x: Tensor,
        cont: Tensor,
        static: Tensor | None = None,
        h: Tensor | None = None,
        c: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        gates = self.input(x.flatten(2))
        if self.static is not None and static is not None:
            gates = gates + self.static(static.flatten(1))
        if h is None or c is None:
            h = c = gates.new_zeros(1, x.shape[1], self.hidden.in_features)
        outputs = []
        for gate, keep in zip(gates.split(1), cont.split(1), strict=True):
            c, h = lstm_unit(c, gate + self.hidden(keep.unsqueeze(-1) * h), keep)
            outputs.append(h)
        return torch.cat(outputs), h, c


class RNN(nn.Module):
    """Caffe's RNN: (time, streams, ...) -> (time, streams, size), and the last h.

    `cont` (time, streams) scales the h that a step takes over: 0 starts afresh.
    `static` (streams, ...) goes into every step. h: (1, streams, size).
    """

    def __init__(self, features: int, size: int, static: int = 0) -> None:
        super().__init__()
        self.input = nn.Linear(features, size)
        self.static = nn.Linear(static, size, bias=False) if static else None
        self.hidden = nn.Linear(size, size, bias=False)
        self.output = nn.Linear(size, size)

    def forward(
        self,
        x: Tensor,
        cont: Tensor,
        static: Tensor | None = None,
        h: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        steps = self.input(x.flatten(2))
        if self.static is not None and static is not None:
            steps = steps + self.static(static.flatten(1))
        if h is None:
            h = steps.new_zeros(1, x.shape[1], self.hidden.in_features)
        states = []
        for step, keep in zip(steps.split(1), cont.split(1), strict=True):
            h = torch.tanh(step + self.hidden(keep.unsqueeze(-1) * h))
            states.append(h)
        return torch.tanh(self.output(torch.cat(states))), h


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


class Largest(nn.Module):
    """Where the k largest numbers along an axis are, and the numbers themselves.

    Of equal numbers the last comes first.
    """

    def __init__(self, k: int = 1, dim: int = 1) -> None:
        super().__init__()
        self.k = k
        self.dim = dim

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        backward = x.flip(self.dim)
        if self.k == 1:
            values, index = backward.max(self.dim, keepdim=True)
        else:
            values, index = backward.sort(stable=True, dim=self.dim, descending=True)
            values = values.narrow(self.dim, 0, self.k)
            index = index.narrow(self.dim, 0, self.k)
        return (x.shape[self.dim] - 1 - index).to(x.dtype), values


class Learned(nn.Module):
    """A learned tensor that needs no input; each call gives a copy."""

    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(shape))

    def forward(self) -> Tensor:
        return self.weight.clone()


class Constant(nn.Module):
    """Tensors that need no input and do not learn; each call gives copies."""

    def __init__(self, *shapes: tuple[int, ...]) -> None:
        super().__init__()
        for index, shape in enumerate(shapes):
            self.register_buffer(f"value{index}", torch.zeros(shape))

    def forward(self) -> Tensor | tuple[Tensor, ...]:
        values = tuple(value.clone() for value in self.buffers())
        return values if len(values) > 1 else values[0]


class BiasedEmbedding(nn.Embedding):
    """A row of the weights for each index, plus a bias."""

    def __init__(self, num_embeddings: int, embedding_dim: int) -> None:
        super().__init__(num_embeddings, embedding_dim)
        self.bias = nn.Parameter(torch.zeros(embedding_dim))

    def forward(self, index: Tensor) -> Tensor:
        return super().forward(index) + self.bias


class TiedLinear(nn.Module):
    """x Wᵀ + b with the weights of another layer, which holds them in `shape`.

    Read row by row they are (out, in), or (in, out) if `transposed`.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        shape: tuple[int, ...],
        transposed: bool = False,
        bias: bool = True,
    ) -> None:
        super().__init__()
        sizes = (out_features, in_features)
        self.sizes = sizes[::-1] if transposed else sizes
        self.transposed = transposed
        self.weight = nn.Parameter(torch.zeros(shape))
        self.bias = nn.Parameter(torch.zeros(out_features)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight.view(self.sizes)
        return F.linear(x, weight.T if self.transposed else weight, self.bias)


class Unfold(nn.Module):
    """What each window over the last axes sees, as channels: F.unfold for any axes.

    `pads` as F.pad takes them, the last axis first; the rest one number an axis.
    """

    def __init__(
        self,
        kernel: tuple[int, ...],
        stride: tuple[int, ...],
        pads: tuple[int, ...],
        dilation: tuple[int, ...],
    ) -> None:
        super().__init__()
        self.kernel = kernel
        self.stride = stride
        self.pads = pads
        self.dilation = dilation

    def forward(self, x: Tensor) -> Tensor:
        axes = len(self.kernel)
        channel = x.ndim - axes - 1
        x = F.pad(x, self.pads)
        for axis in range(axes):
            dilation = self.dilation[axis]
            extent = dilation * (self.kernel[axis] - 1) + 1
            x = x.unfold(channel + 1 + axis, extent, self.stride[axis])[..., ::dilation]
        places = tuple(range(channel + 1, channel + 1 + axes))
        x = x.movedim(tuple(range(-axes, 0)), places)
        return x.flatten(channel, channel + axes)


class PyramidPool(nn.Module):
    """Maxima (or averages) of 1, 2 x 2, 4 x 4, ... equal windows, side by side.

    Where the windows do not divide the input, they reach beyond it on all sides.
    """

    def __init__(self, height: int, average: bool = False) -> None:
        super().__init__()
        self.height = height
        self.average = average

    def forward(self, x: Tensor) -> Tensor:
        levels = [self.level(x, 2**level).flatten(1) for level in range(self.height)]
        return torch.cat(levels, dim=1)

    def level(self, x: Tensor, bins: int) -> Tensor:
        rows, columns = -x.shape[2] % bins, -x.shape[3] % bins
        kernel = ((x.shape[2] + rows) // bins, (x.shape[3] + columns) // bins)
        pads = ((columns + 1) // 2, columns // 2, (rows + 1) // 2, rows // 2)
        if self.average:
            return F.avg_pool2d(F.pad(x, pads), kernel)
        return F.max_pool2d(F.pad(x, pads, value=torch.finfo(x.dtype).min), kernel)


class MeanVarianceNorm(nn.Module):
    """(x - mean) / (deviation + eps) of each channel, or `across` an item's channels.

    Gives 4 axes: 1s behind those of the input.
    """

    def __init__(
        self, across: bool = False, variance: bool = True, eps: float = 1e-9
    ) -> None:
        super().__init__()
        self.axes = (1, 2, 3) if across else (2, 3)
        self.variance = variance
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        x = x[(...,) + (None,) * (4 - x.ndim)]
        centred = x - x.mean(self.axes, keepdim=True)
        if not self.variance:
            return centred
        return centred / (x.std(self.axes, correction=0, keepdim=True) + self.eps)
