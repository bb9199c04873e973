"""Nets of the kind that was published with Caffe's forks, small: their prototxts as people wrote them.

Written from the architectures' papers and repositories' habits: deploy files, and training nets with all that belongs
to training. ``snapshot`` writes what the fork's solver would have stored for them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf import text_format

from caffe2torch import prototxt, readings, schema
from caffe2torch.wire import varint
from tests.caffe2torch.published_nets import Builder

DATA_INPUT = 'input: "data"\ninput_shape {{ dim: 1 dim: {} dim: {} dim: {} }}'
STATISTICS = "param { lr_mult: 0 decay_mult: 0 } " * 3
LEARNED = "param { lr_mult: 1 decay_mult: 1 } param { lr_mult: 2 decay_mult: 0 }"
TRANSFORM = (
    "transform_param { scale: 0.007843 mirror: true mean_value: 127.5 mean_value: 127.5 mean_value: 127.5 "
    "resize_param { prob: 1 resize_mode: WARP height: 64 width: 64 interp_mode: LINEAR interp_mode: AREA } "
    "emit_constraint { emit_type: CENTER } distort_param { brightness_prob: 0.5 brightness_delta: 32 } }"
)
SAVE = (
    'save_output_param { output_directory: "results/VOC2007" output_name_prefix: "comp4_det_test_" '
    'output_format: "VOC" label_map_file: "labelmap_voc.prototxt" name_size_file: "test_name_size.txt" '
    "num_test_image: 4952 resize_param { prob: 1 resize_mode: WARP height: 64 width: 64 } }"
)


class ForkBuilder(Builder):
    """With the blocks that nets of forks are made of."""

    def block(
        self,
        name: str,
        bottom: str,
        count: int,
        kernel: int,
        stride: int = 1,
        group: int = 1,
        kind: str = "Convolution",
    ) -> str:
        """Convolution, BatchNorm, Scale and ReLU in place, as MobileNets have them."""
        fields = (
            f"num_output: {count} bias_term: false pad: {kernel // 2} kernel_size: {kernel} stride: {stride} "
            f'group: {group} engine: CAFFE weight_filler {{ type: "msra" }}'
        )
        more = f"param {{ lr_mult: 1 decay_mult: 1 }} convolution_param {{ {fields} }}"
        blob = self.add(name, kind, bottom, more)
        self.add(f"{name}/bn", "BatchNorm", blob, f"{STATISTICS} batch_norm_param {{ eps: 0.00001 }}", top=blob)
        self.add(f"{name}/scale", "Scale", blob, "scale_param { filler { value: 1 } bias_term: true }", top=blob)
        return self.relu(f"{name}/relu", blob)

    def leaky(self, name: str, blob: str) -> str:
        return self.add(name, "ReLU", blob, "relu_param { negative_slope: 0.1 }", top=blob)

    def head(self, name: str, bottom: str, priors: int, classes: int, prior_box: str) -> None:
        """SSD's layers for one map."""
        for kind, count in (("loc", 4 * priors), ("conf", classes * priors)):
            blob = self.conv(f"{name}_mbox_{kind}", bottom, count, 3, 1, 1)
            order = "permute_param { order: 0 order: 2 order: 3 order: 1 }"
            blob = self.add(f"{name}_mbox_{kind}_perm", "Permute", blob, order)
            self.add(f"{name}_mbox_{kind}_flat", "Flatten", blob, "flatten_param { axis: 1 }")
        variance = "variance: 0.1 variance: 0.1 variance: 0.2 variance: 0.2"
        fields = f"prior_box_param {{ {prior_box} {variance} offset: 0.5 }}"
        self.add(f"{name}_mbox_priorbox", "PriorBox", [bottom, "data"], fields)

    def detect(self, names: Sequence[str], classes: int, more: str = "") -> None:
        """SSD's last layers."""
        for kind, axis in (("loc_flat", 1), ("conf_flat", 1), ("priorbox", 2)):
            bottoms = [f"{name}_mbox_{kind}" for name in names]
            top = f"mbox_{kind.removesuffix('_flat')}"
            self.add(top, "Concat", bottoms, f"concat_param {{ axis: {axis} }}")
        shape = f"reshape_param {{ shape {{ dim: 0 dim: -1 dim: {classes} }} }}"
        self.add("mbox_conf_reshape", "Reshape", "mbox_conf", shape)
        self.add("mbox_conf_softmax", "Softmax", "mbox_conf_reshape", "softmax_param { axis: 2 }")
        self.add("mbox_conf_flatten", "Flatten", "mbox_conf_softmax", "flatten_param { axis: 1 }")
        fields = (
            f"num_classes: {classes} share_location: true background_label_id: 0 keep_top_k: 100 "
            f"nms_param {{ nms_threshold: 0.45 top_k: 400 }} code_type: CENTER_SIZE confidence_threshold: 0.2 {more}"
        )
        bottoms = ["mbox_loc", "mbox_conf_flatten", "mbox_priorbox"]
        include = "include { phase: TEST }"
        self.add("detection_out", "DetectionOutput", bottoms, f"{include} detection_output_param {{ {fields} }}")


