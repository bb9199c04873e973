"""What is given to the Python functions: one string is one name, and what is none of Caffe's is refused in words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import caffe2torch
from caffe2torch.errors import CaffeError, NetError
from tests.caffe2torch import nets
from tests.caffe2torch.nets import CONV, given, layer


@pytest.fixture
def net(tmp_path: Path) -> Path:
    return nets.write(
        tmp_path,
        given("data", 1, 3, 4, 4),
        layer("one", "Convolution", "data", "one", CONV),
        layer("two", "TanH", "one", "two", 'include { stage: "deploy" }'),
    )


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"phase": "FOO"}, "phase='FOO'"),
        ({"phase": "test"}, '"TRAIN" and "TEST"'),
        ({"phase": 1}, "phase=1"),
        ({"level": "1"}, "level='1'"),
        ({"level": 1.0}, "level=1.0"),
        ({"stages": 5}, "stages=5"),
        ({"stages": [5]}, "stages: 5 is not a name"),
        ({"outputs": 5}, "outputs=5"),
        ({"drop": [b"one"]}, "drop: b'one'"),
        ({"input_shape": (2, 3.5)}, "3.5 in"),
        ({"input_shape": "1,3"}, "'1,3' is text"),
        ({"input_shape": 5}, "5 is not a shape"),
        ({"input_shape": (1, True)}, "True in"),
        ({"input_shape": {"x": (2, "a")}}, "input_shape of 'x': 'a' in"),
        ({"input_shape": {5: (2, 3)}}, "5 is not the name"),
    ],
)
def test_what_is_refused(options: dict[str, Any], words: str, net: Path) -> None:
    with pytest.raises(CaffeError) as caught:
        caffe2torch.convert(None, net, **options)
    assert words in str(caught.value)


def test_one_string_is_one_name(net: Path) -> None:
    assert caffe2torch.convert(None, net, stages="deploy").output_names == ("two",)
    assert caffe2torch.convert(None, net, outputs="one", stages=["deploy"]).output_names == ("one",)
    assert caffe2torch.convert(None, net, drop="two", stages=("deploy",)).output_names == ("one",)


@pytest.mark.parametrize("shape", [[2, 3, 6, 6], torch.Size([2, 3, 6, 6]), np.array([2, 3, 6, 6])])
def test_any_sequence_of_whole_numbers_is_a_shape(shape: Any, net: Path) -> None:
    for given_shape in (shape, {"data": shape}):
        module = caffe2torch.convert(None, net, input_shape=given_shape)
        assert module(torch.zeros(2, 3, 6, 6)).shape == (2, 2, 6, 6)


def test_an_input_shape_that_does_not_fit_is_named(tmp_path: Path) -> None:
    model = nets.trained(tmp_path / "small.caffemodel")
    with pytest.raises(NetError, match=r"^input_shape=\(1, 4, 8, 8\) does not fit the net: ") as caught:
        caffe2torch.convert(model, input_shape=[1, 4, 8, 8])
    assert caught.value.problems
