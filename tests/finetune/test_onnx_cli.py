"""The command `onnx predict` as a user meets it: output, exit codes, wrong use, interruption."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from finetune.onnx_cli import onnx_main

PROGRAM = [sys.executable, "-c", "from finetune.onnx_cli import onnx_main; onnx_main(prog_name='onnx')"]


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(onnx_main, [str(argument) for argument in arguments], prog_name="onnx")


def in_process(*arguments: str | Path, **options: object) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([*PROGRAM, *map(str, arguments)], capture_output=True, timeout=60, check=False, **options)  # type: ignore[call-overload, no-any-return]


def test_json_of_a_folder(model: Path, colours: Path) -> None:
    result = run("predict", "-m", model, colours, "--format", "json", "--top-k", "2", "--provider", "cpu")
    assert result.exit_code == 0
    predictions = json.loads(result.stdout)
    assert [Path(entry["path"]) for entry in predictions] == sorted(colours.iterdir())
    for entry in predictions:
        assert [set(guess) for guess in entry["predictions"]] == [{"label", "score"}] * 2
        assert entry["predictions"][0]["label"] in entry["path"]
    assert result.stderr == f"{model}: 3 classes, 12 x 8, on CPUExecutionProvider\n"


def test_all_formats_say_the_same(model: Path, colours: Path, tmp_path: Path) -> None:
    (colours / "bad.png").write_bytes(b"no picture")
    said = {}
    for form in ("table", "json", "jsonl", "csv"):
        result = run("predict", "-m", model, colours, "--format", form, "--provider", "cpu")
        assert result.exit_code == 1
        assert "bad.png: not a picture" in result.stderr
        assert "(1 of 10 pictures could not be read)" in result.stderr
        to_file = run("predict", "-m", model, colours, "--format", form, "--provider", "cpu", "-o", tmp_path / "out")
        assert to_file.exit_code == 1
        assert to_file.stdout == ""
        assert (tmp_path / "out").read_text() == result.stdout
        said[form] = result.stdout
    as_json = json.loads(said["json"])
    assert [json.loads(line) for line in said["jsonl"].splitlines()] == as_json
    assert as_json[-1].keys() == {"path", "error"}
    best = [(entry["path"], entry["predictions"][0]["label"]) for entry in as_json[:-1]]
    rows = list(csv.DictReader(io.StringIO(said["csv"])))
    assert [(row["path"], row["label"]) for row in rows if row["rank"] == "1"] == best
    assert rows[-1]["error"] == as_json[-1]["error"]
    table = [line.split("\t") for line in said["table"].splitlines()]
    assert [(row[0], row[1]) for row in table[:-1]] == best
    assert table[-1][1].startswith("error: not a picture")


def test_odd_names(model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "odd"
    folder.mkdir()
    names = [b"a b.png", "顔.png".encode(), b"new\nline.png", b"stray\xff.png", b"[red]x.png", b"-o.png"]
    for name in names:
        with open(os.path.join(os.fsencode(folder), name), "wb") as file:
            Image.new("RGB", (9, 9), "blue").save(file, "PNG")
    ascii_only = {**os.environ, "PYTHONIOENCODING": "ascii", "LC_ALL": "C"}
    result = in_process("predict", "-m", model, folder, "--format", "json", env=ascii_only)
    assert result.returncode == 0
    assert {os.path.basename(os.fsencode(entry["path"])) for entry in json.loads(result.stdout)} == set(names)
    table = in_process("predict", "-m", model, folder, env=ascii_only)
    assert table.returncode == 0
    assert len(table.stdout.splitlines()) == len(names)


def test_default_model(model: Path, colours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    missing = run("predict", colours)
    assert missing.exit_code == 1
    assert missing.stderr.startswith("error: runs/finetune/model.onnx: no such file")
    assert "`onnx export RUN`" in missing.stderr
    (tmp_path / "runs/finetune").mkdir(parents=True)
    shutil.copy(model, "runs/finetune/model.onnx")
    assert run("predict", colours).exit_code == 0
    assert run("predict", "-m", "runs/finetune", colours).exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["predict"], 2, "PATH"),
        (["predict", "x.png", "--top-k", "0"], 2, "--top-k"),
        (["predict", "x.png", "--provider", "tpu"], 2, "--provider"),
        (["predict", "x.png", "--format", "xml"], 2, "--format"),
        (["predict", "x.png", "--batch-size", "-1"], 2, "--batch-size"),
        (["detekt", "x.png"], 2, "No such command"),
    ],
)
def test_wrong_usage(arguments: list[str], code: int, said: str) -> None:
    result = run(*arguments)
    assert result.exit_code == code
    assert said in result.stderr


def test_wrong_use_is_one_line(model: Path, colours: Path, tmp_path: Path) -> None:
    jpeg = tmp_path / "picture.onnx"
    Image.new("RGB", (8, 8)).save(jpeg, "JPEG")
    (tmp_path / "empty").mkdir()
    cases = [
        (["-m", jpeg, colours], "picture.onnx: not an ONNX file"),
        (["-m", tmp_path / "none.onnx", colours], "none.onnx: no such file"),
        (["-m", model, tmp_path / "empty"], "empty: no pictures in this folder"),
        (["-m", model, colours, "-o", tmp_path], "is a folder"),
        (["-m", model, colours, "-o", tmp_path / "none/out.json"], "none does not exist"),
    ]
    for arguments, said in cases:
        result = run("predict", *arguments)
        assert result.exit_code == 1
        assert said in result.stderr
        assert result.stderr.startswith("error: ")
        assert result.stderr.count("\n") == 1
        assert result.stdout == ""


def test_unreadable_alone(model: Path, tmp_path: Path) -> None:
    result = run("predict", "-m", model, tmp_path / "gone.png", "--format", "json", "--provider", "cpu")
    assert result.exit_code == 1
    assert json.loads(result.stdout) == [
        {"path": str(tmp_path / "gone.png"), "error": "cannot be read: No such file or directory"}
    ]
    assert result.stderr.splitlines()[-1] == f"error: {tmp_path}/gone.png: cannot be read: No such file or directory"


def test_cuda_that_is_not_there(model: Path, colours: Path, tmp_path: Path) -> None:
    """No noise of onnxruntime, no traceback, no file; `auto` says in one line that it takes the CPU."""
    hidden = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1"}
    result = in_process("predict", "-m", model, colours, "--provider", "cuda", "-o", tmp_path / "out", env=hidden)
    assert result.returncode == 1
    assert result.stdout == b""
    assert result.stderr.startswith(b"error: CUDA is not to be had: ")
    assert result.stderr.count(b"\n") == 1
    assert not (tmp_path / "out").exists()
    result = in_process("predict", "-m", model, colours, env=hidden)
    assert result.returncode == 0
    assert b"on CPUExecutionProvider (CUDA is not to be had: " in result.stderr
    assert result.stderr.count(b"\n") == 1


def test_an_output_that_is_read_is_refused(model: Path, colours: Path, tmp_path: Path) -> None:
    first = min(colours.iterdir())
    (tmp_path / "link.json").symlink_to(first)
    before = first.read_bytes(), model.read_bytes()
    for given, out in ((first, first), (colours, first), (colours, tmp_path / "link.json"), (colours, model)):
        result = run("predict", "-m", model, given, "-o", out)
        assert result.exit_code == 1
        assert result.stderr == f"error: {out}: is what is read; -o names another file\n"
    assert (first.read_bytes(), model.read_bytes()) == before


@pytest.mark.skipif(os.name != "posix", reason="a shell as POSIX has it")
def test_closed_streams(model: Path, colours: Path, tmp_path: Path) -> None:
    words = " ".join(map(str, (*PROGRAM[:1], "-c", f"'{PROGRAM[2].replace(chr(39), chr(34))}'")))
    command = f"{words} predict -m {model} {colours}"
    result = subprocess.run(f"{command} >&-", shell=True, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert result.stderr.startswith("error: standard output is closed")
    result = subprocess.run(f"{command} -o {tmp_path}/out >&- 2>&-", shell=True, capture_output=True, check=False)
    assert result.returncode == 0
    assert (tmp_path / "out").read_text().count("\n") == 9


def test_output_replaces_links_targets_and_spares_devices(model: Path, colours: Path, tmp_path: Path) -> None:
    (tmp_path / "real.json").write_text("old")
    (tmp_path / "link.json").symlink_to("real.json")
    assert run("predict", "-m", model, colours, "--format", "json", "-o", tmp_path / "link.json").exit_code == 0
    assert (tmp_path / "link.json").is_symlink()
    assert len(json.loads((tmp_path / "real.json").read_text())) == 9
    assert run("predict", "-m", model, colours, "-o", os.devnull).exit_code == 0
    assert not Path(os.devnull).is_file()
    assert run("predict", "-m", model, colours, "--format", "jsonl", "-o", "-").stdout.count("\n") == 9


def test_a_model_that_breaks_leaves_no_output(model: Path, colours: Path, tmp_path: Path) -> None:
    loaded = onnx.load(model)
    loaded.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(np.float32("nan"), "factor"))
    onnx.save(loaded, model)
    (tmp_path / "out.json").write_text("old")
    result = run("predict", "-m", model, colours, "--format", "json", "-o", tmp_path / "out.json")
    assert result.exit_code == 1
    assert "no numbers" in result.stderr
    assert (tmp_path / "out.json").read_text() == "old"
    assert not list(tmp_path.glob(".*part"))


def slow_folder(folder: Path, count: int) -> Path:
    """Many names of one picture that takes a while to decode."""
    folder.mkdir()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (1200, 1600, 3), dtype=np.uint8)).save(folder / "0.png")
    for number in range(1, count):
        (folder / f"{number}.png").symlink_to("0.png")
    return folder


@pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")
def test_interrupted(model: Path, tmp_path: Path) -> None:
    folder = slow_folder(tmp_path / "slow", 2000)
    process = subprocess.Popen(
        [*PROGRAM, "predict", "-m", model, folder, "--batch-size", "2", "-o", tmp_path / "out.json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stderr is not None
    assert b"ExecutionProvider" in process.stderr.readline()
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == 130
    assert stderr == b"interrupted: nothing was left half-written\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.onnx", "slow"]


@pytest.mark.skipif(os.name != "posix", reason="pipes as POSIX has them")
def test_lines_come_while_the_work_goes_on_and_the_reader_may_leave(model: Path, tmp_path: Path) -> None:
    folder = slow_folder(tmp_path / "slow", 2000)
    process = subprocess.Popen(
        [*PROGRAM, "predict", "-m", model, folder, "--batch-size", "2", "--format", "jsonl"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    assert json.loads(process.stdout.readline())["path"] == str(folder / "0.png")
    assert process.poll() is None
    process.stdout.close()
    assert process.wait(timeout=30) == 1
    assert process.stderr.read().count(b"\n") == 1
    process.stderr.close()


def test_predict_never_imports_torch(model: Path, colours: Path) -> None:
    script = (
        "import sys\n"
        "from finetune.onnx_cli import onnx_main\n"
        "onnx_main(sys.argv[1:], standalone_mode=False)\n"
        "heavy = {'torch', 'onnx', 'lightning', 'matplotlib'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    command = [sys.executable, "-c", script, "predict", "-m", str(model), str(colours), "--format", "json"]
    result = subprocess.run(command, capture_output=True, timeout=60, check=False)
    assert result.returncode == 0, result.stderr
    assert len(json.loads(result.stdout)) == 9


@pytest.mark.skipif(os.name != "posix", reason="processor time of children as POSIX has it")
def test_help_is_quick() -> None:
    """Under 0.3 s after the first time; counted in processor time, which other work on the machine does not add to."""

    def seconds() -> float:
        before = os.times()
        assert in_process("--help").returncode == 0
        after = os.times()
        return after.children_user + after.children_system - before.children_user - before.children_system

    assert min(seconds() for _ in range(5)) < 0.3