def vgg_7() -> list[str]:
    """An upscaler as it was trained: MemoryData with labels that nobody wants."""
    net = ForkBuilder()
    memory = "memory_data_param { batch_size: 1 channels: 3 height: 26 width: 26 }"
    net.lines += [
        f'layer {{ name: "in" type: "MemoryData" top: "input" top: "dummy_label1" {memory} }}',
        f'layer {{ name: "to" type: "MemoryData" top: "target" top: "no" include {{ phase: TRAIN }} {memory} }}',
        'layer { name: "quiet" type: "Silence" bottom: "dummy_label1" }',
    ]
    blob = "input"
    for index, count in enumerate((8, 8, 16, 16, 32, 32), 1):
        blob = net.leaky(f"conv{index}_relu_layer", net.conv(f"conv{index}_layer", blob, count, 3))
    net.conv("conv7_layer", blob, 3, 3)
    net.add("loss", "EuclideanLoss", ["conv7_layer", "target"], "include { phase: TRAIN }")
    return net.lines


def upconv_7() -> list[str]:
    """An upscaler to twice the size."""
    net = ForkBuilder()
    blob = net.input("input", 1, 3, 24, 24)
    for index, count in enumerate((4, 8, 16, 16), 1):
        blob = net.leaky(f"conv{index}_relu_layer", net.conv(f"conv{index}_layer", blob, count, 3))
    fields = "num_output: 3 kernel_size: 4 stride: 2 pad: 3 bias_term: true"
    net.add("conv7_layer", "Deconvolution", blob, f"convolution_param {{ {fields} }}")
    return net.lines


def upresnet10(crop: str = "crop_center_param { crop_size: 0 crop_size: 0 crop_size: 2 crop_size: 2 }") -> list[str]:
    """An upscaler with squeezed residual blocks; in the published text ``crop`` is empty."""
    net = ForkBuilder()
    blob = net.leaky("pre_relu", net.conv("pre", net.input("input", 1, 3, 24, 24), 8, 3))
    for index in range(2):
        inner = net.leaky(f"relu{index}a", net.conv(f"conv{index}a", blob, 8, 3))
        inner = net.leaky(f"relu{index}b", net.conv(f"conv{index}b", inner, 8, 3))
        short = net.relu(f"se{index}relu", net.fc(f"se{index}fc1", net.everywhere(f"se{index}pool", inner), 4))
        gate = net.fc(f"se{index}fc2", short, 8)
        net.add(f"se{index}prob", "Sigmoid", gate, top=gate)
        cut = net.add(f"crop{index}", "CropCenter", blob, crop)
        blob = net.add(f"axpy{index}", "Axpy", [gate, inner, cut])
    fields = "num_output: 3 kernel_size: 4 stride: 2 pad: 3"
    net.add("conv_post", "Deconvolution", blob, f"convolution_param {{ {fields} }}")
    return net.lines


