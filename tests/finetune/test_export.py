"""A run becomes one ONNX file that computes what was trained; what is no finished run is refused."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from click.testing import CliRunner, Result
from safetensors.numpy import load_file, save_file

from caffe2torch.errors import CaffeError, ModelError, OutputError, VerifyError
from caffe2torch.folder import from_caffemodel, save
from caffe2torch.pictures import find_pictures, load_picture
from caffe2torch.preprocess import Preprocessing
from finetune import export
from finetune.checkpoint import FORMAT
from finetune.export import export_run, read_run
from finetune.models.classifier import Classifier, open_run
from finetune.models.head import TutorialHead, pooled_size
from finetune.models.trunk import FrozenTrunk
from finetune.onnx_cli import onnx_main
from finetune.predict import predict
from finetune.runtime import open_model

CLASSES = ["rei", "顔", "a b"]


def write_run(
    run: Path, net: Path, blob: str, size: tuple[int, int], preprocessing: Preprocessing, hidden: int = 16
) -> Path:
    """A run as `finetune train` leaves it, with a random head; ``net`` is the folder of the trunk's files."""
    (caffemodel,) = net.glob("*.caffemodel")
    trunk = from_caffemodel(caffemodel, net / "deploy.prototxt", keep_all=True).cut(blob, (1, 3, *size))
    run.mkdir(parents=True)
    save(trunk, run / "trunk")
    channels, height, width = trunk.graph.shape_of(blob)[1:]
    torch.manual_seed(0)
    head = TutorialHead((channels, height, width), len(CLASSES), hidden)
    head.bn.momentum = 1.0  # the statistics of one batch, as if trained: pictures are told apart
    pictures = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (32, *size, 3), dtype=np.uint8))
    Classifier(FrozenTrunk(trunk.module(), preprocessing), head).train()(pictures)
    save_file({name: tensor.numpy() for name, tensor in head.state_dict().items()}, run / "best.safetensors")
    (run / "best.json").write_text('{"epoch": 3}')
    pool = pooled_size(height, width)
    config = {
        "format": FORMAT,
        "recipe": "tutorial",
        "classes": CLASSES,
        "size": list(size),
        "at": blob,
        "preprocessing": replace(preprocessing, size=size).to_json(),
        "head": {
            "name": "tutorial",
            "features": [channels, height, width],
            "pool": list(pool) if pool else None,
            "hidden": hidden,
            "dropout": 0.5,
            "classes": len(CLASSES),
        },
        "trunk": {"name": "mini", "path": "mini"},
    }
    (run / "config.json").write_text(json.dumps(config))
    return run


BGR = Preprocessing("BGR", (164.76, 167.48, 181.14))


@pytest.fixture
def finished(tmp_path: Path, golden: Path) -> Path:
    """A finished run whose map is 2 x 2."""
    return write_run(tmp_path / "runs/finetune", golden / "illust2vec_mini", "conv6_3", (64, 64), BGR)


def change_config(run: Path, **changes: Any) -> None:
    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps(config | changes))


@pytest.mark.parametrize(
    ("blob", "size", "preprocessing"),
    [
        ("conv6_3", (64, 64), BGR),  # 2 x 2: no pooling
        ("conv3_2", (64, 96), replace(BGR, scale=1 / 128)),  # 16 x 24: pooled unevenly to 7 x 7
        ("pool2", (56, 112), replace(BGR, channel_order="RGB")),  # 14 x 28: pooled evenly
    ],
)
def test_the_file_computes_what_was_trained(
    tmp_path: Path, golden: Path, blob: str, size: tuple[int, int], preprocessing: Preprocessing
) -> None:
    run = write_run(tmp_path / "run", golden / "illust2vec_mini", blob, size, preprocessing)
    said: list[str] = []
    path = export_run(run, say=said.append)
    assert path == run / "model.onnx"
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    assert len(said) == 1
    assert f"3 classes, pictures of {size[1]} x {size[0]}, opset 17; equal to torch within" in said[0]

    session = open_model(path, "cpu")
    assert session.info.classes == tuple(CLASSES)
    assert session.info.size == size
    assert session.info.recipe == "tutorial"
    assert session.info.trunk == "mini"
    pictures = np.random.default_rng(7).integers(0, 256, (5, *size, 3), dtype=np.uint8)
    with torch.no_grad():
        expected = open_run(run)[0](torch.from_numpy(pictures)).softmax(1).numpy()
    assert expected.std(0).max() > 0.005  # so that equality means something
    for count in (1, 2, 5):
        np.testing.assert_allclose(session.probabilities(pictures[:count]), expected[:count], atol=1e-5)


