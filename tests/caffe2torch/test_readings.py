"""Layers of Caffe's forks, side by side although their schemas clash: from text, from binary files, by --fork."""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import caffe2torch
from caffe2torch import cli, folder, forks, notation, readings, schema
from caffe2torch.errors import CaffeError, NetError, TextError
from caffe2torch.net import Fields, Layer, ReadAs
from caffe2torch.readings import Reading
from caffe2torch.registry import LayerError, Operation, read
from caffe2torch.wire import varint
from tests.caffe2torch import nets

# What a fork's Caffe would write, by hand: the numbers here are those of the forks' own caffe.proto.


def sub(number: int, *parts: bytes) -> bytes:
    content = b"".join(parts)
    return varint(number << 3 | 2) + varint(len(content)) + content


def whole(number: int, value: int) -> bytes:
    return varint(number << 3) + varint(value)


def real(number: int, value: float) -> bytes:
    return varint(number << 3 | 5) + struct.pack("<f", value)


def layer(kind: str, *fields: bytes, bottoms: Sequence[str] = ("x",)) -> bytes:
    names = [sub(1, b"it"), sub(2, kind.encode()), *(sub(3, name.encode()) for name in bottoms), sub(4, b"y")]
    return sub(100, *names, *fields)


def binary(path: Path, *layers: bytes) -> Path:
    file = path / "net.caffemodel"
    file.write_bytes(sub(3, b"x") + b"".join(layers))
    return file


