"""A seeded stand-in of Illustration2Vec: its layers, names, shapes and file form, with random weights.

The published illust2vec_ver200.caffemodel cannot be had everywhere. What is written here has the same layout, a V1
training snapshot with legacy four-axis blobs, so that reading, converting and fine-tuning can be tried and measured.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from caffe2torch.errors import CaffeError, OutputError
from caffe2torch.files import beside

NETS = ("illust2vec", "illust2vec-tag")
WIDTHS = (1, 2, 4, 16)
CHUNK = 1 << 20
"""Random numbers drawn at a time; RandomState gives the same stream whatever the pieces."""

# V1LayerParameter.LayerType
CONVOLUTION, DATA, DROPOUT, INNER_PRODUCT, POOLING, RELU, SIGMOID = 4, 5, 6, 14, 17, 18, 19
SIGMOID_CROSS_ENTROPY_LOSS = 27

# Channels of the 3x3 convolutions between the 2x2 poolings, at width 1.
STAGES = ((64,), (128,), (256, 256), (512, 512), (512, 512), (1024, 1024, 1024))
ENCODED, CLASSES, CROP = 4096, 1539, 224


def write_sample(
    path: Path,
    net: str = "illust2vec",
    width: int = 1,
    seed: int = 1234,
    force: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write a .caffemodel with the layout of Illustration2Vec and random weights, as its name inside says.

    ``net`` is "illust2vec" (the feature net: 933 MB at width 1) or "illust2vec-tag". ``width`` (1, 2, 4 or 16)
    divides the channels and the 4096 of encode1; the 1539 outputs fall with width ** 1.5, which gives 24 at width 16.
    The weights are float32: of one ``numpy.random.RandomState(seed)``, in the order of the layers,
    ``standard_normal * sqrt(2 / fan_in)`` for weights (He et al. 2015) and ``0.1 * standard_normal`` for biases.
    ``progress`` is called with (bytes done, bytes in all). The file appears when it is whole, and not before.

    Raises OutputError when ``path`` exists and ``force`` is not given, is a folder, or does not fit on the disk.
    """
    if net not in NETS:
        raise CaffeError(f"no sample net is called {net!r}: choose from {', '.join(NETS)}")
    if width not in WIDTHS:
        raise CaffeError(f"width {width} is not one of {', '.join(map(str, WIDTHS))}")
    if not 0 <= seed < 1 << 32:
        raise CaffeError(f"seed {seed} is not between 0 and {(1 << 32) - 1}")
    path = Path(path)
    if path.is_dir():
        raise OutputError(f"{path} is a folder: name the .caffemodel file to write")
    if path.exists() and not force:
        raise OutputError(f"{path} exists already: choose another name, or overwrite it with --force")
    head = _text(1, f"{net} stand-in with random weights (seed {seed}, width {width}), not the published model")
    layers = _layers(net, width)
    total = len(head) + sum(layer.size for layer in layers)
    done = 0
    with _beside(path, total) as file:
        for piece in _pieces(head, layers, np.random.RandomState(seed)):
            file.write(piece)
            done += len(piece)
            if progress:
                progress(done, total)


@dataclass(frozen=True)
class _Layer:
    """A V1LayerParameter on the wire: what stands before its blobs, the shapes of its blobs, and what follows them."""

    before: bytes
    shapes: tuple[tuple[int, ...], ...]
    after: bytes

    @property
    def length(self) -> int:
        blobs = sum(len(_blob_head(shape)) + 4 * math.prod(shape) for shape in self.shapes)
        return len(self.before) + blobs + len(self.after)

    @property
    def head(self) -> bytes:
        return _key(2, 2) + _varint(self.length) + self.before  # NetParameter.layers

    @property
    def size(self) -> int:
        return len(self.head) - len(self.before) + self.length


