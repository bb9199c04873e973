"""The device and precision that torch computes with, by Lightning's Fabric."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import sys
from typing import TYPE_CHECKING

from caffe2torch.errors import DeviceError

if TYPE_CHECKING:
    from lightning.fabric import Fabric

DEVICES = ("auto", "cpu", "cuda")
PRECISIONS = {"32": "32-true", "bf16": "bf16-mixed", "16": "16-mixed"}


def open_device(device: str = "auto", precision: str = "32", devices: int = 1, nodes: int = 1) -> Fabric:
    """Fabric on ``devices`` devices of each of ``nodes`` machines: "auto" takes GPUs where there are any; "cuda" is a
    GPU or a DeviceError.

    ``precision`` "bf16" and "16" are mixed precisions: the weights stay float32. "16" on a CPU is a DeviceError.
    Several devices have a process each: this command is started again for the others, which say nothing; on the CPU
    they are processes too. On several machines the command is started on each, with MASTER_ADDR, MASTER_PORT and
    NODE_RANK in its environment, as torch.distributed has them, or by torchrun.
    """
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        build = "" if torch.version.cuda or torch.version.hip else ": this build of torch has no CUDA"
        raise DeviceError(f"--device cuda: torch finds no GPU here{build}; --device cpu or auto runs on the CPU")
    on_gpu = device != "cpu" and torch.cuda.is_available()
    if precision == "16" and not on_gpu:
        raise DeviceError("--precision 16 needs a GPU; on the CPU take bf16 or 32")
    if on_gpu and devices > torch.cuda.device_count():
        raise DeviceError(f"--devices {devices}: torch finds {torch.cuda.device_count()} here")
    from lightning.fabric import Fabric

    logging.getLogger("lightning.fabric").setLevel(logging.WARNING)
    fabric = Fabric(
        accelerator="cuda" if on_gpu else "cpu",
        devices=devices,
        num_nodes=nodes,
        strategy="ddp" if devices * nodes > 1 else "auto",
        precision=PRECISIONS[precision],  # type: ignore[arg-type]
    )
    fabric.launch()
    if fabric.global_rank > 0:
        sys.stdout = sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115  # the first process speaks
    if not on_gpu:
        _keep_freed_memory()
    return fabric


def describe(fabric: Fabric) -> str:
    """The device in words: "GPU NVIDIA H100 (cuda:0)" or "CPU, 2 threads"."""
    import torch

    several = f"{fabric.world_size} processes: " if fabric.world_size > 1 else ""
    if fabric.device.type == "cuda":
        return f"{several}GPU {torch.cuda.get_device_name(fabric.device)} ({fabric.device})"
    threads = torch.get_num_threads()
    return f"{several}CPU, {threads} thread{'s' if threads > 1 else ''}"


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
