"""The commands' entry points: each is there, and Ctrl-C at their very beginning is no traceback."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import sys
from caffe2torch import entry

class Interrupted:
    def find_spec(self, name, path=None, target=None):
        if name == "click":
            raise KeyboardInterrupt

sys.meta_path.insert(0, Interrupted())
entry.{}()
"""
SCRIPTS = ("caffe2torch", "finetune", "onnx")


@pytest.mark.parametrize("name", SCRIPTS)
def test_an_interrupt_while_it_is_imported(name: str) -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM.format(name)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "interrupted: nothing was begun\n")


@pytest.mark.parametrize("name", SCRIPTS)
def test_it_is_the_command(name: str) -> None:
    text = (Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8")
    assert f'\n{name} = "caffe2torch.entry:{name}"\n' in text
    program = f"import sys; from caffe2torch import entry; sys.argv = [{name!r}, '--help']; entry.{name}()"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and done.stdout.startswith(f"Usage: {name} [OPTIONS] COMMAND")
