"""Published nets are recognised by layer names and shapes, whatever the file's name; near misses are not."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import caffe2torch
from caffe2torch import folder
from caffe2torch.known import NETS, Known, recognise
from caffe2torch.net import Blob, Layer, Net
from caffe2torch.sample import write_sample

Shapes = dict[str, tuple[int, ...]]


def net(shapes: Shapes, name: str = "renamed") -> Net:
    layers = tuple(
        Layer(layer, "Convolution", blobs=(Blob(shape, False, int(np.prod(shape)), lambda: np.zeros(0)),))
        for layer, shape in shapes.items()
    )
    return Net(name, (), layers, "somewhere.caffemodel")


@pytest.mark.parametrize("known", NETS, ids=lambda known: known.name)
def test_every_published_net(known: Known) -> None:
    assert recognise(net(known.weights)) is known
    assert recognise(net({**known.weights, "another": (3, 3)})) is known
    assert recognise(net(dict(reversed(known.weights.items())))) is known


@pytest.mark.parametrize("known", NETS, ids=lambda known: known.name)
def test_near_misses(known: Known) -> None:
    for layer, shape in known.weights.items():
        assert recognise(net({name: other for name, other in known.weights.items() if name != layer})) is not known
        for axis in range(len(shape)):
            wrong = (*shape[:axis], shape[axis] + 1, *shape[axis + 1 :])
            assert recognise(net({**known.weights, layer: wrong})) is not known, (layer, wrong)


def test_a_net_with_its_names_but_other_channels_is_not_illust2vec() -> None:
    known = NETS[0]
    halved = {
        name: tuple(max(size // 3, 3) if axis < 2 else size for axis, size in enumerate(shape))
        for name, shape in known.weights.items()
    }
    assert recognise(net(halved)) is None


def test_legacy_blobs_count_without_their_ones() -> None:
    known = next(entry for entry in NETS if entry.name == "lenet")
    shapes = {name: (1,) * (4 - len(shape)) + shape for name, shape in known.weights.items()}
    assert recognise(net(shapes)) is known


@pytest.mark.parametrize("kind", ["illust2vec", "illust2vec-tag"])
def test_the_stand_in_under_another_name(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "model_final_v3.caffemodel"
    write_sample(path, kind, 16)
    converted = folder.from_caffemodel(path)
    assert converted.config["name"] == kind
    assert converted.preprocessing.size == (224, 224)
    assert converted.preprocessing.mean == (164.76139251, 167.47864617, 181.13838569)
    dropped = {"encode1", "encode1neuron", "encode2", "loss"} if kind == "illust2vec" else set()
    assert dropped <= set(converted.config["dropped"])
    assert ("encode1.weight" in folder.from_caffemodel(path, keep_all=True).state()) is (kind == "illust2vec")


@pytest.mark.parametrize("name", ["open_nsfw", "v1_lenet", "mtcnn_det1", "mtcnn_det2", "mtcnn_det3"])
def test_real_files_under_another_name(name: str, shared: Path, tmp_path: Path) -> None:
    recipe = json.loads((shared / "real" / name / "recipe.json").read_text())
    shutil.copy(shared / recipe["caffemodel"], tmp_path / "x.caffemodel")
    found = recognise(caffe2torch.load_net(tmp_path / "x.caffemodel"))
    assert found is not None
    assert found.name == {"v1_lenet": "lenet"}.get(name, name.replace("_", "-" if "mtcnn" in name else "_"))


def test_nothing_in_particular(golden: Path) -> None:
    assert recognise(caffe2torch.load_net(golden / "net_dense_block" / "weights.caffemodel")) is None
    assert recognise(replace(net({}), name="illust2vec")) is None
