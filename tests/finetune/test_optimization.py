"""What a step of training does."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from finetune.data.folders import LabelledPictures
from finetune.models.head import GapHead, NearestMeanHead
from finetune.models.top import Top
from finetune.optimization import class_weights, epoch_seed, grouped, set_rate, sgd, summed_loss
from finetune.options import Options


def test_classes_weigh_alike() -> None:
    pictures = LabelledPictures(Path(), ("a", "b", "none"), tuple(map(Path, "wxyz")), (0, 0, 0, 1))
    weights = class_weights(pictures)
    assert weights.tolist() == pytest.approx([2 / 3, 2, 0])
    assert sum(weights[label] for label in pictures.labels) == pytest.approx(len(pictures))


def test_the_loss_is_torchs() -> None:
    logits, labels = torch.randn(6, 3), torch.tensor([0, 1, 2, 0, 1, 2])
    plain = nn.functional.cross_entropy(logits, labels, reduction="sum", label_smoothing=0.1)
    torch.testing.assert_close(summed_loss(logits, labels, 0.1, None), plain)
    doubled = summed_loss(logits, labels, 0.1, torch.full((3,), 2.0))
    torch.testing.assert_close(doubled, 2 * plain)


def test_batches_of_a_step_know_how_many_pictures_it_has() -> None:
    plan = [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9]]
    assert grouped(plan, 1) == [(3, 0), (3, 0), (3, 0), (1, 0)]
    assert grouped(plan, 3) == [(9, 2), (9, 1), (9, 0), (1, 0)]


def test_seeds_differ_by_everything_they_depend_on() -> None:
    seeds = {
        epoch_seed(*each) for each in ((0, 1, "a", 0), (1, 1, "a", 0), (0, 2, "a", 0), (0, 1, "b", 0), (0, 1, "a", 1))
    }
    assert len(seeds) == 5
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_the_trunk_has_its_own_rate_and_is_stepped_rightly() -> None:
    live = nn.ModuleDict({"conv": nn.Conv2d(3, 4, 3), "still": nn.Conv2d(3, 4, 3)})
    top = Top(live, GapHead((4, 1, 1), 2), ["conv"])
    optimizer = sgd(top, Options(learning_rate=0.5, unfreeze="data", unfreeze_lr=0.1, momentum=0.0, weight_decay=0.0))
    set_rate(optimizer, 0.25)  # half way down
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.25, 0.05])
    weight = live["conv"].weight
    before = weight.detach().clone()
    weight.grad = torch.arange(weight.numel()).float().view(weight.shape)  # not channels last, as the weight is
    optimizer.step()
    torch.testing.assert_close(weight.detach(), before - 0.05 * torch.arange(weight.numel()).float().view(weight.shape))
    assert not live["still"].weight.requires_grad


def test_a_head_without_parameters_has_an_optimizer() -> None:
    sgd(Top(None, NearestMeanHead((4, 1, 1), 2)), Options()).step()