def test_real_pictures_on_a_real_trunk(tmp_path: Path, shared: Path) -> None:
    """Read, resized, batched and classified by `onnx predict`'s parts, as by torch."""
    net = shared / "caffemodels/open_nsfw"
    size = (112, 112)
    run = write_run(tmp_path / "run", net, "eltwise_stage1_block1", size, Preprocessing("BGR", (104.0, 117.0, 123.0)))
    pictures = find_pictures(shared / "data/animeface10/test")[::8]
    assert len(pictures) > 20
    with torch.no_grad():
        stacked = np.stack([load_picture(path, size) for path in pictures])
        expected = open_run(run)[0](torch.from_numpy(stacked)).softmax(1).numpy()
    session = open_model(export_run(run), "cpu")
    for prediction, row in zip(predict(session, pictures, batch_size=8), expected, strict=True):
        scores = dict(prediction.classes)
        np.testing.assert_allclose([scores[name] for name in CLASSES], row, atol=1e-4)
        assert prediction.classes[0][0] == CLASSES[row.argmax()]


def test_the_interface_of_the_file(finished: Path) -> None:
    session = onnxruntime.InferenceSession(export_run(finished), providers=["CPUExecutionProvider"])
    (taken,), (given,) = session.get_inputs(), session.get_outputs()
    assert (taken.name, taken.type, taken.shape) == ("picture", "tensor(uint8)", ["N", 64, 64, 3])
    assert (given.name, given.type, given.shape) == ("probabilities", "tensor(float)", ["N", 3])
    assert json.loads(session.get_modelmeta().custom_metadata_map["finetune"]) == {
        "format": 1,
        "kind": "classifier",
        "classes": CLASSES,
        "size": [64, 64],
        "resize": "bicubic",
        "recipe": "tutorial",
        "trunk": "mini",
        "source": {"weights_sha256": hashlib.sha256((finished / "best.safetensors").read_bytes()).hexdigest()},
    }


def test_it_moves_alone(finished: Path, tmp_path: Path) -> None:
    path = export_run(finished, tmp_path / "elsewhere" / "a.onnx")
    for file in sorted(finished.rglob("*"), reverse=True):
        file.unlink() if file.is_file() else file.rmdir()
    assert open_model(path, "cpu").probabilities(np.zeros((1, 64, 64, 3), np.uint8)).shape == (1, 3)


def test_the_best_checkpoint_counts(finished: Path) -> None:
    head = load_file(finished / "best.safetensors")
    save_file({name: np.zeros_like(tensor) for name, tensor in head.items()}, finished / "last.safetensors")
    probabilities = open_model(export_run(finished), "cpu").probabilities(np.zeros((1, 64, 64, 3), np.uint8))
    assert probabilities.std() > 0.01


def test_a_file_that_is_there_is_kept_unless_forced(finished: Path) -> None:
    (finished / "model.onnx").write_text("old")
    with pytest.raises(OutputError, match="exists already; --force replaces it"):
        export_run(finished)
    assert (finished / "model.onnx").read_text() == "old"
    export_run(finished, force=True)
    assert open_model(finished / "model.onnx", "cpu")
    with pytest.raises(OutputError, match="is a folder"):
        export_run(finished, finished / "trunk", force=True)


def test_a_name_that_onnx_does_not_take(finished: Path, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="UTF-8"):
        export_run(finished, tmp_path / "\udcff.onnx")
    assert not list(tmp_path.glob("*.onnx"))


def test_force_replaces_no_other_file(finished: Path) -> None:
    before = (finished / "best.safetensors").read_bytes()
    with pytest.raises(OutputError, match=r"best\.safetensors: is no \.onnx file"):
        export_run(finished, finished / "best.safetensors", force=True)
    assert (finished / "best.safetensors").read_bytes() == before


