"""A training run as one ONNX file: uint8 RGB pictures in, probabilities out, nothing else needed."""

from __future__ import annotations

import importlib
import importlib.util
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from caffe2torch import safetensors_file
from caffe2torch.errors import CaffeError, FileError, ModelError, OutputError, VerifyError
from caffe2torch.files import beside
from caffe2torch.folder import Converted, load
from caffe2torch.onnx_model import OPSET
from caffe2torch.preprocess import Preprocessing
from caffe2torch.terminal import note
from finetune.calibration import calibration_of
from finetune.checkpoint import BEST, read_config
from finetune.classifier_graph import build
from finetune.head_graph import TRUNK, head_shapes, map_size
from finetune.origin import origin_of
from finetune.runtime import FORMAT, METADATA_KEY, open_model
from finetune.wording import json_text

MODEL_NAME = "model.onnx"
TOLERANCE = 1e-4  # of a probability, between torch and onnxruntime
WRITERS = {  # recipe -> module with open_writer
    "detector": "finetune.detector.export",
    "digits": "finetune.recipes.export",
    "facemask": "finetune.recipes.export",
    "frgnet64": "finetune.recipes.export",
    "resnet50": "finetune.recipes.export",
}


@dataclass(frozen=True)
class Run:
    """A finished training run: what its folder holds, checked."""

    path: Path
    classes: tuple[str, ...]
    size: tuple[int, int]  # (height, width)
    recipe: str
    trunk_name: str
    preprocessing: Preprocessing
    trunk: Converted
    description: dict[str, Any]  # of the head
    head: dict[str, np.ndarray]  # its tensors, float32
    origin: dict[str, Any]  # of origin_of

    @property
    def metadata(self) -> dict[str, Any]:
        """What the ONNX file says of itself."""
        return {
            "format": FORMAT,
            "kind": "classifier",
            "classes": list(self.classes),
            "size": list(self.size),
            "resize": "bicubic",
            "recipe": self.recipe,
            "trunk": self.trunk_name,
            **calibration_of(self.path),
            **self.origin,
        }


def export_run(run: Path, out: Path | None = None, force: bool = False, say: Callable[[str], None] = note) -> Path:
    """Write the best head of a run on its trunk as one ONNX file and give its path; default RUN/model.onnx.

    Input "picture" uint8 (N, H, W, 3) RGB, output "probabilities" float32 (N, classes), N free; channel order, mean
    and scale are inside; classes, size and the SHA-256 of what it came from are in the metadata. The file is put in
    place only when onnx's checker accepts it, onnxruntime runs it, and, where torch is installed, both give the same
    within 1e-4. ``say`` gets the line of summary. Raises ModelError for what is no finished run, OutputError,
    VerifyError.
    """
    out = run / MODEL_NAME if out is None else out
    try:
        os.fspath(out.absolute()).encode()
    except UnicodeEncodeError as error:
        raise OutputError(f"{out}: is not written in UTF-8, which onnx wants; -o names another file") from error
    write = _writer(run)
    if os.path.lexists(out) and not force:
        raise OutputError(f"{out}: exists already; --force replaces it, -o names another file")
    if out.is_dir():
        raise OutputError(f"{out}: is a folder; -o gives the name of a file to write")
    if os.path.lexists(out) and out.suffix.lower() != ".onnx":
        raise OutputError(f"{out}: is no .onnx file, and --force replaces no other; -o names another file")
    with beside(out) as place:
        of, found = write(place)
        megabytes = place.stat().st_size / 1e6
    say(f"{out}: {megabytes:.1f} MB, {of}, opset {OPSET}; {found}")
    return out


def _writer(run: Path) -> Callable[[Path], tuple[str, str]]:
    """What writes the run's ONNX file to a path, checks it, and gives what it is of and what was found, in words.

    A recipe of its own has it in WRITERS, as ``open_writer(run)``; the run is read before anything is written.
    """
    recipe = read_config(run).get("recipe")
    if recipe in WRITERS:
        writer: Callable[[Path], tuple[str, str]] = importlib.import_module(WRITERS[recipe]).open_writer(run)
        return writer
    opened = read_run(run)

    def write(place: Path) -> tuple[str, str]:
        nodes = build(opened.trunk, opened.preprocessing, opened.description, opened.head)
        nodes.save(place, {METADATA_KEY: json_text(opened.metadata)})
        del nodes  # it holds the weights; verifying makes copies of them
        return f"{len(opened.classes)} classes, pictures of {opened.size[1]} x {opened.size[0]}", verify(opened, place)

    return write


