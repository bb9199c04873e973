"""Nets of Caffe's first two file generations, in text and binary, as today's layers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import caffe2torch
from caffe2torch import registry, schema, upgrade, upgrade_v0
from caffe2torch.errors import NetError
from caffe2torch.layers import DATA_TYPES
from caffe2torch.net import Net
from tests.caffe2torch.nets import run

WEIGHTS = np.random.default_rng(0)


def load(folder: Path, text: str, **options: Any) -> Net:
    path = folder / "net.prototxt"
    path.write_text(text, encoding="utf-8")
    return caffe2torch.load_net(None, path, **options)


def v1(folder: Path, text: str) -> Net:
    return load(folder, f'input: "data" input_dim: 1 input_dim: 3 input_dim: 8 input_dim: 8 layers {{ {text} }}')


def test_every_v1_type_is_one_of_today() -> None:
    types: Any = schema.message("V1LayerParameter").DESCRIPTOR.enum_types_by_name["LayerType"]
    for name in types.values_by_name:
        today = upgrade.type_name(name)
        known = registry.find(today) is not None or today in DATA_TYPES
        assert known or today in ("", "HDF5Output", "Split"), (name, today)


def test_every_v0_type_and_field_exists() -> None:
    v1_types: Any = schema.message("V1LayerParameter").DESCRIPTOR.enum_types_by_name["LayerType"]
    assert set(upgrade_v0._TYPES.values()) <= set(v1_types.values_by_name)
    old: Any = schema.message("V0LayerParameter").DESCRIPTOR
    told = {*upgrade_v0._FIELDS, *upgrade_v0._TRANSFORM, *upgrade_v0._KEPT, "type", "hdf5_output_param"}
    never_used = {"new_num", "new_channels"}  # Caffe's upgrade does not look at them either
    assert told | never_used == {field.name for field in old.fields}
    for today, messages in upgrade_v0._FIELDS.values():
        for types in messages.values():
            assert today in {field.name for field in schema.parameters()[types].fields}


def test_v1_rates_names_and_share_modes(tmp_path: Path) -> None:
    layer = v1(
        tmp_path,
        'name: "ip" type: INNER_PRODUCT bottom: "data" top: "ip" inner_product_param { num_output: 2 } '
        'blobs_lr: 1 blobs_lr: 2 weight_decay: 0.5 param: "w" blob_share_mode: PERMISSIVE loss_weight: 3',
    ).layers[0]
    assert layer.type == "InnerProduct"
    weight, bias = layer.specs
    assert (weight.name, weight.lr_mult, weight.decay_mult, weight.permissive) == ("w", 1.0, 0.5, True)
    assert (bias.name, bias.lr_mult, bias.decay_mult, bias.given) == ("", 2.0, 1.0, ("lr_mult",))
    assert layer.loss_weights == (3.0,)


def test_v1_rules(tmp_path: Path) -> None:
    text = """input: "data" input_dim: 1 input_dim: 3 input_dim: 8 input_dim: 8
    layers { name: "a" type: TANH bottom: "data" top: "x" include { phase: TRAIN } }
    layers { name: "b" type: SIGMOID bottom: "data" top: "x" exclude { phase: TRAIN } }"""
    assert [layer.type for layer in load(tmp_path, text).layers] == ["Sigmoid"]
    assert [layer.type for layer in load(tmp_path, text, phase="TRAIN").layers] == ["TanH"]


def test_old_data_layers_tell_their_crop_and_scale(tmp_path: Path) -> None:
    net = load(
        tmp_path,
        'layers { name: "d" type: DATA top: "data" top: "label" '
        'data_param { source: "x" batch_size: 4 crop_size: 20 scale: 0.5 } transform_param { mean_value: 7 } }'
        'layers { name: "r" type: RELU bottom: "data" top: "r" }',
    )
    assert (net.inputs[0].crop, net.inputs[0].scale, net.inputs[0].mean) == (20, 0.5, (7.0,))


def test_three_rates_of_a_batch_norm_are_0_whatever_they_say(tmp_path: Path) -> None:
    text = """input: "data" input_dim: 1 input_dim: 3 input_dim: 8 input_dim: 8
    layer { name: "bn" type: "BatchNorm" bottom: "data" top: "bn" %s }"""
    three = "param { lr_mult: 1 } param { lr_mult: 2 decay_mult: 3 } param { }"
    specs = load(tmp_path, text % three).layers[0].specs
    assert [(spec.lr_mult, spec.decay_mult) for spec in specs] == [(0.0, 0.0)] * 3
    caffe2torch.convert(None, tmp_path / "net.prototxt")
    load(tmp_path, text % "param { lr_mult: 1 }")
    with pytest.raises(NetError, match="lr_mult"):
        caffe2torch.convert(None, tmp_path / "net.prototxt")


@pytest.mark.parametrize(
    "text",
    [
        'layer { name: "a" type: "ReLU" bottom: "data" top: "a" } layers { name: "b" type: RELU bottom: "a" top: "b" }',
        'layers { layer { name: "a" type: "relu" } bottom: "data" top: "a" } layer { name: "b" bottom: "a" top: "b" }',
    ],
)
def test_mixed_generations_are_refused(text: str, tmp_path: Path) -> None:
    with pytest.raises(NetError, match=r"net.prototxt: .* both `layer` and `layers`"):
        load(tmp_path, f'input: "data" input_dim: [1, 3, 8, 8] {text}')


@pytest.mark.parametrize("kind", ["", "type: NONE"])
def test_a_layer_without_a_type_is_refused(kind: str, tmp_path: Path) -> None:
    v1(tmp_path, f'name: "a" {kind} bottom: "data" top: "a"')
    with pytest.raises(NetError, match=r"a \(no type\): Caffe knows no such layer type"):
        caffe2torch.convert(None, tmp_path / "net.prototxt")


V0 = """name: "old" input: "data" input_dim: 2 input_dim: 3 input_dim: 9 input_dim: 9
layers { layer { name: "pad1" type: "padding" pad: 2 } bottom: "data" top: "pad1" }
layers { layer { name: "conv1" type: "conv" num_output: 4 kernelsize: 3 stride: 2 group: 1 biasterm: true
  weight_filler { type: "gaussian" std: 0.1 } bias_filler { value: 0.5 } blobs_lr: 1 blobs_lr: 2 weight_decay: 1 }
  bottom: "pad1" top: "conv1" }