def _mobilenet_ssd(net: ForkBuilder, more: str) -> list[str]:
    blob = net.block("conv0", "data", 8, 3, 2)
    first = net.block("conv1", net.block("conv1/dw", blob, 8, 3, 2, 8), 16, 1)
    second = net.block("conv2", net.block("conv2/dw", first, 16, 3, 2, 16), 16, 1)
    net.head("conv1", first, 3, 4, "min_size: 12.0 aspect_ratio: 2.0 flip: true clip: false")
    net.head("conv2", second, 6, 4, "min_size: 24.0 max_size: 40.0 aspect_ratio: 2.0 aspect_ratio: 3.0")
    net.detect(["conv1", "conv2"], 4, more)
    return net.lines


def mobilenet_ssd() -> list[str]:
    """SSD's deploy.prototxt."""
    net = ForkBuilder()
    net.lines.append(DATA_INPUT.format(3, 64, 64))
    return _mobilenet_ssd(net, SAVE)


def mobilenet_ssd_trained() -> list[str]:
    """SSD's train.prototxt and test.prototxt in one."""
    net = ForkBuilder()
    source = 'data_param { source: "lmdb/" batch_size: 8 backend: LMDB }'
    sampler = (
        "batch_sampler { sampler { min_scale: 0.3 } sample_constraint { min_jaccard_overlap: 0.1 } max_sample: 1 }"
    )
    annotated = f'annotated_data_param {{ {sampler} label_map_file: "labelmap.prototxt" }}'
    net.lines += [
        f'layer {{ name: "data" type: "AnnotatedData" top: "data" top: "label" include {{ phase: {phase} }} '
        f"{TRANSFORM} {source} {annotated} }}"
        for phase in ("TRAIN", "TEST")
    ]
    _mobilenet_ssd(net, SAVE)
    loss = (
        "loc_loss_type: SMOOTH_L1 conf_loss_type: SOFTMAX loc_weight: 1.0 num_classes: 4 share_location: true "
        "match_type: PER_PREDICTION overlap_threshold: 0.5 use_prior_for_matching: true background_label_id: 0 "
        "use_difficult_gt: true neg_pos_ratio: 3.0 neg_overlap: 0.5 code_type: CENTER_SIZE mining_type: MAX_NEGATIVE"
    )
    bottoms = ["mbox_loc", "mbox_conf", "mbox_priorbox", "label"]
    down = "propagate_down: true propagate_down: true propagate_down: false propagate_down: false"
    more = f"include {{ phase: TRAIN }} {down} loss_param {{ normalization: VALID }}"
    net.add("mbox_loss", "MultiBoxLoss", bottoms, f"{more} multibox_loss_param {{ {loss} }}")
    evaluate = 'num_classes: 4 background_label_id: 0 overlap_threshold: 0.5 name_size_file: "test_name_size.txt"'
    more = f"include {{ phase: TEST }} detection_evaluate_param {{ {evaluate} }}"
    net.add("detection_eval", "DetectionEvaluate", ["detection_out", "label"], more)
    return net.lines


def code_detector() -> list[str]:
    """A small SSD for grey pictures: BatchNorm on the data, shuffled channels, priors with a step."""
    net = ForkBuilder()
    blob = net.input("data", 1, 1, 64, 64)
    blob = net.add("data/bn", "BatchNorm", blob, STATISTICS)
    blob = net.add("data/bn/scale", "Scale", blob, "scale_param { filler { value: 1 } bias_term: true }")
    blob = net.pool("stage1/pool", net.block("stage1", blob, 8, 3, 2), 3, 2)
    inner = net.block("stage2/dw", net.block("stage2/1", blob, 8, 1), 8, 3, 2, 8, "DepthwiseConvolution")
    joined = net.add("stage2/concat", "Concat", [net.block("stage2/3", inner, 8, 1), net.pool("short", blob, 3, 2)])
    shuffled = net.add("stage2/shuffle", "ShuffleChannel", joined, "shuffle_channel_param { group: 2 }")
    net.head("a", blob, 2, 2, "min_size: 16 aspect_ratio: 2 flip: false clip: true step: 4")
    net.head("b", shuffled, 3, 2, "min_size: 24 min_size: 32 min_size: 40 step_h: 8 step_w: 8")
    net.detect(["a", "b"], 2)
    return net.lines


