"""A model that `onnx export` wrote, in onnxruntime: opened, checked, run. Never imports torch."""

from __future__ import annotations

import contextlib
import ctypes
import io
import json
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from caffe2torch.errors import DeviceError, ModelError
from finetune.onnx_file import read_metadata

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"
# Full float32, so that scores equal the CPU's; no search for the fastest algorithm at each new batch size.
CUDA_OPTIONS = {"use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"}

METADATA_KEY = "finetune"
FORMAT = 1
INPUT, OUTPUT = "picture", "probabilities"


@dataclass(frozen=True)
class ModelInfo:
    """What the metadata of an exported model says."""

    kind: str  # "classifier"
    classes: tuple[str, ...]
    size: tuple[int, int]  # (height, width) that pictures are resized to, bicubic
    recipe: str
    trunk: str


@dataclass(frozen=True)
class Session:
    """An open model. ``fallback`` says why the CPU is used where `auto` asked for CUDA first."""

    path: Path
    info: ModelInfo
    provider: str  # the execution provider in use: CUDAExecutionProvider or CPUExecutionProvider
    fallback: str | None
    handle: Any  # onnxruntime.InferenceSession

    def probabilities(self, pictures: np.ndarray) -> np.ndarray:
        """Probabilities float32 (N, classes) of pictures uint8 (N, height, width, 3), RGB.

        Raises ModelError if the model fails on them, or gives what is no probability.
        """
        try:
            (result,) = self.handle.run([OUTPUT], {INPUT: pictures})
        except Exception as error:  # onnxruntime's own exceptions have no common base
            raise ModelError(f"{self.path}: cannot be run: {_first_line(error)}") from error
        if not np.isfinite(result).all():
            raise ModelError(
                f"{self.path}: gives values that are no numbers (NaN or infinite); its weights are damaged"
            )
        return np.asarray(result)

    def __str__(self) -> str:
        height, width = self.info.size
        reason = f" ({self.fallback})" if self.fallback else ""
        return f"{self.path}: {len(self.info.classes)} classes, {width} x {height}, on {self.provider}{reason}"


def open_model(path: Path, provider: str = "auto", threads: int | None = None) -> Session:
    """Open a classifier that `onnx export` wrote.

    ``provider``: "cpu"; "cuda", which raises DeviceError saying why if it is not to be had; or "auto", which takes
    CUDA where it works and else the CPU, the reason in ``Session.fallback``. ``threads``: of one operator on the CPU;
    None: one for each core. Raises ModelError for a file that is not ours, damaged, or not self-contained.
    """
    path = Path(path)
    info = _info(path, read_metadata(path))
    with _stderr_kept() as printed:
        import onnxruntime

        handle, reason = None, None
        if provider != "cpu":
            reason = _no_cuda(onnxruntime)
            if reason is None:
                handle, reason = _on_cuda(onnxruntime, path, threads, printed)
        if handle is None:
            handle = _on_cpu(onnxruntime, path, threads)
    _check_ends(path, handle, info)
    fallback = f"CUDA is not to be had: {reason}" if reason else None
    if provider == "cuda" and fallback:
        raise DeviceError(f"{fallback}; --provider cpu runs on the CPU")
    return Session(path, info, handle.get_providers()[0], fallback, handle)


def _on_cpu(onnxruntime: Any, path: Path, threads: int | None) -> Any:
    try:
        return onnxruntime.InferenceSession(
            os.fspath(path), _options(onnxruntime, threads), providers=[CPU], enable_fallback=0
        )
    except Exception as error:  # onnxruntime's own exceptions have no common base
        raise ModelError(f"{path}: onnxruntime cannot load it: {_first_line(error)}") from error


def _on_cuda(
    onnxruntime: Any, path: Path, threads: int | None, printed: Callable[[], str]
) -> tuple[Any, None] | tuple[None, str]:
    """(the session, None), or (None, why CUDA cannot be used)."""
    try:
        handle = onnxruntime.InferenceSession(
            os.fspath(path), _options(onnxruntime, threads), providers=[(CUDA, CUDA_OPTIONS), CPU], enable_fallback=0
        )
    except Exception as error:  # of CUDA; or of the model, which the CPU will then refuse too
        return None, _first_line(error)
    if handle.get_providers()[0] == CUDA:
        return handle, None
    missing = re.search(r"with error: (.*)", printed())
    reason = missing[1].strip() if missing else "onnxruntime could not set it up"
    return None, f"{reason} (onnxruntime {onnxruntime.__version__} needs its CUDA and cuDNN libraries)"


def _no_cuda(onnxruntime: Any) -> str | None:
    """Why CUDA cannot work here, as far as can be told before a session is made; loads its libraries."""
    if CUDA not in onnxruntime.get_available_providers():
        return f"onnxruntime {onnxruntime.__version__} is built without it (onnxruntime-gpu has it)"
    driver = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    try:
        ctypes.CDLL(driver)
    except OSError:
        return f"no NVIDIA driver ({driver} cannot be loaded)"
    if hasattr(onnxruntime, "preload_dlls"):  # finds the libraries that pip installed; prints what it does not find
        with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(Exception):
            onnxruntime.preload_dlls()
    return None


def _options(onnxruntime: Any, threads: int | None) -> Any:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors alone
    options.intra_op_num_threads = threads or 0
    return options


@contextlib.contextmanager
def _stderr_kept() -> Iterator[Callable[[], str]]:
    """Keep what C++ code prints to file descriptor 2 off the terminal; the function given tells what it was.

    onnxruntime's loader of providers heeds no log level of a session: when the CUDA libraries are missing it prints
    coloured lines that say less to a user than our one line.
    """
    try:
        terminal = os.dup(2)
    except OSError:  # stderr is closed: nothing can be printed there
        yield lambda: ""
        return
    with tempfile.TemporaryFile() as kept:

        def printed() -> str:
            kept.seek(0)
            return kept.read().decode("utf-8", "replace")

        sys.stderr.flush()
        os.dup2(kept.fileno(), 2)
        try:
            yield printed
        finally:
            os.dup2(terminal, 2)
            os.close(terminal)


def _info(path: Path, metadata: dict[str, str]) -> ModelInfo:
    if METADATA_KEY not in metadata:
        raise ModelError(f"{path}: an ONNX file, but not one that `onnx export` wrote (no metadata {METADATA_KEY!r})")
    try:
        said = json.loads(metadata[METADATA_KEY])
        if said["format"] != FORMAT:
            raise ModelError(f"{path}: written in format {said['format']!r}, this version reads format {FORMAT}")
        if said["kind"] != "classifier":
            raise ModelError(f"{path}: a {said['kind']!r}, not a classifier")
        if said["resize"] != "bicubic":
            raise ModelError(f"{path}: wants pictures resized by {said['resize']!r}, which is not known here")
        height, width = (_positive(number) for number in said["size"])
        classes = tuple(_string(name) for name in said["classes"])
        if not classes:
            raise ValueError("no classes")
        return ModelInfo("classifier", classes, (height, width), _string(said["recipe"]), _string(said["trunk"]))
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        what = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise ModelError(f"{path}: its metadata {METADATA_KEY!r} is damaged: {what}") from error


def _positive(number: object) -> int:
    if type(number) is not int or number < 1:
        raise ValueError(f"size {number!r}")
    return number


def _string(text: object) -> str:
    if not isinstance(text, str):
        raise TypeError(f"{text!r} is no text")
    return text


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


def _first_line(error: Exception) -> str:
    text = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", str(error)).strip()
    return text.splitlines()[0] if text else type(error).__name__
