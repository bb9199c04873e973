"""Prototxts of published architectures, at full size or small: written from the papers and Caffe's examples."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tests.caffe2torch.nets import given, layer

XAVIER = 'weight_filler { type: "xavier" } bias_filler { value: 0.1 }'
MSRA = 'weight_filler { type: "msra" }'


class Builder:
    """A net under construction; every method gives the blob it made."""

    def __init__(self, width: float = 1.0) -> None:
        self.width = width  # channels are the published ones times this
        self.lines: list[str] = []

    def channels(self, count: int, group: int = 1) -> int:
        """As published, or fewer; always divisible by the group."""
        return max(round(count * self.width) // group, 1) * group

    def input(self, blob: str, *shape: int) -> str:
        self.lines.append(given(blob, *shape))
        return blob

    def add(self, name: str, kind: str, bottoms: str | Sequence[str], more: str = "", top: str | None = None) -> str:
        self.lines.append(layer(name, kind, bottoms, [top or name], more))
        return top or name

    def conv(
        self,
        name: str,
        bottom: str,
        count: int,
        kernel: int,
        stride: int = 1,
        pad: int = 0,
        group: int = 1,
        more: str = XAVIER,
    ) -> str:
        fields = f"num_output: {self.channels(count, group)} kernel_size: {kernel} stride: {stride} pad: {pad}"
        return self.add(name, "Convolution", bottom, f"convolution_param {{ {fields} group: {group} {more} }}")

    def relu(self, name: str, blob: str) -> str:
        return self.add(name, "ReLU", blob, top=blob)

    def conv_relu(
        self, name: str, bottom: str, count: int, kernel: int, stride: int = 1, pad: int = 0, group: int = 1
    ) -> str:
        return self.relu(f"relu_{name}", self.conv(name, bottom, count, kernel, stride, pad, group))

    def pool(self, name: str, bottom: str, kernel: int, stride: int, pad: int = 0, method: str = "MAX") -> str:
        fields = f"pool: {method} kernel_size: {kernel} stride: {stride} pad: {pad}"
        return self.add(name, "Pooling", bottom, f"pooling_param {{ {fields} }}")

    def everywhere(self, name: str, bottom: str, method: str = "AVE") -> str:
        return self.add(name, "Pooling", bottom, f"pooling_param {{ pool: {method} global_pooling: true }}")

    def lrn(self, name: str, bottom: str) -> str:
        return self.add(name, "LRN", bottom, "lrn_param { local_size: 5 alpha: 0.0001 beta: 0.75 }")

    def fc(self, name: str, bottom: str, count: int, scaled: bool = True) -> str:
        outputs = self.channels(count) if scaled else count
        return self.add(name, "InnerProduct", bottom, f"inner_product_param {{ num_output: {outputs} {XAVIER} }}")

    def fc_drop(self, name: str, bottom: str, count: int) -> str:
        blob = self.relu(f"relu_{name}", self.fc(name, bottom, count))
        return self.add(f"drop_{name}", "Dropout", blob, top=blob)

    def classify(self, name: str, bottom: str, classes: int) -> list[str]:
        self.add("prob", "Softmax", self.fc(name, bottom, classes, scaled=False))
        return self.lines


def alexnet(size: int = 227, width: float = 1.0, classes: int = 1000, caffenet: bool = False) -> list[str]:
    """bvlc_alexnet; with ``caffenet`` the reference net, which pools before it normalises."""
    net = Builder(width)
    blob = net.input("data", 1, 3, size, size)
    for index, (count, kernel, stride, pad, group) in enumerate([(96, 11, 4, 0, 1), (256, 5, 1, 2, 2)], 1):
        blob = net.conv_relu(f"conv{index}", blob, count, kernel, stride, pad, group)
        if caffenet:
            blob = net.lrn(f"norm{index}", net.pool(f"pool{index}", blob, 3, 2))
        else:
            blob = net.pool(f"pool{index}", net.lrn(f"norm{index}", blob), 3, 2)
    for index, (count, group) in enumerate([(384, 1), (384, 2), (256, 2)], 3):
        blob = net.conv_relu(f"conv{index}", blob, count, 3, 1, 1, group)
    blob = net.pool("pool5", blob, 3, 2)
    for name in ("fc6", "fc7"):
        blob = net.fc_drop(name, blob, 4096)
    return net.classify("fc8", blob, classes)


def caffenet(size: int = 227, width: float = 1.0, classes: int = 1000) -> list[str]:
    return alexnet(size, width, classes, caffenet=True)


def vgg16(size: int = 224, width: float = 1.0, classes: int = 1000) -> list[str]:
    """VGG_ILSVRC_16_layers."""
    net = Builder(width)
    blob = net.input("data", 1, 3, size, size)
    for stage, (count, times) in enumerate([(64, 2), (128, 2), (256, 3), (512, 3), (512, 3)], 1):
        for index in range(1, times + 1):
            blob = net.conv_relu(f"conv{stage}_{index}", blob, count, 3, 1, 1)
        blob = net.pool(f"pool{stage}", blob, 2, 2)
    for name in ("fc6", "fc7"):
        blob = net.fc_drop(name, blob, 4096)
    return net.classify("fc8", blob, classes)


INCEPTIONS = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}


def googlenet(size: int = 224, width: float = 1.0, classes: int = 1000) -> list[str]:
    """bvlc_googlenet."""
    net = Builder(width)
    blob = net.conv_relu("conv1/7x7_s2", net.input("data", 1, 3, size, size), 64, 7, 2, 3)
    blob = net.lrn("pool1/norm1", net.pool("pool1/3x3_s2", blob, 3, 2))
    blob = net.conv_relu("conv2/3x3", net.conv_relu("conv2/3x3_reduce", blob, 64, 1), 192, 3, 1, 1)
    blob = net.pool("pool2/3x3_s2", net.lrn("conv2/norm2", blob), 3, 2)
    for name, (one, reduce3, three, reduce5, five, pooled) in INCEPTIONS.items():
        if name in ("4a", "5a"):
            blob = net.pool(f"pool{name[0]}/3x3_s2", blob, 3, 2)
        prefix = f"inception_{name}"
        parts = [
            net.conv_relu(f"{prefix}/1x1", blob, one, 1),
            net.conv_relu(f"{prefix}/3x3", net.conv_relu(f"{prefix}/3x3_reduce", blob, reduce3, 1), three, 3, 1, 1),
            net.conv_relu(f"{prefix}/5x5", net.conv_relu(f"{prefix}/5x5_reduce", blob, reduce5, 1), five, 5, 1, 2),
            net.conv_relu(f"{prefix}/pool_proj", net.pool(f"{prefix}/pool", blob, 3, 1, 1), pooled, 1),
        ]
        blob = net.add(f"{prefix}/output", "Concat", parts)
    blob = net.everywhere("pool5/7x7_s1", blob)
    blob = net.add("pool5/drop_7x7_s1", "Dropout", blob, "dropout_param { dropout_ratio: 0.4 }", top=blob)
    return net.classify("loss3/classifier", blob, classes)


def squeezenet(size: int = 227, width: float = 1.0, classes: int = 1000) -> list[str]:
    """SqueezeNet v1.1."""
    net = Builder(width)
    blob = net.pool("pool1", net.conv_relu("conv1", net.input("data", 1, 3, size, size), 64, 3, 2), 3, 2)
    for index, squeeze in enumerate([16, 16, 32, 32, 48, 48, 64, 64], 2):
        squeezed = net.conv_relu(f"fire{index}/squeeze1x1", blob, squeeze, 1)
        parts = [
            net.conv_relu(f"fire{index}/expand1x1", squeezed, 4 * squeeze, 1),
            net.conv_relu(f"fire{index}/expand3x3", squeezed, 4 * squeeze, 3, 1, 1),
        ]
        blob = net.add(f"fire{index}/concat", "Concat", parts)
        if index in (3, 5):
            blob = net.pool(f"pool{index}", blob, 3, 2)
    blob = net.add("drop9", "Dropout", blob, top=blob)
    fields = f"num_output: {classes} kernel_size: 1 {XAVIER}"
    blob = net.relu("relu_conv10", net.add("conv10", "Convolution", blob, f"convolution_param {{ {fields} }}"))
    net.add("prob", "Softmax", net.everywhere("pool10", blob))
    return net.lines


def resnet(blocks: Sequence[int], size: int = 224, width: float = 1.0, classes: int = 1000) -> list[str]:
    """ResNet-50 and -152, as their authors released them: BatchNorm and Scale in place behind each convolution."""
    net = Builder(width)

    def unit(name: str, bottom: str, count: int, kernel: int, stride: int = 1, pad: int = 0, relu: bool = True) -> str:
        prefix = "conv1" if name == "conv1" else f"res{name}"
        short = "_conv1" if name == "conv1" else name
        blob = net.conv(prefix, bottom, count, kernel, stride, pad, more=f"bias_term: false {MSRA}")
        net.add(f"bn{short}", "BatchNorm", blob, "batch_norm_param { use_global_stats: true }", top=blob)
        factor = 0.3 if name.endswith("branch2c") else 1  # or else the sums grow twofold with every block
        more = f"scale_param {{ bias_term: true filler {{ value: {factor} }} }}"
        net.add(f"scale{short}", "Scale", blob, more, top=blob)
        return net.relu(f"{prefix}_relu", blob) if relu else blob

    blob = net.pool("pool1", unit("conv1", net.input("data", 1, 3, size, size), 64, 7, 2, 3), 3, 2)
    for stage, times in enumerate(blocks, 2):
        for index in range(times):
            name = f"{stage}{chr(97 + index)}" if times < 10 or index == 0 else f"{stage}b{index}"
            stride = 2 if index == 0 and stage > 2 else 1
            count = 64 << (stage - 2)
            short = unit(f"{name}_branch1", blob, 4 * count, 1, stride, relu=False) if index == 0 else blob
            inner = unit(f"{name}_branch2a", blob, count, 1, stride)
            inner = unit(f"{name}_branch2b", inner, count, 3, 1, 1)
            inner = unit(f"{name}_branch2c", inner, 4 * count, 1, relu=False)
            blob = net.relu(f"res{name}_relu", net.add(f"res{name}", "Eltwise", [short, inner]))
    return net.classify("fc1000", net.everywhere("pool5", blob), classes)


def resnet50(size: int = 224, width: float = 1.0, classes: int = 1000) -> list[str]:
    return resnet((3, 4, 6, 3), size, width, classes)


def resnet152(size: int = 224, width: float = 1.0, classes: int = 1000) -> list[str]:
    return resnet((3, 8, 36, 3), size, width, classes)


def fcn8s(size: int = 500, width: float = 1.0, classes: int = 21) -> list[str]:
    """fcn8s of PASCAL VOC: padded by 100, three strides summed, cropped to the picture."""
    net = Builder(width)
    picture = blob = net.input("data", 1, 3, size, size)
    pooled = {}
    for stage, (count, times) in enumerate([(64, 2), (128, 2), (256, 3), (512, 3), (512, 3)], 1):
        for index in range(1, times + 1):
            pad = 100 if (stage, index) == (1, 1) else 1
            blob = net.conv_relu(f"conv{stage}_{index}", blob, count, 3, 1, pad)
        blob = pooled[stage] = net.pool(f"pool{stage}", blob, 2, 2)
    for name, kernel in (("fc6", 7), ("fc7", 1)):
        blob = net.conv_relu(name, blob, 4096, kernel)
        blob = net.add(f"drop_{name}", "Dropout", blob, top=blob)

    def score(name: str, bottom: str) -> str:
        return net.add(
            name, "Convolution", bottom, f"convolution_param {{ num_output: {classes} kernel_size: 1 {XAVIER} }}"
        )

    def upscore(name: str, bottom: str, kernel: int, stride: int) -> str:
        fields = f"num_output: {classes} kernel_size: {kernel} stride: {stride} bias_term: false group: {classes}"
        return net.add(
            name, "Deconvolution", bottom, f'convolution_param {{ {fields} weight_filler {{ type: "bilinear" }} }}'
        )

    blob = upscore("upscore2", score("score_fr", blob), 4, 2)
    for stage, offset in ((4, 5), (3, 9)):
        skip = score(f"score_pool{stage}", pooled[stage])
        skip = net.add(f"score_pool{stage}c", "Crop", [skip, blob], f"crop_param {{ axis: 2 offset: {offset} }}")
        blob = net.add(f"fuse_pool{stage}", "Eltwise", [blob, skip], "eltwise_param { operation: SUM }")
        if stage == 4:
            blob = upscore("upscore_pool4", blob, 4, 2)
    blob = upscore("upscore8", blob, 16, 8)
    net.add("score", "Crop", [blob, picture], "crop_param { axis: 2 offset: 31 }")
    return net.lines


def siamese(size: int = 28, width: float = 1.0, classes: int = 2) -> list[str]:
    """Caffe's example: LeNet twice over the halves of a pair, with shared parameters, and the contrastive loss."""
    net = Builder(width)
    net.input("pair_data", 4, 2, size, size)
    net.input("sim", 4)
    net.lines.append(
        layer("slice_pair", "Slice", "pair_data", "data data_p", "slice_param { slice_dim: 1 slice_point: 1 }")
    )
    ends = []
    for end in ("", "_p"):

        def shared(name: str) -> str:
            return f'param {{ name: "{name}_w" lr_mult: 1 }} param {{ name: "{name}_b" lr_mult: 2 }}'

        blob = f"data{end}"
        for index, count in ((1, 20), (2, 50)):
            fields = f"num_output: {net.channels(count)} kernel_size: 5 stride: 1 {XAVIER}"
            more = f"{shared(f'conv{index}')} convolution_param {{ {fields} }}"
            blob = net.pool(f"pool{index}{end}", net.add(f"conv{index}{end}", "Convolution", blob, more), 2, 2)
        for name, count in (("ip1", 500), ("ip2", 10), ("feat", classes)):
            outputs = count if name == "feat" else net.channels(count)
            more = f"{shared(name)} inner_product_param {{ num_output: {outputs} {XAVIER} }}"
            blob = net.add(f"{name}{end}", "InnerProduct", blob, more)
            if name == "ip1":
                blob = net.relu(f"relu1{end}", blob)
        ends.append(blob)
    net.add("loss", "ContrastiveLoss", [*ends, "sim"], "contrastive_loss_param { margin: 1 }")
    return net.lines


