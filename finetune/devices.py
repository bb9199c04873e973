"""The device and precision that torch computes with, by Lightning's Fabric."""

from __future__ import annotations

import contextlib
import ctypes
import logging
from typing import TYPE_CHECKING

from caffe2torch.errors import DeviceError

if TYPE_CHECKING:
    from lightning.fabric import Fabric

DEVICES = ("auto", "cpu", "cuda")
PRECISIONS = {"32": "32-true", "bf16": "bf16-mixed", "16": "16-mixed"}


def open_device(device: str = "auto", precision: str = "32") -> Fabric:
    """Fabric on one device: "auto" takes a GPU where there is one; "cuda" is a GPU or a DeviceError.

    ``precision`` "bf16" and "16" are mixed precisions: the weights stay float32. "16" on a CPU is a DeviceError.
    """
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        build = "" if torch.version.cuda or torch.version.hip else ": this build of torch has no CUDA"
        raise DeviceError(f"--device cuda: torch finds no GPU here{build}; --device cpu or auto runs on the CPU")
    on_gpu = device != "cpu" and torch.cuda.is_available()
    if precision == "16" and not on_gpu:
        raise DeviceError("--precision 16 needs a GPU; on the CPU take bf16 or 32")
    from lightning.fabric import Fabric

    logging.getLogger("lightning.fabric").setLevel(logging.WARNING)
    fabric = Fabric(accelerator="cuda" if on_gpu else "cpu", devices=1, precision=PRECISIONS[precision])  # type: ignore[arg-type]
    fabric.launch()
    if not on_gpu:
        _keep_freed_memory()
    return fabric


def describe(fabric: Fabric) -> str:
    """The device in words: "GPU NVIDIA H100 (cuda:0)" or "CPU, 2 threads"."""
    import torch

    if fabric.device.type == "cuda":
        return f"GPU {torch.cuda.get_device_name(fabric.device)} ({fabric.device})"
    threads = torch.get_num_threads()
    return f"CPU, {threads} thread{'s' if threads > 1 else ''}"


def _keep_freed_memory() -> None:
    """Let glibc's allocator hand freed memory out again instead of giving it back to the system.

    torch frees and asks for the same hundreds of megabytes every step on a CPU, and the system zeroes them every
    time. Measured on open_nsfw with the tutorial's head: 42 % less processor time, a third more memory at the peak
    (5.1 instead of 3.8 GB). Elsewhere than on glibc nothing is done.
    """
    mmap_threshold, trim_threshold, largest = -3, -1, 2**31 - 1  # malloc.h: M_MMAP_THRESHOLD, M_TRIM_THRESHOLD
    with contextlib.suppress(OSError, AttributeError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(mmap_threshold, largest)
        mallopt(trim_threshold, largest)