layers { layer { name: "relu1" type: "relu" } bottom: "conv1" top: "conv1" }
layers { layer { name: "norm1" type: "lrn" local_size: 3 alpha: 0.1 beta: 0.5 } bottom: "conv1" top: "norm1" }
layers { layer { name: "pad2" type: "padding" pad: 1 } bottom: "norm1" top: "pad2" }
layers { layer { name: "pool1" type: "pool" pool: AVE kernelsize: 3 stride: 2 } bottom: "pad2" top: "pool1" }
layers { layer { name: "cat" type: "concat" concat_dim: 1 } bottom: "pool1" bottom: "pool1" top: "cat" }
layers { layer { name: "ip1" type: "innerproduct" num_output: 5 biasterm: false } bottom: "cat" top: "ip1" }
layers { layer { name: "drop1" type: "dropout" dropout_ratio: 0.25 } bottom: "ip1" top: "ip1" }
layers { layer { name: "prob" type: "softmax" } bottom: "ip1" top: "prob" }
"""
TODAY = """name: "old" input: "data" input_dim: 2 input_dim: 3 input_dim: 9 input_dim: 9
layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1" param { lr_mult: 1 decay_mult: 1 }
  param { lr_mult: 2 } convolution_param { num_output: 4 kernel_size: 3 stride: 2 group: 1 bias_term: true pad: 2
  weight_filler { type: "gaussian" std: 0.1 } bias_filler { value: 0.5 } } }
layer { name: "relu1" type: "ReLU" bottom: "conv1" top: "conv1" }
layer { name: "norm1" type: "LRN" bottom: "conv1" top: "norm1" lrn_param { local_size: 3 alpha: 0.1 beta: 0.5 } }
layer { name: "pool1" type: "Pooling" bottom: "norm1" top: "pool1" pooling_param { pool: AVE kernel_size: 3
  stride: 2 pad: 1 } }
layer { name: "cat" type: "Concat" bottom: "pool1" bottom: "pool1" top: "cat" concat_param { concat_dim: 1 } }
layer { name: "ip1" type: "InnerProduct" bottom: "cat" top: "ip1" inner_product_param { num_output: 5
  bias_term: false } }