CASES = [
    # type, number and content of its field, then what is read: field, the forks, and the values
    ("Upsample", sub(137, whole(1, 3)), "upsample_param", ["segnet"], {"scale": 3, "pad_out_h": False}),
    ("Upsample", sub(137), "upsample_param", ["segnet"], {"scale": 2}),
    ("Upsample", sub(150, whole(1, 3)), "upsample_param", ["mobilenet-yolo"], {"scale": 3}),
    ("Upsample", sub(150), "upsample_param", ["mobilenet-yolo"], {"scale": 1}),
    ("Upsample", sub(177, whole(4, 1)), "upsample_param", ["synopsys"], {"scale": 2, "pad_out_h": True}),
    ("Upsample", sub(500, whole(2, 3)), "upsample_param", ["inisis"], {"scale": 1, "dims_num": 3}),
    ("BN", sub(45, whole(3, 1)), "bn_param", ["segnet", "synopsys"], {"bn_mode": "INFERENCE"}),
    ("BN", sub(45, real(4, 0.5), whole(3, 1)), "bn_param", ["synopsys"], {"eps": 0.5}),
    ("BN", sub(137, real(4, 0.5)), "bn_param", ["tsn"], {"eps": 0.5, "momentum": 0.9}),
    ("BN", sub(152, real(3, 0.5), whole(5, 1)), "bn_param", ["pspnet", "ssd-windows"], {"frozen": True}),
    ("BN", sub(200, real(4, 0.5)), "bn_param", ["caffe-windows"], {"eps": 0.5}),
    ("BN", sub(1111, sub(1, real(2, 1.0))), "bn_param", ["inisis"], {"eps": 1e-5}),
    ("Interp", sub(143, whole(3, 2)), "interp_param", ["pspnet"], {"zoom_factor": 2, "height": 0}),
    ("Interp", sub(147, whole(3, 2)), "interp_param", ["ssd-windows"], {"zoom_factor": 2}),
    ("Interp", sub(163, whole(7, 2)), "interp_param", ["synopsys"], {"full_zoom_factor": 2, "zoom_factor": 1}),
    ("SmoothL1Loss", sub(148, real(1, 3)), "smooth_l1_loss_param", ["intel"], {"sigma": 3.0}),
    ("Clip", sub(148, real(1, 3), real(2, 4)), "clip_param", ["bvlc"], {"min": 3.0, "max": 4.0}),
    ("Reorg", sub(149, whole(1, 2)), "reorg_param", ["mobilenet-yolo"], {"stride": 2}),
    ("Reorg", sub(159, whole(1, 2)), "reorg_param", ["intel"], {"stride": 2}),
    ("Reorg", sub(197, whole(1, 2)), "reorg_param", ["synopsys"], {"stride": 2}),
    ("CropCenter", sub(149, whole(2, 2), whole(2, 3)), "crop_center_param", ["waifu2x"], {"crop_size": (2, 3)}),
    *(
        ("PSROIPooling", sub(number, real(1, 0.5), whole(2, 4), whole(3, 2)), "psroi_pooling_param", [fork], {})
        for number, fork in ((149, "inisis"), (153, "intel"), (220, "caffe-windows"), (10001, "rfcn"))
    ),
    ("ROIPooling", sub(150, whole(1, 7)), "roi_pooling_param", ["tsn"], {"pooled_h": 7}),
    ("ROIPooling", sub(154, whole(4, 7)), "roi_pooling_param", ["intel"], {"pooled_size": (7,)}),
    ("ROIPooling", sub(204, whole(1, 7)), "roi_pooling_param", ["caffe-windows"], {"spatial_scale": 1.0}),
    ("ROIPooling", sub(8266711, whole(1, 7)), "roi_pooling_param", ["faster-rcnn", "rfcn", "synopsys"], {}),
    ("DetectionOutput", sub(204, whole(1, 7), whole(7, 9)), "detection_output_param", ..., {"keep_top_k": 9}),
    ("Correlation", sub(150, whole(3, 1), whole(4, 2)), "correlation_param", ["flownet2", "synopsys"], {"stride_1": 1}),
    ("Mean", sub(154, whole(1, 1), real(3, 2)), "mean_param", ["flownet2", "synopsys"], {"value": (2.0,)}),
    ("FlowWarp", sub(159, whole(1, 2)), "flow_warp_param", ["flownet2", "synopsys"], {"fill_value": "NOT_A_NUMBER"}),
    ("Normalize", sub(206, whole(1, 0)), "norm_param", ..., {"across_spatial": False, "channel_shared": True}),
    ("Normalize", sub(214, sub(1, b"L1")), "normalize_param", ["caffe-windows"], {"normalize_type": "L1"}),
    ("Permute", sub(202, whole(1, 0), whole(1, 2)), "permute_param", ..., {"order": (0, 2)}),
    ("Permute", sub(202, sub(1, b"\0\2")), "permute_param", ..., {"order": (0, 2)}),  # packed
    ("Permute", sub(224, whole(1, 0)), "permute_param", ["caffe-windows"], {"order": (0,)}),
    ("ReLU6", sub(208), "relu6_param", ["mobilenet-ssd"], {"engine": "DEFAULT"}),
    ("ReLU6", sub(211, real(1, 0.5)), "relu6_param", ["mobilenet-yolo"], {"negative_slope": 0.5}),
    ("ReLU6", sub(300, real(1, 0.5)), "relu6_param", ["ssd-windows"], {"negative_slope": 0.5}),
    ("ReLU6", sub(503, real(2, 5)), "relu6_param", ["inisis"], {"threshold": 5.0}),
    ("DepthToSpace", sub(208, whole(1, 2)), "depth_to_space_param", ["synopsys"], {"data_format": "NHWC"}),
    ("UpsampleDarknet", sub(209, whole(1, 2)), "upsample_darknet_param", ["synopsys"], {"stride": 2}),
    ("Flip", sub(212, whole(2, 1)), "flip_param", ["caffe-windows"], {"flip_width": True, "flip_height": True}),
    ("Proposal", sub(212, whole(5, 9)), "proposal_param", ["synopsys"], {"max_rois": 9}),
    ("Proposal", sub(219, real(4, 9)), "proposal_param", ["caffe-windows"], {"ratio": (9.0,)}),
    ("Proposal", sub(1000, real(4, 9)), "proposal_param", ["inisis"], {"post_nms_topn": 300}),
    ("Noise", sub(207, real(3, 9)), "noise_param", ["caffe-windows"], {"bias": 9.0}),
    ("ShuffleChannel", sub(164, whole(1, 3)), "shuffle_channel_param", ["ssd-windows"], {"group": 3}),
    ("ShuffleChannel", sub(166, whole(1, 3)), "shuffle_channel_param", ["synopsys"], {"group": 3}),
    ("HardSigmoid", sub(258, real(1, 3)), "hard_sigmoid_param", ["synopsys"], {"alpha": 3.0}),
    ("HardSigmoid", sub(501, real(1, 3)), "hardsigmoid_param", ["inisis"], {"alpha": 3.0}),
    ("Pooling3D", sub(266, whole(13, 2)), "pooling3d_param", ["synopsys"], {"kernel_d": 2}),
    ("Pooling3D", sub(6662, whole(5, 2)), "pooling3d_param", ["c3d"], {"kernel_depth": 2}),
    # BVLC's messages, which forks gave other numbers
    ("Scale", sub(160, whole(4, 1)), "scale_param", ["tsn"], {"bias_term": True, "axis": 1}),
    ("Scale", sub(142, whole(4, 1)), "scale_param", ["bvlc"], {"bias_term": True}),
    ("Bias", sub(161, whole(1, 0)), "bias_param", ["tsn"], {"axis": 0}),
    ("Clip", sub(248, real(1, 3), real(2, 4)), "clip_param", ["synopsys"], {"max": 4.0}),
    ("LSTM", sub(151, whole(1, 3)), "recurrent_param", ["nvcaffe"], {"num_output": 3}),
    ("LSTM", sub(146, whole(1, 3)), "recurrent_param", ["bvlc"], {"num_output": 3}),
    # BVLC's own, which forks gave the same numbers
    ("Embed", sub(137, whole(1, 3), whole(2, 4)), "embed_param", [], {"num_output": 3}),
    ("Tile", sub(138, whole(2, 3)), "tile_param", [], {"tiles": 3}),
    ("ELU", sub(140, real(1, 3)), "elu_param", [], {"alpha": 3.0}),
    ("Bias", sub(141, whole(1, 0)), "bias_param", ["bvlc"], {"axis": 0}),
    ("Crop", sub(144, whole(2, 3)), "crop_param", [], {"offset": (3,)}),
    ("Swish", sub(147, real(1, 3)), "swish_param", [], {"beta": 3.0}),
]