def super_resolution() -> list[str]:
    """A grey picture twice as large: what a Deconvolution that learns nothing gives, and what is learned of it."""
    net = ForkBuilder()
    blob = net.relu("relu0", net.conv("conv0", net.input("data", 1, 1, 16, 24), 8, 3, 1, 1))
    inner = net.relu("relu1", net.conv("dense1", blob, 4, 3, 1, 1))
    joined = net.block("squeeze", net.add("dense1_concat", "Concat", [blob, inner]), 8, 1)
    fields = (
        'num_output: 8 kernel_size: 3 pad: 1 stride: 2 group: 8 bias_term: false weight_filler { type: "bilinear" }'
    )
    up = net.add("up", "Deconvolution", joined, f"convolution_param {{ {fields} }}")
    fields = "num_output: 1 kernel_size: 2 stride: 2 bias_term: false weight_filler { value: 1 }"
    near = net.add("nearest", "Deconvolution", "data", f"param {{ lr_mult: 0 }} convolution_param {{ {fields} }}")
    near = net.add("nearest_crop", "Crop", [near, up], "crop_param { axis: 2 offset: 0 }")
    net.add("sum", "Eltwise", [net.conv("fc", up, 1, 3, 1, 1), near], "eltwise_param { operation: SUM }")
    return net.lines


def mobilenet_yolo(trained: bool = False) -> list[str]:
    """YOLOv3 on a MobileNet; ``trained``: with its data and its losses."""
    net = ForkBuilder()
    source = 'data_param { source: "lmdb" batch_size: 4 backend: LMDB }'
    annotated = 'annotated_data_param { yolo_data_type: 1 yolo_data_jitter: 0.3 label_map_file: "labels" }'
    data = f'layer {{ name: "data" type: "AnnotatedData" top: "data" top: "label" {TRANSFORM} {source} {annotated} }}'
    net.lines.append(data if trained else DATA_INPUT.format(3, 64, 64))
    blob = net.block("conv0", "data", 8, 3, 2)
    fine = net.block("conv1", net.block("conv1/dw", blob, 8, 3, 2, 8, "DepthwiseConvolution"), 16, 1)
    coarse = net.block("conv2", net.block("conv2/dw", fine, 16, 3, 2, 16, "DepthwiseConvolution"), 16, 1)
    net.conv("conv23", coarse, 3 * 7, 1)
    up = net.add("upsample", "Upsample", coarse, "upsample_param { scale: 2 }")
    total = net.add("upsum", "Eltwise", [net.block("lateral", fine, 16, 1), up], "eltwise_param { operation: SUM }")
    net.conv("conv25", total, 3 * 7, 1)
    biases = " ".join(f"biases: {each}" for each in (8, 10, 12, 24, 20, 14, 30, 28, 24, 44, 50, 50))
    masks = " ".join(f"mask: {each}" for each in (3, 4, 5, 0, 1, 2))
    fields = (
        f"confidence_threshold: 0.3 nms_threshold: 0.45 num_classes: 2 {biases} {masks} mask_group_num: 2 "
        "anchors_scale: 8 anchors_scale: 4"
    )
    more = f"include {{ phase: TEST }} {TRANSFORM} yolov3_detection_output_param {{ {fields} }}"
    net.add("detection_out", "Yolov3DetectionOutput", ["conv23", "conv25"], more)
    for place, blob in enumerate(("conv23", "conv25") if trained else ()):
        loss = f"side: 13 num_class: 2 num: 3 object_scale: 5.0 thresh: 0.6 anchors_scale: 8 {biases}"
        more = f"include {{ phase: TRAIN }} loss_weight: 1 yolov3_param {{ {loss} }}"
        net.add(f"Yolov3Loss{place}", "Yolov3", [blob, "label"], more, top=f"det_loss{place}")
    return net.lines


