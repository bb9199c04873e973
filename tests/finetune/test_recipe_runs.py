"""Each recipe that trains a whole network, from one command to its ONNX file and what that says to pictures."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from finetune.checkpoint import check_free
from finetune.cli import main, onnx_main
from finetune.sample import write_sample
from tests.finetune.conftest import paint

Finetune = Callable[..., Result]


@pytest.fixture
def finetune(tmp_path: Path) -> Finetune:
    """Runs `finetune ARGUMENT…` in this process and asserts that it succeeds."""

    def run(*arguments: object) -> Result:
        result = CliRunner().invoke(main, [str(argument) for argument in arguments])
        assert result.exit_code == 0, result.output
        return result

    return run


def exported(run: Path) -> Path:
    result = CliRunner().invoke(onnx_main, ["export", str(run)])
    assert result.exit_code == 0 and "equal to torch within" in result.output, result.output
    check_free(run, force=True)  # nothing lies in it that is not known
    return run / "model.onnx"


def predicted(model: Path, folder: Path) -> list[dict]:
    result = CliRunner().invoke(onnx_main, ["predict", "-m", str(model), str(folder), "--format", "json"])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


ONE_PROCESS = ("--workers", 0, "--device", "cpu")


def test_digits(finetune: Finetune, tmp_path: Path) -> None:
    """Light or dark grey, learnt well enough in a few steps; resumed runs and other folders are told apart."""
    data, run = tmp_path / "data", tmp_path / "run"
    random = np.random.default_rng(0)
    for name, level in (("dark", 60), ("light", 190)):
        (data / name).mkdir(parents=True)
        for number in range(20):
            grey = np.clip(random.normal(level, 20, (12, 12)), 0, 255).astype(np.uint8)
            Image.fromarray(grey).save(data / name / f"{number}.png")
    arguments = ("--recipe", "digits", data, "-o", run, "--size", 8, "--epochs", 12, "--batch-size", 8, "--lr", 0.1)
    said = finetune("train", *arguments, "--test", data, *ONE_PROCESS).output
    assert "test: accuracy 1.0000 (40 of 40)" in said
    assert json.loads((run / "config.json").read_text())["network"] == {"name": "digits", "classes": 2, "size": [8, 8]}
    assert "all          40     40    1.0000" in finetune("evaluate", run, data, *ONE_PROCESS).output
    model = exported(run)
    for prediction in predicted(model, data):
        assert prediction["predictions"][0]["label"] == Path(prediction["path"]).parent.name
    again = CliRunner().invoke(main, ["train", *map(str, arguments), "--resume"])
    assert again.exit_code == 1 and "is finished: there is nothing to resume" in again.output


@pytest.mark.slow
def test_frgnet64_sees_four_turns_and_lowers_its_decay(finetune: Finetune, tmp_path: Path) -> None:
    data, run = paint(tmp_path / "data", 4), tmp_path / "run"
    finetune("train", "--recipe", "frgnet64", data, "-o", run, "--epochs", 1, "--validation", 0.25, *ONE_PROCESS)
    options = json.loads((run / "config.json").read_text())["options"]
    assert (options["batch_size"], options["learning_rate"], options["turns"]) == (10, 0.001, True)
    row = (run / "metrics.csv").read_text().splitlines()[1].split(",")
    assert len(json.loads((run / "split.json").read_text())["train"]) == 9  # of which each is seen four times
    assert float(row[6]) * float(row[7]) > 9  # pictures a second, seconds
    assert {p["predictions"][0]["label"] for p in predicted(exported(run), data)} <= {"blue", "green", "red"}


def test_resnet50_crops_in_training_and_takes_centres_else(finetune: Finetune, tmp_path: Path) -> None:
    """A small one from a list file; what is at a picture's edge is not seen by validation, nor by `onnx predict`."""
    run = tmp_path / "run"
    paint(tmp_path / "data", 8)
    listed = tmp_path / "data" / "list.txt"
    names = ("blue", "green", "red")
    listed.write_text("".join(f"{name}/{number:02d}.png {name}\n" for name in names for number in range(8)))
    small = ("--width", 2, "--size", 32, "--scale", 40, "--epochs", 2, "--batch-size", 6)
    finetune("train", "--recipe", "resnet50", listed, "-o", run, *small, *ONE_PROCESS)
    config = json.loads((run / "config.json").read_text())
    assert config["crop"] == {"scale": 40} and config["classes"] == list(names)
    model = exported(run)
    plain, framed = Image.new("RGB", (60, 60), "red"), Image.new("RGB", (60, 60), "blue")
    framed.paste(plain.crop((0, 0, 50, 50)), (5, 5))  # the centre is 48 pixels of 60
    (tmp_path / "pair").mkdir()
    plain.save(tmp_path / "pair" / "1.png")
    framed.save(tmp_path / "pair" / "2.png")
    first, second = predicted(model, tmp_path / "pair")
    assert first["predictions"] == second["predictions"]


