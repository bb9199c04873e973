"""A network trained from scratch as one ONNX file: uint8 RGB pictures in, probabilities out."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from caffe2torch.errors import ModelError, VerifyError
from caffe2torch.graph import BATCH
from caffe2torch.onnx_model import Nodes
from caffe2torch.preprocess import Preprocessing
from finetune.calibration import calibration_of
from finetune.checkpoint import BEST, read_config
from finetune.classifier_graph import add_preprocessing
from finetune.runtime import FORMAT, INPUT, METADATA_KEY, OUTPUT, open_model

TOLERANCE = 1e-4  # of a probability, between torch and onnxruntime


def open_writer(run: Path) -> Callable[[Path], tuple[str, str]]:
    """For finetune.export: the best checkpoint of ``run`` is read now, and written to the path given later.

    Raises ModelError for a run that is damaged or not finished; the writer raises VerifyError.
    """
    if not (run / f"{BEST}.safetensors").exists():
        raise ModelError(f"{run}: not finished: there is no {BEST}.safetensors in it")
    try:
        from finetune.models.networks import open_network
    except ImportError as error:
        recipe = read_config(run)["recipe"]
        raise ModelError(f"{run}: a run of the recipe {recipe} is exported with torch: {error}") from error
    classifier, config, _ = open_network(run)

    def write(place: Path) -> tuple[str, str]:
        graph = _graph(classifier.head, config)
        graph.save(place, {METADATA_KEY: json.dumps({**_metadata(config), **calibration_of(run)}, ensure_ascii=False)})
        found = _verify(run, classifier, config["size"], place)
        return f"{len(config['classes'])} classes, pictures of {config['size'][1]} x {config['size'][0]}", found

    return write


def _metadata(config: dict[str, Any]) -> dict[str, Any]:
    said = {
        "format": FORMAT,
        "kind": "classifier",
        "classes": config["classes"],
        "size": config["size"],
        "resize": "bicubic",
        "recipe": config["recipe"],
        "trunk": "none",
    }
    return {**said, "crop": config["crop"]} if "crop" in config else said


def _graph(network: Any, config: dict[str, Any]) -> Nodes:
    from finetune.network_graph import add_network

    nodes = Nodes(config["recipe"])
    nodes.reserve([OUTPUT])
    picture = nodes.add_input(INPUT, np.uint8, [BATCH, *config["size"], 3])
    pixels = add_preprocessing(nodes, Preprocessing.from_json(config["preprocessing"]), picture)
    nodes.add("Softmax", [add_network(nodes, network, pixels)], [OUTPUT], axis=1)
    nodes.add_output(OUTPUT, np.float32, [BATCH, len(config["classes"])])
    return nodes


def _verify(run: Path, classifier: Any, size: list[int], model: Path) -> str:
    """Compare torch and onnxruntime on seeded pictures, in words. Raises VerifyError above 1e-4."""
    import onnx
    import torch

    try:
        onnx.checker.check_model(os.fspath(model), full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise VerifyError(f"{run}: the ONNX file made of it is refused: {error}") from error
    pictures = np.random.default_rng(0).integers(0, 256, (3, *size, 3), dtype=np.uint8)
    with torch.no_grad():
        wanted = classifier(torch.from_numpy(pictures)).softmax(1).numpy()
    difference = float(np.abs(open_model(model, "cpu").probabilities(pictures) - wanted).max())
    if not difference <= TOLERANCE:
        raise VerifyError(f"{run}: torch and onnxruntime differ by {difference:.1e}; nothing was written")
    return f"equal to torch within {difference:.0e}"
