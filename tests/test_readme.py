"""What the README says is so."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from click.testing import CliRunner

from caffe2torch.cli import main as caffe2torch_main
from finetune.cli import main as finetune_main
from finetune.onnx_cli import onnx_main

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def test_the_table_of_layers_is_what_the_command_prints() -> None:
    table = re.search(r"<!-- layers: .*? -->\n\n(.*?)\n\n<!-- end of layers -->", README, re.DOTALL)
    assert table is not None
    printed = CliRunner().invoke(caffe2torch_main, ["layers", "--markdown"]).stdout.strip()
    assert table[1] == printed, "put in what `caffe2torch layers --markdown` prints"


def test_the_table_beside_others_is_what_the_benchmark_prints() -> None:
    table = re.search(r"<!-- matrix: .*? -->\n\n(.*?)\n\n<!-- end of matrix -->", README, re.DOTALL)
    assert table is not None
    script = Path(__file__).parents[1] / "benchmarks" / "layer_matrix.py"
    printed = subprocess.run([sys.executable, script], check=True, capture_output=True, text=True).stdout.strip()
    assert table[1] == printed, "put in what `python benchmarks/layer_matrix.py` prints"


def test_every_command_it_names_is_there() -> None:
    groups = {"caffe2torch": caffe2torch_main, "finetune": finetune_main, "onnx": onnx_main}
    named = re.findall(r"(?:`|\$ )(caffe2torch|finetune|onnx) ([a-z]+)", README)
    assert len(named) > 10
    for program, command in named:
        assert command in groups[program].commands, f"{program} {command}"


def test_its_make_targets_are_there() -> None:
    makefile = (Path(__file__).parents[1] / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"\$ make ([a-z]+)", README):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
