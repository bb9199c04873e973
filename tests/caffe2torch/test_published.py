"""Real trained models, and Illustration2Vec at full size: equal to what real Caffe computed (needs ../shared)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch

import caffe2torch
from caffe2torch import folder
from caffe2torch.sample import write_sample
from tests.caffe2torch.test_golden import TOLERANCE

MODELS = ["lovelive_cifar10_quick", "mtcnn_det1", "mtcnn_det2", "mtcnn_det3", "open_nsfw", "v1_lenet"]


def assert_equal_to_caffe(got: np.ndarray, want: np.ndarray, name: str) -> None:
    assert got.shape == want.shape, name
    assert np.abs(got - want).max() <= TOLERANCE * max(1.0, np.abs(want).max()), name


def run(module: Any, array: np.ndarray) -> list[np.ndarray]:
    with torch.no_grad():
        results = module(torch.from_numpy(array))
    return [result.numpy() for result in (results if isinstance(results, tuple) else (results,))]


def run_onnx(path: Path, array: np.ndarray) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    results: list[np.ndarray] = session.run(None, {session.get_inputs()[0].name: array})
    return results


@pytest.mark.parametrize("name", MODELS)
def test_real_models(name: str, shared: Path, tmp_path: Path) -> None:
    recipe = json.loads((shared / "real" / name / "recipe.json").read_text())
    want = dict(np.load(shared / "real" / name / "outputs.npz"))
    inputs = dict(np.load(shared / "real" / name / "inputs.npz"))
    module = caffe2torch.convert(
        shared / recipe["caffemodel"],
        shared / recipe["prototxt"],
        outputs=list(want),
        input_shape={blob: array.shape for blob, array in inputs.items()},
    )
    (array,) = inputs.values()
    path = tmp_path / "model.onnx"
    caffe2torch.to_onnx(module, path)
    for results in (run(module, array), run_onnx(path, array)):
        for blob, got in zip(module.output_names, results, strict=True):
            strides = recipe["blobs"].get(blob, {}).get("stored_strides")
            thinned = got[tuple(slice(None, None, step) for step in strides)] if strides else got
            assert_equal_to_caffe(thinned, want[blob], blob)


@pytest.mark.parametrize("name", MODELS)
def test_real_models_without_their_prototxt(name: str, shared: Path) -> None:
    recipe = json.loads((shared / "real" / name / "recipe.json").read_text())
    found = folder.from_caffemodel(shared / recipe["caffemodel"])
    given = folder.from_caffemodel(shared / recipe["caffemodel"], shared / recipe["prototxt"])
    assert found.graph.inputs[0].shape[1:] == given.graph.inputs[0].shape[1:]
    # The file may have a head that the prototxt leaves out, as conv5-3 of MTCNN's second net.
    assert found.state().keys() >= given.state().keys()


@pytest.mark.parametrize(
    ("net", "blobs"),
    [
        ("illust2vec", ["pool5", "conv6_3", "encode1", "encode2"]),
        ("illust2vec_tag", ["pool5", "conv6_3", "pool6", "prob"]),
    ],
)
def test_full_size_stand_in(net: str, blobs: list[str], shared: Path, tmp_path: Path) -> None:
    """933 MB written, converted with --keep-all and compared with real Caffe's outputs for the same weights."""
    path = tmp_path / "stand-in.caffemodel"
    write_sample(path, net.replace("_", "-"))
    recipe = json.loads((shared / "nets" / net / "recipe.json").read_text())
    array = recipe_input(recipe)
    converted = folder.from_caffemodel(path, keep_all=True, outputs=blobs)
    want = np.load(shared / "nets" / net / "outputs.npz")
    for blob, got in zip(blobs, run(converted.module(), array), strict=True):
        assert_equal_to_caffe(got, want[blob], blob)
    path.unlink()


def recipe_input(recipe: dict[str, Any]) -> np.ndarray:
    """The input that the recipe draws after all weights."""
    generator = np.random.RandomState(1234)
    for _, shapes in recipe["params"]:
        for shape in shapes:
            left = int(np.prod(shape))
            while left:
                left -= len(generator.standard_normal(min(left, 1 << 20)))
    array = generator.uniform(-120, 130, recipe["input_shape"]).astype(np.float32)
    np.testing.assert_allclose(array.flat[:3], recipe["check"]["input_first"], rtol=1e-6)
    return array