@pytest.mark.parametrize(
    ("kind", "content", "name", "fork", "values"), CASES, ids=lambda value: value if isinstance(value, str) else ""
)
def test_one_number_several_fields(
    kind: str, content: bytes, name: str, fork: Any, values: dict[str, Any], tmp_path: Path
) -> None:
    found = caffe2torch.load_net(binary(tmp_path, layer(kind, content))).layers[-1]
    assert not found.misread and not found.unknown
    assert fork is ... or list(found.fork) == fork
    for field, value in values.items():
        assert getattr(found.param(name), field) == value


TEXTS = [
    ("Upsample", "upsample_param { scale: 2 }", ["segnet", "synopsys", "mobilenet-yolo", "inisis"]),
    ("Upsample", "upsample_param { scale: 2 pad_out_h: true }", ["segnet", "synopsys"]),
    ("Upsample", "upsample_param { dims_num: 3 }", ["inisis"]),
    ("Upsample", "upsample_param { scale: -1 }", ["mobilenet-yolo", "inisis"]),  # the others have no sign
    ("BN", "bn_param { bn_mode: INFERENCE }", ["segnet", "deconvnet", "synopsys"]),
    ("BN", "bn_param { eps: 1 icnet: true }", ["synopsys"]),
    ("BN", "bn_param { shift_filler { value: 1 } }", ["segnet", "deconvnet", "synopsys"]),
    ("Interp", "interp_param { full_zoom_factor: 2 }", ["synopsys"]),
    ("Normalize", "normalize_param { }", ["caffe-windows"]),
    ("PSROIPooling", "psroi_pooling_param { spatial_scale: 1 output_dim: 2 group_size: 3 }", None),
    ("HardSigmoid", "hardsigmoid_param { alpha: 1 }", ["inisis"]),
    ("HardSigmoid", "hard_sigmoid_param { alpha: 1 }", ["synopsys"]),
    ("Proposal", "proposal_param { max_rois: 1 }", ["synopsys"]),
    ("ReLU6", "relu6_param { threshold: 5 }", ["inisis"]),
    ("ROIPooling", "roi_pooling_param { pooled_size: 7 }", ["intel"]),
    ("Pooling3D", "pooling3d_param { kernel_depth: 2 }", ["c3d"]),
    ("PriorBox", "prior_box_param { min_size: 3 reduce_boxes: true }", ["mobilenet-ssd"]),
]


@pytest.mark.parametrize(("kind", "text", "fork"), TEXTS, ids=lambda value: value if isinstance(value, str) else "")
def test_text_goes_by_name(kind: str, text: str, fork: list[str] | None, tmp_path: Path) -> None:
    path = nets.write(tmp_path, nets.layer("it", kind, "x", "y", text), 'input: "x"')
    found = caffe2torch.load_net(None, path).layers[0]
    assert fork is None or sorted(found.fork) == sorted(fork)
    if fork is None:
        assert set(found.fork) == {"rfcn", "intel", "caffe-windows", "inisis"}


def test_the_bottoms_decide(tmp_path: Path) -> None:
    inputs = [nets.given("x", 1, 4, 6, 6), nets.given("mask", 1, 4, 6, 6)]
    nearest = nets.graph(tmp_path, *inputs, nets.layer("it", "Upsample", "x", "y", "upsample_param { scale: 2 }"))
    masked = nets.graph(tmp_path, *inputs, nets.layer("it", "Upsample", "x mask", "y", "upsample_param { scale: 2 }"))
    assert type(nearest.nodes[-1].operation) is not type(masked.nodes[-1].operation)


