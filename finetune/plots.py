"""Pictures of a training run: its curves, and a few of its predictions."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING
from unicodedata import east_asian_width

import numpy as np

from finetune.wording import printable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from finetune.table import Epoch

TRAINING, VALIDATION = "#4477aa", "#cc6677"  # told apart also by the colour-blind (Tol's bright and muted)
RIGHT, WRONG = "#1a7f37", "#c62828"
# Class names may be in any script; matplotlib falls back along this list, of which it takes what is installed.
FONTS = (
    "DejaVu Sans",
    "Noto Sans CJK JP",
    "Noto Sans JP",
    "IPAexGothic",
    "TakaoGothic",
    "Hiragino Sans",
    "Yu Gothic",
    "Meiryo",
    "Microsoft YaHei",
    "PingFang SC",
    "Malgun Gothic",
)
LABEL_LETTERS = 24  # of a class name under a sample


@dataclass(frozen=True)
class Sample:
    """One picture, uint8 (H, W, 3) RGB, its true class, the predicted one and its score in 0..1."""

    picture: np.ndarray
    label: str
    predicted: str
    score: float


def plot_curves(folder: Path, epochs: Sequence[Epoch], best: Epoch) -> None:
    """Write loss.png and accuracy.png into ``folder``: training and validation by epoch, the best epoch marked."""
    _plot(folder / "loss.png", "loss", epochs, best)
    _plot(folder / "accuracy.png", "accuracy", epochs, best)


def plot_samples(path: Path, samples: Sequence[Sample]) -> None:
    """Write the samples as a picture, five in a row: truth above prediction and score, green if right, else red."""
    columns = min(5, len(samples))
    rows = -(-len(samples) // columns)
    figure = _figure(2.5 * columns, 3.05 * rows + 0.3)
    figure.suptitle("above: the class of the picture; below: the prediction and its score", fontsize=9, color="#666666")
    for place, sample in enumerate(samples, start=1):
        axes = figure.add_subplot(rows, columns, place)
        axes.imshow(sample.picture)
        axes.set_xticks([])
        axes.set_yticks([])
        right = sample.predicted == sample.label
        colour = RIGHT if right else WRONG
        for edge in axes.spines.values():
            edge.set(color=colour, linewidth=3)
        axes.set_title(_short(sample.label), fontsize=9, color="#333333", parse_math=False)
        verdict = f"{'✓' if right else '✗'} {_short(sample.predicted)}\n{sample.score:.1%}"
        axes.set_xlabel(verdict, fontsize=9, color=colour, fontweight="bold", parse_math=False)
    _save(figure, path)


def _plot(path: Path, quantity: str, epochs: Sequence[Epoch], best: Epoch) -> None:
    from matplotlib.ticker import MaxNLocator

    figure = _figure(7, 4.2)
    axes = figure.add_subplot()
    numbers = [line.epoch for line in epochs]
    marker = "o" if len(epochs) <= 40 else None
    for part, colour in (("train", TRAINING), ("validation", VALIDATION)):
        values = [getattr(line, f"{part}_{quantity}") for line in epochs]
        if values[0] is not None:
            name = "training" if part == "train" else part
            axes.plot(numbers, values, color=colour, marker=marker, markersize=3.5, linewidth=1.8, label=name)
    value = getattr(best, f"validation_{quantity}")
    if value is not None:
        label = f"best checkpoint: epoch {best.epoch}, {value:.4f}"
        axes.plot([best.epoch], [value], "*", color=VALIDATION, markersize=15, markeredgecolor="white", label=label)
    axes.set_xlabel("epoch")
    axes.set_ylabel(quantity)
    axes.margins(x=0.02)
    axes.xaxis.set_major_locator(MaxNLocator(steps=[1, 2, 5, 10], integer=True, min_n_ticks=1))
    if quantity == "loss":
        axes.set_ylim(bottom=0)
    axes.grid(color="#dddddd", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    _save(figure, path)


def _figure(width: float, height: float) -> Figure:
    """A figure of that size in inches at 120 dots an inch; no window system is asked."""
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    matplotlib.rcParams["font.family"] = _fonts()
    layout = ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.08)
    return Figure(figsize=(width, height), dpi=120, layout=layout, facecolor="white")


def _save(figure: Figure, path: Path) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")  # such a letter is drawn as a box
        figure.savefig(path)


@cache
def _fonts() -> list[str]:
    import logging

    from matplotlib.font_manager import fontManager

    logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)
    installed = {font.name for font in fontManager.ttflist}
    return [name for name in FONTS if name in installed] or ["sans-serif"]


def _short(name: str) -> str:
    """``name``, cut where it would run into its neighbour; East Asian letters are twice as wide."""
    wide, name = 0, printable(name)
    for place, letter in enumerate(name):
        wide += 2 if east_asian_width(letter) in "WF" else 1
        if wide > LABEL_LETTERS:
            return name[: place - 1] + "…"
    return name
