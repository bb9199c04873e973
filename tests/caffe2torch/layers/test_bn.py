"""BN in its two meanings against the forks' formulas; how they are told apart."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import caffe2torch
from tests.caffe2torch.layers.conftest import OneLayer

RANDOM = np.random.default_rng(0)
X = RANDOM.standard_normal((4, 3, 5, 6), np.float32) * 3 + 1


def blobs(count: int, *shape: int) -> list[np.ndarray]:
    """The fourth is a variance."""
    drawn = [RANDOM.standard_normal(shape, np.float32) for _ in range(count)]
    return [*drawn[:3], *(np.abs(each) + 0.1 for each in drawn[3:])]


def channels(blob: np.ndarray, axes: int = 4) -> np.ndarray:
    return blob.reshape(1, -1, *[1] * (axes - 2))


@pytest.mark.parametrize("shape", [(1, 3), (1, 3, 1, 1), (3,)])
def test_running(one_layer: OneLayer, shape: tuple[int, ...]) -> None:
    """PSPNet's, whatever shape a fork gives its blobs."""
    slope, bias, mean, variance = blobs(4, *shape)
    y = one_layer.run('type: "BN" top: "y"', {"x": X}, [slope, bias, mean, variance])["y"]
    expected = (X - channels(mean)) / np.sqrt(channels(variance) + 1e-5) * channels(slope) + channels(bias)
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("fields", ["eps: 0.5", "frozen: true eps: 0.5 momentum: 0.95 engine: CUDNN"])
def test_running_fields(one_layer: OneLayer, fields: str) -> None:
    slope, bias, mean, variance = blobs(4, 1, 3)
    layer = f'type: "BN" top: "y" bn_param {{ {fields} }}'
    x = X[:, :, 0, 0]
    y = one_layer.run(layer, {"x": x}, [slope, bias, mean, variance])["y"]
    np.testing.assert_allclose(y, (x - mean) / np.sqrt(variance + 0.5) * slope + bias, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("fields", "stored"), [("eps: 0.01", False), ("frozen: true eps: 0.01", True)])
def test_phase_of_its_own(one_layer: OneLayer, fields: str, stored: bool) -> None:
    """phase: TRAIN means the batch's own statistics, unless it is frozen."""
    slope, bias, mean, variance = blobs(4, 1, 3, 1, 1)
    layer = f'type: "BN" top: "y" phase: TRAIN bn_param {{ {fields} }}'
    y = one_layer.run(layer, {"x": X}, [slope, bias, mean, variance])["y"]
    if not stored:
        mean, variance = X.mean((0, 2, 3), keepdims=True), X.var((0, 2, 3), keepdims=True)
    np.testing.assert_allclose(y, (X - mean) / np.sqrt(variance + 0.01) * slope + bias, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shape", [(4, 3, 5, 6), (4, 3)])
def test_inference(one_layer: OneLayer, shape: tuple[int, ...]) -> None:
    """SegNet's: four axes, whatever the bottom's."""
    scale, shift = blobs(2, 1, 3, 1, 1)
    x = X.reshape(-1)[: np.prod(shape)].reshape(shape)
    y = one_layer.run('type: "BN" top: "y" bn_param { bn_mode: INFERENCE }', {"x": x}, [scale, shift])["y"]
    np.testing.assert_allclose(y, x.reshape(y.shape) * scale + shift, rtol=1e-5)
    assert y.ndim == 4


@pytest.mark.parametrize("tops", ["y", "y mean", "y mean variance"])
@pytest.mark.parametrize("fields", ["", "bn_param { bn_mode: LEARN }"])
def test_learn(one_layer: OneLayer, tops: str, fields: str) -> None:
    """The batch's own statistics, at test time too; without any field the two blobs tell whose BN it is."""
    scale, shift = blobs(2, 1, 3, 1, 1)
    names = " ".join(f'top: "{top}"' for top in tops.split())
    found = one_layer.run(f'type: "BN" {names} {fields}', {"x": X}, [scale, shift])
    mean, variance = X.mean((0, 2, 3), keepdims=True), X.var((0, 2, 3), keepdims=True)
    expected = {"y": (X - mean) / np.sqrt(variance + 1e-9) * scale + shift, "mean": mean, "variance": variance}
    assert set(found) == set(tops.split())
    for name, array in found.items():
        np.testing.assert_allclose(array, expected[name], rtol=1e-4, atol=1e-4)


def test_fillers(one_layer: OneLayer) -> None:
    """Without weights the fields that are set tell whose BN it is."""
    fields = 'slope_filler { type: "constant" value: 2 } bias_filler { type: "constant" value: 1 }'
    y = one_layer.run(f'type: "BN" top: "y" bn_param {{ {fields} }}', {"x": X})["y"]
    np.testing.assert_allclose(y, X / np.sqrt(np.float32(1 + 1e-5)) * 2 + 1, rtol=1e-5)
    fields = 'bn_mode: INFERENCE scale_filler { type: "constant" value: 2 }'
    np.testing.assert_array_equal(one_layer.run(f'type: "BN" top: "y" bn_param {{ {fields} }}', {"x": X})["y"], X * 2)


def test_momentum_is_torchs_other_way_round(one_layer: OneLayer) -> None:
    module = one_layer.convert('type: "BN" top: "y" bn_param { momentum: 0.95 }', {"x": X})
    assert "momentum=0.05" in caffe2torch.to_source(module)


def test_synopsys(one_layer: OneLayer) -> None:
    """Its message holds both kinds; what is set tells, else the blobs."""
    layer = 'type: "BN" top: "y"'
    prototxt = one_layer.folder / "net.prototxt"
    four, two = blobs(4, 1, 3, 1, 1), blobs(2, 1, 3, 1, 1)
    one_layer.convert(layer, {"x": X}, two)
    for count, weights in ((2, two), (4, four)):
        path = one_layer._caffemodel(weights)
        module = caffe2torch.convert(path, prototxt, fork="synopsys")
        assert len([key for key in module.state_dict() if "num_batches" not in key]) == count


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        ('top: "y"', "--fork"),
        ('top: "y" top: "mean" bn_param { eps: 0.1 }', "it has 2 tops"),
        ('top: "y" top: "mean" bn_param { bn_mode: INFERENCE }', "are never written"),
        ('top: "y" bn_param { bn_mode: LEARN eps: 0.1 }', "mixes fields"),
        ('top: "y" bn_param { eps: 0.1 icnet: true }', "icnet"),
    ],
)
def test_refused(refused: Callable[..., str], layer: str, words: str) -> None:
    assert words in refused(f'type: "BN" {layer}', (2, 3, 4, 4))
