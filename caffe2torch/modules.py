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


def unpool(x: Tensor, places: Tensor, size: tuple[int, int]) -> Tensor:
    """Each number of x at its place, row * width + column, in a map of `size`.

    0 elsewhere; of numbers with one place the last stays.
    """
    zeros = x.new_zeros(*x.shape[:2], size[0] * size[1])
    places = places.long().flatten(2)
    return zeros.scatter(2, places, x.flatten(2)).unflatten(2, size)


def unpool_corners(x: Tensor, stride: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """Each number of x in the first place of its window in a map of `size`."""
    rows, columns = (
        (torch.arange(count, device=x.device) * step).clamp(max=most - 1)
        for count, step, most in zip(x.shape[2:], stride, size, strict=True)
    )
    return unpool(x, (rows[:, None] * size[1] + columns).expand(x.shape), size)


def spread(
    x: Tensor,
    kernel: int | tuple[int, int],
    stride: int | tuple[int, int],
    size: tuple[int, int],
    average: bool = False,
) -> Tensor:
    """Each number of x, or its share if `average`, added to its window of the result.

    The result is cut, or filled with zeros, to `size`.
    """
    channels = x.shape[1]
    kernel = (kernel, kernel) if isinstance(kernel, int) else kernel
    stride = (stride, stride) if isinstance(stride, int) else stride
    if average:
        counts = [torch.arange(count, device=x.device) for count in x.shape[2:]]
        rows = (size[0] - counts[0] * stride[0]).clamp(1, kernel[0])
        columns = (size[1] - counts[1] * stride[1]).clamp(1, kernel[1])
        x = x / (rows[:, None] * columns)
    windows = x.new_ones(channels, 1, *kernel)
    y = F.conv_transpose2d(x, windows, stride=stride, groups=channels)
    return F.pad(y, (0, size[1] - y.shape[3], 0, size[0] - y.shape[2]))


class BatchNormWithStatistics(nn.Module):
    """BatchNorm2d by the batch's own statistics: x normalized, the mean, the variance.

    Mean and variance have the shape (1, channels, 1, 1).
    """

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        variance, mean = torch.var_mean(x, (0, 2, 3), correction=0, keepdim=True)
        weight, bias = self.weight[:, None, None], self.bias[:, None, None]
        return (x - mean) / (variance + self.eps).sqrt() * weight + bias, mean, variance


class Noise(nn.Module):
    """Nothing at test time; in training, noise around `bias`.

    Normal noise of a standard `deviation`, or uniform noise up to `reach` on both sides.
    """

    def __init__(
        self, deviation: float = 0.0, reach: float = 0.0, bias: float = 0.0
    ) -> None:
        super().__init__()
        self.deviation = deviation
        self.reach = reach
        self.bias = bias

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        normal = self.deviation * torch.randn_like(x)
        uniform = self.reach * (2 * torch.rand_like(x) - 1)
        return x + self.bias + normal + uniform


def divided(x: Tensor, norm: Tensor) -> tuple[Tensor, Tensor]:
    """x / norm, and the norm."""
    return x / norm, norm


class Normalize(nn.Module):
    """weight * x / sqrt(sum x² + eps), over all axes but the first, or `across` none.

    `channels`: how many have a weight of their own; 0: one weight for all.
    """

    def __init__(self, channels: int, across: bool = True, eps: float = 1e-10) -> None:
        super().__init__()
        self.across = across
        self.eps = eps
        self.weight = nn.Parameter(torch.ones((channels,) if channels else ()))

    def forward(self, x: Tensor) -> Tensor:
        axes = tuple(range(1, x.ndim)) if self.across else (1,)
        norm = (x.square().sum(axes, keepdim=True) + self.eps).sqrt()
        return x / norm * self.weight.reshape((-1,) + (1,) * (x.ndim - 2))


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


class ClippedAvgPool3d(nn.Module):
    """ClippedAvgPool2d over three axes, which pad and end have one number each for."""

    def __init__(
        self,
        kernel: tuple[int, int, int],
        stride: tuple[int, int, int],
        pad: tuple[int, int, int],
        end: tuple[int, int, int],
    ) -> None:
        super().__init__()
        self.kernel = kernel
        self.stride = stride
        self.pad = pad
        self.end = end

    def forward(self, x: Tensor) -> Tensor:
        sides = [
            size for axis in (2, 1, 0) for size in (self.pad[axis], self.end[axis])
        ]
        padded = F.pad(x, sides)
        sums = F.avg_pool3d(padded, self.kernel, self.stride, divisor_override=1)
        depths, rows, columns = (self.lengths(x, sums, axis) for axis in range(3))
        return sums / (depths[:, None, None] * rows[:, None] * columns)

    def lengths(self, x: Tensor, sums: Tensor, axis: int) -> Tensor:
        start = torch.arange(sums.shape[axis + 2], device=x.device) * self.stride[axis]
        start = start - self.pad[axis]
        last = x.shape[axis + 2] + self.pad[axis]
        return (start + self.kernel[axis]).clamp(max=last) - start


def rounded(x: Tensor) -> Tensor:
    """The nearest whole numbers; halves go away from zero."""
    whole = x.trunc()
    return whole + x.sign() * ((x - whole).abs() >= 0.5)


class RegionMaxPool(nn.Module):
    """The maximum of each of `size` bins of regions (item, x1, y1, x2, y2).

    Corners times `scale` are rounded to places in the map, all of which count. An empty
    bin gives 0.
    """

    def __init__(self, size: tuple[int, int], scale: float) -> None:
        super().__init__()
        self.size = size
        self.scale = scale

    def forward(self, x: Tensor, regions: Tensor) -> Tensor:
        regions = regions.reshape(-1, 5)
        left, top, right, bottom = rounded(regions[:, 1:] * self.scale).unbind(1)
        rows = self.edges(top, bottom, self.size[0], x.shape[2])
        columns = self.edges(left, right, self.size[1], x.shape[3])
        items = regions[:, 0].long().tolist()
        pooled = [
            self.pool(x[item], *edges)
            for item, *edges in zip(items, rows, columns, strict=True)
        ]
        return torch.stack(pooled) if pooled else x.new_zeros(0, x.shape[1], *self.size)

    def edges(self, low: Tensor, high: Tensor, bins: int, size: int) -> list:
        extent = ((high - low + 1).clamp(min=1) / bins)[:, None]
        steps = torch.arange(bins + 1, device=low.device, dtype=low.dtype)
        starts = (steps[:-1] * extent).floor() + low[:, None]
        ends = (steps[1:] * extent).ceil() + low[:, None]
        return torch.stack((starts, ends), -1).clamp(0, size).long().tolist()

    def pool(self, x: Tensor, rows: list, columns: list) -> Tensor:
        bins = [x[:, slice(*row), slice(*column)] for row in rows for column in columns]
        most = [b.amax((1, 2)) if b.numel() else x.new_zeros(len(x)) for b in bins]
        return torch.stack(most, 1).unflatten(1, self.size)


class RegionAvgPool(nn.Module):
    """The average of each bin of regions (item, x1, y1, x2, y2), in channels of its own.

    Gives `channels` of `bins` rows and columns of x's channels * bins * bins. An empty
    bin gives 0.
    """

    def __init__(self, channels: int, bins: int, scale: float) -> None:
        super().__init__()
        self.channels = channels
        self.bins = bins
        self.scale = scale

    def forward(self, x: Tensor, regions: Tensor) -> Tensor:
        regions = regions.reshape(-1, 5)
        item = regions[:, 0].long()[:, None, None, None]
        left, top, right, bottom = rounded(regions[:, 1:]).unbind(1)
        top, bottom = self.edges(top, bottom, x.shape[2])
        left, right = self.edges(left, right, x.shape[3])
        rows, columns = (bottom - top)[:, None, :, None], (right - left)[:, None, None]
        sums = F.pad(x.double().cumsum(2).cumsum(3), (1, 0, 1, 0))
        sums = sums.unflatten(1, (self.channels, self.bins, self.bins))
        steps = torch.arange(self.bins, device=x.device)
        channel = torch.arange(self.channels, device=x.device)[:, None, None]

        def total(y: Tensor, x: Tensor) -> Tensor:
            y, x = y[:, None, :, None], x[:, None, None]
            return sums[item, channel, steps[:, None], steps, y, x]

        added = total(bottom, right) - total(top, right)
        added = added - total(bottom, left) + total(top, left)
        mean = (added / (rows * columns).clamp(min=1)).to(x.dtype)
        return mean.where((rows > 0) & (columns > 0), 0)

    def edges(self, low: Tensor, high: Tensor, size: int) -> tuple[Tensor, Tensor]:
        start = (low * self.scale)[:, None]
        end = ((high + 1) * self.scale)[:, None]
        extent = (end - start).clamp(min=0.1) / self.bins
        steps = torch.arange(self.bins + 1, device=low.device, dtype=low.dtype)
        starts = (steps[:-1] * extent + start).floor()
        ends = (steps[1:] * extent + start).ceil()
        return starts.clamp(0, size).long(), ends.clamp(0, size).long()


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


def correlation(
    a: Tensor,
    b: Tensor,
    reach: int,
    step: int = 1,
    kernel: int = 1,
    stride: int = 1,
    pad: int = 0,
    subtract: bool = False,
) -> Tensor:
    """Mean products of windows of a with those of b, displaced by -reach ... reach.

    There is a channel for each displacement, a multiple of `step`, rows before columns.
    `subtract`: absolute differences instead of products.
    """
    a, b = F.pad(a, [pad] * 4), F.pad(b, [pad] * 4)
    height, width = (size - 2 * reach for size in a.shape[2:])
    a = a[:, :, reach : reach + height, reach : reach + width]
    shifts = range(reach % step, 2 * reach + 1, step)
    maps = []
    for row in shifts:
        for column in shifts:
            moved = b[:, :, row : row + height, column : column + width]
            maps.append(((a - moved).abs() if subtract else a * moved).mean(1))
    return F.avg_pool2d(torch.stack(maps, 1), kernel, stride)


def warp(image: Tensor, flow: Tensor, fill: float = 0.0) -> Tensor:
    """The image, read where the flow (x and y, in pixels) points; outside of it `fill`."""
    height, width = image.shape[2:]
    y = torch.arange(height, device=flow.device)[:, None]
    x = torch.arange(width, device=flow.device)
    place = torch.stack((flow[:, 0] + x, flow[:, 1] + y), -1)
    size = place.new_tensor([width, height])
    grid = (2 * place + 1) / size - 1
    read = F.grid_sample(image, grid, padding_mode="border", align_corners=False)
    inside = ((place >= 0) & (place < size)).all(-1)
    return read.where(inside[:, None], fill)


def resample_places(x: Tensor, size: tuple[int, int]) -> list[Tensor]:
    """The rows and columns of x that those of FlowNet2's Resample lie on.

    Each axis is shifted by half the step of the other one, as there.
    """
    steps = [old / new for old, new in zip(x.shape[2:], size, strict=True)]
    return [
        torch.arange(size[axis], dtype=x.dtype, device=x.device) * steps[axis]
        + steps[1 - axis] / 2
        - 0.5
        for axis in (0, 1)
    ]


def resample_weights(
    places: Tensor, size: int, width: float = 1.0, cubic: bool = False
) -> Tensor:
    """How much each of `size` numbers counts at each place, by a filter of a width."""
    numbers = torch.arange(size, dtype=places.dtype, device=places.device)
    distance = (places[:, None] - numbers).abs() * (1 / width)
    if cubic:
        near = distance * distance * (1.5 * distance - 2.5) + 1
        far = distance * (distance * (-0.5 * distance + 2.5) - 4) + 2
        weights = near.where(distance <= 1, far.where(distance < 2, 0))
    else:
        weights = (1 - distance).clamp(min=0)
    total = weights.sum(1, keepdim=True)
    return weights / total.where(total != 0, 1)


def resample(
    x: Tensor, size: tuple[int, int], cubic: bool = False, antialias: bool = True
) -> Tensor:
    """FlowNet2's Resample: x in another size by a linear or cubic filter.

    `antialias`: where a side becomes smaller, the filter is as wide as the new pixels.
    """
    steps = [old / new for old, new in zip(x.shape[2:], size, strict=True)]
    widths = steps if antialias and max(steps) > 1 else [1.0, 1.0]
    rows, columns = (
        resample_weights(places, old, width, cubic)
        for places, old, width in zip(
            resample_places(x, size), x.shape[2:], widths, strict=True
        )
    )
    return rows @ (x @ columns.T)


def resample_nearest(x: Tensor, size: tuple[int, int]) -> Tensor:
    """FlowNet2's Resample by nearest neighbour; beyond a row's end the next one begins."""
    rows, columns = ((each + 0.5).floor().long() for each in resample_places(x, size))
    return x.flatten(2)[:, :, rows[:, None] * x.shape[3] + columns]


def downsample(x: Tensor, size: tuple[int, int]) -> Tensor:
    """FlowNet2's Downsample: weighted means around each place, corners onto corners.

    NaN do not count; where they weigh more than half of what counts, there is NaN.
    """
    weights = []
    for old, new in zip(x.shape[2:], size, strict=True):
        places = torch.arange(new, dtype=x.dtype, device=x.device)
        places = places / (new - 1) * (old - 1)
        numbers = torch.arange(old, dtype=x.dtype, device=x.device)
        distance = (places[:, None] - numbers).abs() / ((old - 1) / (new - 1))
        weights.append((1 - distance).clamp(min=0))
    rows, columns = weights
    missing = x.isnan()
    counted = rows @ (~missing).to(x.dtype) @ columns.T
    lost = rows @ missing.to(x.dtype) @ columns.T
    mean = rows @ x.where(~missing, 0) @ columns.T / counted
    return mean.where(~(lost / counted > 0.5), float("nan"))


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