def read_run(path: Path) -> Run:
    """A finished run of `finetune train`, its parts fitting together. Raises ModelError for anything else."""
    config = read_config(path)
    try:
        trunk = _trunk(path)
        maps = map_size(trunk.graph.outputs[0].shape)
        shapes = head_shapes(config["head"], maps, len(config["classes"]))
        tensors = _tensors(path, 4 * (trunk.graph.parameters + sum(map(prod, shapes.values()))))
        trunk = _tuned(trunk, tensors)
        run = Run(
            path=path,
            classes=tuple(str(name) for name in config["classes"]),
            size=(int(config["size"][0]), int(config["size"][1])),
            recipe=str(config["recipe"]),
            trunk_name=str(config["trunk"]["name"]),
            preprocessing=Preprocessing.from_json(config["preprocessing"]),
            trunk=trunk,
            description={**config["head"], "classes": len(config["classes"])},
            head=_head(path, tensors, shapes),
            origin=origin_of(path, f"{BEST}.safetensors", config),
        )
    except ModelError:
        raise
    except (CaffeError, KeyError, TypeError, IndexError, ValueError) as error:
        what = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise ModelError(f"{path / 'config.json'}: damaged: {what}") from error
    _check(run)
    return run


def _trunk(run: Path) -> Converted:
    """The trunk as it came."""
    if not (run / f"{BEST}.safetensors").exists():
        raise ModelError(f"{run}: not finished: there is no {BEST}.safetensors in it")
    try:
        return load(run / "trunk")
    except CaffeError as error:
        raise ModelError(f"{run}: its trunk cannot be read: {error}") from error


def _tuned(trunk: Converted, tensors: Mapping[str, np.ndarray]) -> Converted:
    """The trunk as it was trained, or as it came."""
    tuned = {name.removeprefix(TRUNK): array for name, array in tensors.items() if name.startswith(TRUNK)}
    return replace(trunk, read=lambda: {**trunk.read(), **tuned}) if tuned else trunk


def _tensors(run: Path, needed: int) -> dict[str, np.ndarray]:
    path = run / f"{BEST}.safetensors"
    try:
        return safetensors_file.read(path, needed)
    except FileError as error:
        raise ModelError(f"{path}: damaged: {str(error).removeprefix(f'{path}: ')}") from error


def _head(run: Path, tensors: Mapping[str, np.ndarray], shapes: Mapping[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """The head's tensors, of those shapes, as float32."""
    for name, shape in shapes.items():
        if name not in tensors:
            raise ModelError(f"{run / BEST}.safetensors: holds no tensor '{name}'")
        if tensors[name].shape != shape:
            raise ModelError(f"{run}: {name} is {tensors[name].shape} where trunk and classes need {shape}")
    return {name: tensors[name].astype(np.float32, copy=False) for name in shapes}


def _check(run: Run) -> None:
    graph = run.trunk.graph
    if len(graph.inputs) != 1 or len(graph.outputs) != 1:
        raise ModelError(f"{run.path}: its trunk has {len(graph.inputs)} inputs, {len(graph.outputs)} outputs, not one")
    if not graph.batch:
        raise ModelError(f"{run.path}: its trunk works at one batch size only ({graph.inputs[0].shape[0]})")
    expected_input = (run.preprocessing.channels, *run.size)
    if graph.inputs[0].shape[1:] != expected_input:
        raise ModelError(f"{run.path}: its trunk takes {graph.inputs[0].shape[1:]}, config.json says {expected_input}")


def verify(run: Run, model: Path) -> str:
    """Check the ONNX file, run it on seeded batches of 1 and 3, compare with torch. Gives what was found in words.

    Raises VerifyError if the checker refuses it, or probabilities differ by more than 1e-4.
    """
    import onnx

    try:
        onnx.checker.check_model(os.fspath(model), full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise VerifyError(f"{run.path}: the ONNX file made of it is refused: {error}") from error
    session = open_model(model, "cpu")
    pictures = np.random.default_rng(0).integers(0, 256, (3, *run.size, 3), dtype=np.uint8)
    three = session.probabilities(pictures)
    _compare(run, "batches of 1 and of 3", session.probabilities(pictures[:1]), three[:1])
    if importlib.util.find_spec("torch") is None:
        return "runs in onnxruntime (not compared with torch, which is not installed)"
    difference = _compare(run, "torch and onnxruntime", _in_torch(run.path, pictures), three)
    return f"equal to torch within {difference:.0e}"


def _compare(run: Run, who: str, left: np.ndarray, right: np.ndarray) -> float:
    difference = float(np.abs(left - right).max())
    if not difference <= TOLERANCE:
        raise VerifyError(f"{run.path}: {who} differ by {difference:.1e} in a probability; nothing was written")
    return difference


def _in_torch(run: Path, pictures: np.ndarray) -> np.ndarray:
    """Probabilities float32 (N, classes) by the modules that were trained."""
    import torch

    from finetune.models.classifier import open_run

    classifier, _, _ = open_run(run)
    with torch.no_grad():
        return np.asarray(classifier(torch.from_numpy(pictures)).softmax(1).numpy())