def test_a_size_above_the_scale_is_refused(tmp_path: Path) -> None:
    arguments = ["train", "--recipe", "resnet50", "x", "--size", "300", "-o", str(tmp_path / "run")]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 1 and "--size 300 is more than --scale 256" in result.output


def test_facemask(finetune: Finetune, tmp_path: Path) -> None:
    """Learns drawn faces' boxes; the file takes pictures of any size."""
    import onnxruntime

    write_sample(tmp_path / "sample", 2, 1, 32, 24, 0, False, 1)
    scenes, run = tmp_path / "sample" / "scenes", tmp_path / "run"
    arguments = ("--recipe", "facemask", scenes, "-o", run, "--size", 64, "--epochs", 4, "--batch-size", 4)
    said = finetune("train", *arguments, "--test", scenes, *ONE_PROCESS).output
    assert "of the pixels, overlap of the faces" in said
    told = json.loads((run / "test.json").read_text())
    assert told["pictures"] == 24 and 0 <= told["face_overlap"] <= 1
    measured = json.loads(finetune("evaluate", run, scenes, "--json", *ONE_PROCESS).stdout)
    assert measured["face_overlap"] == pytest.approx(told["face_overlap"], abs=1e-6)
    assert measured["pictures"] == 24 * 64 * 64  # pixels
    assert Image.open(run / "samples.png").size[1] == 128
    losses = [float(line.split(",")[1]) for line in (run / "metrics.csv").read_text().splitlines()[1:]]
    assert losses[-1] < losses[0]
    session = onnxruntime.InferenceSession(exported(run), providers=["CPUExecutionProvider"])
    (mask,) = session.run(None, {"picture": np.zeros((2, 50, 70, 3), np.uint8)})
    assert mask.shape == (2, 50, 70) and mask.dtype == np.float32 and 0 <= mask.min() <= mask.max() <= 1


@pytest.mark.slow
def test_digits_of_scikit_learn_reach_97_percent(finetune: Finetune, tmp_path: Path) -> None:
    """Its pictures are 8 x 8 and few: smaller batches than the recipe's make the steps that it needs."""
    datasets = pytest.importorskip("sklearn.datasets")
    found = datasets.load_digits()
    for number, (picture, label) in enumerate(zip(found.images, found.target, strict=True)):
        place = tmp_path / ("train" if number % 5 else "test") / str(label)
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.rint(picture * (255 / 16)).astype(np.uint8)).save(place / f"{number:04}.png")
    arguments = ("--recipe", "digits", tmp_path / "train", "--test", tmp_path / "test", "-o", tmp_path / "run")
    finetune("train", *arguments, "--batch-size", 32, "--epochs", 100, "--validation", 0, *ONE_PROCESS)
    assert json.loads((tmp_path / "run" / "test.json").read_text())["accuracy"] >= 0.97


def test_a_resumed_run_ends_with_the_same_bits(
    finetune: Finetune, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Random crops and mirroring are drawn anew as they were; what was done is not done again."""
    from finetune import loop

    data = paint(tmp_path / "data", 3)
    small = ("--width", 1, "--size", 32, "--scale", 32, "--epochs", 3, "--batch-size", 3, "--checkpoint-every", 0)
    arguments = ("train", "--recipe", "resnet50", data, *small, "--validation", 0, *ONE_PROCESS)
    finetune(*arguments, "-o", tmp_path / "whole")
    epoch = loop._epoch

    def interrupted(number: int, *rest: object) -> object:
        if number == 3:
            raise KeyboardInterrupt
        return epoch(number, *rest)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(loop, "_epoch", interrupted)
        stopped = CliRunner().invoke(main, [str(word) for word in (*arguments, "-o", tmp_path / "run")])
        assert stopped.exit_code == 130
    assert "resumed after epoch 2" in finetune(*arguments, "-o", tmp_path / "run", "--resume").output
    weights = [(tmp_path / run / "last.safetensors").read_bytes() for run in ("whole", "run")]
    assert weights[0] == weights[1]
