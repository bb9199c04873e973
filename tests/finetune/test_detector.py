"""The detector: targets, losses, scoring, composed pictures, its ONNX file beside torch, its recipe."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image, ImageDraw

from caffe2torch.errors import DataError, ModelError
from finetune.checkpoint import check_free
from finetune.cli import main
from finetune.detection.session import open_finder
from finetune.detector.composing import Composer
from finetune.detector.export import metadata, verify, write_model
from finetune.detector.finding import find_faces, fitted
from finetune.detector.material import Material, Sheet
from finetune.detector.network import Detector, fused, with_scores
from finetune.detector.packaged import packaged_network
from finetune.detector.scoring import chances, overlaps, score, suppressed
from finetune.detector.targets import box_loss, edges, face_loss, targets
from finetune.detector.ways import close_up, mirrored, turned, upright

BOX = np.array([[16.0, 24.0, 64.0, 72.0]], np.float32)
NONE = np.zeros((0, 4), np.float32)


@pytest.fixture(autouse=True)
def torch_seed() -> None:
    torch.manual_seed(0)


def network(seed: int = 0) -> Detector:
    """A detector with weights and statistics by lot, that finds something everywhere."""
    torch.manual_seed(seed)
    made = Detector()
    made.train()
    with torch.no_grad():
        for _ in range(3):
            made(torch.rand(2, 3, 64, 64) * 2 - 1)
        made.face.weight.normal_(std=0.3)
        made.face.bias.zero_()  # type: ignore[union-attr]
        made.box.weight.normal_(std=0.05)
    return made.eval()


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    blocks = random.integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8)
    return np.ascontiguousarray(np.kron(blocks, np.ones((8, 8, 1), np.uint8))[:height, :width])


def test_targets_put_the_peak_on_the_middle_and_the_box_around_it() -> None:
    wanted = targets([BOX], [NONE], (96, 128))
    assert wanted.heat.shape == (1, 12, 16) and wanted.heat[0, 6, 5] == 1 and (wanted.heat == 1).sum() == 1
    assert wanted.heat[0, 6, 6] > wanted.heat[0, 6, 8] and wanted.weight[0, 0, 0] == 0
    assert torch.equal(wanted.boxes[0, 6, 5], torch.from_numpy(BOX[0]))
    assert wanted.counted.all()
    ignored = targets([NONE], [BOX], (96, 128))
    assert ignored.heat.max() == 0 and ignored.counted[0, 6, 5] == 0 and ignored.counted[0, 11, 15] == 1


def test_the_smaller_of_two_boxes_wins() -> None:
    both = np.concatenate([BOX, [[32.0, 40.0, 48.0, 56.0]]]).astype(np.float32)
    for order in (both, both[::-1]):
        assert targets([order], [NONE], (96, 96)).boxes[0, 6, 5].tolist() == [32, 40, 48, 56]


def test_losses_are_least_where_the_network_is_right() -> None:
    wanted = targets([BOX], [NONE], (96, 96))
    right, wrong = wanted.heat * 20 - 10, torch.zeros_like(wanted.heat)
    assert face_loss(right, wanted.heat, wanted.counted) < 0.1 < face_loss(wrong, wanted.heat, wanted.counted)
    middles = edges(torch.zeros(1, 12, 12, 4))
    exact = torch.cat([middles[..., :2] - wanted.boxes[..., :2], wanted.boxes[..., 2:] - middles[..., 2:]], -1)
    assert box_loss(exact, wanted.boxes, wanted.weight) == pytest.approx(0, abs=1e-5)
    assert box_loss(exact + 8, wanted.boxes, wanted.weight) > 0.2
    assert box_loss(exact, wanted.boxes, torch.zeros_like(wanted.weight)) == 0


def test_suppression_and_overlaps() -> None:
    boxes = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [20, 20, 30, 30]], np.float32)
    assert overlaps(boxes, boxes)[0].tolist() == pytest.approx([1, 90 / 110, 0])
    assert suppressed(boxes, np.array([0.5, 0.9, 0.1]), 0.4).tolist() == [1, 2]
    assert suppressed(boxes, np.array([0.5, 0.9, 0.1]), 0.9).tolist() == [1, 0, 2]


def test_scoring() -> None:
    wanted = np.array([[0, 0, 10, 10], [40, 40, 50, 50], [80, 80, 90, 90]], np.float32)
    truth = [(wanted, np.array([False, False, True])), (NONE, np.zeros(0, bool))]
    hit, again, hard, stray = [0, 0, 10, 10], [0, 1, 10, 11], [80, 80, 90, 90], [60, 0, 70, 10]
    found = [
        (np.array([hit, again, hard], np.float32), np.array([0.9, 0.6, 0.5])),
        (np.array([stray]), np.array([0.3])),
    ]
    at_a_half = score(found, truth, 0.5)
    assert (at_a_half.found, at_a_half.false, at_a_half.faces) == (1, 1, 2)
    assert (at_a_half.precision, at_a_half.recall) == (0.5, 0.5)
    best = score(found, truth)
    assert best.threshold == 0.9 and best.f1 == pytest.approx(2 / 3) and best.average_precision == pytest.approx(0.5)
    nothing = score([(NONE, np.zeros(0))] * 2, truth)
    assert nothing.f1 == 0 and nothing.average_precision == 0


def test_a_threshold_of_more_precision() -> None:
    found = [(np.array([[0, 0, 10, 10]], np.float32), np.array([value])) for value in (0.9, 0.8, 0.7, 0.6, 0.5)]
    face, no = np.array([[0, 0, 10, 10]], np.float32), np.array([False])
    truth = [(face, no), (NONE, no[:0]), (face, no), (face, no), (face, no)]
    assert score(found, truth).threshold == 0.5 and score(found, truth, beta=0.1).threshold == 0.9


def test_ways_to_show_a_picture() -> None:
    shown = np.zeros((60, 100, 3), np.uint8)
    shown[20:30, 40:60] = 255  # white where the box is
    boxes, counts = np.array([[40, 20, 60, 30], [0, 0, 100, 60]], np.float32), np.array([False, True])
    assert upright(shown, boxes, counts)[0][0] is shown
    quarter, half = partial(turned, degrees=90), partial(turned, degrees=180)
    for way in (mirrored, half, quarter, close_up):
        ((pixels, moved, difficult),) = way(shown, boxes, counts)
        (x0, y0, x1, y1), (height, width) = moved[0], pixels.shape[:2]
        white = np.argwhere(pixels[..., 0] > 128)
        middle = (white.min(0) + white.max(0) + 1) / 2
        assert np.allclose(middle, [(y0 + y1) / 2, (x0 + x1) / 2], atol=1), way
        assert (x1 - x0, y1 - y0) == (20, 10) and difficult.tolist() == [False, True]
        assert (height, width) == {quarter: (100, 60), close_up: (16, 26)}.get(way, (60, 100))


def test_no_close_up_of_a_face_outside_the_picture() -> None:
    boxes = np.array([[200, 10, 220, 30]], np.float32)
    assert close_up(np.zeros((60, 100, 3), np.uint8), boxes, np.array([False])) == []


def test_chances() -> None:
    random = np.random.default_rng(0)
    logits = random.normal(0, 2, 4000)
    right = random.random(4000) < 1 / (1 + np.exp(-(3 * logits - 1)))
    slope, offset = chances(1 / (1 + np.exp(-logits)), right)
    assert slope == pytest.approx(3, abs=0.3) and offset == pytest.approx(-1, abs=0.3)
    assert chances(np.array([0.5, 0.9]), np.array([True, True])) == (1, 0)
    made = network()
    shown = torch.rand(1, 3, 64, 64)
    assert torch.allclose(with_scores(made, 3.0, -1.0)(shown)[0], 3 * made(shown)[0] - 1, atol=1e-4)


@pytest.fixture(scope="module")
def drawn() -> Material:
    material = Material()
    material.add_drawn(3)
    return material


def test_composed_pictures_are_of_the_size_and_boxes_lie_inside(drawn: Material) -> None:
    composer, boxes_seen = Composer(drawn), 0
    for number in range(20):
        pixels, boxes, ignored = composer.sample(Random(number), 96)
        assert pixels.shape == (96, 96, 3) and pixels.dtype == np.uint8
        for some in (boxes, ignored):
            assert some.shape[1] == 4 and ((some >= 0) & (some <= 96)).all() and (some[:, :2] < some[:, 2:]).all()
        boxes_seen += len(boxes)
    assert boxes_seen > 10
    first, second = composer.sample(Random(5), 96), composer.sample(Random(5), 96)
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("turn", [0.0, 90.0, -30.0])
def test_a_box_stays_on_what_it_marks(turn: float, mirror: bool) -> None:
    """A red square on grey, laid down turned: the box's middle is the square's."""
    from finetune.detector.composing import Placed

    source = Image.new("RGB", (60, 40), (90, 90, 90))
    ImageDraw.Draw(source).rectangle((10, 12, 21, 23), fill=(255, 0, 0))
    placed = Placed(Image.new("RGB", (128, 128)))
    placed.lay(Sheet.of(source, [(10, 12, 22, 24)]), 2.0, turn, mirror, (30, 20), (64, 64), None)
    red = np.asarray(placed.picture).astype(int)
    rows, columns = np.nonzero((red[..., 0] > 200) & (red[..., 1] < 60))
    (box,) = placed.boxes
    assert ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2) == pytest.approx((columns.mean(), rows.mean()), abs=1.5)
    assert box[2] - box[0] == pytest.approx(24) and box[3] - box[1] == pytest.approx(24)


def test_onnx_equals_torch(tmp_path: Path) -> None:
    made, path = network(), tmp_path / "model.onnx"
    write_model(made, path, metadata("drawn", 0.3))
    assert path.stat().st_size < 3_000_000
    assert "boxes equal to torch's" in verify(made, path)
    finder = open_finder(path, "cpu")
    for size in ((64, 64), (97, 50), (33, 130)):
        shown = picture(*size)
        whole, scores = find_faces(made, shown, 0.1, 0.4)
        rounded, _ = find_faces(fused(made), shown, 0.1, 0.4)
        (given,) = finder.find_in_batch(shown[None], 0.1, 0.4)
        assert len(given.boxes) == len(rounded) > 3
        assert np.diagonal(overlaps(given.boxes, rounded)).min() > 0.98
        if len(whole) == len(rounded):  # weights in fp16 may move one over the threshold
            assert np.abs(given.scores - scores).max() < 5e-3


def test_onnx_takes_several_pictures_and_thresholds(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    write_model(network(), path, metadata("drawn", 0.3))
    finder = open_finder(path, "cpu")
    pair = np.stack([picture(64, 96, 1), picture(64, 96, 2)])
    both = finder.find_in_batch(pair, 0.1, 0.4)
    for n in range(2):
        (alone,) = finder.find_in_batch(pair[n : n + 1], 0.1, 0.4)
        assert len(alone.boxes) > 3 and np.allclose(alone.boxes, both[n].boxes, atol=1e-3)
        assert (np.diff(alone.scores) <= 0).all()
    (none,) = finder.find_in_batch(pair[:1], 1.0, 0.4)
    assert none.boxes.shape == (0, 4)
    (tiny,) = finder.find_in_batch(np.zeros((1, 1, 1, 3), np.uint8), 0.999, 0.4)
    assert len(tiny.boxes) == 0


def test_weights_come_back_from_the_file(tmp_path: Path) -> None:
    made, path = network(), tmp_path / "model.onnx"
    write_model(made, path, metadata("drawn", 0.3))
    again = packaged_network(path)
    shown = torch.rand(1, 3, 64, 64)
    assert torch.equal(again.eval()(shown)[0], fused(made)(shown)[0])
    write_model(again, tmp_path / "again.onnx", metadata("drawn", 0.3))
    assert (tmp_path / "again.onnx").read_bytes() == path.read_bytes()
    path.write_bytes(b"no model")
    with pytest.raises(ModelError, match=r"model\.onnx"):
        packaged_network(path)
    with pytest.raises(ModelError, match="cannot be read"):
        packaged_network(tmp_path / "none.onnx")


def test_fitted() -> None:
    shown, factor = fitted(picture(50, 100), 64)
    assert shown.shape == (32, 64, 3) and factor == 0.64


@pytest.fixture
def faces(tmp_path: Path) -> Path:
    """Four pictures of 128 x 96 with one drawn face each, and boxes.json."""
    from finetune.drawing.characters import CHARACTERS
    from finetune.drawing.scenes import draw_scene

    folder = tmp_path / "faces"
    folder.mkdir()
    marks = {}
    for number in range(4):
        scene, found = draw_scene(CHARACTERS, Random(number), (128, 96), 1)
        scene.save(folder / f"{number}.png")
        marks[f"{number}.png"] = [{"box": box} for box, _ in found]
    (folder / "boxes.json").write_text(json.dumps(marks))
    return folder


def test_the_recipe_trains_and_exports(faces: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    options = ["--steps", "2", "--every", "2", "--batch-size", "2", "--side", "64", "--drawn", "2"]
    done = CliRunner().invoke(
        main, ["train", "--recipe", "detector", str(faces), "-o", str(run), "--test", str(faces), *options]
    )
    assert done.exit_code == 0, done.output
    assert "best: validation AP" in done.stdout and "test: F1" in done.stdout
    config = json.loads((run / "config.json").read_text())
    assert config["recipe"] == "detector" and config["options"]["steps"] == 2
    assert len((run / "metrics.csv").read_text().splitlines()) == 2
    from finetune.onnx_cli import onnx_main

    done = CliRunner().invoke(onnx_main, ["export", str(run)])
    assert done.exit_code == 0, done.output
    assert open_finder(run / "model.onnx", "cpu").settings.confidence == pytest.approx(config["conf"], abs=1e-3)
    check_free(run, force=True)  # nothing lies in it that is not known
    whole = (run / "best.safetensors").read_bytes()
    for damaged, said in (
        (whole[:-100], "not readable as safetensors"),
        (whole.replace(b"stem.0.weight", b"stem.0.tthgiw"), "not of the detector"),
    ):
        (run / "best.safetensors").write_bytes(damaged)
        done = CliRunner().invoke(onnx_main, ["export", str(run), "--force"])
        assert done.exit_code == 1 and said in done.stderr, done.output


def test_every_third_step_shows_larger_pictures_and_faces(drawn: Material) -> None:
    from finetune.detector.training import Settings

    settings = Settings(batch_size=8, size=64)
    assert [settings.shape(step) for step in range(3)] == [(8, 64), (8, 64), (2, 128)]
    assert Settings(batch_size=2, size=64).shape(2) == (1, 128)
    composer, random = Composer(drawn), Random(0)
    sides = [float((box[2:] - box[:2]).max()) for _ in range(30) for box in composer.sample(random, 128)[1]]
    assert max(sides) > 100 and min(sides) < 40


def test_a_cell_sees_a_face_that_fills_the_picture() -> None:
    made, pixels = network().double(), torch.zeros(1, 3, 640, 640, dtype=torch.double, requires_grad=True)
    made(pixels)[0][0, 40, 40].backward()
    assert pixels.grad is not None
    rows = torch.nonzero(pixels.grad.abs().sum((0, 1, 3))).ravel()
    assert rows.max() - rows.min() > 500


def test_a_run_is_taken_up_where_it_was_left(drawn: Material, tmp_path: Path) -> None:
    from finetune.detector.training import Settings, Training

    settings = Settings(steps=4, batch_size=2, size=64, every=2, precision="32")
    ends = []
    for folder, stops in ((tmp_path / "whole", ()), (tmp_path / "parts", (2,))):
        folder.mkdir()
        torch.manual_seed(0)
        training = Training(Detector(), settings)
        for stop in stops:
            training.stop = stop
            training.run(Composer(drawn), folder, lambda network: {"score": 0.0}, lambda line: None)
            training = Training(Detector(), settings)
            training.take_up(folder)
        training.run(Composer(drawn), folder, lambda network: {"score": 0.0}, lambda line: None)
        ends.append(training.averaged.state_dict())
    assert training.step == 4
    (folder / "last.safetensors").write_bytes((folder / "best.safetensors").read_bytes())
    with pytest.raises(ModelError, match=r"last\.safetensors: damaged"):
        training.take_up(folder)
    assert all(torch.allclose(ends[0][name], ends[1][name], atol=1e-6) for name in ends[0])


def test_too_few_pictures(faces: Path, tmp_path: Path) -> None:
    (faces / "boxes.json").write_text('{"0.png": []}')
    done = CliRunner().invoke(main, ["train", "--recipe", "detector", str(faces), "-o", str(tmp_path / "run")])
    assert done.exit_code == 1 and "too few with faces" in done.stderr
    assert isinstance(done.exception, (SystemExit, DataError))
