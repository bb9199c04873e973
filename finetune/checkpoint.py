"""The folder of a training run: how it comes about, how its head is kept and read back. No pickle anywhere."""

from __future__ import annotations

import itertools
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from caffe2torch.errors import ModelError, OutputError
from caffe2torch.files import put_folder, umask, write_whole
from caffe2torch.terminal import note

if TYPE_CHECKING:
    from torch import nn

FORMAT = "finetune-run 1"
BEST, LAST = "best", "last"


@contextmanager
def unfinished(run: Path, force: bool = False) -> Iterator[Path]:
    """A folder beside ``run`` to train into, named RUN.partial-1 or the next free number; ``run`` at the end.

    A run that is killed leaves that folder behind, which blocks nothing. After an exception it is removed, unless it
    holds a checkpoint; that is kept and named. Raises OutputError if ``run`` exists; with ``force`` a run that is
    there is replaced at the end, anything else is still an error.
    """
    check_free(run, force)
    run.parent.mkdir(parents=True, exist_ok=True)
    if left := sorted(run.parent.glob(f"{run.name}.partial-*")):
        note(f"{', '.join(map(str, left))}: of a run that is still going on or was killed; remove it if it was killed")
    folder = _next_free(run)
    try:
        yield folder
        _put_in_place(folder, run, force)
    except BaseException:
        if (folder / f"{LAST}.json").exists():
            note(f"{folder}: what was trained until then is kept here")
        else:
            shutil.rmtree(folder, ignore_errors=True)
        raise


def check_free(run: Path, force: bool = False) -> None:
    """Raise OutputError unless a run can be put at ``run``."""
    if not os.path.lexists(run):
        return
    if not force:
        raise OutputError(f"{run}: exists already; name another folder with -o, or replace the run with --force")
    is_run = run.is_dir() and (_is_run(run) or not any(run.iterdir()))
    if not is_run:
        raise OutputError(f"{run}: exists and is no training run; it is not replaced, remove it yourself")


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write ``content`` whole or not at all."""
    write_whole(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def save_head(folder: Path, head: nn.Module, metrics: Mapping[str, float], best: bool) -> None:
    """Keep the head as the last checkpoint of ``folder``, and as the best one too if it is."""
    from safetensors.torch import save_file

    beside = folder / f"{LAST}.safetensors.tmp"
    save_file({name: tensor.detach().contiguous() for name, tensor in head.state_dict().items()}, beside)
    beside.chmod(0o666 & ~umask())  # safetensors keeps its files from others
    os.replace(beside, folder / f"{LAST}.safetensors")
    write_json(folder / f"{LAST}.json", metrics)
    if best:
        for name in (".safetensors", ".json"):
            _copy(folder / f"{LAST}{name}", folder / f"{BEST}{name}")


def load_head(run: Path, head: nn.Module, checkpoint: str = BEST) -> dict[str, Any]:
    """Fill ``head`` from a checkpoint of a run; gives the checkpoint's epoch and metrics. Raises ModelError."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = run / f"{checkpoint}.safetensors"
    try:
        head.load_state_dict(load_file(path))
        metrics: dict[str, Any] = json.loads((run / f"{checkpoint}.json").read_text(encoding="utf-8"))
        return metrics
    except OSError as error:
        raise ModelError(f"{error.filename or path}: cannot be read: {error.strerror or error}") from error
    except (SafetensorError, RuntimeError, ValueError) as error:
        raise ModelError(f"{path}: damaged, or not of this run: {' '.join(str(error).split())}") from error


def read_config(run: Path) -> dict[str, Any]:
    """config.json of a training run. Raises ModelError if ``run`` is none."""
    path = run / "config.json"
    try:
        config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelError(f"{run}: not a training run: {path.name}: {error.strerror or error}") from error
    except ValueError as error:
        raise ModelError(f"{path}: damaged: {error}") from error
    if not isinstance(config, dict) or config.get("format") != FORMAT:
        raise ModelError(f"{run}: not a training run: {path.name} does not say format {FORMAT!r}")
    return config


def _is_run(run: Path) -> bool:
    try:
        return bool(read_config(run))
    except ModelError:
        return False


def _next_free(run: Path) -> Path:
    for number in itertools.count(1):
        folder = run.with_name(f"{run.name}.partial-{number}")
        try:
            folder.mkdir()
            return folder
        except FileExistsError:
            continue
    raise AssertionError("unreachable")


def _put_in_place(folder: Path, run: Path, force: bool) -> None:
    check_free(run, force)
    for path in folder.iterdir():
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
    put_folder(folder, run)


def _copy(source: Path, target: Path) -> None:
    """``target`` as a second name of ``source``'s bytes, or a copy where the disk has no links.

    Checkpoints are only ever replaced by renaming, so the two names part at the next epoch.
    """
    beside = target.with_name(target.name + ".tmp")
    beside.unlink(missing_ok=True)
    try:
        os.link(source, beside)
    except OSError:
        shutil.copyfile(source, beside)
    os.replace(beside, target)
