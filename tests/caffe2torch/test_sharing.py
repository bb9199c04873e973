"""Parameters that layers share by name: one Parameter in torch, one initializer in ONNX, one tensor on the disk."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import onnx
import pytest
import torch
from safetensors.numpy import load_file
from safetensors.torch import load_model

import caffe2torch
from caffe2torch import folder
from caffe2torch.conversion import graph_of
from caffe2torch.errors import NetError
from tests.caffe2torch import nets
from tests.caffe2torch.nets import agree, caffemodel, given, layer, run, write

RANDOM = np.random.default_rng(0)
X = {"data": RANDOM.standard_normal((2, 4)).astype(np.float32)}
DATA = given("data", 2, 4)
W, V = (RANDOM.standard_normal((3, 4)).astype(np.float32) for _ in range(2))
B, C = (RANDOM.standard_normal(3).astype(np.float32) for _ in range(2))
SHARED = 'param { name: "w" } param { name: "b" }'


def ip(name: str, specs: str = SHARED, bottom: str = "data", more: str = "", outputs: int = 3) -> str:
    return layer(name, "InnerProduct", bottom, name, f"{specs} inner_product_param {{ num_output: {outputs} {more} }}")


def weights(folder: Path, blobs: dict[str, Sequence[np.ndarray]]) -> Path:
    return caffemodel(folder / "weights.caffemodel", blobs, "InnerProduct")


def initializers(converted: Any, folder: Path) -> dict[str, tuple[int, ...]]:
    caffe2torch.to_onnx(converted, folder / "one.onnx")
    return {each.name: tuple(each.dims) for each in onnx.load(folder / "one.onnx").graph.initializer}


def distinct(converted: Any) -> int:
    return len({parameter.data_ptr() for parameter in converted.parameters()})


@pytest.mark.parametrize("blobs", [{"p": [W, B]}, {"p": [V, C], "q": [W, B]}, {"q": [W, B]}])
def test_layers_that_share_all_are_one_module(blobs: dict[str, Sequence[np.ndarray]], tmp_path: Path) -> None:
    """The blob is the first layer's, and the last one read into it counts."""
    module = caffe2torch.convert(weights(tmp_path, blobs), write(tmp_path, DATA, ip("p"), ip("q")))
    for got in agree(module, tmp_path, X):
        np.testing.assert_allclose(got, X["data"] @ W.T + B, atol=1e-5)
    assert list(module.state_dict()) == ["p.weight", "p.bias"]
    assert "q = self.p(data)" in caffe2torch.to_source(module)
    assert len(initializers(module, tmp_path)) == 2
    assert graph_of(module).parameters == 15


def test_which_read_was_last_is_told_by_the_file_not_by_the_net(tmp_path: Path) -> None:
    model = weights(tmp_path, {"q": [V, C], "p": [W, B]})
    module = caffe2torch.convert(model, write(tmp_path, DATA, ip("p"), ip("q")))
    for got in run(module, X):
        np.testing.assert_allclose(got, X["data"] @ W.T + B, atol=1e-5)


def test_a_shared_weight_is_one_parameter(tmp_path: Path) -> None:
    specs = 'param { name: "w" }'
    model = weights(tmp_path, {"p": [V, B], "q": [W, C]})
    module = caffe2torch.convert(model, write(tmp_path, DATA, ip("p", specs), ip("q", specs)))
    p, q = agree(module, tmp_path, X)
    np.testing.assert_allclose(p, X["data"] @ W.T + B, atol=1e-5)
    np.testing.assert_allclose(q, X["data"] @ W.T + C, atol=1e-5)
    assert module.q.weight is module.p.weight
    assert "self.q.weight = self.p.weight" in caffe2torch.to_source(module)
    assert sorted(initializers(module, tmp_path)) == ["p.bias", "p.weight", "q.bias"]
    assert graph_of(module).parameters == 12 + 3 + 3
    twin = copy.deepcopy(module)
    assert twin.q.weight is twin.p.weight and twin.q.weight is not module.q.weight
    sum(value.sum() for value in module(torch.from_numpy(X["data"]))).backward()
    np.testing.assert_allclose(module.p.weight.grad, 2 * np.tile(X["data"].sum(0), (3, 1)), rtol=1e-5)


def test_a_layer_that_no_file_knows_takes_its_owners_weight_and_its_own_filler(tmp_path: Path) -> None:
    specs = 'param { name: "w" }'
    text = write(tmp_path, DATA, ip("p", specs), ip("q", specs, more="bias_filler { value: 7 }"))
    p, q = run(caffe2torch.convert(weights(tmp_path, {"p": [W, B]}), text), X)
    np.testing.assert_allclose(q - 7, p - B, atol=1e-5)