def test_the_blobs_decide(tmp_path: Path) -> None:
    path = nets.write(tmp_path, nets.given("x", 1, 3, 6, 6), nets.layer("it", "BN", "x", "y"))
    with pytest.raises(NetError, match=r"it \(BN\): .*--fork"):
        caffe2torch.convert(None, path)
    found = {}
    for count in (2, 4):
        blobs = {"it": [np.ones((1, 3, 1, 1), np.float32)] * count}
        weights = nets.caffemodel(tmp_path / f"{count}.caffemodel", blobs, kind="BN")
        found[count] = caffe2torch.convert(weights, path)
    assert caffe2torch.to_source(found[2]) != caffe2torch.to_source(found[4])


def test_fork_decides(tmp_path: Path) -> None:
    path = nets.write(tmp_path, nets.given("x", 1, 3, 6, 6), nets.layer("it", "BN", "x", "y"))
    learned = caffe2torch.convert(None, path, fork="segnet")
    stored = caffe2torch.convert(None, path, fork="pspnet")
    assert caffe2torch.to_source(learned) != caffe2torch.to_source(stored)
    assert caffe2torch.to_source(caffe2torch.convert(None, path, fork="hszhao/PSPNet")) == caffe2torch.to_source(stored)


def test_an_unknown_fork_lists_the_known_ones(tmp_path: Path) -> None:
    path = nets.write(tmp_path, nets.given("x", 1, 3, 6, 6), nets.layer("it", "ReLU", "x", "y"))
    with pytest.raises(CaffeError, match=r"no fork 'waifu3x' is known; known are bvlc, c3d, .*waifu2x"):
        caffe2torch.convert(None, path, fork="waifu3x")
    result = CliRunner().invoke(cli.main, ["inspect", str(path), "--fork", "waifu3x"])
    assert result.exit_code == 1 and "known are bvlc" in result.output
    assert CliRunner().invoke(cli.main, ["inspect", str(path), "--fork", "ssd"]).exit_code == 0


def test_inspect_tells_the_fork(tmp_path: Path) -> None:
    path = nets.write(tmp_path, nets.given("x", 1, 4, 6, 6), nets.layer("it", "Upsample", "x", "y"))
    for options, expected in (
        ([], ["segnet", "synopsys", "mobilenet-yolo", "inisis"]),
        (["--fork", "inisis"], ["inisis"]),
    ):
        result = CliRunner().invoke(cli.main, ["inspect", str(path), "--json", *options])
        assert json.loads(result.stdout)["layers"][0]["forks"] == expected


class Told(Operation):
    """A class whose readings differ."""

    types, bottoms, tops, understood = ("Told",), (1, 1), (1, 1), {}

    def __init__(self, scale: int) -> None:
        self.scale = scale

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Told) and other.scale == self.scale

    def __repr__(self) -> str:
        return f"Told({self.scale})"

    __hash__ = None  # type: ignore[assignment]

    @classmethod
    def parse(cls, layer: Layer, bottoms: Sequence[Any]) -> Told:
        scale = layer.param("told_param").scale
        if scale > 8:
            raise LayerError(f"scale {scale} is too large")
        return cls(scale)


def told(*ways: tuple[str, int]) -> Layer:
    read = tuple(ReadAs((fork,), {"told_param": Fields({}, {"scale": scale})}) for fork, scale in ways)
    return Layer("it", "Told", ("x",), ("y",), read[0].params, readings=read)


def test_ambiguity_names_the_readings() -> None:
    assert read(Told, told(("segnet", 2), ("inisis", 2)), [(1,)])[:2] == (Told(2), ("segnet",))
    assert read(Told, told(("segnet", 9), ("inisis", 1)), [(1,)])[:2] == (Told(1), ("inisis",))
    with pytest.raises(LayerError, match=r"as segnet it is Told\(2\); as inisis it is Told\(1\).*--fork segnet"):
        read(Told, told(("segnet", 2), ("inisis", 1)), [(1,)])
    with pytest.raises(LayerError, match=r"read as segnet: scale 9 is too large; read as inisis: scale 10 is too"):
        read(Told, told(("segnet", 9), ("inisis", 10)), [(1,)])
    with pytest.raises(LayerError, match=r"^scale 9 is too large$"):
        read(Told, told(("segnet", 9), ("inisis", 9)), [(1,)])


@pytest.mark.parametrize(
    ("kind", "content", "says"),
    [
        ("Permute", sub(999, whole(1, 0)), r"a field 999, which no fork .* \(no fork is known to use the number\)"),
        (
            "Permute",
            sub(154, whole(1, 0)),
            r"a field 154, .*\(roi_pooling_param in intel/caffe; mean_param in lmb-frei",
        ),
        ("Upsample", sub(137, whole(9, 1)), r"its upsample_param.9 is a field that alexgkendall/caffe-segnet does not"),
        ("PSROIPooling", sub(153, whole(2, 4)), "its required field psroi_pooling_param.spatial_scale is missing"),
    ],
)
def test_what_fits_no_fork(kind: str, content: bytes, says: str, tmp_path: Path) -> None:
    path = binary(tmp_path, layer(kind, content))
    with pytest.raises(NetError, match=rf"it \({kind}\): .*{says}"):
        caffe2torch.convert(path, input_shape=(1, 4, 6, 6))