layer { name: "drop1" type: "Dropout" bottom: "ip1" top: "ip1" dropout_param { dropout_ratio: 0.25 } }
layer { name: "prob" type: "Softmax" bottom: "ip1" top: "prob" }
"""


def test_v0_text_is_todays_net(tmp_path: Path) -> None:
    old, new = load(tmp_path, V0), load(tmp_path, TODAY)
    assert (old.name, old.inputs) == (new.name, new.inputs)
    for was, now in zip(old.layers, new.layers, strict=True):
        for field in ("name", "type", "bottoms", "tops", "specs"):
            assert getattr(was, field) == getattr(now, field), (now.name, field)
        assert {k: dict(v) for k, v in was.params.items()} == {k: dict(v) for k, v in now.params.items()}


def test_v0_binary_has_its_blobs_within(tmp_path: Path) -> None:
    """The padding layer is gone, so the blobs of later layers must not slip."""
    from caffe2torch import prototxt

    message = prototxt.parse(V0.encode(), "V0")
    arrays = {"conv1": [(4, 3, 3, 3), (1, 1, 1, 4)], "ip1": [(1, 1, 5, 128)]}
    for entry in message.layers:
        for shape in arrays.get(entry.layer.name, []):
            blob = entry.layer.blobs.add(num=shape[0], channels=shape[1], height=shape[2], width=shape[3])
            blob.data.extend(WEIGHTS.standard_normal(int(np.prod(shape))).astype(np.float32).tolist())
    model = tmp_path / "old.caffemodel"
    model.write_bytes(message.SerializeToString())
    (tmp_path / "today.prototxt").write_text(TODAY)
    x = {"data": WEIGHTS.standard_normal((2, 3, 9, 9)).astype(np.float32)}
    alone = caffe2torch.convert(model)
    joined = caffe2torch.convert(model, tmp_path / "today.prototxt")
    (want,) = run(joined, x)
    assert np.ptp(want) > 0.01
    np.testing.assert_array_equal(run(alone, x)[0], want)
    np.testing.assert_array_equal(
        joined.conv1.weight.detach().numpy().ravel()[:3], message.layers[1].layer.blobs[0].data[:3]
    )


def v0(folder: Path, *layers: str) -> Net:
    head = 'input: "data" input_dim: 1 input_dim: 3 input_dim: 8 input_dim: 8 '
    return load(folder, head + " ".join(f"layers {{ {layer} }}" for layer in layers))


@pytest.mark.parametrize(
    ("layers", "says"),
    [
        (
            ['layer { name: "a" type: "convolution" } bottom: "data" top: "a"'],
            "'a' is of the unknown type 'convolution'",
        ),
        (['layer { name: "a" type: "relu" } bottom: "nowhere" top: "a"'], "'a' reads blob 'nowhere', which no earlier"),
        (
            [
                'layer { name: "p" type: "padding" pad: 1 } bottom: "data" top: "p"',
                'layer { name: "a" type: "relu" } bottom: "p" top: "a"',
            ],
            r"'a' \(relu\) reads padding layer 'p'",
        ),
        (
            [
                'layer { name: "p" type: "padding" pad: 1 } bottom: "data" top: "p"',
                'layer { name: "a" type: "conv" num_output: 1 kernelsize: 3 } bottom: "p" bottom: "data" top: "a"',
            ],
            "one bottom",
        ),
        (
            ['layer { name: "a" type: "relu" } bottom: "data" top: "a"', 'name: "b" type: RELU bottom: "a" top: "b"'],
            "'b' has no inner `layer`.*V0 and V1",
        ),
    ],
)
def test_v0_refusals(layers: list[str], says: str, tmp_path: Path) -> None:
    with pytest.raises(NetError, match=f"net.prototxt: .*{says}"):
        v0(tmp_path, *layers)


def test_v0_fields_of_another_type_are_passed_over_and_told(tmp_path: Path) -> None:
    net = v0(tmp_path, 'layer { name: "a" type: "relu" kernelsize: 3 pad: 1 } bottom: "data" top: "a"')
    assert net.layers[0].params == {}
    assert any("a (relu): kernelsize means nothing" in note for note in net.notes)
    assert any("pad" in note for note in net.notes)


def test_v0_data_layers(tmp_path: Path) -> None:
    net = load(
        tmp_path,
        'layers { layer { name: "d" type: "data" source: "x" meanfile: "m" batchsize: 4 cropsize: 20 scale: 0.5 '
        'mirror: true } top: "data" top: "label" }'
        'layers { layer { name: "l" type: "softmax_loss" } bottom: "data" bottom: "label" }',
    )
    assert [entry.blob for entry in net.inputs] == ["data", "label"]
    assert (net.inputs[0].crop, net.inputs[0].scale) == (20, 0.5)
    assert net.layers[0].type == "SoftmaxWithLoss"
