"""Where faces are, pixel by pixel: the probability that a pixel lies in a face's box, learnt from boxes.

DATA is a set of pictures with boxes: boxes.json, COCO, VOC, YOLO, or lines `file x0 y0 x1 y1`. Pictures are streamed
from their files, resized with their boxes, and the boxes made a mask of 0 and 1 that the network learns to give. The
recipe tells no network and no figures of training; those here are ours. `onnx predict --overlay DIR` draws the
probability over pictures.
"""

from __future__ import annotations

from pathlib import Path

from finetune.options import Options
from finetune.recipes import OF_ANY_NETWORK, Finished

DEFAULTS = Options(
    size=(256, 256),
    epochs=30,
    batch_size=16,
    learning_rate=0.05,
    schedule="cosine",
    momentum=0.9,
    weight_decay=1e-4,
    mirror=True,
    keep="loss",
)
KNOWS = ("size", *(name for name in OF_ANY_NETWORK if name not in ("augment", "label_smoothing")))
EXTRA = ()


def train(data: Path, run: Path, options: Options, test: Path | None, force: bool) -> Finished:
    """Train the network on pictures with boxes."""
    from finetune.recipes.mask_training import train_mask

    return train_mask(data, run, options, test, force)


def resume(data: Path, run: Path, options: Options, test: Path | None) -> Finished:
    """Go on with such a training."""
    from finetune.recipes.mask_training import train_mask

    return train_mask(data, run, options, test, resume=True)
