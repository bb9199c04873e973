"""The recipes' networks: their shapes as published, how they start, their ONNX form, their schedule and views."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from caffe2torch.errors import ModelError
from caffe2torch.onnx_model import Nodes
from finetune.data.folders import LabelledPictures
from finetune.data.views import RandomCrop, Turned, centre_box, crop_box, read_view
from finetune.models.digits import digits
from finetune.models.facemask import FaceMask
from finetune.models.frgnet64 import frgnet64
from finetune.models.networks import build
from finetune.models.resnet import resnet50
from finetune.network_graph import add_network
from finetune.options import Options
from finetune.recipes import load_recipe
from finetune.recipes.scratch import lower_decay, turned


def in_onnxruntime(network: nn.Module, pictures: torch.Tensor) -> np.ndarray:
    nodes = Nodes("network")
    value = nodes.add_input("x", np.float32, ["N", 3, "H", "W"])
    nodes.add("Identity", [add_network(nodes, network, value)], ["y"])
    nodes.add_output("y", np.float32, [None] * network(pictures).dim())
    session = onnxruntime.InferenceSession(nodes.model().SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"x": pictures.numpy()})[0])


def settled(network: nn.Module) -> nn.Module:
    """In eval mode, its batch normalisation with statistics and weights that are not those of the beginning."""
    torch.manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight.data, module.running_var):
                nn.init.uniform_(tensor, 0.5, 1.5)
            for tensor in (module.bias.data, module.running_mean):
                nn.init.normal_(tensor, std=0.3)
    return network.eval()


ROUNDING = nn.Sequential(  # FrgNet64's layers, smaller
    nn.Conv2d(3, 4, 5, padding=2), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(5, 2, ceil_mode=True),
    nn.Conv2d(4, 6, 3, padding=1), nn.LeakyReLU(0.2), nn.MaxPool2d(3, 2, ceil_mode=True),
    nn.Flatten(), nn.Linear(6 * 7 * 8, 9), nn.Dropout(), nn.Linear(9, 2),
)  # fmt: skip


@pytest.mark.parametrize(
    ("network", "size"),
    [(ROUNDING, (32, 36)), (resnet50(3, width=4), (33, 47)), (FaceMask(), (45, 70))],
    ids=["rounding pools", "resnet50", "facemask"],
)
def test_onnx_computes_what_torch_does(network: nn.Module, size: tuple[int, int]) -> None:
    settled(network)
    pictures = torch.randn(2, 3, *size)
    with torch.no_grad():
        wanted = network(pictures).numpy()
        np.testing.assert_allclose(in_onnxruntime(network, pictures), wanted, rtol=1e-3, atol=1e-4)
    assert wanted.std() > 1e-3


def test_a_layer_without_an_onnx_form_is_refused() -> None:
    with pytest.raises(TypeError, match="network/0: GELU has no ONNX form here"):
        add_network(Nodes("network"), nn.Sequential(nn.GELU()), "x")


def test_frgnet64_has_the_published_sizes() -> None:
    network = frgnet64().eval()
    maps = network[:-5](torch.zeros(1, 3, 64, 64))  # before flatten, fc1, leaky ReLU, dropout and fc2
    assert maps.shape == (1, 384, 7, 7)
    assert [module.out_channels for module in network if isinstance(module, nn.Conv2d)] == [96, 128, 256, 384]
    assert network.fc1.weight.std().item() == pytest.approx(18816**-0.5, rel=0.01)


def test_resnet50_has_as_many_parameters_as_published_and_starts_as_its_shortcuts() -> None:
    network = resnet50(1000)
    assert sum(parameter.numel() for parameter in network.parameters()) == 25_557_032
    block = network.block2_1.eval()
    maps = torch.rand(1, 64, 8, 8)
    assert torch.equal(block(maps), torch.relu(block.shortcut(maps)))


def test_digits_network_is_that_of_the_recipe() -> None:
    assert sum(parameter.numel() for parameter in digits().parameters()) == 40 + (784 * 100 + 100) + 1010


def test_an_unknown_network_is_a_damaged_run() -> None:
    with pytest.raises(ModelError, match="no network is known"):
        build({"name": "vgg", "classes": 2})


def test_weight_decay_falls_with_the_rate() -> None:
    options = load_recipe("frgnet64").DEFAULTS
    weight = nn.Parameter(torch.ones(1))
    optimizer = torch.optim.SGD([weight], options.learning_rate, weight_decay=options.weight_decay)
    lower_decay(optimizer, options)
    rates = [options.rate(epoch) for epoch in (1, 2, 30)]
    assert rates == pytest.approx([0.001, 0.00097, 0.001 * 0.97**29])
    for rate in rates:
        optimizer.param_groups[0]["lr"] = rate
        weight.grad = torch.zeros(1)
        optimizer.step()
        assert optimizer.param_groups[0]["weight_decay"] == pytest.approx(1e-4 * rate / 0.001)


def test_every_picture_is_seen_in_four_turns(painted: Path) -> None:
    path = painted / "red" / "00.png"
    views = turned(LabelledPictures(painted, ("red",), (path,), (0,)))
    upright, *others = (read_view(view, (8, 12)) for view in views.paths)
    assert views.labels == (0, 0, 0, 0)
    np.testing.assert_array_equal(upright, read_view(path, (8, 12)))
    for quarters, other in enumerate(others, start=1):
        assert other.shape == (8, 12, 3)
        back = np.rot90(read_view(Turned(path, quarters), (12, 8) if quarters % 2 else (8, 12)), -quarters)
        np.testing.assert_array_equal(back, upright)


def test_crops_lie_in_the_picture_and_depend_on_the_seed(painted: Path) -> None:
    boxes = [crop_box(300, 100, np.random.default_rng(seed)) for seed in range(200)]
    widths, heights = np.array([(x1 - x0, y1 - y0) for x0, y0, x1, y1 in boxes]).T
    assert all(0 <= x0 < x1 <= 300 and 0 <= y0 < y1 <= 100 for x0, y0, x1, y1 in boxes)
    assert ((widths * heights) >= 0.079 * 30000).all() and ((widths / heights) < 1.36).all()
    path = painted / "red" / "00.png"
    crops = [read_view(RandomCrop(path, seed), (16, 16)) for seed in (1, 1, 2)]
    assert np.array_equal(crops[0], crops[1]) and not np.array_equal(crops[0], crops[2])


def test_a_centre_is_cut_from_the_scaled_picture() -> None:
    assert centre_box(512, 1024, 256, (224, 224)) == (32, 288, 480, 736)


def test_options_of_a_recipe_are_options_of_the_loop() -> None:
    assert all(
        isinstance(load_recipe(name).DEFAULTS, Options) for name in ("digits", "facemask", "frgnet64", "resnet50")
    )
