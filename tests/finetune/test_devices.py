"""Device and precision: taken, named, or refused in one line."""

from __future__ import annotations

import pytest
import torch

from caffe2torch.errors import DeviceError
from finetune.devices import describe, open_device

without_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
with_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")


@without_gpu
def test_a_gpu_that_is_not_there() -> None:
    with pytest.raises(DeviceError, match="--device cuda: torch finds no GPU here"):
        open_device("cuda")
    assert open_device("auto").device.type == "cpu"


def test_cpu() -> None:
    fabric = open_device("cpu")
    assert fabric.device.type == "cpu"
    assert describe(fabric).startswith("CPU, ")
    with pytest.raises(DeviceError, match="--precision 16 needs a GPU"):
        open_device("cpu", "16")


@with_gpu
def test_gpu() -> None:
    fabric = open_device("auto", "bf16")
    assert fabric.device.type == "cuda"
    assert torch.cuda.get_device_name(0) in describe(fabric)
