"""Numbers by which BVLC's Caffe and its forks mean different things: what the blobs, the shapes and the file decide."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import caffe2torch
from caffe2torch.conversion import graph_of
from tests.caffe2torch.nets import given, run, write
from tests.caffe2torch.test_readings import binary, layer, sub, varint, whole

WINDOW = (whole(3, 2),)  # stride
SHAPE = {"x": (1, 2, 8, 8)}


def blob(*shape: int) -> bytes:
    """Ones, as a layer's blob."""
    dims = b"".join(varint(size) for size in shape)
    return sub(7, sub(7, sub(1, dims)), sub(5, np.ones(shape, "<f4").tobytes()))


def convolution(*more: bytes) -> bytes:
    fields = sub(106, whole(1, 3), whole(4, 3), whole(2, 0), *more)
    return layer("Convolution", fields, blob(3, 2, 3, 3))


def pooling(field: int, value: int) -> bytes:
    return layer("Pooling", sub(121, whole(2, 3), whole(3, 2), whole(field, value)))


def top(path: Path, **options: object) -> tuple[tuple[int, ...], str]:
    """The shape of what the net gives, and its notes."""
    module = caffe2torch.convert(path, input_shape=SHAPE, **options)
    graph = graph_of(module)
    return graph.outputs[0].shape, " ".join(graph.notes)


@pytest.mark.parametrize(
    ("more", "size", "says"),
    [
        ((whole(16, 2),), 4, ""),  # TSN's dilation; as BVLC's axis it does not fit the blob
        ((whole(16, 1),), 6, ""),  # the same in both
        ((whole(18, 2),), 4, ""),  # BVLC's dilation; TSN's dilation_w is never alone
        ((whole(17, 2), whole(18, 3)), 2, "--fork tsn"),
    ],
)
def test_dilation_of_tsn(more: tuple[bytes, ...], size: int, says: str, tmp_path: Path) -> None:
    shape, notes = top(binary(tmp_path, convolution(*more)))
    assert shape == (1, 3, size, size)
    assert notes.endswith(says) and bool(notes) == bool(says)


def test_dilation_of_tsn_by_its_name(tmp_path: Path) -> None:
    path = binary(tmp_path, convolution(whole(17, 2), whole(18, 1)))
    assert top(path, fork="tsn")[0] == (1, 3, 4, 6)
    one = binary(tmp_path, convolution(whole(17, 2)))
    with pytest.raises(caffe2torch.CaffeError, match="dilation_h and dilation_w must be set together"):
        top(one, fork="tsn")


@pytest.mark.parametrize(
    ("value", "fork", "size"), [(0, "bvlc", 4), (0, "inisis", 3), (1, "bvlc", 3), (1, "inisis", 4)]
)
def test_rounding_of_pools(value: int, fork: str, size: int, tmp_path: Path) -> None:
    path = binary(tmp_path, pooling(13, value))
    assert top(path, fork=fork) == ((1, 2, size, size), "")
    shape, notes = top(path)
    assert shape == ((1, 2, 4, 4) if value == 0 else (1, 2, 3, 3))
    assert "(Pooling): its fields are read as BVLC/caffe has them; inisis/caffe means something else" in notes


def test_the_shapes_behind_decide(tmp_path: Path) -> None:
    outputs = sub(117, whole(1, 5), whole(2, 0))
    names = [sub(1, b"fc"), sub(2, b"InnerProduct"), sub(3, b"y"), sub(4, b"fc")]
    path = binary(tmp_path, pooling(13, 0), sub(100, *names, outputs, blob(5, 18)))
    shape, notes = top(path)
    assert shape == (1, 5)
    assert "inisis/caffe has them, which alone fits the shapes; BVLC/caffe" in notes


def test_other_layers_of_the_file_decide(tmp_path: Path) -> None:
    names = [sub(1, b"up"), sub(2, b"Upsample"), sub(3, b"y"), sub(4, b"up")]
    inisis = sub(100, *names, sub(500, whole(1, 2)))
    assert top(binary(tmp_path, pooling(13, 0), inisis)) == ((1, 2, 6, 6), "")
    yolo = sub(100, *names, sub(150, whole(1, 2)))
    assert top(binary(tmp_path, pooling(13, 0), yolo))[0] == (1, 2, 8, 8)


def test_dropout_that_scales_at_test_time(tmp_path: Path) -> None:
    path = binary(tmp_path, layer("Dropout", sub(108, whole(2, 0))))
    with pytest.raises(caffe2torch.CaffeError, match="as faster-rcnn or rfcn it is .* as segnet .*--fork faster-rcnn"):
        top(path)
    module = caffe2torch.convert(path, input_shape=SHAPE, fork="rfcn")
    assert run(module, {"x": np.ones(SHAPE["x"], np.float32)})[0].max() == 0.5


def test_weights_are_read_whatever_the_layers_around_them_are(tmp_path: Path) -> None:
    names = [sub(1, b"odd"), sub(2, b"DataAugmentation"), sub(3, b"x"), sub(4, b"z")]
    odd = sub(100, *names, sub(148, whole(1, 3)))  # coeff_schedule_param of FlowNet2; in BVLC's Caffe clip_param
    path = binary(tmp_path, odd, convolution())
    text = write(
        tmp_path,
        given("x", 1, 2, 8, 8),
        'layer { name: "it" type: "Convolution" bottom: "x" top: "y" '
        "convolution_param { num_output: 3 kernel_size: 3 bias_term: false } }",
    )
    assert caffe2torch.convert(path, text).state_dict()["it.weight"].eq(1).all()
    with pytest.raises(caffe2torch.CaffeError, match="the required field .*clip_param.min is missing"):
        top(path)