def test_without_a_file_the_owners_filler_counts(tmp_path: Path) -> None:
    filler = "weight_filler {{ value: {} }}"
    text = write(tmp_path, DATA, ip("p", more=filler.format(2)), ip("q", more=filler.format(5)))
    for got in run(caffe2torch.convert(None, text), X):
        np.testing.assert_allclose(got[:, 0], 2 * X["data"].sum(1), rtol=1e-5)
    with pytest.raises(
        NetError, match=r"q \(InnerProduct\): its param 'w' is filled by layer 'p', which the outputs do"
    ):
        caffe2torch.convert(None, text, outputs=["q"])


def test_an_owner_that_is_cut_away_or_dropped_still_lends_its_weights(tmp_path: Path) -> None:
    text = write(tmp_path, DATA, ip("p"), ip("q"), ip("r"))
    model = weights(tmp_path, {"p": [W, B]})
    for options in ({"outputs": ["r", "q"]}, {"drop": ["p"]}):
        module = caffe2torch.convert(model, text, **options)
        for got in run(module, X):
            np.testing.assert_allclose(got, X["data"] @ W.T + B, atol=1e-5)
        assert list(module.state_dict()) == ["q.weight", "q.bias"]


def test_transposed_weights_are_tied(tmp_path: Path) -> None:
    """An autoencoder: the decoder reads the encoder's weight the other way round."""
    specs = 'param { name: "w" }'
    text = write(tmp_path, DATA, ip("enc", specs), ip("dec", specs, "enc", "transpose: true", 4))
    bias = RANDOM.standard_normal(4).astype(np.float32)
    module = caffe2torch.convert(weights(tmp_path, {"enc": [W, B], "dec": [W, bias]}), text)
    (got,) = agree(module, tmp_path, X)
    np.testing.assert_allclose(got, (X["data"] @ W.T + B) @ W + bias, atol=1e-5)
    assert module.dec.weight is module.enc.weight
    assert initializers(module, tmp_path)["enc.weight"] == (3, 4)


def test_an_owner_that_is_transposed_itself(tmp_path: Path) -> None:
    specs = 'param { name: "w" }'
    text = write(
        tmp_path, DATA, ip("p", specs, more="transpose: true", outputs=3), ip("q", specs, "p", outputs=4),
        ip("again", specs, more="transpose: true"),
    )  # fmt: skip
    zeros = [np.zeros(3, np.float32), np.zeros(4, np.float32)]
    model = weights(tmp_path, {"p": [W.T, zeros[0]], "q": [W.T, zeros[1]], "again": [W.T, B]})
    module = caffe2torch.convert(model, text, outputs=["q", "again"])
    q, again = agree(module, tmp_path, X)
    np.testing.assert_allclose(q, X["data"] @ W.T @ W, atol=1e-5)
    np.testing.assert_allclose(again, X["data"] @ W.T + B, atol=1e-5)
    assert module.q.weight is module.p.weight is module.again.weight


def test_all_transposed_alike_need_no_other_form(tmp_path: Path) -> None:
    specs = 'param { name: "w" }'
    text = write(tmp_path, DATA, *(ip(name, specs, more="transpose: true") for name in "pq"))
    module = caffe2torch.convert(weights(tmp_path, {"p": [W.T, B], "q": [W.T, C]}), text)
    np.testing.assert_allclose(agree(module, tmp_path, X)[1], X["data"] @ W.T + C, atol=1e-5)
    assert "TiedLinear" not in caffe2torch.to_source(module)


def test_permissive_sharing_reads_the_same_numbers_in_another_shape(tmp_path: Path) -> None:
    permissive = 'param { name: "w" share_mode: PERMISSIVE }'
    specs = 'param { name: "w" }'
    q = layer("q", "InnerProduct", "p", "q", f"{permissive} inner_product_param {{ num_output: 4 bias_term: false }}")
    text = write(tmp_path, DATA, ip("p", specs), q)
    module = caffe2torch.convert(weights(tmp_path, {"p": [W, B], "q": [W.reshape(4, 3)]}), text)
    (got,) = agree(module, tmp_path, X)
    np.testing.assert_allclose(got, (X["data"] @ W.T + B) @ W.reshape(4, 3).T, atol=1e-5)
    assert initializers(module, tmp_path)["p.weight"] == (3, 4)
    # Where the file does not know the layer, its shape does not matter either.
    module = caffe2torch.convert(weights(tmp_path, {"p": [W, B]}), text)
    np.testing.assert_allclose(run(module, X)[0], got, atol=1e-6)


