"""kill -9 at any moment of `convert --force` leaves the old folder or the new one, whole; the next run cleans up."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from caffe2torch import folder
from tests.caffe2torch import nets

KILLS = Path(__file__).parents[2] / "benchmarks" / "kill.py"
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there are no signals like these")

STEPS = {
    "the weights are half written": ("caffe2torch.safetensors_file._write_tensor", "old"),
    "the header is written": ("caffe2torch.safetensors_file._header", "old"),
    "config.json is written": ("json.dumps", "old"),
    "all is flushed": ("caffe2torch.files.put_folder", "old"),
    "the folders were exchanged": ("shutil.rmtree", "new"),
}


@pytest.mark.parametrize("step", STEPS)
def test_a_kill_at_a_step(step: str, tmp_path: Path) -> None:
    model, out = nets.trained(tmp_path / "small.caffemodel"), tmp_path / "place" / "out"
    folder.save(folder.from_caffemodel(model, outputs=["pool"]), out)
    where, want = STEPS[step]
    module, _, name = where.rpartition(".")
    code = (
        "import time, sys, json, shutil; from caffe2torch import convert_folder, files, safetensors_file\n"
        "from caffe2torch.cli import main\n"
        f"sys.modules[{module!r}].{name} = lambda *_, **__: (print('now', flush=True), time.sleep(60))\n"
        "main(sys.argv[1:])"
    )
    words = [sys.executable, "-c", code, "convert", str(model), "-o", str(out), "--no-verify", "--force"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "now\n"
        process.kill()
    assert folder.load(out).graph.output_names == (("pool",) if want == "old" else ("prob",))
    folder.load(out).state()
    assert len(list(out.parent.iterdir())) == 2
    folder.save(folder.from_caffemodel(model, outputs=["conv"]), out, force=True)
    assert folder.load(out).graph.output_names == ("conv",)
    assert [path.name for path in out.parent.iterdir()] == ["out"]


def kills(model: Path, count: int, place: Path) -> None:
    place.mkdir()
    spec = importlib.util.spec_from_file_location("kill", KILLS)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert sum(module.run(model, count, 0, place).values()) >= count


def test_kills_at_random_moments(golden: Path, tmp_path: Path) -> None:
    kills(golden / "illust2vec_mini" / "weights.caffemodel", 4, tmp_path / "place")


@pytest.mark.slow
def test_a_hundred_kills(golden: Path, tmp_path: Path) -> None:
    kills(golden / "illust2vec_mini" / "weights.caffemodel", 100, tmp_path / "place")
