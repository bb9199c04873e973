"""A run's folder: there whole or not at all, and its checkpoints."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from caffe2torch.errors import ModelError, OutputError
from finetune.checkpoint import (
    FORMAT,
    check_free,
    load_head,
    read_config,
    save_head,
    save_tensors,
    second_name,
    unfinished,
    write_json,
)  # fmt: skip
from finetune.models.head import TutorialHead


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def make_run(run: Path, mark: str = "") -> Path:
    run.mkdir(parents=True)
    write_json(run / "config.json", {"format": FORMAT, "mark": mark})
    return run


def test_appears_when_finished(tmp_path: Path) -> None:
    run = tmp_path / "deep" / "run"
    with unfinished(run) as folder:
        assert folder.parent == run.parent
        assert folder.name == "run.partial-1"
        write_json(folder / "config.json", {"format": FORMAT})
        assert not run.exists()
    assert names(tmp_path / "deep") == ["run"]
    assert read_config(run)["format"] == FORMAT


def test_a_failure_before_the_first_checkpoint_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), unfinished(tmp_path / "run") as folder:  # noqa: PT012
        write_json(folder / "config.json", {})
        raise KeyboardInterrupt
    assert names(tmp_path) == []


def test_a_failure_after_a_checkpoint_keeps_and_names_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RuntimeError), unfinished(tmp_path / "run") as folder:  # noqa: PT012
        save_head(folder, TutorialHead((2, 1, 1), 2, 4), {"epoch": 1}, best=True)
        raise RuntimeError
    assert names(tmp_path) == ["run.partial-1"]
    assert f"{tmp_path}/run.partial-1: what was trained until then is kept here" in capsys.readouterr().err


def test_what_a_killed_run_left_is_named_and_blocks_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "run.partial-1").mkdir()
    with unfinished(tmp_path / "run") as folder:
        assert folder.name == "run.partial-2"
    assert "run.partial-1: of a run that is still going on or was killed" in capsys.readouterr().err
    assert names(tmp_path) == ["run", "run.partial-1"]


def test_an_existing_run_is_replaced_only_by_force(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", "old")
    with pytest.raises(OutputError, match="exists already; name another folder, or replace it with --force"):
        check_free(run)
    with unfinished(run, force=True) as folder:
        assert read_config(run)["mark"] == "old"  # until the new one is done
        write_json(folder / "config.json", {"format": FORMAT, "mark": "new"})
    assert read_config(run)["mark"] == "new"
    assert names(tmp_path) == ["run"]


def test_force_does_not_delete_what_is_no_run(tmp_path: Path) -> None:
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "dear.txt").touch()
    (tmp_path / "file").touch()
    for name, words in (("letters", "is there, and not a training run; it is not replaced"), ("file", "is a file")):
        with pytest.raises(OutputError, match=words):
            check_free(tmp_path / name, force=True)
    (tmp_path / "empty").mkdir()
    check_free(tmp_path / "empty", force=True)


def test_force_deletes_nobodys_own_files(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", "old")
    for own in ("notes.txt", "old/best.safetensors", "trunk/notes.txt", "pictures/1.png", "model-2.onnx", "report.htm"):
        (run / own).parent.mkdir(exist_ok=True)
        (run / own).touch()
        with pytest.raises(OutputError, match=rf"holds what is no part of a training run: {own}; move that away"):
            check_free(run, force=True)
        with pytest.raises(OutputError, match="no part of"), unfinished(run, force=True) as folder:
            make_run(folder / "inner")
        (run / own).unlink()
    assert names(tmp_path) == ["run"]
    assert read_config(run)["mark"] == "old"


def test_a_run_that_goes_on_keeps_other_files(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    write_json(run / "resume-000001" / "state.json", {})
    (run / "notes.txt").touch()
    with unfinished(run, resume=True) as folder:
        assert folder.name == "run.partial-1"
    assert (run / "notes.txt").exists()


def test_a_run_that_appeared_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    run = tmp_path / "run"
    with pytest.raises(OutputError, match="exists already"), unfinished(run) as folder:  # noqa: PT012
        save_head(folder, TutorialHead((2, 1, 1), 2, 4), {"epoch": 1}, best=True)
        make_run(run, "theirs")
    assert read_config(run)["mark"] == "theirs"
    assert (tmp_path / "run.partial-1" / "last.safetensors").exists()


def test_what_appeared_meanwhile_and_is_no_run_is_not_replaced_by_force(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="not a training run"), unfinished(tmp_path / "run", force=True) as folder:  # noqa: PT012
        write_json(folder / "config.json", {"format": FORMAT})
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / "dear.txt").touch()
    assert names(tmp_path) == ["run"]
    assert names(tmp_path / "run") == ["dear.txt"]


def test_best_and_last_part_ways(tmp_path: Path) -> None:
    head = TutorialHead((2, 1, 1), 2, 4)
    for epoch, best in ((1, True), (2, False)):
        torch.nn.init.constant_(head.fc8.bias, epoch)
        save_head(tmp_path, head, {"epoch": epoch}, best)
    assert names(tmp_path) == ["best.json", "best.safetensors", "last.json", "last.safetensors"]
    for name, epoch in (("best", 1), ("last", 2)):
        read = TutorialHead((2, 1, 1), 2, 4)
        assert load_head(tmp_path, read, name) == {"epoch": epoch}
        assert read.fc8.bias.tolist() == [epoch, epoch]
    with safe_open(tmp_path / "best.safetensors", "pt") as file:
        assert sorted(file.keys()) == sorted(head.state_dict())
    assert (tmp_path / "last.safetensors").stat().st_mode == (tmp_path / "last.json").stat().st_mode


def test_a_full_disk(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
    try:
        with pytest.raises(OutputError, match=r"last\.safetensors\.tmp: cannot be written: .*too large"):
            save_head(tmp_path, TutorialHead((2, 7, 7), 2, 400), {"epoch": 1}, best=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not (tmp_path / "last.safetensors").exists()


def test_what_is_no_run_or_damaged(tmp_path: Path) -> None:
    head = TutorialHead((2, 1, 1), 2, 4)
    with pytest.raises(ModelError, match="not a training run"):
        read_config(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ModelError, match="damaged"):
        read_config(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"format": "other"}))
    with pytest.raises(ModelError, match="does not say format"):
        read_config(tmp_path)
    with pytest.raises(ModelError, match=r"best\.safetensors.*No such file"):
        load_head(tmp_path, head)
    (tmp_path / "best.safetensors").write_bytes(b"\x80\x04pickle")
    with pytest.raises(ModelError, match=r"best\.safetensors: damaged, or not of this run"):
        load_head(tmp_path, head)
    save_head(tmp_path, TutorialHead((2, 1, 1), 3, 4), {"epoch": 1}, best=True)
    with pytest.raises(ModelError, match=r"not of this run.*size mismatch for fc8"):
        load_head(tmp_path, head)


def test_a_second_name_of_the_same_bytes_stays(tmp_path: Path) -> None:
    (tmp_path / "one").write_text("bytes")
    second_name(tmp_path / "one", tmp_path / "other")
    second_name(tmp_path / "one", tmp_path / "other")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "other"]
    assert (tmp_path / "other").samefile(tmp_path / "one")


def test_what_a_kill_left_is_not_written_into(tmp_path: Path) -> None:
    save_tensors(tmp_path, {"weight": torch.zeros(3)}, {"epoch": 1}, best=True)
    (tmp_path / "last.safetensors.tmp").hardlink_to(tmp_path / "best.safetensors")
    before = (tmp_path / "best.safetensors").read_bytes()
    save_tensors(tmp_path, {"weight": torch.ones(3)}, {"epoch": 2}, best=False)
    assert (tmp_path / "best.safetensors").read_bytes() == before != (tmp_path / "last.safetensors").read_bytes()
