"""Reading, inspecting and converting without verification import no torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import sys
from caffe2torch.cli import main
try:
    main(sys.argv[1:], standalone_mode=False)
except SystemExit:
    pass
heavy = {"torch", "onnxruntime", "matplotlib", "lightning"} & set(sys.modules)
assert not heavy, heavy
"""


@pytest.mark.parametrize(
    "arguments",
    [
        ["inspect", "{model}"],
        ["convert", "{model}", "--no-verify", "-o", "{out}"],
        ["convert", "{model}", "--no-verify", "--onnx", "-o", "{out}"],
        ["layers"],
        ["--help"],
    ],
    ids=" ".join,
)
def test_no_torch(arguments: list[str], golden: Path, tmp_path: Path) -> None:
    model = golden / "illust2vec_mini" / "weights.caffemodel"
    filled = [argument.format(model=model, out=tmp_path / "out") for argument in arguments]
    result = subprocess.run([sys.executable, "-c", PROGRAM, *filled], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
