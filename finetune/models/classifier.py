"""Frozen trunk and head as one module, from a converted net or from a run's folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from caffe2torch import folder
from caffe2torch.errors import ModelError
from caffe2torch.preprocess import Preprocessing
from finetune.checkpoint import BEST, load_head, read_config
from finetune.models.head import TutorialHead
from finetune.models.trunk import FrozenTrunk


class Classifier(nn.Module):
    """uint8 pictures [N, H, W, 3] RGB -> logits float32 [N, classes]; only the head is trained."""

    def __init__(self, trunk: FrozenTrunk, head: TutorialHead) -> None:
        super().__init__()
        self.trunk = trunk
        self.head = head

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(self.trunk(pictures))
        return logits


def open_run(run: Path, checkpoint: str = BEST) -> tuple[Classifier, dict[str, Any], dict[str, Any]]:
    """A run's classifier in eval mode, its config.json, and epoch and metrics of the checkpoint. Raises ModelError."""
    config = read_config(run)
    try:
        description = config["head"]
        channels, height, width = description["features"]
        head = TutorialHead(
            (channels, height, width), len(config["classes"]), description["hidden"], description["dropout"]
        )
        preprocessing = Preprocessing.from_json(config["preprocessing"])
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{run / 'config.json'}: damaged: {error!r}") from error
    metrics = load_head(run, head, checkpoint)
    trunk = FrozenTrunk(folder.load(run / "trunk").module(), preprocessing)
    return Classifier(trunk, head).eval(), config, metrics
