"""The frozen part of the network: pictures in, features out; and where a trunk is cut."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import nn

from caffe2torch.errors import NetError
from caffe2torch.preprocess import LUMA, Preprocessing
from finetune.head_graph import map_size

__all__ = ["FrozenTrunk", "cut_trunk", "last_map", "map_size", "misfitting", "with_mean"]

if TYPE_CHECKING:
    from caffe2torch.folder import Converted
    from caffe2torch.graph import Graph


class FrozenTrunk(nn.Module):
    """A converted net, its preprocessing in front, in eval mode for good: nothing in it is trained.

    uint8 pictures [N, H, W, 3] RGB -> features float32 [N, …] without gradient. Layers that live in training
    (dropout, or the ones that are trained) are no part of it: see pieces.py.
    """

    mean: torch.Tensor

    def __init__(self, module: nn.Module, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.module = module.requires_grad_(False).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.channel_order = preprocessing.channel_order
        self.scale = preprocessing.scale
        mean = preprocessing.mean if preprocessing.mean is not None else (0.0,)
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1), persistent=False)
        self.eval()

    def train(self, mode: bool = True) -> FrozenTrunk:
        return super().train(False)

    @torch.no_grad()
    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.module(self.network_input(pictures))
        return features

    def network_input(self, pictures: torch.Tensor) -> torch.Tensor:
        """(pixel[channel order] − mean) · scale, float32 [N, C, H, W], stored channels last."""
        if self.channel_order == "GRAY":
            weights = torch.tensor(LUMA, device=pictures.device)
            pixels = (pictures.float() @ weights)[..., None]
        else:
            pixels = (pictures.flip(3) if self.channel_order == "BGR" else pictures).float()
        return pixels.permute(0, 3, 1, 2).sub(self.mean).mul_(self.scale)


def cut_trunk(converted: Converted, at: str | None, size: tuple[int, int] | None) -> tuple[Converted, str]:
    """The part of a net that computes blob ``at`` from one picture of ``size``, and the blob's name.

    ``at`` None: the last map of more than one place. ``size`` None: what the net is known to be fine-tuned with
    (Illustration2Vec: 160 × 160, as in its tutorial), else its own input. Raises NetError for a net that does not
    compute the blob from pictures, in batches of any size, or that has no such blob.
    """
    blob = at or last_map(converted.graph)
    inputs = converted.cut(blob).graph.inputs
    if len(inputs) != 1 or len(inputs[0].shape) != 4 or inputs[0].shape[1] != converted.preprocessing.channels:
        listed = ", ".join(f"{value.blob} {value.shape}" for value in inputs)
        raise NetError(f"{converted.path}: a trunk takes pictures; {blob} is computed from {listed}")
    known = converted.config.get("finetune_size")
    height, width = size or known or inputs[0].shape[2:]
    cut = converted.cut(blob, input_shape=(1, inputs[0].shape[1], height, width))
    if not cut.graph.batch:
        raise NetError(f"{converted.path}: the net fixes its batch size before {blob}: it cannot be trained on batches")
    if misfit := misfitting(cut, converted):
        raise NetError(f"{converted.path}: the weights of {misfit} do not fit pictures of {height} x {width}")
    return cut, blob


def misfitting(cut: Converted, whole: Converted) -> str | None:
    """The first layer of ``cut`` whose weights have other shapes than in ``whole``: pictures have another size."""
    shapes = {id(node.layer): [param.shape for param in node.operation.params()] for node in whole.graph.nodes}
    for node in cut.graph.nodes:
        if [param.shape for param in node.operation.params()] != shapes[id(node.layer)]:
            return node.layer.name
    return None


def last_map(graph: Graph) -> str:
    """The last blob of four axes with more than one place (h · w > 1). Raises NetError where there is none."""
    for node in reversed(graph.nodes):
        for value in reversed(node.outputs):
            if len(value.shape) == 4 and value.shape[2] * value.shape[3] > 1:
                return value.blob
    raise NetError("the net has no blob that is a map (N, C, h, w); name the blob to cut at with --at")


def with_mean(preprocessing: Preprocessing, mean_rgb: tuple[float, float, float]) -> Preprocessing:
    """``preprocessing`` with the data's mean pixel, in its channel order, where it knows none of its own."""
    if preprocessing.mean is not None:
        return preprocessing
    red, green, blue = mean_rgb
    if preprocessing.channel_order == "GRAY":
        mean: tuple[float, ...] = (sum(weight * value for weight, value in zip(LUMA, mean_rgb, strict=True)),)
    else:
        mean = (blue, green, red) if preprocessing.channel_order == "BGR" else (red, green, blue)
    return replace(preprocessing, mean=mean)