def test_convolution_and_product_share_where_the_form_allows_it(tmp_path: Path) -> None:
    conv = layer(
        "conv", "Convolution", "data", "conv", 'param { name: "w" } convolution_param { num_output: 3 kernel_size: 2 }'
    )
    permissive = 'param { name: "w" share_mode: PERMISSIVE }'
    text = write(tmp_path, given("data", 2, 1, 2, 2), conv, ip("fc", permissive))
    kernel = RANDOM.standard_normal((3, 1, 2, 2)).astype(np.float32)
    module = caffe2torch.convert(weights(tmp_path, {"conv": [kernel, B]}), text, outputs=["conv", "fc"])
    x = {"data": RANDOM.standard_normal((2, 1, 2, 2)).astype(np.float32)}
    got, fc = agree(module, tmp_path, x)
    np.testing.assert_allclose(got.reshape(2, 3), fc + B, atol=1e-5)
    assert module.fc.weight is module.conv.weight
    # The other way round torch's convolution would need a flat kernel.
    back = write(
        tmp_path,
        given("data", 2, 1, 2, 2),
        ip("fc", 'param { name: "w" }'),
        conv.replace('"w"', '"w" share_mode: PERMISSIVE'),
    )
    with pytest.raises(NetError, match=r"conv \(Convolution\): its param 'w' is that of layer 'fc', .* another form"):
        caffe2torch.convert(None, back, outputs=["conv", "fc"])


def test_embedding_and_product_tied(tmp_path: Path) -> None:
    specs = 'param { name: "w" }'
    embed = layer("e", "Embed", "data", "e", f"{specs} embed_param {{ input_dim: 3 num_output: 4 bias_term: false }}")
    text = write(tmp_path, given("data", 2), embed, ip("out", specs, "e"))
    module = caffe2torch.convert(weights(tmp_path, {"e": [W], "out": [W, B]}), text)
    x = {"data": np.array([2, 0], np.float32)}
    np.testing.assert_allclose(agree(module, tmp_path, x)[0], W[[2, 0]] @ W.T + B, atol=1e-5)
    assert module.out.weight is module.e.weight


def test_convolutions_share_and_batch_norms_too(tmp_path: Path) -> None:
    conv = "{} convolution_param {{ num_output: 2 kernel_size: 3 stride: {} }}"
    three = "".join(f'param {{ name: "{name}" lr_mult: 0 }}' for name in "mvf")
    text = write(
        tmp_path,
        given("data", 2, 1, 5, 5),
        layer("a", "Convolution", "data", "a", conv.format(SHARED, 1)),
        layer("b", "Convolution", "data", "b", conv.format(SHARED, 2)),
        layer("bn_a", "BatchNorm", "a", "bn_a", three),
        layer("bn_b", "BatchNorm", "b", "bn_b", three),
    )
    arrays = [RANDOM.standard_normal(shape).astype(np.float32) for shape in ((2, 1, 3, 3), (2,))]
    stats = [np.array([1, 2], np.float32), np.array([3, 4], np.float32), np.array([2], np.float32)]
    module = caffe2torch.convert(weights(tmp_path, {"a": arrays, "bn_a": stats}), text)
    x = {"data": RANDOM.standard_normal((2, 1, 5, 5)).astype(np.float32)}
    a, b = agree(module, tmp_path, x)
    np.testing.assert_allclose(a[:, :, ::2, ::2], b, atol=1e-5)
    assert module.b.weight is module.a.weight and module.b.bias is module.a.bias
    assert not hasattr(module, "bn_b")


@pytest.mark.parametrize(
    ("layers", "says"),
    [
        (
            [ip("p"), ip("q", outputs=4)],
            r"q \(InnerProduct\): its param 'w' has the shape \(4, 4\) here, \(3, 4\) in layer 'p'",
        ),
        (
            [ip("p", 'param { name: "w" }'), ip("q", 'param { name: "w" share_mode: PERMISSIVE }', outputs=4)],
            r"shape \(4, 4\) here",
        ),
        (
            [ip("p", 'param { name: "w" share_mode: PERMISSIVE }'), ip("q", 'param { name: "w" }', "p", outputs=4)],
            r"q .* shape \(4, 3\) here.* PERMISSIVE",
        ),
        (
            [ip("p", 'param { name: "w" lr_mult: 1 }'), ip("q", 'param { name: "w" lr_mult: 2 }')],
            "layer 'q' sets lr_mult: 2 for the shared param 'w', another layer 1",
        ),
        ([ip("p", 'param { name: "w" decay_mult: 1 }'), ip("q", 'param { name: "w" decay_mult: 0 }')], "decay_mult: 0"),
        ([ip("p", SHARED + " param { }")], r"p \(InnerProduct\): it has 3 `param` entries, but only 2 blobs"),
        ([layer("r", "ReLU", "data", "r", "param { lr_mult: 0 }")], "1 `param` entries, but only 0 blobs"),
    ],
)
def test_what_caffe_refuses(layers: list[str], says: str, tmp_path: Path) -> None:
    outputs = [each.split('"')[1] for each in layers]
    with pytest.raises(NetError, match=f"(?s)net.prototxt: .*{says}"):
        caffe2torch.convert(None, write(tmp_path, DATA, *layers), outputs=outputs)


