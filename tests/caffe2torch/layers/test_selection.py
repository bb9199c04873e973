"""Slice, Crop, Tile, BatchReindex and Filter against transcriptions of Caffe's loops; what Caffe refuses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import caffe2torch
from caffe2torch.conversion import graph_of


def count(*shape: int) -> np.ndarray:
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


@pytest.mark.parametrize(
    ("fields", "tops", "sizes"),
    [
        ("", 2, [3, 3]),
        ("axis: 1 slice_point: 1 slice_point: 2", 3, [1, 1, 4]),
        ("axis: -2 slice_point: 5", 2, [5, 1]),
        ("slice_dim: 1", 3, [2, 2, 2]),
        ("slice_point: 6", 2, [6, 0]),
        ("slice_point: 1 slice_point: 6", 3, [1, 5, 0]),
        ("", 1, [6]),
    ],
)
def test_slice(one_layer: Any, fields: str, tops: int, sizes: list[int]) -> None:
    x = count(2, 6, 3)
    names = " ".join(f'top: "t{index}"' for index in range(tops))
    found = one_layer.run(f'type: "Slice" {names} slice_param {{ {fields} }}', {"x": x})
    edges = np.cumsum([0, *sizes])
    for index in range(tops):
        np.testing.assert_array_equal(found[f"t{index}"], x[:, edges[index] : edges[index + 1]])


def crop(x: np.ndarray, like: tuple[int, ...], axis: int, offsets: list[int]) -> np.ndarray:
    """CropLayer: Reshape and the recursion of crop_copy, as one loop over the top's indices."""
    start = axis % x.ndim
    shape, begin = list(x.shape), [0] * x.ndim
    for i in range(start, x.ndim):
        shape[i] = like[i]
        begin[i] = 0 if not offsets else offsets[0] if len(offsets) == 1 else offsets[i - start]
    top = np.empty(shape, np.float32)
    for index in np.ndindex(*shape):
        top[index] = x[tuple(place + offset for place, offset in zip(index, begin, strict=True))]
    return top


@pytest.mark.parametrize(
    ("axis", "offsets", "like"),
    [
        (2, [], (1, 1, 3, 5)),
        (2, [1], (1, 1, 3, 5)),
        (2, [0, 2], (9, 9, 5, 4)),
        (-1, [2], (1, 1, 1, 4)),
        (1, [1, 0, 2], (1, 2, 4, 4, 7)),
        (0, [1], (1, 2, 3, 5)),
        (0, [], (2, 3, 5, 6)),
        (3, [0], (1, 1, 1, 6)),
    ],
)
def test_crop(one_layer: Any, axis: int, offsets: list[int], like: tuple[int, ...]) -> None:
    x = count(2, 3, 5, 6)
    fields = " ".join([f"axis: {axis}", *(f"offset: {offset}" for offset in offsets)])
    layer = f'type: "Crop" top: "y" crop_param {{ {fields} }}'
    inputs = {"x": x, "like": np.zeros(like, np.float32)}
    np.testing.assert_array_equal(one_layer.run(layer, inputs)["y"], crop(x, like, axis, offsets))
    assert one_layer.convert(layer, inputs).input_names == ("x",), "only the shape of the second bottom matters"


def test_what_only_feeds_a_size_is_not_computed(tmp_path: Path) -> None:
    prototxt = tmp_path / "net.prototxt"
    prototxt.write_text("""
        layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 2 dim: 8 dim: 8 } } }
        layer { name: "z" type: "Input" top: "z" input_param { shape { dim: 3 dim: 2 dim: 8 dim: 8 } } }
        layer { name: "pool" type: "Pooling" bottom: "z" top: "small" pooling_param { kernel_size: 2 stride: 2 } }
        layer { name: "crop" type: "Crop" bottom: "x" bottom: "small" top: "y" crop_param { offset: 1 } }
    """)
    graph = graph_of(caffe2torch.convert(None, prototxt))
    assert [node.name for node in graph.nodes] == ["crop"]
    assert graph.dropped == ("pool",)
    assert graph.batch
    assert graph.shape_of("y") == (1, 2, 4, 4)


@pytest.mark.parametrize(("axis", "tiles"), [(0, 3), (1, 2), (-1, 2), (2, 1)])
def test_tile(one_layer: Any, axis: int, tiles: int) -> None:
    x = count(2, 3, 4)
    outer, inner = int(np.prod(x.shape[: axis % 3])), x.size // int(np.prod(x.shape[: axis % 3]))
    rows = x.reshape(outer, inner)
    want = np.concatenate([rows[i] for i in range(outer) for _ in range(tiles)])  # TileLayer::Forward_cpu
    found = one_layer.run(f'type: "Tile" top: "y" tile_param {{ axis: {axis} tiles: {tiles} }}', {"x": x})["y"]
    assert found.shape == tuple(size * (tiles if place == axis % 3 else 1) for place, size in enumerate(x.shape))
    np.testing.assert_array_equal(found.ravel(), want)


@pytest.mark.parametrize("index", [[1], [3, 0, 0, 2, 1]])
@pytest.mark.parametrize("shape", [(4,), (4, 2), (4, 2, 3, 2)])
def test_batch_reindex(one_layer: Any, index: list[int], shape: tuple[int, ...]) -> None:
    x = count(*shape)
    inputs = {"x": x, "index": np.array(index, np.float32)}
    np.testing.assert_array_equal(one_layer.run('type: "BatchReindex" top: "y"', inputs)["y"], x[index])