def test_a_fork_that_is_asked_for_reads_what_it_can(tmp_path: Path) -> None:
    path = binary(tmp_path, layer("Permute", sub(999, whole(1, 0))))
    found = caffe2torch.load_net(path, fork="ssd")
    assert not found.layers[0].misread
    assert found.notes == ("1 layer holds fields that Caffe does not know, first it: 999; passed over, as Caffe does",)


def test_engines_of_forks_change_nothing(tmp_path: Path) -> None:
    path = binary(tmp_path, layer("Permute", sub(149, b"MKL2017"), whole(145, 1), sub(202, whole(1, 1))))
    assert caffe2torch.load_net(path).layers[0].param("permute_param").order == (1,)


@pytest.mark.parametrize("number", [143, 145, 147, 149, 151, 152, 156, 158, 208, 300])
def test_a_message_under_a_number_of_others_is_not_lost(number: int, tmp_path: Path) -> None:
    """Some forks have harmless fields, or BVLC another layer's message, under these numbers."""
    path = binary(tmp_path, layer("ShuffleChannel", sub(number, whole(1, 2))))
    with pytest.raises(CaffeError, match="ShuffleChannel"):
        caffe2torch.convert(path, input_shape=(1, 4, 6, 6))
    path = binary(tmp_path, layer("ReLU6", sub(number, real(1, 0.5)) if number < 150 else whole(number, 1)))
    if number in (145, 147):
        with pytest.raises(CaffeError, match=f"a field {number}, which no fork"):
            caffe2torch.convert(path, input_shape=(1, 4, 6, 6))


def test_what_nobody_looks_into_may_hold_anything(tmp_path: Path) -> None:
    saving = sub(13, sub(1, b"out"), sub(4, b"map.txt"))
    path = binary(
        tmp_path, layer("DetectionOutput", sub(204, whole(1, 2), saving, whole(7, 5)), bottoms=("x", "c", "p"))
    )
    found = caffe2torch.load_net(path).layers[0]
    assert not found.misread
    assert found.param("detection_output_param").keep_top_k == 5


@pytest.mark.parametrize(
    ("kind", "content", "says"),
    [
        ("Convolution", sub(106, whole(1, 2), whole(4, 1), whole(26, 1)), "convolution_param.26=1 is pad_l in foss-"),
        ("Convolution", sub(106, whole(1, 2), whole(4, 1), whole(51, 3)), "_param.51=3 is width_group in inisis"),
        ("ReLU", sub(123, real(6, 2)), "relu_param.6=2 is maximum in foss-for-synopsys"),
        ("SoftmaxWithLoss", sub(125, real(3, 0.25)), ""),
        ("InnerProduct", sub(117, whole(1, 2), whole(8, 1)), ""),  # synopsys' dis_mode, too
        ("BatchNorm", sub(139, whole(5, 1)), "_param.5=1 is use_weight_bias in intel/caffe; disable"),
        ("Convolution", sub(106, whole(1, 2), whole(4, 1), whole(26, 0)), ""),
        ("Convolution", sub(106, whole(1, 2), whole(4, 1), whole(19, 1)), ""),
        ("Convolution", sub(106, whole(1, 2), whole(4, 1), whole(77, 1)), ""),
        ("Convolution", sub(106, whole(1, 2), whole(4, 1), whole(32, 0)), ""),  # an enum's first name
    ],
)
def test_forks_fields_within_bvlcs_messages(kind: str, content: bytes, says: str, tmp_path: Path) -> None:
    path = binary(tmp_path, layer(kind, content))
    misread = caffe2torch.load_net(path).layers[0].misread
    assert says in misread and bool(says) == bool(misread)
    assert not caffe2torch.load_net(path, fork="bvlc").layers[0].misread
    if says:
        with pytest.raises(NetError, match=f"it \\({kind}\\): its .* not supported; --fork bvlc passes it over"):
            caffe2torch.convert(path, input_shape=(1, 2, 6, 6))


