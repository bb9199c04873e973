"""How much a file may ask for: every bound on hostile input, and the largest honest thing it has to let through.

A Caffe file comes from strangers. A few bytes of it can name a net of a million layers, or a tensor of a terabyte; so
what is made beyond the file's own numbers is counted first. Nothing here depends on the machine: a file is refused
everywhere or nowhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

from caffe2torch.errors import NetError, TextError, VerifyError

if TYPE_CHECKING:
    from caffe2torch.graph import Graph
    from caffe2torch.net import Net

LAYERS = 20_000  # ResNet-1001 has 3,500; resolving costs some 0.1 ms each
BLOBS = 1 << 16  # bottoms, tops and inputs: three a layer
ENDS = 500  # bottoms, or tops, of one layer; DenseNet's last Concat has 50
NAME = 1_024  # characters of a name; the longest of published nets has 80
TEXT = 1 << 22  # bytes of a .prototxt; ResNet-152's has 200 kB
WORDS = 1 << 20  # of these read, some of them again for each fork that may be meant: 20,000 layers have 440,000
MEAN = 1 << 28  # bytes of a mean picture: of 4,096 x 4,096 pixels in three channels it has 201 million
GAIN = 64  # times that what is packed may be larger than in its file: weights gain next to nothing
CONFIG = 1 << 26  # bytes of a config.json; 3,500 layers make 1 MB
HEADER = 1 << 26  # bytes of the header of a .safetensors
STATE = 1 << 33  # bytes of the tensors in one: of a .caffemodel, which ends at 2 GB, half as long numbers make 4 GB
BESIDE = 1 << 20  # of these more than what is needed are read, so that what is too much can be named
FILLED = 1 << 20  # numbers that no file has, beside a file of weights: a new last layer of 1,024 x 1,024
TIMES = 8  # or so many times what the file has, if that is more: VGG's fc6 beside its convolutions
FILLED_ALONE = 1 << 28  # the same where no file was given: Illustration2Vec has 233 million
SIZES = 1024  # no further than this are sizes of an input tried that the file does not say
TRIED = 1 << 13  # layers that are resolved for it at most, about half a second's work
MADE = 1 << 25  # numbers that layers make up, such as PriorBox's boxes: SSD at 4,096 x 4,096 has 12 million
NODE = 1 << 12  # of these a node counts as, where a layer makes up many: FlowNet's Correlation has 441 x 3
VALUES = 1 << 29  # numbers that a net computes on its way, kept to be compared: 2 GB; PSPNet at 473 x 473 has half
WORK = 1 << 42  # multiply-adds of a run to compare: minutes; PSPNet at 713 x 713 has 0.5 million million


def check_work(graph: Graph, given: int) -> None:
    """VerifyError for a net that takes more memory or time to be run once than any has.

    ``given``: numbers in its first input, where that is not of the shape that the graph says.
    """
    said = prod(graph.inputs[0].shape) if graph.inputs else 0
    numbers = sum(prod(value.shape) for value in graph.values.values())
    steps = sum(node.operation.multiply_adds([value.shape for value in node.inputs]) for node in graph.nodes)
    if said:
        numbers, steps = numbers * given // said, steps * given // said
    if numbers > VALUES or steps > WORK:
        raise VerifyError(
            f"{graph.net.path}: to be compared it would compute {numbers:,} numbers with {steps:,} multiply-adds; "
            f"{VALUES:,} and {WORK:,} are allowed. Give a smaller --input-shape, or convert with --no-verify"
        )


def check_text(size: int, path: Path) -> None:
    """TextError for a text too long to be a net's."""
    if size > TEXT:
        raise TextError(
            f"{path}: longer than {TEXT >> 20} MiB, as no prototxt is. Is it the right file? Weights are read from a "
            ".caffemodel"
        )


def check_layers(count: int, path: str) -> None:
    """NetError for more layers than any net has."""
    if count > LAYERS:
        raise NetError(f"{path}: more than {LAYERS:,} layers, as no net has. Is the file damaged?")


def check_net(net: Net) -> None:
    """NetError for a net of more layers, or with a longer name, than any has, or a name that is no text."""
    check_layers(len(net.layers), net.path)
    blobs = len(net.inputs) + sum(len(layer.bottoms) + len(layer.tops) for layer in net.layers)
    if blobs > BLOBS:
        raise NetError(f"{net.path}: {blobs:,} bottoms, tops and inputs; {BLOBS:,} are allowed. Is the file damaged?")
    wide = next((layer for layer in net.layers if max(len(layer.bottoms), len(layer.tops)) > ENDS), None)
    if wide is not None:
        raise NetError(
            f"{net.path}: layer {wide.name[:NAME]!r} has {len(wide.bottoms):,} bottoms and {len(wide.tops):,} tops; "
            f"{ENDS:,} of each are allowed. Is the file damaged?"
        )
    for name in _names(net):
        if len(name) > NAME:
            raise NetError(
                f"{net.path}: a name of {len(name):,} characters ({name[:40]!r}…); {NAME:,} are allowed. "
                "Is the file damaged?"
            )


def _names(net: Net) -> Iterator[str]:
    yield net.name
    for entry in net.inputs:
        yield entry.blob
    for layer in net.layers:
        yield from (layer.name, layer.type, *layer.bottoms, *layer.tops)
        yield from (spec.name for spec in layer.specs)
