"""The options of `finetune train`, in the order in which --help shows them, and types that they need."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from finetune.options import AUTO, PROTOCOLS, Options

DEFAULTS = Options()

FOLDER = click.Path(path_type=Path)
SHARE = click.FloatRange(0, 1, max_open=True)
ABOVE_0 = click.FloatRange(0, min_open=True)
COUNT = click.IntRange(1)
# As in finetune.models.head and finetune.augmentation, which import torch.
HEADS = ("tutorial", "gap", "linear", "nearest-mean")
WAYS = ("crop", "colour", "rotation")


class Numbers(click.ParamType[tuple[int, ...]]):
    """Whole numbers above 0, separated by commas."""

    name = "numbers"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        try:
            numbers = tuple(int(part) for part in str(value).split(",") if part)
        except ValueError:
            numbers = (0,)
        if any(number < 1 for number in numbers):
            self.fail(f"{value!r} is not a list of whole numbers above 0, such as 10 or 10,15", param, ctx)
        return numbers


class Size(Numbers):
    """H or H,W."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        numbers = super().convert(value, param, ctx)
        if len(numbers) not in (1, 2):
            self.fail(f"{value!r} is not a size: one number, or height,width", param, ctx)
        return numbers if len(numbers) == 2 else numbers * 2


class Ways(click.ParamType[tuple[str, ...]]):
    """Ways to change pictures, separated by commas."""

    name = "ways"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        if isinstance(value, tuple):
            return value
        ways = tuple(dict.fromkeys(part.strip() for part in str(value).split(",") if part.strip()))
        if not ways or set(ways) - set(WAYS):
            self.fail(f"{value!r} is none of {', '.join(WAYS)}, nor several with commas between", param, ctx)
        return ways


def device_options(command: Any) -> Any:
    """--device, --precision and --workers."""
    device = click.option(
        "--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", help="auto: a GPU where there is one."
    )
    precision = click.option("--precision", type=click.Choice(["32", "bf16", "16"]), default="32")
    workers = click.option("--workers", type=click.IntRange(0), help="That decode pictures.  [default: by the cores]")
    return device(precision(workers(command)))


def train_options(command: Any) -> Any:
    """All options of a training that are fields of Options."""
    for option in reversed(OPTIONS):
        command = option(command)
    return device_options(command)


OPTIONS = (
    click.option(
        "--at",
        metavar="BLOB",
        help=f"Blob that the head is put on; {AUTO}: the best by cross-validation.  [default: the trunk's last map]",
    ),
    click.option(
        "--size", type=Size(), metavar="H[,W]", help="Of the pictures.  [default: the trunk's; Illustration2Vec: 160]"
    ),
    click.option("--head", type=click.Choice(HEADS), default=DEFAULTS.head, help="What is put on the trunk."),
    click.option("--epochs", type=COUNT, default=DEFAULTS.epochs),
    click.option("--batch-size", type=click.IntRange(2), default=DEFAULTS.batch_size),
    click.option("--accumulate", type=COUNT, default=DEFAULTS.accumulate, help="Batches to a step of the optimizer."),
    click.option("--lr", "learning_rate", type=ABOVE_0, default=DEFAULTS.learning_rate, help="Learning rate."),
    click.option("--schedule", type=click.Choice(["step", "cosine"]), default=DEFAULTS.schedule, help="Of the rate."),
    click.option(
        "--lr-step",
        type=Numbers(),
        metavar="EPOCH,...",
        default=DEFAULTS.lr_step,
        show_default="10",
        help="After these epochs the rate is multiplied by --lr-gamma.",
    ),
    click.option("--lr-gamma", type=ABOVE_0, default=DEFAULTS.lr_gamma),
    click.option("--momentum", type=SHARE, default=DEFAULTS.momentum),
    click.option("--weight-decay", type=click.FloatRange(0), default=DEFAULTS.weight_decay),
    click.option("--label-smoothing", type=SHARE, default=DEFAULTS.label_smoothing),
    click.option("--class-weights", is_flag=True, help="Classes count alike, however many pictures they have."),
    click.option("--early-stop", type=COUNT, metavar="EPOCHS", help="End after so many epochs without a better one."),
    click.option("--hidden", type=COUNT, default=DEFAULTS.hidden, help="Units of fc7."),
    click.option("--dropout", type=SHARE, default=DEFAULTS.dropout, help="In the head."),
    click.option("--unfreeze", metavar="BLOB", help="Train the trunk's layers behind this blob too."),
    click.option("--unfreeze-lr", type=ABOVE_0, help="Their learning rate.  [default: a tenth of --lr]"),
    click.option(
        "--batch-norm/--freeze-batch-norm",
        default=DEFAULTS.batch_norm,
        help="Their batch statistics: of the batches, or of the file.",
    ),
    click.option(
        "--mirror/--no-mirror", default=DEFAULTS.mirror, help="Turn training pictures left to right at random."
    ),
    click.option(
        "--augment",
        type=Ways(),
        metavar="WAY,...",
        default=(),
        help=f"Change them in other ways: {', '.join(WAYS)}. The trunk then runs in every epoch.",
    ),
    click.option(
        "--protocol",
        type=click.Choice(PROTOCOLS),
        default=DEFAULTS.protocol,
        help="tutorial: with its flaws in channel order, mean and validation, and its split; -fixed: with its split.",
    ),
    click.option("--validation", type=SHARE, default=DEFAULTS.validation, help="Share of the pictures."),
    click.option("--folds", type=click.IntRange(2), help="Cross-validate in so many folds first."),
    click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=DEFAULTS.seed),
    click.option(
        "--cache/--no-cache",
        default=DEFAULTS.cache,
        help="Keep the trunk's features on disk, or run it in every epoch.",
    ),
    click.option("--cache-folder", type=FOLDER, metavar="DIR", help="Where.  [default: ~/.cache/caffe2torch/features]"),
    click.option(
        "--features", type=click.Choice(["half", "full"]), default=DEFAULTS.features, help="Precision of what is kept."
    ),
    click.option(
        "--checkpoint-every",
        type=click.FloatRange(0),
        metavar="SECONDS",
        default=DEFAULTS.checkpoint_every,
        help="How often is kept what --resume needs.",
    ),
    click.option("--tensorboard", is_flag=True, help="Log to RUN/tensorboard."),
    click.option(
        "--devices", type=COUNT, default=DEFAULTS.devices, help="GPUs, or on the CPU processes, of each machine."
    ),
    click.option("--nodes", type=COUNT, default=DEFAULTS.nodes, help="Machines."),
)