@pytest.mark.parametrize(
    ("fork", "says"),
    [
        ("intel", "=1 is relu in intel/caffe, which"),
        ("synopsys", "pad_type"),
        ("mobilenet-ssd", "tf_pad"),
        ("nvcaffe", ""),
    ],
)
def test_the_fork_that_is_asked_for_tells_what_a_number_means(fork: str, says: str, tmp_path: Path) -> None:
    path = binary(tmp_path, layer("Convolution", sub(106, whole(1, 2), whole(4, 1), whole(19, 1))))
    found = caffe2torch.load_net(path, fork=fork)
    assert says in found.layers[0].misread and bool(says) == bool(found.layers[0].misread)
    assert "convolution_param.19 (" in found.notes[0] and "relu in intel/caffe" in found.notes[0]


def test_a_forks_field_at_its_default_is_no_matter(tmp_path: Path) -> None:
    text = "prior_box_param { min_size: 4 reduce_boxes: %s }"
    for value in ("false", "true"):
        lines = nets.given("x", 1, 2, 6, 6), nets.layer("it", "PriorBox", "x x", "y", text % value)
        if value == "true":
            with pytest.raises(NetError, match="reduce_boxes=True is not supported"):
                nets.module(tmp_path, *lines)
        else:
            assert nets.module(tmp_path, *lines).output_names == ("y",)


def test_a_forks_required_fields_need_not_be_bvlcs(tmp_path: Path) -> None:
    """148 is BVLC's clip_param, which requires two fields, and intel's smooth_l1_loss_param."""
    binary(tmp_path, layer("SmoothL1Loss", sub(148, real(1, 3)), bottoms=("x", "t")))
    assert caffe2torch.load_net(tmp_path / "net.caffemodel").layers[0].fork == ("intel",)
    path = binary(tmp_path, layer("Clip", sub(148, real(1, 3))))
    with pytest.raises(CaffeError, match=r"required field layer\[0\].clip_param.max"):
        caffe2torch.load_net(path)


# Unknown fields of a text


def test_a_forks_field_on_the_wrong_layer_names_the_forks(tmp_path: Path) -> None:
    path = nets.write(tmp_path, nets.layer("it", "ReLU", "x", "y", "permute_param { order: 1 }"))
    with pytest.raises(
        TextError,
        match=r"LayerParameter has no field 'permute_param' in BVLC's Caffe; it is understood on layers of "
        r"type Permute. It is known by weiliu89/caffe branch ssd, chuanqi305/ssd, .*happynear/caffe-windows branch ms"
        r", .*, but not understood on a layer of type ReLU",
    ):
        caffe2torch.load_net(None, path)


def test_a_forks_field_within_a_message_names_the_forks(tmp_path: Path) -> None:
    path = nets.write(tmp_path, nets.layer("it", "Convolution", "x", "y", "convolution_param { tf_pad: SAME }"))
    with pytest.raises(TextError, match="ConvolutionParameter has no field 'tf_pad' .* known by chuanqi305/ssd"):
        caffe2torch.load_net(None, path)


def test_nobodys_field(tmp_path: Path) -> None:
    path = nets.write(tmp_path, nets.layer("it", "ReLU", "x", "y", "frobnication_param { }"))
    with pytest.raises(TextError, match="no field 'frobnication_param' on a layer of type ReLU; it may be a field of"):
        caffe2torch.load_net(None, path)
    path = nets.write(tmp_path, nets.layer("it", "Permute", "x", "y", "permute_param { oder: 1 }"))
    with pytest.raises(TextError, match="net.prototxt:2:.*no field 'oder'; did you mean order?"):
        caffe2torch.load_net(None, path)


def test_what_serves_training_is_passed_over_and_told(tmp_path: Path) -> None:
    path = nets.write(
        tmp_path,
        'default_forward_type: FLOAT16 compile_net_state { is_init: false kept_bn_layers: "a" }',
        'layer { name: "data" type: "AnnotatedData" top: "x" top: "label" transform_param { crop_size: 6'
        " resize_param { prob: 1 resize_mode: WARP height: 6 interp_mode: [LINEAR, AREA] } mean_value: 104 }"
        " annotated_data_param { batch_sampler { max_trials: 1 sampler { min_scale: -0.3 } } label_map_file: 'a' 'b' "
        "} }",
        nets.layer("act", "ReLU", "x", "y", "forward_type: FLOAT16 relu_param { engine: MKLDNN fuse: true }"),
        nets.layer("loss", "MultiBoxLoss", "y label", "loss", "multibox_loss_param { loc_weight: 1.0 }"),
        nets.layer("act2", "ReLU", "y", "z", "relu_param { negative_slope: 0.5 }"),
    )
    net = caffe2torch.load_net(None, path)
    assert [entry.name for entry in net.layers] == ["act", "loss", "act2"]
    assert net.inputs[0].crop == 6 and net.inputs[0].mean == (104.0,)
    assert net.layers[2].param("relu_param").negative_slope == 0.5
    assert net.notes == (
        "fields of Caffe's forks passed over: act (ReLU): forward_type, ReLUParameter.engine, ReLUParameter.fuse; "
        "loss (MultiBoxLoss): multibox_loss_param",
        "fields of Caffe's forks passed over: default_forward_type, compile_net_state",
    )


