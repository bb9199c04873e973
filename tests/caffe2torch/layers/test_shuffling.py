"""ShuffleChannel, PixelShuffle and DepthToSpace against transcriptions of the forks' loops."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from tests.caffe2torch.layers.conftest import OneLayer


def counted(*shape: int) -> np.ndarray:
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


@pytest.mark.parametrize("group", [1, 2, 3, 12])
def test_shuffle_channel(one_layer: OneLayer, group: int) -> None:
    x = counted(2, 12, 3, 4)
    expected = np.zeros_like(x)
    for row, column in np.ndindex(group, 12 // group):
        expected[:, column * group + row] = x[:, row * (12 // group) + column]
    layer = f'type: "ShuffleChannel" top: "y" shuffle_channel_param {{ group: {group} }}'
    np.testing.assert_array_equal(one_layer.run(layer, {"x": x})["y"], expected)


def test_shuffle_channel_by_default(one_layer: OneLayer) -> None:
    x = counted(2, 12, 3, 4)
    np.testing.assert_array_equal(one_layer.run('type: "ShuffleChannel" top: "y"', {"x": x})["y"], x)


@pytest.mark.parametrize(("channels", "factor"), [(9, 3), (8, 2), (6, 2), (3, 1)])
def test_pixel_shuffle(one_layer: OneLayer, channels: int, factor: int) -> None:
    """Channels that make no whole factor² are dropped."""
    x = counted(2, channels, 3, 4)
    expected = np.zeros((2, channels // factor**2, 3 * factor, 4 * factor), np.float32)
    for p, row, column in np.ndindex(channels // factor**2, factor, factor):
        expected[:, p, row::factor, column::factor] = x[:, p * factor**2 + row * factor + column]
    layer = f'type: "PixelShuffle" top: "y" pixelshuffle_param {{ upscale_factor: {factor} }}'
    np.testing.assert_array_equal(one_layer.run(layer, {"x": x})["y"], expected)


@pytest.mark.parametrize(("channels", "block"), [(8, 2), (4, 2), (18, 3), (2, 1)])
@pytest.mark.parametrize("order", ["NHWC", "NCHW", "DCR", "CRD", ""])
def test_depth_to_space(one_layer: OneLayer, channels: int, block: int, order: str) -> None:
    last = order in ("NHWC", "")
    left = channels // block**2
    x = counted(2, 3, 4, channels) if last else counted(2, channels, 3, 4)
    plain = x.transpose(0, 3, 1, 2) if last else x
    expected = np.zeros((2, left, 3 * block, 4 * block), np.float32)
    for d, h, w in np.ndindex(*expected.shape[1:]):
        place = h % block * block + w % block
        source = d * block**2 + place if order == "CRD" else place * left + d
        expected[:, d, h, w] = plain[:, source, h // block, w // block]
    given = f"data_format: '{order}'" if order else ""
    layer = f'type: "DepthToSpace" top: "y" depth_to_space_param {{ block_size: {block} {given} }}'
    found = one_layer.run(layer, {"x": x})["y"]
    np.testing.assert_array_equal(found, expected.transpose(0, 2, 3, 1) if last else expected)


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        ('"ShuffleChannel" shuffle_channel_param { group: 5 }', "do not divide into group=5"),
        ('"ShuffleChannel" shuffle_channel_param { group: 0 }', "do not divide into group=0"),
        ('"PixelShuffle" pixelshuffle_param { upscale_factor: 5 }', "upscale_factor 5"),
        ('"PixelShuffle" pixelshuffle_param { upscale_factor: 4 }', "upscale_factor 4"),
        ('"DepthToSpace" depth_to_space_param { block_size: 2 }', "6 channels (data_format NHWC)"),
        ('"DepthToSpace" depth_to_space_param { block_size: 1 data_format: "CHW" }', "'CHW' is none of"),
    ],
)
def test_refused(refused: Callable[..., str], layer: str, words: str) -> None:
    assert words in refused(f'type: {layer} top: "y"', (1, 12, 4, 6))
    kind = layer.split()[0]
    fields = layer.partition(" ")[2].replace("5", "2").replace("4", "2").replace("0", "2").replace("CHW", "NCHW")
    assert "4 are supported" in refused(f'type: {kind} top: "y" {fields}', (1, 12, 4))
