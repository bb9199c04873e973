"""Nets of many layers, long shapes, many faults: what is printed of them stays short, and comes at once."""

from __future__ import annotations

import os
from itertools import pairwise
from pathlib import Path

import pytest
from click.testing import CliRunner

from caffe2torch.cli import main
from caffe2torch.converted import from_caffemodel
from caffe2torch.errors import LONGEST, MOST_TOLD, FileError, NetError, Problem
from caffe2torch.preprocess import read_mean
from caffe2torch.tables import shape_text
from tests.caffe2torch import nets
from tests.caffe2torch.nets import layer, write


def test_a_long_net_is_listed_without_rich(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["data", *(f"y{place}" for place in range(500))]
    lines = [layer(top, "ReLU", bottom, top) for bottom, top in pairwise(names)]
    path = write(tmp_path, nets.given("data", 1, 3), *lines)
    monkeypatch.setattr("caffe2torch.tables._table", None)
    result = CliRunner().invoke(main, ["inspect", str(path)])
    assert result.exit_code == 0, result.output
    listed = result.stdout.splitlines()
    assert [line.split()[0] for line in listed[-len(lines) - 2 :]] == [*names[1:], "-" * len(listed[-2]), "total"]
    assert any(line.split()[:6] == ["y7", "ReLU", "y7", "1", "x", "3"] for line in listed)


def test_the_first_of_many_problems_are_told() -> None:
    problems = [Problem(f"layer{place}", "Odd", "x" * 10_000) for place in range(8000)]
    error = NetError.of(problems, 9000, "net")
    assert len(str(error)) < MOST_TOLD * (LONGEST + 50)
    assert str(error).startswith("net: 8000 of 9000 layers") and str(error).endswith("… and 7,900 more")
    assert len(error.problems) == 8000
    assert "more" not in str(NetError.of(problems[:MOST_TOLD], 9000, "net"))


def test_a_reshape_to_more_axes_than_any_blob_has(tmp_path: Path) -> None:
    dims = "reshape_param { shape { " + "dim: 1 " * 50_000 + "} }"
    path = write(tmp_path, nets.given("data", 1, 3), layer("y", "Reshape", "data", "y", dims))
    output = CliRunner().invoke(main, ["inspect", str(path)]).output
    assert "y (Reshape)" in output and len(output) < 5000
    with pytest.raises(NetError, match=r"y \(Reshape\)") as caught:
        from_caffemodel(None, path)
    assert len(str(caught.value)) < 2000
    assert shape_text((1,) * 300_000).endswith("x … (300,000 axes)")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_a_mean_that_is_there_but_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    os.mkfifo(tmp_path / "pipe.npy")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for place in (tmp_path, tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(FileError, match="a folder, pipe or device"):
            read_mean(str(place), 3)
    with pytest.raises(FileError, match="a link that leads nowhere"):
        read_mean(str(tmp_path / "link"), 3)
    with pytest.raises(FileError, match="not a regular file"):
        read_mean(str(tmp_path / "pipe.npy"), 3)
    with pytest.raises(FileError, match="no such file, nor numbers"):
        read_mean(str(tmp_path / "none"), 3)
