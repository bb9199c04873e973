"""A file that is swapped for another while it is read, or that the disk does not give."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from caffe2torch import wire
from caffe2torch.errors import FileError, WireError
from caffe2torch.tensors import TensorPlace
from tests.caffe2torch.test_hostile_caffemodels import small


def test_a_swapped_file_of_the_same_size_and_time(tmp_path: Path) -> None:
    path, other = tmp_path / "net.caffemodel", tmp_path / "other.caffemodel"
    for each in (path, other):
        each.write_bytes(small().SerializeToString())
        os.utime(each, ns=(1, 1))
    walk = wire.walk(path)
    assert wire.read(walk, walk.layers[0][0]).sum() == 6
    os.replace(other, path)
    with pytest.raises(WireError, match="has changed"):
        wire.read(walk, walk.layers[0][0])


def test_numbers_written_over_with_the_time_put_back(tmp_path: Path) -> None:
    path = tmp_path / "net.caffemodel"
    path.write_bytes(small().SerializeToString())
    os.utime(path, ns=(1, 1))
    walk = wire.walk(path)
    path.write_bytes(path.read_bytes().replace(np.float32(1).tobytes(), np.float32(2).tobytes()))
    os.utime(path, ns=(1, 1))
    with pytest.raises(WireError, match="has changed"):
        wire.read(walk, TensorPlace(walk.layers[0][0].runs))


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="no /proc here")
def test_what_the_system_does_not_give_names_the_file() -> None:
    with pytest.raises(FileError, match="^/proc/self/mem: cannot be read: Input/output error"):
        wire.walk("/proc/self/mem")