def test_what_is_no_finished_run(finished: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="nowhere: not a training run"):
        export_run(tmp_path / "nowhere")
    with pytest.raises(ModelError, match="not a training run"):
        export_run(finished / "trunk")
    (finished / "best.safetensors").rename(finished / "away")
    with pytest.raises(ModelError, match=r"not finished: there is no best\.safetensors"):
        export_run(finished)
    (finished / "best.safetensors").write_bytes((finished / "away").read_bytes()[:-10])
    with pytest.raises(ModelError, match=r"best\.safetensors: damaged"):
        export_run(finished)
    head = load_file(finished / "away")
    del head["bn.running_var"]
    save_file(head, finished / "best.safetensors")
    with pytest.raises(ModelError, match=r"holds no tensor 'bn\.running_var'"):
        export_run(finished)
    (finished / "away").rename(finished / "best.safetensors")
    (finished / "trunk" / "model.safetensors").write_bytes(b"short")
    with pytest.raises(CaffeError, match=r"model\.safetensors"):
        export_run(finished)
    (finished / "trunk" / "config.json").unlink()
    with pytest.raises(ModelError, match="its trunk cannot be read"):
        export_run(finished)
    assert not list(finished.glob("*.onnx"))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"format": "finetune-run 2"}, "not a training run"),
        ({"classes": ["only", "two"]}, r"fc8\.weight is \(3, 16\) where trunk and classes need \(2, 16\)"),
        ({"size": [64, 65]}, "its trunk takes"),
        ({"size": 64}, "damaged"),
        ({"head": {"name": "tutorial", "pool": [1, 1], "hidden": 16}}, r"fc7\.weight is"),
        ({"head": {"name": "tutorial"}}, "damaged: 'pool' is missing"),
        ({"head": {"name": "svm"}}, "head 'svm' is not one of tutorial"),
        ({"preprocessing": {"channel_order": "GRAY"}}, "its trunk takes"),
        ({"preprocessing": {"channel_order": "CMYK"}}, "damaged: channel order"),
        ({"trunk": "mini"}, "damaged"),
    ],
)
def test_a_config_that_does_not_fit(finished: Path, changes: dict[str, Any], reason: str) -> None:
    change_config(finished, **changes)
    with pytest.raises(ModelError, match=reason):
        read_run(finished)


def test_a_difference_to_torch_is_an_error(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = export._in_torch
    monkeypatch.setattr(export, "_in_torch", lambda run, pictures: real(run, pictures) + 2e-4)
    with pytest.raises(VerifyError, match=r"torch and onnxruntime differ by 2\.0e-04 in a probability"):
        export_run(finished)
    monkeypatch.setattr(export, "_in_torch", lambda run, pictures: real(run, pictures) * np.nan)
    with pytest.raises(VerifyError, match="differ by nan"):
        export_run(finished)
    assert sorted(path.name for path in finished.iterdir()) == ["best.json", "best.safetensors", "config.json", "trunk"]


def test_without_torch(finished: Path) -> None:
    """Export needs no torch; it says that it could not compare."""
    script = (
        "import importlib.util, sys\n"
        "from pathlib import Path\n"
        "find = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *rest: None if name == 'torch' else find(name, *rest)\n"
        "from finetune.export import export_run\n"
        "export_run(Path(sys.argv[1]))\n"
        "assert 'torch' not in sys.modules\n"
    )
    command = [sys.executable, "-c", script, str(finished)]
    result = subprocess.run(command, capture_output=True, timeout=120, check=False, text=True)
    assert result.returncode == 0, result.stderr
    assert "runs in onnxruntime (not compared with torch, which is not installed)" in result.stderr


def run_command(*arguments: str | Path) -> Result:
    return CliRunner().invoke(onnx_main, [str(argument) for argument in arguments], prog_name="onnx")


def test_the_command_and_then_predict(
    finished: Path, colours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run_command("export")
    assert result.exit_code == 0, result.stderr
    assert result.stdout.startswith("runs/finetune/model.onnx: ")
    assert result.stdout.count("\n") == 1
    assert run_command("export").exit_code == 1
    assert run_command("export", "--force").exit_code == 0
    predicted = run_command("predict", colours, "--format", "json", "--top-k", "9")
    assert predicted.exit_code == 0, predicted.stderr
    for entry in json.loads(predicted.stdout):
        assert {guess["label"] for guess in entry["predictions"]} == set(CLASSES)
    nothing = run_command("export", colours)
    assert nothing.exit_code == 1
    assert nothing.stderr.startswith("error: ")
    assert nothing.stderr.count("\n") == 1