def captioner(size: int = 227, width: float = 1.0, classes: int = 8801) -> list[str]:
    """LRCN: words embedded, an LSTM over them, a second one that sees the picture's features at every step."""
    steps, streams = 20 if width == 1 else 4, 4
    net = Builder(width)
    net.input("cont_sentence", steps, streams)
    net.input("input_sentence", steps, streams)
    net.input("image_features", streams, net.channels(1000))
    hidden = net.channels(1000)
    fields = f"bias_term: false input_dim: {classes} num_output: {hidden} {XAVIER}"
    net.add("embedding", "Embed", "input_sentence", f"embed_param {{ {fields} }}", top="embedded_input_sentence")
    recurrent = f"recurrent_param {{ num_output: {hidden} {XAVIER} }}"
    net.add("lstm1", "LSTM", ["embedded_input_sentence", "cont_sentence"], recurrent)
    net.add("lstm2", "LSTM", ["lstm1", "cont_sentence", "image_features"], recurrent)
    fields = f"num_output: {classes} axis: 2 {XAVIER}"
    net.add("predict", "InnerProduct", "lstm2", f"inner_product_param {{ {fields} }}")
    net.add("probs", "Softmax", "predict", "softmax_param { axis: 2 }")
    return net.lines


Net = Callable[..., list[str]]
# Each with a size, a width and a number of classes that keep it small.
NETS: dict[str, tuple[Net, int, float, int]] = {
    "alexnet": (alexnet, 99, 1 / 16, 10),
    "caffenet": (caffenet, 99, 1 / 16, 10),
    "vgg16": (vgg16, 64, 1 / 16, 10),
    "googlenet": (googlenet, 64, 1 / 8, 10),
    "squeezenet": (squeezenet, 63, 1 / 4, 10),
    "resnet50": (resnet50, 64, 1 / 16, 10),
    "resnet152": (resnet152, 64, 1 / 16, 10),
    "fcn8s": (fcn8s, 65, 1 / 32, 5),
    "siamese": (siamese, 28, 1 / 2, 2),
    "captioner": (captioner, 0, 1 / 50, 30),
}
