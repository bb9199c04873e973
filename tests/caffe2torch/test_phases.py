"""Which layers run: rules by phase, level and stage; training nets and their snapshots as deploy nets."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import caffe2torch
from caffe2torch import prototxt, schema
from caffe2torch.errors import NetError
from caffe2torch.net import Net, Rule
from caffe2torch.phases import _meets
from tests.caffe2torch.nets import given, layer, run, write

IP = "inner_product_param { num_output: 3 }"


def names(folder: Path, *layers: str, **options: Any) -> list[str]:
    return [each.name for each in caffe2torch.load_net(None, write(folder, *layers), **options).layers]


def relu(name: str, rules: str) -> str:
    return layer(name, "ReLU", "data", name, rules)


@pytest.mark.parametrize(
    ("rules", "state", "kept"),
    [
        ("", {}, True),
        ("include { }", {}, True),
        ("exclude { }", {}, False),
        ("include { phase: TEST }", {}, True),
        ("include { phase: TRAIN }", {}, False),
        ("include { phase: TRAIN }", {"phase": "TRAIN"}, True),
        ("exclude { phase: TEST }", {}, False),
        ("include { phase: TRAIN } include { stage: 'x' }", {"stages": ["x"]}, True),
        ("exclude { phase: TRAIN } exclude { stage: 'x' }", {"stages": ["x"]}, False),
        ("include { stage: 'x' stage: 'y' }", {"stages": ["x"]}, False),
        ("include { stage: 'x' stage: 'y' }", {"stages": ["y", "z", "x"]}, True),
        ("include { not_stage: 'x' not_stage: 'y' }", {"stages": ["y"]}, False),
        ("include { not_stage: 'x' }", {"stages": ["y"]}, True),
        ("include { stage: 'x' not_stage: 'y' }", {"stages": ["x", "y"]}, False),
        ("include { min_level: 1 }", {}, False),
        ("include { min_level: 1 }", {"level": 1}, True),
        ("include { max_level: -1 }", {}, False),
        ("include { max_level: -1 }", {"level": -1}, True),
        ("include { min_level: 2 max_level: 3 }", {"level": 4}, False),
        ("exclude { min_level: 2 max_level: 3 }", {"level": 3}, False),
        ("include { phase: TEST stage: 'x' min_level: 1 }", {"stages": ["x"]}, False),
    ],
)
def test_rules(rules: str, state: dict[str, Any], kept: bool, tmp_path: Path) -> None:
    found = names(tmp_path, given("data", 1, 2), relu("a", rules), relu("b", ""), **state)
    assert found == (["a", "b"] if kept else ["b"])


def test_a_rule_is_met_as_a_transcription_of_caffes_test_says() -> None:
    for phase, low, high, stage, other in product([None, "TEST", "TRAIN"], [None, 0, 1], [None, 0, -1], [0, 1], [0, 1]):
        rule = Rule(phase, low, high, ("s",) * stage, ("n",) * other)
        for level, stages in product([-1, 0, 1], [(), ("s",), ("n",), ("s", "n")]):
            broken = (
                phase == "TRAIN"
                or (low is not None and level < low)
                or (high is not None and level > high)
                or (stage and "s" not in stages)
                or (other and "n" in stages)
            )
            assert _meets(rule, "TEST", stages, level) is not bool(broken)


def test_rules_of_both_kinds_are_refused_even_where_the_layer_would_be_left_out(tmp_path: Path) -> None:
    with pytest.raises(NetError, match="layer 'a' has both include and exclude rules"):
        names(tmp_path, given("data", 1, 2), relu("a", "include { phase: TRAIN } exclude { stage: 'x' }"))


def test_stages_that_the_net_sets_itself_count_too_but_not_its_phase_and_level(tmp_path: Path) -> None:
    state = "state { phase: TRAIN level: 3 stage: 'x' }"
    layers = [
        relu("a", "include { stage: 'x' }"),
        relu("b", "include { phase: TRAIN }"),
        relu("c", "include { min_level: 1 }"),
    ]
    assert names(tmp_path, state, given("data", 1, 2), *layers) == ["a"]
    layers.append(relu("d", "include { stage: 'x' stage: 'y' }"))
    assert names(tmp_path, state, given("data", 1, 2), *layers, stages=["y"]) == ["a", "d"]


def test_a_layers_own_phase_goes_before_the_nets(tmp_path: Path) -> None:
    layers = [relu("a", "phase: TRAIN"), relu("b", "")]
    net = caffe2torch.load_net(None, write(tmp_path, given("data", 1, 2), *layers))
    assert [each.phase for each in net.layers] == ["TRAIN", "TEST"]


def test_propagate_down_must_be_told_for_each_bottom(tmp_path: Path) -> None:
    assert names(tmp_path, given("data", 1, 2), relu("a", "propagate_down: false")) == ["a"]
    with pytest.raises(NetError, match="'a' sets propagate_down 2 times for 1 bottoms"):
        names(tmp_path, given("data", 1, 2), relu("a", "propagate_down: false propagate_down: true"))


DATA = 'layer { name: "%s" type: "Data" top: "data" top: "label" %s }'


def test_a_training_net_becomes_its_deploy_net(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        DATA % ("train", "include { phase: TRAIN } data_param { batch_size: 64 }"),
        DATA % ("test", "include { phase: TEST } transform_param { crop_size: 5 mean_value: 8 scale: 0.25 }"),
        layer("conv", "Convolution", "data", "conv", "convolution_param { num_output: 2 kernel_size: 3 }"),
        layer("ip", "InnerProduct", "conv", "ip", IP),
        layer("accuracy", "Accuracy", "ip label", "accuracy", "include { phase: TEST }"),
        layer("loss", "SoftmaxWithLoss", "ip label", "loss"),
    )
    net = caffe2torch.load_net(None, path)
    data, label = net.inputs
    assert (data.blob, data.crop, data.mean, data.scale, label.blob) == ("data", 5, (8.0,), 0.25, "label")
    module = caffe2torch.convert(None, path, input_shape=(2, 3, 5, 5))
    assert (module.input_names, module.output_names) == (("data",), ("ip",))
    loss = caffe2torch.convert(
        None, path, outputs=["loss", "accuracy"], input_shape={"data": (2, 3, 5, 5), "label": (2,)}
    )
    x = {"data": np.zeros((2, 3, 5, 5), np.float32), "label": np.array([0, 2], np.float32)}
    assert run(loss, x)[0] == pytest.approx(np.log(3))


def test_memory_data_tells_both_shapes(tmp_path: Path) -> None:
    memory = (
        'layer { name: "m" type: "MemoryData" top: "data" top: "label" '
        "memory_data_param { batch_size: 4 channels: 2 height: 6 width: 5 } }"
    )
    net = caffe2torch.load_net(None, write(tmp_path, memory, relu("a", "")))
    assert [entry.shape for entry in net.inputs] == [(4, 2, 6, 5), (4,)]


def test_an_unknown_layer_that_only_gives_is_an_input(tmp_path: Path) -> None:
    net = caffe2torch.load_net(None, write(tmp_path, 'layer { name: "p" type: "Python" top: "data" }', relu("a", "")))
    assert [(entry.blob, entry.origin) for entry in net.inputs] == [("data", "Python")]


# Snapshots: the net inside a caffemodel.


def snapshot(folder: Path, *layers: str, ip: str = "ip") -> Path:
    message = prototxt.parse("\n".join(layers).encode(), "snapshot")
    for each in message.layer:
        if each.type == "InnerProduct":
            for shape in ((3, 4), (3,)):
                blob = each.blobs.add()
                blob.shape.dim.extend(shape)
                blob.data.extend(np.arange(np.prod(shape), dtype=np.float32).tolist())
    path = folder / "snapshot.caffemodel"
    path.write_bytes(message.SerializeToString())
    return path


def stored(folder: Path, *layers: str) -> Net:
    return caffe2torch.load_net(snapshot(folder, *layers))


def test_a_snapshot_as_caffe_writes_it(tmp_path: Path) -> None:
    """Phases and rules of the training net are in the file, but have been applied already; Splits are there."""
    train = "phase: TRAIN"
    model = snapshot(
        tmp_path,
        DATA % ("data", f"{train} include {{ phase: TRAIN }}"),
        layer("ip", "InnerProduct", "data", "ip", f"{train} {IP}"),
        layer("ip_ip_0_split", "Split", "ip", "ip_ip_0_split_0 ip_ip_0_split_1", train),
        layer("drop", "Dropout", "ip_ip_0_split_0", "ip_ip_0_split_0", train),
        layer("only_train", "Sigmoid", "ip_ip_0_split_0", "y", f"{train} include {{ phase: TRAIN }}"),
        layer("loss", "EuclideanLoss", "ip_ip_0_split_1 label", "loss", f"{train} loss_weight: 1"),
    )
    module = caffe2torch.convert(model, input_shape=(2, 4))
    x = {"data": np.random.default_rng(0).standard_normal((2, 4)).astype(np.float32)}
    ip = x["data"] @ np.arange(12, dtype=np.float32).reshape(3, 4).T + np.arange(3, dtype=np.float32)
    assert module.output_names == ("y",)
    np.testing.assert_allclose(run(module, x)[0], 1 / (1 + np.exp(-ip)), rtol=1e-5)


def test_of_twins_in_a_stored_net_the_one_for_testing_is_meant(tmp_path: Path) -> None:
    net = stored(
        tmp_path,
        DATA % ("train", "include { phase: TRAIN } transform_param { crop_size: 7 }"),
        'layer { name: "test" type: "Data" top: "data" include { phase: TEST } transform_param { crop_size: 5 } }',
        layer("a", "TanH", "data", "x", "include { phase: TRAIN }"),
        layer("b", "Sigmoid", "data", "x", "exclude { phase: TRAIN }"),
        layer("ip", "InnerProduct", "x", "ip", IP),
        layer("loss", "SoftmaxWithLoss", "ip label", "loss"),
    )
    assert [(entry.blob, entry.crop) for entry in net.inputs] == [("label", 0), ("data", 5)]
    assert [each.name for each in net.layers] == ["b", "ip", "loss"]


def test_of_two_data_layers_without_rules_the_last_is_meant(tmp_path: Path) -> None:
    crops = ("transform_param { crop_size: 7 }", "transform_param { crop_size: 5 }")
    net = stored(tmp_path, *(DATA % ("d", crop) for crop in crops), layer("ip", "InnerProduct", "data", "ip", IP))
    assert [(entry.blob, entry.crop) for entry in net.inputs] == [("data", 5), ("label", 0)]


def test_stored_statistics_are_used_whatever_the_snapshot_says(tmp_path: Path) -> None:
    bn = layer("bn", "BatchNorm", "data", "bn", "phase: TRAIN batch_norm_param { use_global_stats: false eps: 0.5 }")
    net = stored(tmp_path, given("data", 2, 4), bn)
    assert net.layers[0].phase == "TEST"
    assert dict(net.layers[0].params["batch_norm_param"]) == {"eps": 0.5}
    # In a prototxt they hold.
    kept = caffe2torch.load_net(None, write(tmp_path, given("data", 2, 4), bn)).layers[0]
    assert kept.phase == "TRAIN" and kept.params["batch_norm_param"].use_global_stats is False


def test_an_empty_file_of_weights_is_no_net(tmp_path: Path) -> None:
    path = tmp_path / "empty.caffemodel"
    path.write_bytes(schema.message("NetParameter")(name="x").SerializeToString())  # type: ignore[call-arg]
    with pytest.raises(caffe2torch.CaffeError, match="no layer in it"):
        caffe2torch.load_net(path)
