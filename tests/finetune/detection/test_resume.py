"""Work that was interrupted is taken up: what is done is not done again, and nothing is half-written."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from finetune.detection.journal import Journal
from finetune.detection.results import Face, Seen
from finetune.detection.sources import list_sources
from tests.finetune.detection.conftest import squares
from tests.finetune.detection.test_detect import run, seen

PROGRAM = [sys.executable, "-c", "from finetune.onnx_cli import onnx_main; onnx_main(prog_name='onnx')"]


@pytest.fixture
def many(tmp_path: Path) -> Path:
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(6):
        squares(120, 100, [(8 * number, 20, 32)]).save(folder / f"{number}.png")
    return folder


def looked_at(made: Path) -> dict[str, int]:
    return {file.name: file.stat().st_mtime_ns for file in made.glob("*.png")}


def test_only_new_and_changed_pictures_are_looked_at(detector_file: Path, many: Path, tmp_path: Path) -> None:
    made, out = tmp_path / "made", tmp_path / "out.jsonl"
    asked = ("-m", detector_file, many, "--format", "jsonl", "-o", out, "--overlay", made, "--resume")
    first = run(*asked)
    assert first.exit_code == 0
    assert first.stderr.endswith("nothing was done before; beginning\n")
    before, lines = looked_at(made), out.read_text()
    again = run(*asked)
    assert again.exit_code == 0 and "6 files were looked at before" in again.stderr
    assert looked_at(made) == before and out.read_text() == lines
    squares(120, 100, [(0, 20, 64)]).save(many / "2.png")
    squares(120, 100, []).save(many / "new.png")
    (made / "4.png").unlink()
    assert run(*asked).exit_code == 0
    after = looked_at(made)
    assert {name for name in after if after[name] != before.get(name)} == {"2.png", "4.png", "new.png"}
    assert [len(json.loads(line)["faces"]) for line in out.read_text().splitlines()] == [1, 1, 1, 1, 1, 1, 0]
    assert json.loads(out.read_text().splitlines()[2])["faces"][0]["box"] == [0, 20, 64, 84]


def test_other_settings_are_refused(detector_file: Path, many: Path, tmp_path: Path) -> None:
    asked = ("-m", detector_file, many, "-o", tmp_path / "out.csv", "--format", "csv", "--resume")
    assert run(*asked).exit_code == 0
    result = run(*asked, "--conf", "0.9", "--max-size", "128")
    assert result.exit_code == 1
    assert "was begun with another conf, max-size" in result.stderr


def test_a_finished_file_without_a_journal_counts(detector_file: Path, many: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    asked = ("-m", detector_file, many, "--format", "jsonl", "-o", out)
    assert run(*asked).exit_code == 0
    assert not list(tmp_path.glob(".out*"))
    result = run(*asked, "--resume")
    assert "what is in it counts as done" in result.stderr and "6 files were looked at before" in result.stderr
    assert len(out.read_text().splitlines()) == 6
    out.write_text("something else\n")
    (tmp_path / ".out.jsonl.journal").unlink()
    result = run(*asked, "--resume")
    assert result.exit_code == 1 and "is not what onnx detect wrote" in result.stderr
    assert out.read_text() == "something else\n"


def test_pictures_that_could_not_be_read_are_tried_again(detector_file: Path, many: Path, tmp_path: Path) -> None:
    (many / "7.png").write_bytes(b"torn")
    asked = ("-m", detector_file, many, "--format", "jsonl", "-o", tmp_path / "out.jsonl", "--resume")
    assert run(*asked).exit_code == 1
    squares(120, 100, []).save(many / "7.png")
    assert run(*asked).exit_code == 0
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 7


def test_ctrl_c_leaves_a_journal_and_nothing_half_written(detector_file: Path, many: Path, tmp_path: Path) -> None:
    for number in range(60):
        squares(200, 200, [(8, 20, 32)]).save(many / f"large-{number}.png", compress_level=1)
    out, made = tmp_path / "out.json", tmp_path / "made"
    asked = ["detect", "-m", detector_file, many, "--format", "json", "-o", out, "--overlay", made, "--provider", "cpu"]
    with subprocess.Popen([*PROGRAM, *map(str, asked)], stderr=subprocess.PIPE, text=True) as process:
        journal = tmp_path / ".out.json.journal"
        limit = time.monotonic() + 60
        while not journal.exists() or journal.read_bytes().count(b"\n") < 4:
            assert time.monotonic() < limit and process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert f"{journal} remembers what is done; the same command with --resume goes on" in stderr
    assert stderr.endswith("interrupted: nothing was left half-written\n")
    assert not out.exists() and not list(tmp_path.rglob("*.part"))
    done = journal.read_bytes().count(b"\n") - 1
    before = looked_at(made)
    result = run(*asked[1:], "--resume")
    assert result.exit_code == 0 and f"{done} files were looked at before" in result.stderr
    after = looked_at(made)
    assert sum(after[name] == time for name, time in before.items()) >= done
    assert len(json.loads(out.read_text())) == 66


def test_a_line_that_was_torn_is_not_trusted(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        squares(40, 40, []).save(tmp_path / name)
    sources = list_sources([tmp_path])
    journal = Journal(tmp_path / "journal", {"conf": 0.5}, resume=False)
    entries = [[Seen(source.path, 40, 40, (Face((1, 2, 3, 4), 0.5, "Édith", 0.25),))] for source in sources]
    for source, entry in zip(sources, entries, strict=True):
        journal.add(source, entry)
    assert journal.close(keep=True)
    whole = (tmp_path / "journal").read_bytes()
    (tmp_path / "journal").write_bytes(whole[:-20])
    again = Journal(tmp_path / "journal", {"conf": 0.5}, resume=True)
    assert (again.done(sources[0]), again.done(sources[1])) == (entries[0], None)
    again.add(sources[1], entries[1])
    again.close(keep=True)
    assert (tmp_path / "journal").read_bytes() == whole


def test_the_camera_cannot_be_resumed(detector_file: Path) -> None:
    result = run("-m", detector_file, "--camera", "0", "--resume")
    assert result.exit_code == 2
    assert seen(result) == []