def test_rates_said_once_hold_for_all(tmp_path: Path) -> None:
    layers = [
        ip("p", 'param { name: "w" }'),
        ip("q", 'param { name: "w" lr_mult: 3 }'),
        ip("r", 'param { name: "w" decay_mult: 0 }'),
    ]
    net = caffe2torch.load_net(None, write(tmp_path, DATA, *layers))
    assert [(each.specs[0].lr_mult, each.specs[0].decay_mult) for each in net.layers] == [(3.0, 0.0)] * 3


def test_hdf5_holds_a_shared_blob_once(tmp_path: Path) -> None:
    specs = 'param { name: "w" }'
    text = write(
        tmp_path,
        DATA,
        ip("p", specs),
        ip("q", f"{specs} param {{ name: 'c' }}"),
        ip("r", f"{specs} param {{ name: 'c' }}"),
    )
    with h5py.File(tmp_path / "weights.h5", "w") as file:
        for name, blobs in {"p": {0: W, 1: B}, "q": {1: C}, "r": {}}.items():
            group = file.create_group(f"data/{name}")
            for index, array in blobs.items():
                group.create_dataset(str(index), data=array)
    p, q, r = run(caffe2torch.convert(tmp_path / "weights.h5", text), X)
    np.testing.assert_allclose(p, X["data"] @ W.T + B, atol=1e-5)
    np.testing.assert_allclose(q, X["data"] @ W.T + C, atol=1e-5)
    np.testing.assert_allclose(r, q)
    # What a layer owns must be there.
    with h5py.File(tmp_path / "weights.h5", "a") as file:
        del file["data/p/0"]
    with pytest.raises(caffe2torch.CaffeError, match="'p' has no blob 0, but later ones"):
        caffe2torch.convert(tmp_path / "weights.h5", text)


@pytest.mark.parametrize("specs", [SHARED, 'param { name: "w" }'])
def test_a_folder_stores_a_shared_tensor_once(specs: str, tmp_path: Path) -> None:
    blobs = {"p": [W, B], "q": [W, B if specs == SHARED else C]}
    model = weights(tmp_path, blobs)
    converted = folder.from_caffemodel(model, write(tmp_path, DATA, ip("p", specs), ip("q", specs)))
    folder.save(converted, tmp_path / "out")
    stored = load_file(tmp_path / "out" / "model.safetensors")
    assert sorted(stored) == (["p.bias", "p.weight"] if specs == SHARED else ["p.bias", "p.weight", "q.bias"])
    again = folder.load(tmp_path / "out")
    module = again.module()
    want = run(converted.module(), X)
    for got in (run(module, X), nets.agree(module, tmp_path, X)):
        for value, other in zip(got, want, strict=True):
            np.testing.assert_array_equal(value, other)
    assert distinct(module) == len(stored)
    (cut,) = run(again.cut("q").module(), X)
    np.testing.assert_array_equal(cut, want[1])
    plain = nets.printed(module)
    for parameter in plain.parameters():
        torch.nn.init.zeros_(parameter)
    load_model(plain, tmp_path / "out" / "model.safetensors")
    np.testing.assert_array_equal(run_plain(plain), want[1])
    assert ("load_model(model" in (tmp_path / "out" / "model.py").read_text()) == (specs != SHARED)


def test_a_cut_that_parts_tied_layers_keeps_the_right_numbers(tmp_path: Path) -> None:
    specs = 'param { name: "w" }'
    square = given("data", 2, 3)
    layers = [ip("a", specs), ip("b", specs, more="transpose: true")]
    for order in (layers, layers[::-1]):
        model = weights(tmp_path, {"a": [W[:, :3], B], "b": [W[:, :3], C]})
        whole = folder.from_caffemodel(model, write(tmp_path, square, *order), outputs=["a", "b"])
        x = {"data": X["data"][:, :3].copy()}
        want = dict(zip("ab", run(whole.module(), x), strict=True))
        for blob in "ab":
            np.testing.assert_allclose(run(whole.cut(blob).module(), x)[0], want[blob], atol=1e-6)


def run_plain(model: Any) -> np.ndarray:
    with torch.no_grad():
        return np.asarray(model(torch.from_numpy(X["data"]))[1])


def test_export_and_compile_take_shared_parameters(tmp_path: Path) -> None:
    specs = 'param { name: "w" }'
    text = write(tmp_path, DATA, ip("enc", specs), ip("dec", specs, "enc", "transpose: true", 4))
    module = caffe2torch.convert(weights(tmp_path, {"enc": [W, B]}), text)
    x = torch.from_numpy(X["data"])
    exported = torch.export.export(module, (x,)).module()
    torch.testing.assert_close(exported(x), module(x))