def _layers(net: str, width: int) -> list[_Layer]:
    """The training net, in the order of the file. The many labels of a picture came from a database of their own."""
    crop = _message(36, _number(2, 1), _number(3, CROP))
    layers = [
        _layer("data", DATA, [], "data", _message(11, _text(1, "train_lmdb"), _number(4, 32), _number(8, 1)), end=crop),
        _layer("label", DATA, [], "label", _message(11, _text(1, "label_lmdb"), _number(4, 32), _number(8, 1))),
    ]
    blob, channels = "data", 3
    for stage, outputs in enumerate(STAGES, start=1):
        for number, output in enumerate(outputs, start=1):
            name = f"conv{stage}_{number}"
            layers.append(_convolution(name, blob, channels, output // width))
            layers.append(_layer(f"relu{stage}_{number}", RELU, [name], name))
            blob, channels = name, output // width
        if stage < len(STAGES):
            parameter = _message(19, _number(1, 0), _number(2, 2), _number(3, 2))
            layers.append(_layer(f"pool{stage}", POOLING, [blob], f"pool{stage}", parameter))
            blob = f"pool{stage}"
    layers.append(_layer("drop6_3", DROPOUT, [blob], blob, _message(12, _real(1, 0.5))))
    classes = int(CLASSES / width**1.5)
    return layers + (_encoder(channels, classes, width) if net == "illust2vec" else _tagger(channels, classes))


def _encoder(channels: int, classes: int, width: int) -> list[_Layer]:
    encoded = ENCODED // width
    return [
        _inner_product("encode1", "conv6_3", channels * (CROP // 32) ** 2, encoded),
        _layer("encode1neuron", SIGMOID, ["encode1"], "encode1neuron"),
        _inner_product("encode2", "encode1neuron", encoded, classes),
        _layer("loss", SIGMOID_CROSS_ENTROPY_LOSS, ["encode2", "label"], "loss", end=_real(35, 1.0)),
    ]


def _tagger(channels: int, classes: int) -> list[_Layer]:
    return [
        _convolution("conv6_4", "conv6_3", channels, classes),
        _layer("pool6", POOLING, ["conv6_4"], "pool6", _message(19, _number(1, 1), _number(2, 7), _number(3, 1))),
        _layer("prob", SIGMOID, ["pool6"], "prob"),
    ]


def _convolution(name: str, bottom: str, inputs: int, outputs: int) -> _Layer:
    parameter = _message(10, _number(1, outputs), _number(3, 1), _number(4, 3))
    return _layer(name, CONVOLUTION, [bottom], name, parameter, ((outputs, inputs, 3, 3), (outputs,)))


def _inner_product(name: str, bottom: str, inputs: int, outputs: int) -> _Layer:
    parameter = _message(17, _number(1, outputs))
    return _layer(name, INNER_PRODUCT, [bottom], name, parameter, ((outputs, inputs), (outputs,)))


def _layer(
    name: str,
    kind: int,
    bottoms: list[str],
    top: str,
    parameter: bytes = b"",
    shapes: tuple[tuple[int, ...], ...] = (),
    end: bytes = b"",
) -> _Layer:
    """A layer with its fields in the order of their numbers, as protobuf writes them."""
    before = b"".join([*(_text(2, bottom) for bottom in bottoms), _text(3, top), _text(4, name), _number(5, kind)])
    return _Layer(before, shapes, parameter + end)


def _pieces(head: bytes, layers: list[_Layer], random: np.random.RandomState) -> Iterator[bytes]:
    yield head
    for layer in layers:
        yield layer.head
        for shape in layer.shapes:
            yield _blob_head(shape)
            scale = math.sqrt(2.0 / math.prod(shape[1:])) if len(shape) > 1 else 0.1
            for start in range(0, math.prod(shape), CHUNK):
                count = min(CHUNK, math.prod(shape) - start)
                yield (random.standard_normal(count) * scale).astype("<f4").tobytes()
        yield layer.after


@contextmanager
def _beside(path: Path, size: int) -> Iterator[BinaryIO]:
    """A file that takes the name ``path`` when all is written and on the disk, and leaves nothing otherwise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(path.parent).free
    if free < size:
        raise OutputError(f"{path} needs {size / 1e6:.0f} MB, and the disk has {free / 1e6:.0f} MB left")
    with beside(path) as part, part.open("wb") as file:
        yield file


# Protobuf's wire format, as far as a caffemodel needs it.


def _varint(value: int) -> bytes:
    low = [value >> shift & 0x7F for shift in range(0, max(value.bit_length(), 1), 7)]
    return bytes([byte | 0x80 for byte in low[:-1]] + low[-1:])


def _key(field: int, wire: int) -> bytes:
    return _varint(field << 3 | wire)


def _number(field: int, value: int) -> bytes:
    return _key(field, 0) + _varint(value)


def _real(field: int, value: float) -> bytes:
    return _key(field, 5) + np.array(value, "<f4").tobytes()


def _text(field: int, value: str) -> bytes:
    return _message(field, value.encode())


def _message(field: int, *fields: bytes) -> bytes:
    body = b"".join(fields)
    return _key(field, 2) + _varint(len(body)) + body


def _blob_head(shape: tuple[int, ...]) -> bytes:
    """A BlobProto up to its floats: num, channels, height, width, with ones in front, then the packed data's length."""
    legacy = (1,) * (4 - len(shape)) + shape
    axes = b"".join(_number(field, axis) for field, axis in enumerate(legacy, start=1))
    data = _key(5, 2) + _varint(4 * math.prod(shape))
    return _key(6, 2) + _varint(len(axes) + len(data) + 4 * math.prod(shape)) + axes + data
