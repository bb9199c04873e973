"""The tutorial's head: shapes, starting values, pooling."""

from __future__ import annotations

import pytest
import torch

from finetune.models.head import TutorialHead, head_of, make_head, parameters, pooled_size


@pytest.mark.parametrize(
    ("features", "inputs"),
    [
        ((16, 5, 5), 400),
        ((8, 7, 7), 392),
        ((8, 14, 14), 392),
        ((8, 3, 20), 8 * 3 * 7),
        ((8, 13, 9), 392),
        ((32, 1, 1), 32),
    ],
)
def test_shapes(features: tuple[int, int, int], inputs: int) -> None:
    head = TutorialHead(features, classes=3, hidden=10)
    assert head.fc7.weight.shape == (10, inputs)
    assert head(torch.zeros(2, *features)).shape == (2, 3)
    assert parameters(head) == inputs * 10 + 10 + 20 + 10 * 3 + 3


def test_names_in_checkpoints() -> None:
    assert list(TutorialHead((2, 1, 1), 3, 4).state_dict()) == [
        "fc7.weight",
        "fc7.bias",
        "bn.weight",
        "bn.bias",
        "bn.running_mean",
        "bn.running_var",
        "bn.num_batches_tracked",
        "fc8.weight",
        "fc8.bias",
    ]


def test_starts_he_normal() -> None:
    torch.manual_seed(0)
    head = TutorialHead((64, 5, 5), classes=200, hidden=512)
    for layer in (head.fc7, head.fc8):
        deviation = (2 / layer.in_features) ** 0.5
        assert layer.weight.std().item() == pytest.approx(deviation, rel=0.01)
        assert layer.weight.abs().max() > 3.5 * deviation  # normal, not uniform
        assert not layer.bias.any()


def test_the_same_seed_gives_the_same_head() -> None:
    states = []
    for _ in range(2):
        torch.manual_seed(5)
        states.append(TutorialHead((4, 2, 2), 3, 8).state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_computes_the_recipe() -> None:
    torch.manual_seed(0)
    head = TutorialHead((4, 14, 14), 3, 8).eval()
    maps = torch.randn(5, 4, 14, 14)
    pooled = maps.unfold(2, 2, 2).unfold(3, 2, 2).mean((4, 5))
    hidden = torch.relu((pooled.flatten(1) @ head.fc7.weight.T + head.fc7.bias) / (1 + 1e-5) ** 0.5)
    torch.testing.assert_close(head(maps), hidden @ head.fc8.weight.T + head.fc8.bias)


def test_dropout_is_live_in_training_only() -> None:
    head = TutorialHead((4, 1, 1), 3, hidden=64, dropout=0.5)
    maps = torch.randn(8, 4, 1, 1)
    assert torch.equal(head.eval()(maps), head(maps))
    assert not torch.equal(head.train()(maps), head(maps))


@pytest.mark.parametrize("name", ["gap", "linear"])
def test_one_rate_suits_features_of_any_size(name: str) -> None:
    """A rate of 0.01 learns features that are offset, large, tiny; one that never was there before means nothing."""
    torch.manual_seed(0)
    maps = torch.randn(60, 4, 2, 2)
    labels = (maps[:, 0].mean((1, 2)) > 0).long()
    found = []
    for factor, offset in ((1.0, 0.0), (100.0, 1000.0), (0.1, -1.0)):
        head = make_head(name, (4, 2, 2), 2, 0, 0.0)
        optimizer = torch.optim.SGD(head.parameters(), 0.01, 0.9)
        given = maps * factor + offset
        given[:, 3] = 0
        for _ in range(60):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(head(given), labels).backward()
            optimizer.step()
        head.eval()
        with torch.no_grad():
            found.append((head(given).argmax(1) == labels).float().mean().item())
            strange = given.clone()
            strange[:, 3] += 5 * factor
            torch.testing.assert_close(head(strange), head(given))
    assert min(found) > 0.9


def test_heads_of_before_are_not_normalised() -> None:
    said = {"name": "gap", "features": [4, 2, 2], "classes": 3, "pool": [1, 1], "dropout": 0.5}
    assert set(head_of(said).state_dict()) == {"fc.weight", "fc.bias"}


def test_pooled_size() -> None:
    assert pooled_size(7, 7) is None
    assert pooled_size(5, 5) is None
    assert pooled_size(14, 14) == (7, 7)
    assert pooled_size(5, 9) == (5, 7)
