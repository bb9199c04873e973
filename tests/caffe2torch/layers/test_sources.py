"""Parameter and DummyData, which take nothing, and Silence, which gives nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import caffe2torch
from caffe2torch.conversion import graph_of


def dummy(tops: str, fields: str) -> str:
    return f'type: "DummyData" {" ".join(f"top: {name!r}" for name in tops)} dummy_data_param {{ {fields} }}'


@pytest.mark.parametrize(
    ("tops", "fields", "want"),
    [
        ("a", "shape { dim: 2 dim: 3 }", {"a": ((2, 3), 0)}),
        ("a", "shape { }", {"a": ((), 0)}),
        ("ab", "shape { dim: 2 } data_filler { value: 1.5 }", {"a": ((2,), 1.5), "b": ((2,), 1.5)}),
        (
            "ab",
            "shape { dim: 2 } shape { dim: 1 dim: 3 } data_filler { value: 1 } data_filler { value: -2 }",
            {"a": ((2,), 1), "b": ((1, 3), -2)},
        ),
        ("ab", "num: 1 num: 2 channels: 3 height: 1 width: 4", {"a": ((1, 3, 1, 4), 0), "b": ((2, 3, 1, 4), 0)}),
    ],
)
def test_dummy_data(one_layer: Any, tops: str, fields: str, want: dict[str, tuple[tuple[int, ...], float]]) -> None:
    found = one_layer.run(dummy(tops, fields), {})
    for name, (shape, value) in want.items():
        np.testing.assert_array_equal(found[name], np.full(shape, value, np.float32))


def test_random_dummy_data_is_drawn_once(one_layer: Any) -> None:
    layer = dummy("ab", 'shape { dim: 50 dim: 20 } data_filler { type: "gaussian" mean: 3 std: 2 }')
    found = one_layer.run(layer, {})
    assert abs(found["a"].mean() - 3) < 0.2
    assert abs(found["a"].std() - 2) < 0.2
    assert not np.array_equal(found["a"], found["b"])
    np.testing.assert_array_equal(one_layer.run(layer, {})["a"], found["a"])


def test_dummy_data_does_not_learn_and_cannot_be_written_over(one_layer: Any) -> None:
    module = one_layer.convert(dummy("a", "shape { dim: 2 } data_filler { value: 1 }"), {})
    assert list(module.parameters()) == []
    module().add_(1)
    assert module().tolist() == [1, 1]


@pytest.mark.parametrize(
    ("tops", "fields", "words"),
    [
        ("a", "", "shape is set 0 times"),
        ("a", "shape { dim: 2 } num: 1", "one form or the other"),
        ("a", "num: 1 channels: 1 height: 1", "width is set 0 times"),
        ("abc", "shape { dim: 2 } shape { dim: 2 }", "shape is set 2 times for 3 tops"),
        ("abc", "shape { dim: 2 } data_filler { } data_filler { }", "data_filler is set 2 times"),
        ("a", 'shape { dim: 2 } data_filler { type: "mystery" }', "mystery"),
        ("a", "shape { dim: -2 }", "negative"),
        ("a", "shape { dim: 1000000 dim: 1000000 }", "numbers"),
    ],
)
def test_refused_dummy_data(refused: Callable[..., str], tops: str, fields: str, words: str) -> None:
    assert words in refused(dummy(tops, fields))


def test_a_parameter_comes_from_the_file_or_is_zero(one_layer: Any) -> None:
    layer = 'type: "Parameter" top: "w" parameter_param { shape { dim: 2 dim: 3 } }'
    weight = np.arange(6, dtype=np.float32).reshape(2, 3)
    np.testing.assert_array_equal(one_layer.run(layer, {}, [weight])["w"], weight)
    np.testing.assert_array_equal(one_layer.run(layer, {})["w"], np.zeros((2, 3)))


def test_a_parameter_learns(one_layer: Any) -> None:
    module = one_layer.convert('type: "Parameter" top: "w" parameter_param { shape { dim: 2 } }', {})
    module().sum().backward()
    assert module.layer.weight.grad.tolist() == [1, 1]


def test_a_fixed_tensor_beside_the_batch(tmp_path: Path) -> None:
    """What does not grow with the batch keeps its size in ONNX and in the comments."""
    import onnx
    import onnxruntime

    (tmp_path / "net.prototxt").write_text("""
        layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 3 dim: 3 } } }
        layer { name: "w" type: "Parameter" top: "w" parameter_param { shape { dim: 3 } } }
        layer { name: "y" type: "Bias" bottom: "x" bottom: "w" top: "y" }
    """)
    module = caffe2torch.convert(None, tmp_path / "net.prototxt", outputs=["w", "y"])
    path = tmp_path / "net.onnx"
    caffe2torch.to_onnx(module, path)
    sizes = [y.type.tensor_type.shape.dim[0] for y in onnx.load(path).graph.output]
    assert (sizes[0].dim_value, sizes[1].dim_param) == (3, "N")
    text = caffe2torch.to_source(module)
    assert "w = self.w()  # (3,)" in text
    assert "# (N, 3)" in text
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    assert session.run(["y"], {"x": np.ones((5, 3), np.float32)})[0].shape == (5, 3)


def test_silence_is_dropped(tmp_path: Path) -> None:
    (tmp_path / "net.prototxt").write_text("""
        layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 3 } } }
        layer { name: "label" type: "Input" top: "label" input_param { shape { dim: 1 } } }
        layer { name: "y" type: "TanH" bottom: "x" top: "y" }
        layer { name: "quiet" type: "Silence" bottom: "label" }
    """)
    graph = graph_of(caffe2torch.convert(None, tmp_path / "net.prototxt"))
    assert graph.dropped == ("quiet",)
    assert graph.input_names == ("x",)
