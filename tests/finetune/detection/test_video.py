"""Videos are looked at frame by frame and drawn as videos; what is none is named, and what to do without PyAV."""

from __future__ import annotations

import re
import sys
import wave
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from caffe2torch.errors import DataError
from finetune.detection import video
from finetune.detection.video import VideoWriter, frame_rate, read_video
from tests.finetune.detection.conftest import squares
from tests.finetune.detection.test_detect import run, seen

pytest.importorskip("av")


@pytest.fixture
def film(tmp_path: Path) -> Path:
    """Eight frames, ten a second, of a square that moves."""
    path = tmp_path / "film.mp4"
    writer = VideoWriter(path, 10)
    for number in range(8):
        writer.add(np.asarray(squares(128, 96, [(8 * number, 20, 32)])))
    writer.close()
    return path


def test_frames(film: Path) -> None:
    frames = list(read_video(film, every=3))
    assert [frame.number for frame in frames] == [0, 3, 6]
    assert [frame.time for frame in frames] == pytest.approx([0, 0.3, 0.6])
    assert frames[0].picture.shape == (96, 128, 3)
    assert frame_rate(film) == 10


def test_faces_frame_by_frame(detector_file: Path, film: Path, tmp_path: Path) -> None:
    made, cut = tmp_path / "made", tmp_path / "cut"
    result = run("-m", detector_file, film, "--format", "jsonl", "--overlay", made, "--crops", cut, "--every", "2")
    assert result.exit_code == 0
    entries = seen(result)
    assert [(entry["frame"], entry["time"]) for entry in entries] == [(0, 0), (2, 0.2), (4, 0.4), (6, 0.6)]
    assert [entry["faces"][0]["box"][0] for entry in entries] == [0, 16, 32, 48]
    drawn = list(read_video(made / "film.mp4"))
    assert len(drawn) == 4 and frame_rate(made / "film.mp4") == 5
    assert np.abs(drawn[0].picture.astype(int) - next(iter(read_video(film))).picture).max() > 60
    assert sorted(file.name for file in cut.iterdir()) == [f"film-00000{n}-1.png" for n in (0, 2, 4, 6)]
    again = run("-m", detector_file, film, "--overlay", made, "--resume", "--every", "2")
    assert "nothing was done before" in again.stderr
    labels = tmp_path / "labels"
    assert run("-m", detector_file, film, "--format", "yolo", "-o", labels).exit_code == 0
    assert len(list(labels.glob("film-*.txt"))) == 8


def test_what_is_no_video(detector_file: Path, film: Path, tmp_path: Path) -> None:
    for name, content in (("text.mp4", b"no video"), ("empty.mkv", b""), ("torn.mp4", film.read_bytes()[:500])):
        (tmp_path / name).write_bytes(content)
    result = run("-m", detector_file, tmp_path, "--format", "jsonl", "--overlay", tmp_path / "made")
    assert result.exit_code == 1
    errors = {Path(entry["path"]).name: entry["error"] for entry in seen(result) if "error" in entry}
    assert set(errors) == {"text.mp4", "empty.mkv", "torn.mp4"}
    assert all(error.startswith("cannot be read as a video: ") for error in errors.values())
    assert [file.name for file in (tmp_path / "made").iterdir()] == ["film.mp4"]


def test_a_sound_is_no_video(tmp_path: Path) -> None:
    with wave.open(str(tmp_path / "sound.mkv"), "wb") as sound:
        sound.setparams((1, 2, 8000, 0, "NONE", ""))
        sound.writeframes(bytes(8000))
    with pytest.raises(DataError, match="there is no video in it"):
        list(read_video(tmp_path / "sound.mkv"))


def test_frames_too_large(film: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(video, "MOST_PIXELS", 1000)
    with pytest.raises(DataError, match="frames of 128 x 96 are more than 1000 pixels"):
        list(read_video(film))


def test_without_pyav(detector_file: Path, film: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    result = run("-m", detector_file, film)
    assert result.exit_code == 1
    assert r"need PyAV: pip install 'caffe2torch[video]'" in result.stderr


def test_a_camera_that_is_not_there(detector_file: Path) -> None:
    result = run("-m", detector_file, "--camera", "97")
    assert result.exit_code == 1
    assert re.match(r"error: camera 97( \(\S+\))?: cannot be opened: ", result.stderr.splitlines()[-1])


def test_ffmpegs_threads_never_wait_for_python(film: Path) -> None:
    """A damaged video hung where PyAV was to take FFmpeg's messages: with the lock that decoding is waited for with."""
    import av

    av.logging.set_level(av.logging.PANIC)
    next(read_video(film))
    assert av.logging.get_level() is None


def test_pictures_among_videos(detector_file: Path, film: Path) -> None:
    Image.new("RGB", (40, 40)).save(film.parent / "picture.png")
    entries = seen(run("-m", detector_file, film.parent, "--format", "jsonl"))
    assert [entry.get("frame") for entry in entries] == [*range(8), None]