def test_a_layer_without_converter_does_not_keep_a_net_from_being_read(tmp_path: Path) -> None:
    path = nets.write(
        tmp_path,
        nets.given("x", 1, 2, 3, 3),
        nets.layer("act", "ReLU", "x", "y"),
        nets.layer("crf", "MultiStageMeanfield", "y", "z", "dense_crf_param { max_iter: 3 }"),
    )
    with pytest.raises(NetError, match=r"crf \(MultiStageMeanfield\): no converter \(a layer of hszhao/PSPNet"):
        caffe2torch.convert(None, path)
    assert caffe2torch.convert(None, path, drop=["crf"]).output_names == ("y",)


def test_pools_that_round_down(tmp_path: Path) -> None:
    """inisis/caffe, and others, say ceil_mode where BVLC says round_mode; in binary files the number is the same."""
    shapes = {}
    for said in ("", "ceil_mode: true", "ceil_mode: false", "round_mode: FLOOR"):
        pool = nets.layer("it", "Pooling", "x", "y", f"pooling_param {{ kernel_size: 2 stride: 2 {said} }}")
        shapes[said] = nets.graph(tmp_path, nets.given("x", 1, 1, 5, 5), pool).shape_of("y")[2]
    assert list(shapes.values()) == [3, 3, 2, 2]
    path = binary(tmp_path, layer("Pooling", sub(121, whole(2, 2), whole(3, 2), whole(13, 0))))
    assert caffe2torch.load_net(path).layers[0].param("pooling_param").round_mode == "CEIL"
    assert caffe2torch.load_net(path, fork="inisis").layers[0].param("pooling_param").ceil_mode is False


# V1: DeconvNet's and SegNet's `layers`


def v1(number: int, *fields: bytes, name: bytes = b"it", blobs: int = 0) -> bytes:
    blob = sub(6, whole(1, 1), whole(2, 4), whole(3, 1), whole(4, 1), sub(5, struct.pack("<4f", 1, 2, 3, 4)))
    return sub(2, sub(2, b"x"), sub(3, b"y"), sub(4, name), whole(5, number), *fields, blob * blobs)


def test_deconvnets_own_types_by_their_numbers(tmp_path: Path) -> None:
    unpool = sub(44, whole(1, 0), whole(2, 2), whole(3, 2), whole(12, 12))
    path = binary(tmp_path, v1(42, unpool), v1(43, sub(45, whole(3, 1)), name=b"norm", blobs=2))
    unpooling, norm = caffe2torch.load_net(path).layers
    assert (unpooling.type, unpooling.fork) == ("Unpooling", ("deconvnet",))
    assert (unpooling.param("unpooling_param").unpool_size, unpooling.param("unpooling_param").stride) == (12, 2)
    assert (norm.type, norm.param("bn_param").bn_mode, len(norm.blobs or ())) == ("BN", "INFERENCE", 2)


def test_v1_numbers_that_two_forks_have(tmp_path: Path) -> None:
    """43 is BN in DeconvNet and SegNet, Normalize in caffe-windows; without a field, only the user can tell."""
    path = binary(tmp_path, v1(43, blobs=2))
    with pytest.raises(NetError, match=r"types by numbers that mean different layers in .*HyeonwooNoh/caffe.*--fork"):
        caffe2torch.load_net(path)
    assert caffe2torch.load_net(path, fork="segnet").layers[0].type == "BN"
    assert caffe2torch.load_net(path, fork="caffe-windows").layers[0].type == "Normalize"


def test_a_v1_number_that_no_fork_has(tmp_path: Path) -> None:
    with pytest.raises(NetError, match="type=77"):
        caffe2torch.convert(binary(tmp_path, v1(77)), input_shape=(1, 4, 6, 6))


def test_v1_text(tmp_path: Path) -> None:
    path = nets.write(
        tmp_path,
        "layers { name: 'norm' type: BN bottom: 'x' top: 'n' bn_param { bn_mode: INFERENCE } }",
        "layers { name: 'up' type: UNPOOLING bottom: 'n' top: 'u' unpooling_param { kernel_size: 2 unpool_size: 12 } }",
        "layers { name: 'acc' type: ELTWISE_ACCURACY bottom: 'u' top: 'a' eltwise_accuracy_param { ignore_label: 2 } }",
        "layers { name: 'act' type: RELU6 bottom: 'u' top: 'z' }",
        "layers { name: 'old' type: 18 bottom: 'z' top: 'y' }",
    )
    found = caffe2torch.load_net(None, path).layers
    assert [each.type for each in found] == ["BN", "Unpooling", "EltwiseAccuracy", "ReLU6", "ReLU"]
    assert found[0].param("bn_param").bn_mode == "INFERENCE"
    assert found[1].param("unpooling_param").unpool_size == 12


