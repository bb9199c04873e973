"""Frozen trunk and head as one module, from a converted net or from a run's folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from caffe2torch import folder
from caffe2torch.errors import ModelError
from caffe2torch.folder import Converted
from caffe2torch.preprocess import Preprocessing
from finetune.checkpoint import BEST, load_head, read_config
from finetune.models.head import head_of
from finetune.models.pieces import parted
from finetune.models.top import Top
from finetune.models.trunk import FrozenTrunk


class Classifier(nn.Module):
    """uint8 pictures [N, H, W, 3] RGB -> logits float32 [N, classes]; only ``head``, on the features, is trained."""

    def __init__(self, trunk: FrozenTrunk, head: nn.Module) -> None:
        super().__init__()
        self.trunk = trunk
        self.head = head

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(self.trunk(pictures))
        return logits


def assemble(
    cut: Converted, head: nn.Module, preprocessing: Preprocessing, unfreeze: str | None, batch_norm: bool
) -> Classifier:
    """A trunk, parted as pieces.py says, and a head on it. Raises NetError."""
    frozen, live, trained = parted(cut, unfreeze)
    module = frozen.module() if frozen.graph.nodes else nn.Identity()
    top = Top(None if live is None else live.module(), head, trained, batch_norm)
    return Classifier(FrozenTrunk(module, preprocessing), top)


def open_run(run: Path, checkpoint: str = BEST) -> tuple[Classifier, dict[str, Any], dict[str, Any]]:
    """A run's classifier in eval mode, its config.json, and epoch and metrics of the checkpoint. Raises ModelError."""
    config = read_config(run)
    if "network" in config:  # of a recipe without a trunk
        from finetune.models.networks import open_network

        return open_network(run, checkpoint)
    try:
        head = head_of(config["head"])
        preprocessing = Preprocessing.from_json(config["preprocessing"])
        unfreeze = config.get("options", {}).get("unfreeze")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ModelError(f"{run / 'config.json'}: damaged: {error!r}") from error
    classifier = assemble(folder.load(run / "trunk"), head, preprocessing, unfreeze, False)
    metrics = load_head(run, classifier.head, checkpoint)
    return classifier.eval(), config, metrics
