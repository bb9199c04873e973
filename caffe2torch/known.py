"""Published nets, recognised by layer names and shapes: what to drop, mean, channel order, input size."""

from __future__ import annotations

from dataclasses import dataclass

from caffe2torch.net import Net
from caffe2torch.preprocess import Preprocessing


@dataclass(frozen=True)
class Known:
    """A published net. ``weights``: layers it is recognised by, with the shape of the first blob, up to a width."""

    name: str
    title: str
    preprocessing: Preprocessing
    weights: dict[str, tuple[int, ...]]
    drop: tuple[str, ...] = ()
    why: str = ""
    widths: tuple[int, ...] = (1,)  # the channels may be the published ones divided by one of these
    finetune_size: tuple[int, int] | None = None  # height, width that fine-tuning resizes to

    def size_text(self) -> str:
        """``224 x 224``."""
        assert self.preprocessing.size is not None
        return " x ".join(str(side) for side in self.preprocessing.size)


_ILLUST2VEC_TRUNK = {
    "conv1_1": (64, 3, 3, 3),
    "conv2_1": (128, 64, 3, 3),
    "conv3_1": (256, 128, 3, 3),
    "conv3_2": (256, 256, 3, 3),
    "conv4_1": (512, 256, 3, 3),
    "conv4_2": (512, 512, 3, 3),
    "conv5_1": (512, 512, 3, 3),
    "conv5_2": (512, 512, 3, 3),
    "conv6_1": (1024, 512, 3, 3),
    "conv6_2": (1024, 1024, 3, 3),
    "conv6_3": (1024, 1024, 3, 3),
}
_ILLUST2VEC = Preprocessing("BGR", (164.76139251, 167.47864617, 181.13838569), 1.0, (224, 224))
_IMAGENET = (104.0, 117.0, 123.0)
_MTCNN = 0.0078125

NETS = (
    Known(
        name="illust2vec",
        title="Illustration2Vec's feature net",
        preprocessing=_ILLUST2VEC,
        weights={**_ILLUST2VEC_TRUNK, "encode1": (4096,), "encode2": (1539,)},
        drop=("encode1", "encode1neuron", "encode2", "loss"),
        why="the trunk up to conv6_3 is what fine-tuning needs; the encode layers are 88 % of the bytes",
        widths=(1, 2, 4, 16),
        finetune_size=(160, 160),
    ),
    Known(
        name="illust2vec-tag",
        title="Illustration2Vec's tag net",
        preprocessing=_ILLUST2VEC,
        weights={**_ILLUST2VEC_TRUNK, "conv6_4": (1539, 1024, 3, 3)},
        widths=(1, 2, 4, 16),
        finetune_size=(160, 160),
    ),
    Known(
        name="open_nsfw",
        title="open_nsfw",
        preprocessing=Preprocessing("BGR", _IMAGENET, 1.0, (224, 224)),
        weights={"conv_1": (64, 3, 7, 7), "conv_stage0_block0_branch2a": (32, 64, 1, 1), "fc_nsfw": (2, 1024)},
    ),
    Known(
        name="res10-ssd",
        title="OpenCV's res10 face detector (SSD)",
        preprocessing=Preprocessing("BGR", (104.0, 177.0, 123.0), 1.0, (300, 300)),
        weights={"conv1_h": (32, 3, 7, 7), "layer_64_1_conv1_h": (32, 32, 3, 3), "conv4_3_norm": (128,)},
    ),
    Known(
        name="mtcnn-det1",
        title="MTCNN's proposal net",
        preprocessing=Preprocessing("BGR", (127.5, 127.5, 127.5), _MTCNN, (12, 12)),
        weights={"conv1": (10, 3, 3, 3), "conv4-1": (2, 32, 1, 1), "conv4-2": (4, 32, 1, 1)},
    ),
    Known(
        name="mtcnn-det2",
        title="MTCNN's refinement net",
        preprocessing=Preprocessing("BGR", (127.5, 127.5, 127.5), _MTCNN, (24, 24)),
        weights={"conv1": (28, 3, 3, 3), "conv4": (128, 576), "conv5-1": (2, 128), "conv5-2": (4, 128)},
    ),
    Known(
        name="mtcnn-det3",
        title="MTCNN's output net",
        preprocessing=Preprocessing("BGR", (127.5, 127.5, 127.5), _MTCNN, (48, 48)),
        weights={"conv1": (32, 3, 3, 3), "conv5": (256, 1152), "conv6-3": (10, 256)},
    ),
    Known(
        name="lenet",
        title="Caffe's LeNet for MNIST",
        preprocessing=Preprocessing("GRAY", (0.0,), 1 / 256, (28, 28)),
        weights={"conv1": (20, 1, 5, 5), "conv2": (50, 20, 5, 5), "ip1": (500, 800), "ip2": (10, 500)},
    ),
)


def recognise(net: Net) -> Known | None:
    """The published net that this is, whatever the file's name; None if it is none of them."""
    blobs = {layer.name: layer.blobs[0].shape for layer in net.layers if layer.blobs}
    for known in NETS:
        if all(name in blobs for name in known.weights) and any(
            all(_matches(blobs[name], shape, width) for name, shape in known.weights.items()) for width in known.widths
        ):
            return known
    return None


def _matches(found: tuple[int, ...], published: tuple[int, ...], width: int) -> bool:
    """Whether a blob has the published shape, its channels divided by the width.

    What feeds an InnerProduct differs between versions: only given axes are compared. At a width other than 1, the
    outputs that do not divide by it (the classes), and those of an InnerProduct, may be any smaller number.
    """
    if len(published) < 3:
        shape = tuple(size for size in found if size != 1)
        return shape[: len(published)] == published if width == 1 else bool(shape) and shape[0] <= published[0]
    outputs, channels = published[:2]
    inputs = channels if channels <= 3 else channels // width  # a picture's channels stay
    if outputs % width:
        return found[1:] == (inputs, *published[2:]) and found[0] <= outputs
    return found == (outputs // width, inputs, *published[2:])