# Written down and read again


@pytest.mark.parametrize("fork", ["segnet", "pspnet"])
def test_a_folder_keeps_the_reading(fork: str, tmp_path: Path) -> None:
    path = nets.write(
        tmp_path,
        nets.given("x", 1, 4, 6, 6),
        nets.layer("it", "BN", "x", "y"),
        nets.layer("up", "Upsample", "y", "z", "upsample_param { scale: 3 }"),
    )
    blobs = {"it": [np.ones((1, 4, 1, 1), np.float32)] * (2 if fork == "segnet" else 4)}
    weights = nets.caffemodel(tmp_path / "net.caffemodel", blobs, kind="BN")
    converted = folder.from_caffemodel(weights, path)
    folder.save(converted, tmp_path / "out")
    again = folder.load(tmp_path / "out")
    assert [node.operation for node in again.graph.nodes] == [node.operation for node in converted.graph.nodes]
    assert again.cut("y").graph.nodes[-1].operation == converted.graph.nodes[0].operation
    assert fork in again.net.layers[0].fork


# Notation


def test_notation() -> None:
    line = """a 1 uint32*; b 2 float =1.; c 3 string ="NHWC"; d 4 int32!; e 5 Mode =B; f 6 Other.Mode; g 7 Inner;
        h 8 FillerParameter; i 9 Opaque | Mode: A=0, B=1; Inner { x 1 Mode; y 2 bool =true }; Opaque { * }"""
    readings.declare("Notated", {"notated_param": Reading("my", 777, line)}, ())
    try:
        made = readings.candidates("Notated")[0].message()()
        found = readings.empty("Notated", ("my",), "notated_param")
    finally:
        readings.forget(readings.declared() - {"Notated"})
    assert (found.a, found.b, found.c, found.e, found.g.x, found.g.y) == ((), 1.0, "NHWC", "B", "A", True)
    assert found.h.type == "constant"
    made.notated_param.b = 2
    assert made.FindInitializationErrors() == ["notated_param.d"]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("a int32", "no field; write name number type"),
        ("a 1 Mode", "no type Mode is known; declare it"),
        ("| A=0", "no enum"),
    ],
)
def test_notation_faults(line: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        notation.declare(line, "M", "", schema.types())


def test_more_fields_than_bvlcs() -> None:
    readings.declare("Extended", {"pooling_param": Reading("inisis", None, "+ ceil_mode 13 bool =true")}, ())
    try:
        bvlc, inisis = readings.candidates("Extended")
        message = inisis.message()()
        message.pooling_param.ceil_mode = False
        message.pooling_param.kernel_size = 3
        known = bvlc.message().FromString(message.SerializeToString())
    finally:
        readings.forget(readings.declared() - {"Extended"})
    assert bvlc.forks == (forks.BVLC,) and inisis.forks == ("inisis",)
    assert known.pooling_param.kernel_size == 3 and known.pooling_param.round_mode == 0


def test_every_declared_reading_can_be_made() -> None:
    """And names forks that there are, under the names of forks.json."""
    assert readings.fork_names() <= set(forks.names())
    for name in readings.declared():
        for candidate in readings.candidates(name):
            assert set(candidate.fields) <= set(candidate.message().DESCRIPTOR.fields_by_name)
            assert candidate.message(readings.V1).DESCRIPTOR.name == readings.V1


def test_what_a_removed_data_layer_holds_is_no_news(tmp_path: Path) -> None:
    path = binary(tmp_path, layer("AnnotatedData", sub(999, whole(1, 0)), bottoms=()))
    assert caffe2torch.load_net(path, fork="ssd").notes == ()


def test_v1_numbers_matter_little_beside_a_prototxt(tmp_path: Path) -> None:
    path = nets.write(tmp_path, "input: 'x' input_dim: 1 input_dim: 4 input_dim: 6 input_dim: 6", v1_text("it", "BN"))
    (norm,) = caffe2torch.load_net(binary(tmp_path, v1(43, blobs=2)), path).layers
    assert (norm.type, len(norm.blobs or ())) == ("BN", 2)


def v1_text(name: str, kind: str) -> str:
    return f"layers {{ name: '{name}' type: {kind} bottom: 'x' top: 'y' }}"
