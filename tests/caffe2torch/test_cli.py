"""The commands, used rightly and wrongly: what they say, their exit codes, and that nothing half-written stays."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from caffe2torch import registry
from caffe2torch.cli import main
from tests.caffe2torch import nets
from tests.caffe2torch.nets import layer


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return nets.trained(tmp_path / "small.caffemodel")


def call(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def one_line(result: Result) -> str:
    """The single line on stderr of a command that failed, with nothing on stdout."""
    assert result.exit_code == 1, result.output
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1, result.stderr
    assert "fault of the program" not in result.stderr
    return result.stderr


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_convert_writes_the_folder_and_says_so(model: Path, tmp_path: Path) -> None:
    result = call("convert", model, "-o", tmp_path / "out")
    assert result.exit_code == 0, result.stderr
    assert names(tmp_path / "out") == {"model.safetensors", "model.py", "config.json"}
    text = result.stdout
    assert "5 layers kept" in text
    assert "input     data (N, 3, 8, 8): BGR" in text
    assert "output    prob (N, 5)" in text
    assert "weights   297 parameters" in text
    assert "verified  torch = ONNX" in text
    assert "the mean is in no file" in text


def test_the_folder_is_named_after_the_model(model: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert call("convert", model, "--no-verify").exit_code == 0
    assert names(tmp_path / "elsewhere") == {"small"}


def test_convert_json_is_one_document(model: Path, tmp_path: Path) -> None:
    result = call(
        "convert", model, "-o", tmp_path / "out", "--onnx", "--json", "--mean", "104,117,123", "--scale", "0.5"
    )
    found = json.loads(result.stdout)
    assert found["outputs"] == {"prob": [1, 5]}
    assert found["parameters"] == 297
    assert found["preprocessing"]["mean"] == [104, 117, 123]
    assert found["preprocessing"]["scale"] == 0.5
    assert set(found["files"]) == {"model.safetensors", "model.py", "config.json", "model.onnx"}
    assert max(found["verified"].values()) < 1e-4
    assert json.loads(call("convert", model, "-o", tmp_path / "b", "--no-verify", "--json").stdout)["verified"] is None


def test_drop_output_and_input_shape(model: Path, tmp_path: Path) -> None:
    result = call("convert", model, "-o", tmp_path / "a", "--no-verify", "--drop", "f*", "--input-shape", "2,3,16,16")
    assert "dropped   fc, prob" in result.stdout
    assert "output    pool (N, 4, 7, 7)" in result.stdout
    result = call("convert", model, "-o", tmp_path / "b", "--no-verify", "--output", "fc", "--output", "conv")
    assert "output    fc (N, 5), conv (N, 4, 6, 6)" in result.stdout


def test_channel_order_turns_the_known_mean(tmp_path: Path, golden: Path) -> None:
    place = golden / "illust2vec_mini"
    arguments = ["convert", place / "weights.caffemodel", "--prototxt", place / "deploy.prototxt", "--no-verify"]
    call(*arguments, "-o", tmp_path / "bgr")
    call(*arguments, "-o", tmp_path / "rgb", "--channel-order", "RGB")
    means = [json.loads((tmp_path / name / "config.json").read_text())["preprocessing"] for name in ("bgr", "rgb")]
    assert means[0]["mean"] == means[1]["mean"][::-1]
    assert [entry["channel_order"] for entry in means] == ["BGR", "RGB"]


def picture(path: Path) -> Path:
    Image.new("RGB", (40, 30), "red").save(path, "JPEG")
    return path


def test_files_that_are_no_caffemodel(model: Path, tmp_path: Path) -> None:
    wrong = {
        "nowhere.caffemodel": "o such file",
        picture(tmp_path / "photo.caffemodel").name: "photo.caffemodel",
        "folder.caffemodel": "folder",
        "empty.caffemodel": "empty",
        "text.caffemodel": "text.caffemodel",
    }
    (tmp_path / "folder.caffemodel").mkdir()
    (tmp_path / "empty.caffemodel").touch()
    (tmp_path / "text.caffemodel").write_text('name: "net" layer { name: "a" }')
    before = names(tmp_path)
    for command in (["convert", "-o", tmp_path / "out"], ["inspect"]):
        for name, words in wrong.items():
            line = one_line(call(*command, tmp_path / name))
            assert words in line
            assert name in line
    assert names(tmp_path) == before


def test_a_truncated_caffemodel_at_any_place(model: Path, tmp_path: Path) -> None:
    """Refused by name; cut between two layers it is a shorter, whole file."""
    content = model.read_bytes()
    broken = tmp_path / "broken.caffemodel"
    refused = 0
    for end in range(1, len(content), 97):
        broken.write_bytes(content[:end])
        result = call("convert", broken, "-o", tmp_path / "out", "--no-verify")
        if result.exit_code:
            assert "broken.caffemodel" in result.stderr
            assert "fault of the program" not in result.stderr
            refused += 1
        else:
            assert (tmp_path / "out" / "config.json").is_file()
            (tmp_path / "out").rename(tmp_path / f"whole-{end}")
        assert not (tmp_path / "out").exists()
    assert refused > 10


def test_all_that_cannot_be_converted_is_listed(tmp_path: Path) -> None:
    path = nets.write(
        tmp_path,
        nets.given("data", 1, 3, 8, 8),
        layer("a", "Mystery", "data", "a"),
        layer("b", "Pooling", "data", "b", "pooling_param { pool: STOCHASTIC kernel_size: 2 }"),
        layer("c", "Riddle", "a b", "c"),
    )
    model = nets.caffemodel(tmp_path / "net.caffemodel", {"a": [np.zeros(1)]})
    result = call("convert", model, "--prototxt", path, "-o", tmp_path / "out")
    assert result.exit_code == 1
    assert result.stdout == ""
    lines = result.stderr.splitlines()
    assert lines[0] == f"error: {path}: 3 of 3 layers cannot be converted:"
    assert [line.split(":")[0] for line in lines[1:]] == ["  a (Mystery)", "  b (Pooling)", "  c (Riddle)"]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--drop", "nothing*"], "nothing*"),
        (["--output", "nothing"], "nothing"),
        (["--scale", "0"], "a number other than 0"),
        (["--scale", "nan"], "a number other than 0"),
        (["--mean", "1,2"], "2 values for 3 channels"),
        (["--mean", "a,b,c"], "a,b,c"),
        (["--mean", "nan,1,2"], "nan,1,2"),
        (["--mean", "nowhere.npy"], "nowhere.npy"),
        (["--mean", "nowhere.binaryproto"], "nowhere.binaryproto"),
        (["--prototxt", "nowhere.prototxt"], "nowhere.prototxt"),
        (["--input-shape", "1,3,2,2"], "conv"),
        (["--input-shape", "1,4,8,8"], "conv"),
        (["--drop", "*"], "no layer is left"),
    ],
)
def test_options_that_do_not_fit(arguments: list[str], words: str, model: Path, tmp_path: Path) -> None:
    result = call("convert", model, "-o", tmp_path / "out", *arguments)
    assert result.exit_code == 1
    assert words in result.stderr
    assert "fault of the program" not in result.stderr
    assert names(tmp_path) == {"small.caffemodel"}


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["convert"],
        ["convert", "a", "--input-shape", "1,3,x"],
        ["convert", "a", "--input-shape", "0,3,4,4"],
        ["convert", "a", "--input-shape", ""],
        ["convert", "a", "--channel-order", "GBR"],
        ["convert", "a", "--no-such-option"],
        ["no-such-command"],
        ["sample", "a", "--width", "3"],
        ["verify", "a", "--reference", "only-one.npz"],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_exit_code_2(arguments: list[str]) -> None:
    result = call(*arguments)
    assert result.exit_code == 2
    assert "Traceback" not in result.output


def test_what_is_there_is_not_replaced(model: Path, tmp_path: Path) -> None:
    assert call("convert", model, "-o", tmp_path / "out", "--no-verify").exit_code == 0
    assert "--force" in one_line(call("convert", model, "-o", tmp_path / "out", "--no-verify"))
    assert call("convert", model, "-o", tmp_path / "out", "--no-verify", "--force", "--onnx").exit_code == 0
    assert "model.onnx" in names(tmp_path / "out")
    assert "is what is read" in one_line(call("convert", model, "-o", model, "--force"))
    assert "small.caffemodel" in one_line(call("convert", model, "-o", model / "below", "--no-verify"))
    assert model.is_file()


@pytest.mark.parametrize("place", [".", ".."])
def test_a_place_without_a_name_is_no_fault_of_the_program(
    place: str, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "has no name of its own" in one_line(call("convert", model, "-o", place, "--no-verify", "--force"))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has it")
def test_a_full_stdout_is_named_and_not_the_folder(model: Path, tmp_path: Path) -> None:
    program = [sys.executable, "-c", "from caffe2torch.cli import main; main()"]
    words = [*program, "convert", str(model), "-o", str(tmp_path / "out"), "--no-verify"]
    with open("/dev/full", "w") as full:
        done = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (
        1, "error: what was done cannot be told, stdout cannot be written: No space left on device\n",
    )  # fmt: skip
    assert "config.json" in names(tmp_path / "out")


@pytest.mark.parametrize("place", [".", "..", "/"])
def test_a_folder_given_as_the_model(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for command in ("convert", "inspect"):
        assert re.search("folder|not a regular file", one_line(call(command, place)))
    assert names(tmp_path) == set()


def test_control_characters_of_a_file_do_not_reach_the_terminal(tmp_path: Path) -> None:
    path = nets.write(tmp_path, nets.given("data", 1, 3), layer("\\033[31mred\\a", "\\033[2JClear", "data", "b"))
    for command in (
        ["inspect", path],
        ["convert", nets.caffemodel(tmp_path / "m", {"data": [np.zeros(1)]}), "--prototxt", path],
    ):
        result = call(*command)
        assert "red" in result.output
        assert "\x1b" not in result.output
        assert "\a" not in result.output


def test_inspect_lists_the_layers(model: Path) -> None:
    text = call("inspect", model).stdout
    for words in ("small, 5 layers", "input data: 1 x 3 x 8 x 8", "conv", "1 x 4 x 6 x 6", "297"):
        assert words in text
    found = json.loads(call("inspect", model, "--json").stdout)
    assert found["parameters"] == 297
    assert found["multiply_adds"] == 4 * 6 * 6 * 27 + 36 * 5
    assert [entry["name"] for entry in found["layers"]] == ["conv", "relu", "pool", "fc", "prob"]
    assert found["problems"] == []


def test_inspect_takes_a_prototxt_alone(golden: Path) -> None:
    result = call("inspect", golden / "net_fcn" / "deploy.prototxt")
    assert result.exit_code == 0
    assert "Deconvolution" in result.stdout


def test_verify_shows_every_value(model: Path, tmp_path: Path) -> None:
    call("convert", model, "-o", tmp_path / "out", "--onnx", "--no-verify")
    result = call("verify", tmp_path / "out")
    assert result.exit_code == 0, result.stderr
    assert "conv (Convolution)" in result.stdout
    assert "DIFFERS" not in result.stdout
    found = json.loads(call("verify", tmp_path / "out", "--json").stdout)
    assert all(entry["holds"] for entry in found)
    assert "no such folder" in one_line(call("verify", tmp_path / "nowhere"))
    assert "config.json" in one_line(call("verify", tmp_path))


def test_verify_with_a_reference(model: Path, tmp_path: Path, golden: Path) -> None:
    call("convert", model, "-o", tmp_path / "out", "--no-verify")
    inputs, outputs, other = tmp_path / "i.npz", tmp_path / "o.npz", tmp_path / "x.npz"
    np.savez(inputs, data=np.zeros((1, 3, 8, 8), np.float32))
    np.savez(outputs, prob=np.full((1, 5), 9, np.float32))
    np.savez(other, elsewhere=np.zeros(1))
    picture(tmp_path / "photo.npz")
    result = call("verify", tmp_path / "out", "--reference", f"{inputs},{outputs}")
    assert result.exit_code == 1
    assert "prob" in result.stderr
    for pair in (f"{other},{outputs}", f"{inputs},{other}", f"{tmp_path / 'photo.npz'},{outputs}", f"a.npz,{outputs}"):
        assert "npz" in one_line(call("verify", tmp_path / "out", "--reference", pair))


def test_layers_lists_what_is_registered() -> None:
    text = call("layers").stdout
    found = {entry["type"] for entry in json.loads(call("layers", "--json").stdout)}
    assert found == {name for name, _ in registry.operations()}
    assert all(name in text for name in ("Convolution", "pooling_param" if "pooling_param" in text else "kernel_size"))


def test_sample_refuses_what_is_there(tmp_path: Path) -> None:
    result = call("sample", tmp_path / "s.caffemodel", "--width", "16")
    assert result.exit_code == 0
    assert result.stdout == ""
    assert "random" in result.stderr
    assert "--force" in one_line(call("sample", tmp_path / "s.caffemodel", "--width", "16"))


@pytest.mark.parametrize("command", ["convert", "inspect", "verify", "layers", "sample"])
def test_help_names_every_option(command: str) -> None:
    result = call(command, "--help")
    assert result.exit_code == 0
    for parameter in main.commands[command].params:
        assert all(name in result.stdout for name in parameter.opts if name.startswith("--"))


def program(code: str, *arguments: object) -> list[str]:
    return [sys.executable, "-c", f"{code}\nfrom caffe2torch.cli import main\nmain()", *map(str, arguments)]


def test_a_full_disk_leaves_nothing(model: Path, tmp_path: Path) -> None:
    """No file may grow beyond a limit, which stops the weights, the source, config.json or model.onnx half-way."""
    call("convert", model, "-o", tmp_path / "whole", "--no-verify", "--onnx")
    sizes = [path.stat().st_size for path in (tmp_path / "whole").iterdir()]
    for limit in (100, *(size - 1 for size in sizes)):
        code = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))"
        command = program(code, "convert", model, "-o", tmp_path / "a" / "out", "--no-verify", "--onnx")
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        assert result.returncode == 1, result.stderr
        assert result.stderr.startswith(f"error: {tmp_path / 'a' / 'out'}: cannot be written: ")
        assert result.stderr.count("\n") == 1
        assert names(tmp_path) == {"small.caffemodel", "whole"}


@pytest.mark.parametrize("step", ["safetensors_file.write", "folder.source", "onnx_model.save"])
def test_ctrl_c_leaves_nothing(step: str, model: Path, tmp_path: Path) -> None:
    module, name = step.split(".")
    code = (
        f"import time, caffe2torch.onnx_model; from caffe2torch import {module}\n"
        f"{module}.{name} = lambda *_: (print('now', flush=True), time.sleep(60))"
    )
    command = program(code, "convert", model, "-o", tmp_path / "out", "--no-verify", "--onnx")
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "now\n"
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "interrupted" in stderr
    assert "Traceback" not in stderr
    assert names(tmp_path) == {"small.caffemodel"}


def test_a_reader_that_stops_early_is_no_error(model: Path) -> None:
    command = f'{sys.executable} -c "from caffe2torch.cli import main; main()" inspect "{model}" | head -1'
    result = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert result.stderr == ""
    assert "small" in result.stdout


def test_a_solver_is_not_overwritten(tmp_path: Path) -> None:
    given, out = tmp_path / "solver.prototxt", tmp_path / "schedule.py"
    given.write_text('base_lr: 0.1 lr_policy: "fixed" max_iter: 10')
    assert "is what is read" in one_line(call("solver", given, "-o", given, "--force"))
    assert given.read_text().startswith("base_lr")
    assert call("solver", given, "-o", out).exit_code == 0
    out.write_text("mine")
    assert "--force" in one_line(call("solver", given, "-o", out))
    assert out.read_text() == "mine"
    assert call("solver", given, "-o", out, "--force").exit_code == 0
    assert "def configure" in out.read_text()


def test_a_prototxt_alone_names_the_right_command(tmp_path: Path) -> None:
    path = nets.write(tmp_path, nets.given("data", 1, 3))
    assert f"`caffe2torch convert WEIGHTS.caffemodel --prototxt {path}`" in one_line(call("convert", path))
    assert names(tmp_path) == {path.name}


def test_inspect_knows_a_converted_folder(model: Path, tmp_path: Path) -> None:
    call("convert", model, "-o", tmp_path / "out", "--no-verify")
    assert "a folder that was converted already; a .caffemodel" in one_line(call("inspect", tmp_path / "out"))


@pytest.mark.skipif(sys.platform == "win32", reason="a shell as POSIX has it")
@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_closed_streams(closed: str, tmp_path: Path) -> None:
    for arguments in ("layers", f'sample "{tmp_path}/s.caffemodel" --width 16 --force'):
        command = f'{sys.executable} -c "from caffe2torch.cli import main; main()" {arguments} {closed}'
        result = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
        assert result.returncode == 0
        assert "error" not in result.stderr


def test_a_full_disk_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "s.prototxt").write_text('base_lr: 0.1 lr_policy: "fixed" max_iter: 10')
    code = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))"
    command = program(code, "solver", tmp_path / "s.prototxt", "-o", tmp_path / "out.py")
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.stderr.startswith(f"error: {tmp_path / 'out.py'}: the disk is full")
    assert names(tmp_path) == {"s.prototxt"}
