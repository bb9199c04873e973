"""Where onnxruntime runs a model: CUDA if that is asked for and works, the CPU, and why. Never imports torch."""

from __future__ import annotations

import contextlib
import ctypes
import io
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from caffe2torch.errors import DeviceError, ModelError

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"
# Full float32, so that scores equal the CPU's; no search for the fastest algorithm at each new batch size.
CUDA_OPTIONS = {"use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"}


def load(path: Path, provider: str, threads: int | None) -> tuple[Any, str | None]:
    """(onnxruntime.InferenceSession, why the CPU is used although CUDA was wanted first, or None).

    ``provider`` is "cpu"; "cuda", which raises DeviceError saying why if it is not to be had; or "auto", which takes
    CUDA where it works and else the CPU. ``threads``: of one operator on the CPU; None: one for each core. Raises
    ModelError for a file that onnxruntime cannot load.
    """
    with _stderr_kept() as printed:
        import onnxruntime

        handle, reason = None, None
        if provider != "cpu":
            reason = _no_cuda(onnxruntime)
            if reason is None:
                handle, reason = _on_cuda(onnxruntime, path, threads, printed)
        if handle is None:
            handle = _on_cpu(onnxruntime, path, threads)
    fallback = f"CUDA is not to be had: {reason}" if reason else None
    if provider == "cuda" and fallback:
        raise DeviceError(f"{fallback}; --provider cpu runs on the CPU")
    return handle, fallback


def first_line(error: Exception) -> str:
    """What onnxruntime says, without its prefix and its further lines."""
    text = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", str(error)).strip()
    return text.splitlines()[0] if text else type(error).__name__


def _on_cpu(onnxruntime: Any, path: Path, threads: int | None) -> Any:
    try:
        return onnxruntime.InferenceSession(
            os.fspath(path), _options(onnxruntime, threads), providers=[CPU], enable_fallback=0
        )
    except Exception as error:  # onnxruntime's own exceptions have no common base
        raise ModelError(f"{path}: onnxruntime cannot load it: {first_line(error)}") from error


def _on_cuda(
    onnxruntime: Any, path: Path, threads: int | None, printed: Callable[[], str]
) -> tuple[Any, None] | tuple[None, str]:
    """(the session, None), or (None, why CUDA cannot be used)."""
    try:
        handle = onnxruntime.InferenceSession(
            os.fspath(path), _options(onnxruntime, threads), providers=[(CUDA, CUDA_OPTIONS), CPU], enable_fallback=0
        )
    except Exception as error:  # of CUDA; or of the model, which the CPU will then refuse too
        return None, first_line(error)
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

        if sys.stderr is not None:  # closed from the start: descriptor 2 may be any file by now
            sys.stderr.flush()
        os.dup2(kept.fileno(), 2)
        try:
            yield printed
        finally:
            os.dup2(terminal, 2)
            os.close(terminal)
