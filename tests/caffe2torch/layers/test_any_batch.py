"""One ONNX file, one module: nets whose batch size is free give the same at 1 and at 3 items."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch

import caffe2torch
from caffe2torch.conversion import graph_of

XAVIER = 'weight_filler { type: "xavier" }'
FREE = [
    ('type: "Power" power_param { power: 0 shift: 2 }', [(2, 3)]),
    ('type: "Bias" bias_param { axis: 0 }', [(2, 3, 4), (2, 3)]),
    ('type: "Scale" scale_param { axis: 0 }', [(2, 3, 4), (2, 3)]),
    ('type: "MVN"', [(2, 3, 4)]),
    ('type: "Flatten"', [(2, 3, 4, 5)]),
    ('type: "Flatten" flatten_param { axis: 2 end_axis: 3 }', [(2, 3, 4, 5)]),
    ('type: "Flatten" flatten_param { axis: 2 end_axis: 1 }', [(2, 3, 4)]),
    ('type: "Reshape" reshape_param { shape { dim: 0 dim: 2 dim: -1 } }', [(2, 3, 4)]),
    ('type: "Reshape" reshape_param { shape { dim: -1 dim: 12 } }', [(2, 3, 4)]),
    ('type: "Reshape" reshape_param { shape { dim: 4 dim: 3 } axis: 1 }', [(2, 3, 4)]),
    ('type: "Slice" slice_param { axis: 2 }', [(2, 3, 4)]),
    ('type: "Crop" crop_param { axis: 1 offset: 1 offset: 0 }', [(2, 3, 4), (1, 2, 2)]),
    ('type: "Tile" tile_param { tiles: 2 }', [(2, 3)]),
    ('type: "Reduction" reduction_param { axis: 1 operation: MEAN }', [(2, 3, 4)]),
    ('type: "Reduction" reduction_param { operation: MEAN }', [(2, 3, 4)]),
    ('type: "ArgMax"', [(2, 3, 4)]),
    ('type: "ArgMax" argmax_param { top_k: 2 out_max_val: true }', [(2, 3, 4, 5)]),
    ('type: "ArgMax" argmax_param { axis: 0 }', [(2, 3, 4)]),
    ('type: "Embed" embed_param { num_output: 3 input_dim: 9 weight_filler { type: "gaussian" } }', [(2, 5)]),
    (
        f'type: "Deconvolution" convolution_param {{ num_output: 2 kernel_size: 3 {XAVIER} }}',
        [(2, 3, 4, 5)],
    ),
    (
        f'type: "Convolution" convolution_param {{ num_output: 2 kernel_size: 3 stride: 2 {XAVIER} }}',
        [(2, 3, 2, 5)],
    ),
    ('type: "Im2col" convolution_param { kernel_size: 2 }', [(2, 3, 4, 5)]),
    ('type: "Im2col" convolution_param { kernel_size: 2 }', [(2, 3, 4)]),
    ('type: "SPP" spp_param { pyramid_height: 2 }', [(2, 3, 5, 5)]),
    ('type: "Filter"', [(2, 3), (2,)]),
]
FIXED = [
    ('type: "Reshape" reshape_param { shape { dim: 2 dim: -1 } }', [(2, 3, 4)]),
    ('type: "Reshape" reshape_param { shape { dim: 1 } num_axes: 0 }', [(2, 3)]),
    ('type: "Flatten" flatten_param { axis: 0 }', [(2, 3)]),
    ('type: "Slice" slice_param { axis: 0 slice_point: 1 }', [(3, 2)]),
    ('type: "Tile" tile_param { axis: 0 tiles: 2 }', [(2, 3)]),
    ('type: "Bias" bias_param { axis: 0 }', [(2, 3)]),
    ('type: "BatchReindex"', [(2, 3), (5,)]),
]


def convert(one_layer: Any, layer: str, shapes: list[tuple[int, ...]]) -> Any:
    inputs = {f"in{index}": np.zeros(shape, np.float32) for index, shape in enumerate(shapes)}
    tops = 'top: "y" top: "z"' if '"Slice"' in layer else 'top: "y"'
    return one_layer.convert(f"{layer} {tops}", inputs)


@pytest.mark.parametrize(("layer", "shapes"), FREE)
def test_free(one_layer: Any, tmp_path: Path, layer: str, shapes: list[tuple[int, ...]]) -> None:
    module = convert(one_layer, layer, shapes)
    assert graph_of(module).batch
    caffe2torch.to_onnx(module, tmp_path / "net.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "net.onnx", providers=["CPUExecutionProvider"])
    generator = np.random.default_rng(0)
    for size in (1, 3):
        used = shapes[: len(module.input_names)]
        arrays = [generator.integers(0, 9, (size, *shape[1:])).astype(np.float32) for shape in used]
        feeds = dict(zip(module.input_names, arrays, strict=True))
        with torch.no_grad():
            wanted = module(*(torch.from_numpy(array) for array in feeds.values()))
        wanted = wanted if isinstance(wanted, tuple) else (wanted,)
        for got, want in zip(session.run(None, feeds), wanted, strict=True):
            np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("layer", "shapes"), FIXED)
def test_fixed(one_layer: Any, layer: str, shapes: list[tuple[int, ...]]) -> None:
    assert not graph_of(convert(one_layer, layer, shapes)).batch
