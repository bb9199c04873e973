"""The networks that recipes train from scratch, by name, and how they are read back from a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from caffe2torch.errors import ModelError
from caffe2torch.preprocess import Preprocessing
from finetune.checkpoint import BEST, load_head, read_config
from finetune.models.classifier import Classifier
from finetune.models.digits import digits
from finetune.models.facemask import facemask
from finetune.models.frgnet64 import frgnet64
from finetune.models.resnet import resnet50
from finetune.models.trunk import FrozenTrunk

NETWORKS: dict[str, Callable[..., nn.Module]] = {
    "digits": digits,
    "facemask": facemask,
    "frgnet64": frgnet64,
    "resnet50": resnet50,
}


def build(description: Mapping[str, Any]) -> nn.Module:
    """A network of ``{"name", "classes", …}``, the rest its builder's arguments. Raises ModelError."""
    arguments = dict(description)
    try:
        return NETWORKS[arguments.pop("name")](**arguments)
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"no network is known as {dict(description)}: {error!r}") from error


class Whole(Classifier):
    """Preprocessing and a whole network: uint8 pictures [N, H, W, 3] RGB -> logits; a checkpoint has the network's."""

    def __init__(self, network: nn.Module, preprocessing: Preprocessing) -> None:
        super().__init__(FrozenTrunk(nn.Identity(), preprocessing), network)

    def kept(self) -> dict[str, torch.Tensor]:
        """What a checkpoint holds."""
        return dict(self.head.state_dict())

    def load_kept(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Take a checkpoint's tensors. Raises RuntimeError where they are not the network's."""
        self.head.load_state_dict(tensors)


def open_network(run: Path, checkpoint: str = BEST) -> tuple[Classifier, dict[str, Any], dict[str, Any]]:
    """As finetune.models.classifier.open_run, for a run whose config.json describes a whole network."""
    config = read_config(run)
    try:
        network = build(config["network"])
        preprocessing = Preprocessing.from_json(config["preprocessing"])
    except (ModelError, KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{run / 'config.json'}: damaged: {error}") from error
    whole = Whole(network, preprocessing)
    metrics = load_head(run, whole, checkpoint)
    return whole.eval(), config, metrics
