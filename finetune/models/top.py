"""What training changes: the live piece of the trunk, if there is one, and the head on it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import cast

import torch
from torch import nn

TRUNK = "trunk."  # in front of a trunk's tensor in a checkpoint


class Top(nn.Module):
    """Features of the frozen piece [N, …] -> logits [N, classes].

    ``live`` is the trunk's live piece, or None; of it the modules named in ``trained`` are trained, all others only
    pass gradients on. In training its dropout is live; its batch normalisation uses the statistics of the file unless
    ``batch_norm`` is set, which makes those of the trained modules follow the batches.
    """

    def __init__(
        self, live: nn.Module | None, head: nn.Module, trained: Iterable[str] = (), batch_norm: bool = False
    ) -> None:
        super().__init__()
        self.live = live
        self.head = head
        self.trained = frozenset(trained)
        self.batch_norm = batch_norm
        if live is not None:
            live.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
            for name, parameter in live.named_parameters():
                parameter.requires_grad_(name.split(".")[0] in self.trained and parameter.requires_grad)
        self.train(self.training)

    def train(self, mode: bool = True) -> Top:
        super().train(mode)
        if self.live is not None:
            self.live.eval()
            for name, part in self.live.named_modules():
                dropout = isinstance(part, nn.modules.dropout._DropoutNd)
                statistics = isinstance(part, nn.modules.batchnorm._BatchNorm) and name.split(".")[0] in self.trained
                if dropout or (statistics and self.batch_norm):
                    part.train(mode)
        return self

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(self.maps(features))
        return logits

    def maps(self, features: torch.Tensor) -> torch.Tensor:
        """What the head is put on: [N, C, h, w]; a vector has h = w = 1. Features may be in half precision."""
        maps = features.float() if self.live is None else self.live(features.float())
        return maps if maps.dim() == 4 else maps.flatten(1)[:, :, None, None]

    def kept(self) -> dict[str, torch.Tensor]:
        """The tensors of a checkpoint: the head's under their names, those of the trained trunk behind ``trunk.``."""
        tensors = dict(self.head.state_dict())
        if self.live is not None:
            state = self.live.state_dict().items()
            tensors |= {TRUNK + key: tensor for key, tensor in state if key.split(".")[0] in self.trained}
        return tensors

    def load_kept(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Take over what ``kept`` gave; RuntimeError for tensors of something else."""
        self.head.load_state_dict({key: tensor for key, tensor in tensors.items() if not key.startswith(TRUNK)})
        tuned = {key.removeprefix(TRUNK): tensor for key, tensor in tensors.items() if key.startswith(TRUNK)}
        if set(tuned) != {key.removeprefix(TRUNK) for key in self.kept() if key.startswith(TRUNK)}:
            raise RuntimeError("its tensors of the trunk are not those that this run trains")
        if tuned:
            cast(nn.Module, self.live).load_state_dict(tuned, strict=False)