def mobilenet_yolo_trained() -> list[str]:
    return mobilenet_yolo(trained=True)


def light_face() -> list[str]:
    """A face detector whose priors are the caller's matter: boxes and scores by Permute and Reshape."""
    net = ForkBuilder()
    blob = net.block("c2", net.block("c1", net.input("input", 1, 3, 48, 64), 8, 3, 2), 8, 3, 2, 8)
    fields = "num_output: 8 kernel_size: 3 pad: 3 dilation: 3"
    blob = net.relu("dilated_relu", net.add("dilated", "Convolution", blob, f"convolution_param {{ {fields} }}"))
    for name, each in (("boxes", 4), ("conf", 2)):
        order = "permute_param { order: 0 order: 2 order: 3 order: 1 }"
        moved = net.add(f"{name}_perm", "Permute", net.conv(f"{name}_conv", blob, 3 * each, 3, 1, 1), order)
        net.add(name, "Reshape", moved, f"reshape_param {{ shape {{ dim: 1 dim: -1 dim: {each} }} }}")
    net.add("scores", "Softmax", "conf", "softmax_param { axis: 2 }")
    return net.lines


def faceboxes() -> list[str]:
    """CReLU by hand, a learned norm, and priors of several sizes, on an oblong picture."""
    net = ForkBuilder()
    blob = net.conv("conv1", net.input("data", 1, 3, 64, 96), 6, 7, 4, 3)
    turned = net.add("conv1_neg", "Power", blob, "power_param { power: 1 scale: -1 shift: 0 }")
    blob = net.relu("conv1_relu", net.add("conv1_CReLU", "Concat", [blob, turned]))
    blob = net.pool("pool1", blob, 3, 2)
    fields = 'across_spatial: false scale_filler { type: "constant" value: 10 } channel_shared: false'
    blob = net.add("pool1_norm", "Normalize", blob, f"norm_param {{ {fields} }}")
    net.head("f", blob, 5, 2, "min_size: 16 min_size: 24 min_size: 32 min_size: 48 min_size: 64 aspect_ratio: 1.0")
    net.detect(["f"], 2)
    return net.lines


def plate() -> list[str]:
    """Two numbers of a plate's slant, trained in half precision in NVIDIA's Caffe."""
    net = ForkBuilder()
    net.lines += ["force_backward: true", "default_forward_type: FLOAT16", 'input: "data"']
    net.lines += [f"input_dim: {size}" for size in (1, 3, 16, 66)]
    half = "forward_type: FLOAT16 backward_type: FLOAT16"
    fields = f"convolution_param {{ num_output: 6 kernel_size: 3 cudnn_convolution_algo_seeker: FINDEX {MSRA} }}"
    blob = net.add("conv2d_1", "Convolution", "data", f"{half} {fields}")
    pool = "pooling_param { pool: MAX kernel_size: 2 stride: 2 pad: 0 torch_pooling: false }"
    blob = net.add("activation_1", "ReLU", net.add("max_pooling2d_1", "Pooling", blob, pool))
    norm = "scale_bias: true scale_filler { value: 1 } bias_filler { value: 0.1 } eps: 0.0001 engine: CUDNN"
    blob = net.add("bn_1", "BatchNorm", blob, f"batch_norm_param {{ {norm} }}")
    net.fc("dense", net.add("flatten_1", "Flatten", blob), 2)
    return net.lines


