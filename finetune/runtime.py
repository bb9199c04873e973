"""A model that `onnx export` wrote, in onnxruntime: opened, checked, run. Never imports torch.

``open_session`` opens a file of any kind; ``open_model`` a classifier, on top of it.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from caffe2torch.errors import ModelError
from finetune.calibration import Calibration
from finetune.onnx_file import read_metadata
from finetune.providers import first_line, load

METADATA_KEY = "finetune"
FORMAT = 1
INPUT, OUTPUT = "picture", "probabilities"
USED_BY = {
    "classifier": "onnx predict",
    "detector": "onnx detect",
    "mask": "onnx predict",
}  # kind -> the command that takes it


@dataclass(frozen=True)
class Opened:
    """An open model of any kind. ``fallback`` says why the CPU is used where `auto` asked for CUDA first."""

    path: Path
    said: Mapping[str, Any]  # the JSON object in its metadata: "format", "kind" (text), and more, unchecked
    provider: str  # the execution provider in use: CUDAExecutionProvider or CPUExecutionProvider
    fallback: str | None
    handle: Any  # onnxruntime.InferenceSession

    @property
    def kind(self) -> str:
        """The metadata's "kind": "classifier", "detector", "mask", …"""
        return str(self.said["kind"])

    def run(self, outputs: Sequence[str], feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """The outputs of those names. Raises ModelError if the model fails."""
        try:
            return [np.asarray(value) for value in self.handle.run(list(outputs), dict(feeds))]
        except Exception as error:  # onnxruntime's own exceptions have no common base
            raise ModelError(f"{self.path}: cannot be run: {first_line(error)}") from error

    def place(self) -> str:
        """The provider in use, for people."""
        return f"on {self.provider}" + (f" ({self.fallback})" if self.fallback else "")


def open_session(path: Path, provider: str = "auto", threads: int | None = None) -> Opened:
    """Open a model of any kind that `onnx export` wrote.

    ``provider``: "cpu"; "cuda", which raises DeviceError saying why if it is not to be had; or "auto", which takes
    CUDA where it works and else the CPU, the reason in ``Opened.fallback``. ``threads``: of one operator on the CPU;
    None: one for each core. Raises ModelError for a file that is not ours, damaged, or not self-contained. What the
    metadata says beside format and kind, and whether the graph keeps it, is for the caller to check.
    """
    path = Path(path)
    said = read_said(path)
    handle, fallback = load(path, provider, threads)
    return Opened(path, said, handle.get_providers()[0], fallback, handle)


def read_said(path: Path, kind: str | None = None) -> dict[str, Any]:
    """What an exported model says of itself: a JSON object with "format" (of today) and "kind". No session is made.

    Raises ModelError for a file that is not ours, damaged or not self-contained, and, if ``kind`` is given, for a
    model of another kind.
    """
    metadata = read_metadata(path)
    if METADATA_KEY not in metadata:
        raise ModelError(f"{path}: an ONNX file, but not one that `onnx export` wrote (no metadata {METADATA_KEY!r})")
    with reading_metadata(path):
        said = json.loads(metadata[METADATA_KEY])
        if said["format"] != FORMAT:
            raise ModelError(f"{path}: written in format {said['format']!r}, this version reads format {FORMAT}")
        found = string(said["kind"])
        if kind is not None and found != kind:
            hint = f"; `{USED_BY[found]}` takes it" if found in USED_BY else ""
            raise ModelError(f"{path}: a {found!r}, not a {kind}{hint}")
    return dict(said)


@contextlib.contextmanager
def reading_metadata(path: Path) -> Iterator[None]:
    """Inside, what metadata is not as it should be (KeyError, TypeError, ValueError) is a ModelError that names it."""
    try:
        yield
    except ModelError as error:
        raise ModelError(str(error) if str(error).startswith(f"{path}: ") else f"{path}: {error}") from error
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        what = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise ModelError(f"{path}: its metadata {METADATA_KEY!r} is damaged: {what}") from error


def positive(number: object, name: str = "size") -> int:
    """A whole number of 1 or more; else ValueError."""
    if type(number) is not int or number < 1:
        raise ValueError(f"{name} {number!r}")
    return number


def string(text: object) -> str:
    """A text; else TypeError."""
    if not isinstance(text, str):
        raise TypeError(f"{text!r} is no text")
    return text


@dataclass(frozen=True)
class ModelInfo:
    """What the metadata of an exported classifier says."""

    kind: str  # "classifier"
    classes: tuple[str, ...]
    size: tuple[int, int]  # (height, width) that pictures are resized to, bicubic
    recipe: str
    trunk: str
    crop: int | None = None  # pixels of a picture's shorter side when its centre is taken; None: the whole is resized
    calibration: Calibration | None = None


@dataclass(frozen=True)
class Session:
    """An open classifier. ``fallback`` says why the CPU is used where `auto` asked for CUDA first."""

    path: Path
    info: ModelInfo
    provider: str  # the execution provider in use: CUDAExecutionProvider or CPUExecutionProvider
    fallback: str | None
    opened: Opened

    def probabilities(self, pictures: np.ndarray) -> np.ndarray:
        """Probabilities float32 (N, classes) of pictures uint8 (N, height, width, 3), RGB.

        Raises ModelError if the model fails on them, or gives what is no probability.
        """
        (result,) = self.opened.run([OUTPUT], {INPUT: pictures})
        if not np.isfinite(result).all():
            raise ModelError(
                f"{self.path}: gives values that are no numbers (NaN or infinite); its weights are damaged"
            )
        return result

    def __str__(self) -> str:
        height, width = self.info.size
        return f"{self.path}: {len(self.info.classes)} classes, {width} x {height}, {self.opened.place()}"


def open_model(path: Path, provider: str = "auto", threads: int | None = None) -> Session:
    """Open a classifier that `onnx export` wrote; ``provider``, ``threads`` and errors as in open_session.

    Raises ModelError also for a model of another kind, or one whose graph is not what its metadata promises.
    """
    path = Path(path)
    info = _info(path, read_said(path, "classifier"))
    opened = open_session(path, provider, threads)
    _check_ends(path, opened.handle, info)
    return Session(path, info, opened.provider, opened.fallback, opened)


def _info(path: Path, said: Mapping[str, Any]) -> ModelInfo:
    with reading_metadata(path):
        if said["resize"] != "bicubic":
            raise ModelError(f"{path}: wants pictures resized by {said['resize']!r}, which is not known here")
        height, width = (positive(number) for number in said["size"])
        classes = tuple(string(name) for name in said["classes"])
        if not classes:
            raise ValueError("no classes")
        crop = positive(said["crop"]["scale"], "crop") if "crop" in said else None
        if crop is not None and crop < max(height, width):
            raise ValueError(f"crop {crop}")
        calibration = Calibration.from_json(said["calibration"]) if "calibration" in said else None
        recipe, trunk = string(said["recipe"]), string(said["trunk"])
        return ModelInfo("classifier", classes, (height, width), recipe, trunk, crop, calibration)


def _check_ends(path: Path, handle: Any, info: ModelInfo) -> None:
    """The graph's input and output must be what the metadata promises."""
    inputs = [(value.name, value.type, value.shape[1:]) for value in handle.get_inputs()]
    outputs = [(value.name, value.type, value.shape[1:]) for value in handle.get_outputs()]
    wanted_input = (INPUT, "tensor(uint8)", [*info.size, 3])
    wanted_output = (OUTPUT, "tensor(float)", [len(info.classes)])
    if inputs != [wanted_input] or outputs != [wanted_output]:
        raise ModelError(
            f"{path}: its graph takes {inputs} and gives {outputs}, "
            f"its metadata says {[wanted_input]} and {[wanted_output]}; export it anew"
        )