def test_batch_reindex_never_counts_from_the_end(one_layer: Any) -> None:
    import torch

    module = one_layer.convert('type: "BatchReindex" top: "y"', {"x": count(4, 2), "index": count(2)})
    with pytest.raises(IndexError):
        module(torch.zeros(4, 2), torch.tensor([0.0, -1.0]))


FILTER = """
    layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 4 dim: 3 dim: 2 dim: 2 } } }
    layer { name: "label" type: "Input" top: "label" input_param { shape { dim: 4 } } }
    layer { name: "chosen" type: "Input" top: "chosen" input_param { shape { dim: 4 dim: 1 } } }
    layer { name: "keep" type: "Filter" bottom: "x" bottom: "label" bottom: "chosen" top: "kept" top: "labels" }
    layer { name: "flat" type: "Flatten" bottom: "kept" top: "flat" flatten_param { axis: 1 end_axis: 2 } }
    layer { name: "fold" type: "Reshape" bottom: "kept" top: "fold" reshape_param { shape { dim: 0 dim: 2 dim: -1 } } }
    layer { name: "mean" type: "Reduction" bottom: "fold" top: "mean" reduction_param { operation: MEAN axis: 2 } }
    layer { name: "ip" type: "InnerProduct" bottom: "fold" top: "ip" inner_product_param { num_output: 3 axis: 2
        weight_filler { type: "xavier" } } }
    layer { name: "top" type: "ArgMax" bottom: "ip" top: "top" argmax_param { out_max_val: true } }
"""


@pytest.mark.parametrize("chosen", [[1, 0, 0, 1], [0, 0, 0, 0], [-1, 0.5, np.nan, 2]], ids=str)
def test_filter_and_what_stands_behind(tmp_path: Path, chosen: list[float]) -> None:
    import onnx
    import onnxruntime
    import torch

    (tmp_path / "net.prototxt").write_text(FILTER)
    blobs = ["kept", "labels", "flat", "mean", "ip", "top"]
    module = caffe2torch.convert(None, tmp_path / "net.prototxt", outputs=blobs)
    generator = np.random.default_rng(0)
    inputs = {
        "x": generator.normal(size=(4, 3, 2, 2)).astype(np.float32),
        "label": count(4),
        "chosen": np.array(chosen, np.float32)[:, None],
    }
    with torch.no_grad():
        found = [y.numpy() for y in module(*(torch.from_numpy(inputs[name]) for name in module.input_names))]
    rows = [index for index, value in enumerate(chosen) if value != 0]
    np.testing.assert_array_equal(found[0], inputs["x"][rows])
    np.testing.assert_array_equal(found[1], inputs["label"][rows])
    assert all(len(y) == len(rows) for y in found)

    path = tmp_path / "net.onnx"
    caffe2torch.to_onnx(module, path)
    sizes = {y.name: y.type.tensor_type.shape.dim[0].dim_param for y in onnx.load(path).graph.output}
    assert set(sizes.values()) == {"keep_rows"}
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for got, want in zip(session.run(None, inputs), found, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


CROP = 'type: "Crop" top: "y" crop_param'


@pytest.mark.parametrize(
    ("layer", "shapes", "words"),
    [
        ('type: "Slice" top: "a" top: "b" slice_param { axis: 1 slice_dim: 1 }', [(2, 4)], "slice_dim"),
        ('type: "Slice" top: "a" top: "b" slice_param { slice_dim: 2 }', [(2, 4)], "axis 2"),
        ('type: "Slice" top: "a" top: "b"', [(2, 3)], "divide"),
        ('type: "Slice" top: "a" top: "b" slice_param { slice_point: 0 }', [(2, 4)], "rise"),
        ('type: "Slice" top: "a" top: "b" top: "c" slice_param { slice_point: 2 slice_point: 2 }', [(2, 4)], "rise"),
        ('type: "Slice" top: "a" top: "b" slice_param { slice_point: 5 }', [(2, 4)], "beyond"),
        ('type: "Slice" top: "a" top: "b" slice_param { slice_point: 1 slice_point: 2 }', [(2, 4)], "2 values"),
        ('type: "Slice" top: "a" slice_param { slice_point: 1 }', [(2, 4)], "1 values"),
        (f"{CROP} {{ offset: 1 }}", [(1, 1, 4, 4), (1, 1, 4, 3)], "axis 2"),
        (f"{CROP} {{ offset: 1 offset: 1 offset: 1 }}", [(1, 1, 4, 4), (1, 1, 2, 2)], "3 values of offset"),
        (f"{CROP} {{ axis: 4 }}", [(1, 1, 4, 4), (1, 1, 2, 2)], "axis 4"),
        (f"{CROP} {{ }}", [(1, 1, 4, 4), (1, 1, 2)], "fewer axes"),
        (f"{CROP} {{ }}", [(1, 1, 4, 4)], "1 bottoms"),
        ('type: "Tile" top: "y"', [(2, 3)], "tiles"),
        ('type: "Tile" top: "y" tile_param { tiles: 0 }', [(2, 3)], "tiles"),
        ('type: "Tile" top: "y" tile_param { tiles: 2 axis: 2 }', [(2, 3)], "axis 2"),
        ('type: "BatchReindex" top: "y"', [(2, 3), (2, 1)], "one axis"),
        ('type: "Filter" top: "y"', [(2, 3), (3,)], "different numbers"),
        ('type: "Filter" top: "y"', [(2, 3), (2, 2)], "selector"),
        ('type: "Filter" top: "y"', [(2, 3), (2, 3), (2,)], "2 tops"),
    ],
)
def test_refusals(refused: Callable[..., str], layer: str, shapes: list[tuple[int, ...]], words: str) -> None:
    assert words in refused(layer, *shapes)
