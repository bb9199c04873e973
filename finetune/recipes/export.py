"""A network trained from scratch as one ONNX file: uint8 RGB pictures in, probabilities out."""

from __future__ import annotations

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
from finetune.origin import origin_of
from finetune.runtime import FORMAT, INPUT, METADATA_KEY, OUTPUT, open_session
from finetune.wording import json_text

MASK = "mask"
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
    origin = origin_of(run, f"{BEST}.safetensors", config)

    def write(place: Path) -> tuple[str, str]:
        graph = _graph(classifier.head, config)
        graph.save(place, {METADATA_KEY: json_text({**_metadata(config), **calibration_of(run), **origin})})
        found = _verify(run, classifier, config, place)
        of = "a mask of faces" if config["recipe"] == "facemask" else f"{len(config['classes'])} classes"
        return f"{of}, pictures of {config['size'][1]} x {config['size'][0]}", found

    return write


def _metadata(config: dict[str, Any]) -> dict[str, Any]:
    if config["recipe"] == "facemask":
        return {"format": FORMAT, "kind": "mask", "size": config["size"], "resize": "bicubic", "recipe": "facemask"}
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
    mask = config["recipe"] == "facemask"
    nodes.reserve([MASK if mask else OUTPUT])
    picture = nodes.add_input(INPUT, np.uint8, [BATCH, *(("H", "W") if mask else config["size"]), 3])
    pixels = add_preprocessing(nodes, Preprocessing.from_json(config["preprocessing"]), picture)
    logits = add_network(nodes, network, pixels)
    if mask:
        face = nodes.constant(np.array(1), "face")
        nodes.add("Gather", [nodes.add("Softmax", [logits], axis=1), face], [MASK], axis=1)
        nodes.add_output(MASK, np.float32, [BATCH, "H", "W"])
    else:
        nodes.add("Softmax", [logits], [OUTPUT], axis=1)
        nodes.add_output(OUTPUT, np.float32, [BATCH, len(config["classes"])])
    return nodes


def _verify(run: Path, classifier: Any, config: dict[str, Any], model: Path) -> str:
    """Compare torch and onnxruntime on seeded pictures, in words. Raises VerifyError above 1e-4."""
    import onnx
    import torch

    try:
        onnx.checker.check_model(os.fspath(model), full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise VerifyError(f"{run}: the ONNX file made of it is refused: {error}") from error
    shapes = [(3, *config["size"], 3)]
    if config["recipe"] == "facemask":
        shapes += [(1, 37, 61, 3)]  # of any size
    difference = 0.0
    for shape in shapes:
        pictures = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
        with torch.no_grad():
            wanted = classifier(torch.from_numpy(pictures)).softmax(1).numpy()
        difference = max(difference, float(np.abs(_run(model, pictures) - _shown(wanted)).max()))
    if not difference <= TOLERANCE:
        raise VerifyError(f"{run}: torch and onnxruntime differ by {difference:.1e}; nothing was written")
    return f"equal to torch within {difference:.0e}"


def _run(model: Path, pictures: np.ndarray) -> np.ndarray:
    opened = open_session(model, "cpu")
    return opened.run([MASK if opened.kind == "mask" else OUTPUT], {INPUT: pictures})[0]


def _shown(probabilities: np.ndarray) -> np.ndarray:
    """What the file gives of torch's probabilities: of masks those of faces."""
    return probabilities if probabilities.ndim == 2 else probabilities[:, 1]
