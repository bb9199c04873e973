"""A prototxt from a stranger: few words that ask for much are refused in words, before anything is made."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from caffe2torch import limits
from caffe2torch.converted import from_caffemodel
from caffe2torch.errors import NetError, ShapeError, TextError
from caffe2torch.graph import Graph
from caffe2torch.reader import load_net
from caffe2torch.torch_source import source
from tests.caffe2torch import nets
from tests.caffe2torch.nets import layer, write

BILLION = 2_000_000_000


def given(*sizes: int, name: str = "data") -> str:
    return nets.given(name, *sizes)


def one(kind: str, more: str = "", bottoms: str = "data", sizes: tuple[int, ...] = (1, 3, 8, 8)) -> list[str]:
    return [given(*sizes), layer("y", kind, bottoms, "y", more)]


def resolved(folder: Path, lines: list[str]) -> Graph:
    """Through the source and the weights, as `convert` goes."""
    converted = from_caffemodel(None, write(folder, *lines))
    compile(source(converted.graph), "model.py", "exec")
    converted.state()
    return converted.graph


PRIORS = "prior_box_param { min_size: 10 }"
CONV = "convolution_param {{ num_output: {} kernel_size: {} pad: {} stride: {} }}"
ASKED = {
    "num_output": one("InnerProduct", f"inner_product_param {{ num_output: {BILLION} }}"),
    "num_output beside a small input": one(
        "InnerProduct", f"inner_product_param {{ num_output: {BILLION} }}", "data", (1, 1)
    ),
    "fillers of many layers": [
        given(1, 3, 8, 8),
        *(
            layer(f"y{i}", "InnerProduct", "data", f"y{i}", "inner_product_param { num_output: 900000 }")
            for i in range(9)
        ),
    ],
    "kernel": one("Convolution", CONV.format(1, BILLION, BILLION // 2, 1)),
    "padding": one("Convolution", CONV.format(1, 1, 10**6, 10**6)),
    "pooled padding": one(
        "Pooling", f"pooling_param {{ kernel_size: {BILLION} pad: {BILLION - 1} stride: {BILLION} }}"
    ),
    "group": one("Convolution", f"convolution_param {{ num_output: 3 kernel_size: 1 group: {1 << 31} }}"),
    "tiles": one("Tile", f"tile_param {{ tiles: {BILLION} }}"),
    "upsampling": one("Upsample", "upsample_param { scale: 1000000 }"),
    "interpolation": one("Interp", "interp_param { height: 2000000 width: 2000000 }"),
    "pyramid": one("SPP", f"spp_param {{ pyramid_height: {BILLION} }}"),
    "reshape": one("Reshape", f"reshape_param {{ shape {{ dim: {1 << 62} dim: 4 dim: 48 }} }}"),
    "order": one("Permute", f"permute_param {{ order: {1 << 31} order: 1 order: 2 order: 3 }}"),
    "prior boxes": [given(1, 3, 20000, 10000), *one("PriorBox", PRIORS, "data image")[1:]],
    "many prior boxes": [
        given(1, 3, 2000, 1000),
        *(layer(f"y{i}", "PriorBox", "data image", f"y{i}", PRIORS) for i in range(5)),
    ],
    "correlation": one(
        "Correlation", f"correlation_param {{ kernel_size: 1 max_displacement: {20000} pad: 20000 }}", "data data"
    ),
    "resampling": one("Resample", "resample_param { height: 90000 width: 1 type: LINEAR }", "data", (1, 1, 1000, 1)),
    "nearest pixels": one("Resample", "resample_param { height: 4294967295 width: 1 type: NEAREST }"),
    "dummy data": [layer("y", "DummyData", "", "y", f"dummy_data_param {{ shape {{ dim: {1 << 29} }} }}")],
    "parameter": [layer("y", "Parameter", "", "y", f"parameter_param {{ shape {{ dim: {1 << 29} }} }}")],
    "embedding": one("Embed", f"embed_param {{ num_output: {BILLION} input_dim: {BILLION} }}", "data", (8,)),
    "doubling": [
        given(1, 3, 8, 8),
        *(layer(f"y{i}", "Concat", f"{'data' if not i else f'y{i - 1}'} " * 2, f"y{i}") for i in range(99)),
    ],
    "input of 2^62": one("ReLU", "", "data", (1 << 31, 1 << 31)),
    "thousands of axes": one("ReLU", "", "data", (1,) * 5_000),
    "negative size": one("ReLU", "", "data", (1, -3, 8, 8)),
    "size 0": one("ReLU", "", "data", (1, 0, 8, 8)),
    "many bottoms": one("Concat", "", "data " * 501),
    "many tops": [given(1, 501), layer("y", "Slice", "data", " ".join(f"t{i}" for i in range(501)))],
    "cycle": [given(1, 1), layer("a", "ReLU", "b", "c"), layer("b", "ReLU", "c", "b")],
    "a blob of its own": [given(1, 1), layer("a", "Eltwise", "data a", "a")],
    "a blob made twice": [given(1, 1), layer("a", "ReLU", "data", "y"), layer("b", "TanH", "data", "y")],
}
IMAGE = given(1, 3, 300, 300, name="image")


@pytest.mark.parametrize("what", ASKED)
def test_what_asks_for_too_much_is_refused(what: str, tmp_path: Path) -> None:
    lines = ASKED[what]
    extra = [IMAGE] if "image" in " ".join(lines) else []
    with pytest.raises((NetError, ShapeError)) as caught:
        resolved(tmp_path, [*extra, *lines])
    assert len(str(caught.value)) < 2000, "messages stay readable"


def test_nothing_is_filled_before_all_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "FILLED_ALONE", 1000)
    monkeypatch.setattr("caffe2torch.weights.fill", lambda *_: pytest.fail("filled"))
    small = layer("a", "InnerProduct", "data", "a", "inner_product_param { num_output: 2 }")
    large = layer("b", "InnerProduct", "a", "b", "inner_product_param { num_output: 1000 }")
    with pytest.raises(NetError, match=r"b \(InnerProduct\): its weight of shape \(1000, 2\) is in no file"):
        resolved(tmp_path, [given(1, 3), small, large])


def test_a_file_of_a_few_bytes_gets_few_numbers_made_up(tmp_path: Path) -> None:
    """Where a file of weights is given, a layer that it lacks may be so many times as large as what it has."""
    small = layer("a", "InnerProduct", "data", "a", "inner_product_param { num_output: 2 }")
    large = layer("b", "InnerProduct", "a", "b", "inner_product_param { num_output: 4096 }")
    blobs = {"a": [np.zeros((2, 1024), np.float32), np.zeros(2, np.float32)]}
    model = nets.caffemodel(tmp_path / "a.caffemodel", blobs, "InnerProduct")
    state = from_caffemodel(model, write(tmp_path, given(1, 1024), small, large)).state()
    assert state["b.weight"].shape == (4096, 2)
    with pytest.raises(NetError, match="too large to be made up"):
        from_caffemodel(model, write(tmp_path, given(1, 1024), small, large.replace("4096", "524288"))).state()


def test_thousands_of_layers_of_one_name(tmp_path: Path) -> None:
    blobs = ["data", *(f"b{i}" for i in range(600))]
    graph = resolved(tmp_path, [given(1, 2), *(layer("same", "PReLU", a, b) for a, b in pairwise(blobs))])
    assert len({node.name for node in graph.nodes}) == 600


def test_splits_of_splits_are_followed_in_linear_time(tmp_path: Path) -> None:
    lines = [given(1, 2), layer("s", "Split", "data", " ".join(f"u{i}" for i in range(4)))]
    lines += [layer(f"s{i}", "Split", f"u{i}", " ".join(f"t{i}_{j}" for j in range(300))) for i in range(4)]
    lines += [
        layer(f"r{i}_{j}", "Power", f"t{i}_{j}", f"t{i}_{j}", "power_param { shift: 1 }")
        for i in range(4)
        for j in range(300)
    ]
    assert len(resolved(tmp_path, lines).nodes) == 1200


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("layer { " * 50_000, "no field 'layer'"),
        ('layer { type: "Data" foo_param ' + "{ a " * 50_000, "a value was expected, or a closing brace"),
        ('layer { type: "Data" foo: ' + "[" * 50_000, "a value was expected, or a closing brace"),
        ('name: "' + "n" * (limits.TEXT + 1), "longer than 4 MiB"),
        ('name: "' + "n" * 3_000_000, "not closed"),
        ('name: "' + "n" * 3_000_000 + '"', "a name of 3,000,000 characters"),
        ('name: "' + "\\\\" * 1_000_000 + '"', "10,000 escapes"),
        ("input_dim: " + "9" * 1_000_000, "(1000000 digits) is too large"),
        ("input_dim: 1e" + "9" * 1000, "must be an integer"),
        ("#" + "x" * 3_000_000, "no layer is left"),
    ],
    ids=range(10),
)
def test_texts_that_swell(text: str, says: str, tmp_path: Path) -> None:
    path = tmp_path / "net.prototxt"
    path.write_text(text)
    with pytest.raises((TextError, NetError)) as caught:
        from_caffemodel(None, path)
    assert says in str(caught.value)


def test_words_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "WORDS", 1000)
    path = tmp_path / "net.prototxt"
    path.write_text(f"input_dim: [{'1, ' * 1000}1]")
    with pytest.raises(TextError, match="more words than a net has"):
        load_net(None, path)


@pytest.mark.parametrize("form", ["text", "binary"])
def test_layers_are_counted(form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LAYERS", 4)
    path = nets.trained(tmp_path / "net.caffemodel")
    if form == "text":
        path = write(tmp_path, *(layer(f"r{i}", "ReLU", "data", "data") for i in range(6)))
    with pytest.raises(NetError, match="more than 4 layers, as no net has"):
        load_net(*((None, path) if form == "text" else (path,)))


@pytest.mark.parametrize("bottoms", [60, 500])
@pytest.mark.parametrize("operation", ["MAX", "SUM", "PROD"])
def test_many_bottoms_nest_nothing_too_deep(operation: str, bottoms: int, tmp_path: Path) -> None:
    resolved(tmp_path, one("Eltwise", f"eltwise_param {{ operation: {operation} }}", "data " * bottoms))


def test_a_maximum_of_many(tmp_path: Path) -> None:
    names = [f"b{i}" for i in range(60)]
    lines = [
        given(2, 3),
        *(layer(name, "Power", "data", name, f"power_param {{ scale: {i - 30} }}") for i, name in enumerate(names)),
    ]
    nets.agree(
        nets.module(tmp_path, *lines, layer("y", "Eltwise", names, "y", "eltwise_param { operation: MAX }")), tmp_path
    )


def test_a_source_is_not_followed_out_of_the_folder(tmp_path: Path) -> None:
    inside, outside = tmp_path / "model", tmp_path / "secret.binaryproto"
    inside.mkdir()
    nets_blob = nets.message("BlobProto")(num=1, channels=1, height=2, width=2, data=[1.0] * 4)
    outside.write_bytes(nets_blob.SerializeToString())
    (inside / "link.binaryproto").symlink_to(outside)
    (inside / "own.binaryproto").write_bytes(outside.read_bytes())

    def loss(source_: str) -> Graph:
        lines = [given(1, 2, name="x"), given(1, name="label")]
        more = f'infogain_loss_param {{ source: "{source_}" }}'
        path = write(inside, *lines, layer("loss", "InfogainLoss", "x label", "loss", more))
        return from_caffemodel(None, path, outputs=["loss"]).graph

    assert loss("own.binaryproto").nodes
    for source_ in ("../secret.binaryproto", str(outside), "link.binaryproto", "./../model/../secret.binaryproto"):
        with pytest.raises(NetError, match="leads out of"):
            loss(source_)
    with pytest.raises(NetError, match="not a regular file"):
        loss(".")


ODD = {
    "PriorBox": "prior_box_param {{ min_size: {} }}",
    "ReLU": "relu_param {{ negative_slope: {} }}",
    "ReLU6": "relu6_param {{ negative_slope: {} }}",
    "SeLU": "selu_param {{ lambda: 1.2 alpha: {} }}",
    "ELU": "elu_param {{ alpha: {} }}",
    "Power": "power_param {{ scale: {} }}",
    "Exp": "exp_param {{ base: {} }}",
    "LRN": "lrn_param {{ alpha: {} }}",
    "Threshold": "threshold_param {{ threshold: {} }}",
}


@pytest.mark.parametrize("number", ["nan", "inf", "-inf", "1e-44"])
@pytest.mark.parametrize("kind", ODD)
def test_numbers_that_are_none(kind: str, number: str, tmp_path: Path) -> None:
    """Refused in words, or printed as Python that runs."""
    bottoms = "data image" if kind == "PriorBox" else "data"
    path = write(tmp_path, IMAGE, *one(kind, ODD[kind].format(number), bottoms))
    try:
        converted = from_caffemodel(None, path)
    except NetError:
        return
    nets.run(converted.module(), {value.blob: np.ones(value.shape, np.float32) for value in converted.graph.inputs})