def landmarks() -> list[str]:
    """68 points of a face, in the form of Caffe's V1 layers."""
    net = ForkBuilder()
    net.lines += ['input: "data"', *(f"input_dim: {size}" for size in (1, 1, 20, 20))]
    rates = "blobs_lr: 1 blobs_lr: 2 weight_decay: 1 weight_decay: 0"

    def add(name: str, kind: str, bottom: str, more: str = "") -> str:
        net.lines.append(f'layers {{ bottom: "{bottom}" top: "{name}" name: "{name}" type: {kind} {more} }}')
        return name

    fields = 'num_output: 6 kernel_size: 5 stride: 1 pad: 2 weight_filler { type: "xavier" }'
    blob = add(
        "Abs1",
        "ABSVAL",
        add("Tanh1", "TANH", add("Conv1", "CONVOLUTION", "data", f"{rates} convolution_param {{ {fields} }}")),
    )
    blob = add("Pool1", "POOLING", blob, "pooling_param { pool: MAX kernel_size: 2 stride: 2 }")
    fields = f'{rates} inner_product_param {{ num_output: 136 weight_filler {{ type: "xavier" }} }}'
    add("Dense2", "INNER_PRODUCT", blob, fields)
    return net.lines


MSRA = 'weight_filler { type: "msra" }'
# name -> prototxt, the fork, whether its weights are float16
NETS: Mapping[str, tuple[Any, str, bool]] = {
    "vgg_7": (vgg_7, "bvlc", False),
    "upconv_7": (upconv_7, "bvlc", False),
    "upresnet10": (upresnet10, "waifu2x", False),
    "mobilenet_ssd": (mobilenet_ssd, "ssd", False),
    "mobilenet_ssd_trained": (mobilenet_ssd_trained, "ssd", False),
    "code_detector": (code_detector, "ssd-windows", False),
    "super_resolution": (super_resolution, "bvlc", False),
    "mobilenet_yolo": (mobilenet_yolo, "mobilenet-yolo", False),
    "mobilenet_yolo_trained": (mobilenet_yolo_trained, "mobilenet-yolo", False),
    "light_face": (light_face, "ssd", False),
    "faceboxes": (faceboxes, "ssd", False),
    "plate": (plate, "nvcaffe", True),
    "landmarks": (landmarks, "nvcaffe", True),
}


def snapshot(path: Path, prototxt_path: Path, fork: str, blobs: Mapping[str, Sequence[np.ndarray]], half: bool) -> Path:
    """A caffemodel as ``fork`` stores it: all layers of the text in its numbers, each with its blobs.

    ``half``: as NVIDIA's Caffe has it, float16 in raw_data.
    """
    text = prototxt.read_net(prototxt_path)
    v1 = bool(text.message.layers)
    head: Any = schema.message("NetParameter")()
    head.CopyFrom(text.message)
    head.ClearField("layer")
    head.ClearField("layers")
    content = head.SerializePartialToString()
    for place, layer in enumerate(text.message.layers if v1 else text.message.layer):
        stored = layer
        own = [] if v1 else [each for each in readings.candidates(layer.type) if fork in each.forks]
        ways = text.fits[place].ways if place in text.fits else ()
        if own and any(fork in way.forks for way in ways):
            stored = own[0].message()()
            text_format.Parse(text_format.MessageToString(next(w.message for w in ways if fork in w.forks)), stored)
        body = stored.SerializePartialToString()
        body += b"".join(sub(6 if v1 else 7, _blob(array, half)) for array in blobs.get(layer.name, ()))
        content += sub(2 if v1 else 100, body)
    path.write_bytes(content)
    return path


def sub(number: int, content: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(content)) + content


def _blob(array: np.ndarray, half: bool) -> bytes:
    shape = sub(7, sub(1, b"".join(varint(size) for size in array.shape)))
    if half:
        return shape + varint(10 << 3) + varint(2) + sub(12, array.astype("<f2").tobytes())
    return shape + sub(5, array.astype("<f4").tobytes())
