"""The folder of a training run: how it comes about, how its head is kept and read back. No pickle anywhere."""

from __future__ import annotations

import glob
import itertools
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from caffe2torch import json_file, safetensors_file
from caffe2torch.claims import NONE, is_at
from caffe2torch.errors import FileError, ModelError, OutputError
from caffe2torch.files import umask, write_whole
from caffe2torch.folder import FILES as TRUNK_FILES
from caffe2torch.replacing import Kind, put_folder, refuse_folder
from caffe2torch.terminal import note
from finetune.wording import json_text

if TYPE_CHECKING:
    import torch
    from torch import nn

FORMAT = "finetune-run 1"
BEST, LAST = "best", "last"
STATES = "resume-*/state.json"


@runtime_checkable
class Keeps(Protocol):
    """A module that says itself which tensors a checkpoint holds (finetune.models.top.Top)."""

    def kept(self) -> dict[str, torch.Tensor]: ...

    def load_kept(self, tensors: Mapping[str, torch.Tensor]) -> None: ...


@contextmanager
def unfinished(run: Path, force: bool = False, resume: bool = False) -> Iterator[Path]:
    """A folder beside ``run`` to train into, named RUN.partial-1 or the next free number; ``run`` at the end.

    A run that is killed leaves that folder behind, which blocks nothing; with ``resume`` it is given again, the latest
    of several that holds a state to go on from (resume.py), as is a run that Ctrl-C ended. After an exception it is
    removed, unless it holds a checkpoint; that is kept and named. Raises OutputError if ``run`` exists; with ``force``
    a run that is there is replaced at the end, anything else is still an error, as is a run that holds more than what
    is written into one.
    """
    folder = resumable(run) if resume else None
    if folder is None:
        check_free(run, force)
        run.parent.mkdir(parents=True, exist_ok=True)
        if left := partial_folders(run):
            note(
                f"{', '.join(map(str, left))}: of a run that is still going on or was killed; "
                "if it was killed, --resume goes on with it, or remove it"
            )
        folder = _next_free(run)
    with held(folder) as handle:
        try:
            yield folder
            _put_in_place(folder, run, force)
        except BaseException:
            if (folder / f"{LAST}.json").exists():
                note(f"{folder}: what was trained until then is kept here")
            elif is_at(handle, folder):
                shutil.rmtree(folder, ignore_errors=True)
            raise


def resumable(run: Path) -> Path | None:
    """The folder to go on with: of a killed run, or of one that Ctrl-C ended, which is renamed for it; None: neither.

    Raises OutputError for a finished run, and for one that is still going on.
    """
    if os.path.lexists(run):
        refuse_folder(run, True, replace(KIND, files=None))  # it is a run; what else lies in it goes along
        if not any(run.glob(STATES)):
            raise OutputError(f"{run}: is finished: there is nothing to resume; --force without --resume replaces it")
        folder = _next_free(run)
        os.rename(run, folder)
        return folder
    with_state = [folder for folder in partial_folders(run) if any(folder.glob(STATES))]
    if not with_state:
        note(f"{run}: nothing to resume is here: the run begins anew")
        return None
    return max(with_state, key=lambda folder: max(path.stat().st_mtime_ns for path in folder.glob(STATES)))


def partial_folders(run: Path) -> list[Path]:
    """What runs that are going on, or were killed, have left beside ``run``."""
    return sorted(run.parent.glob(f"{glob.escape(run.name)}.partial-*"))


@contextmanager
def held(folder: Path) -> Iterator[int]:
    """Inside, no other process may go on with ``folder``: OutputError there. Nothing is held on Windows.

    Gives the folder's handle (claims.NONE on Windows).
    """
    try:
        import fcntl
    except ImportError:
        yield NONE
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield handle
    except BlockingIOError as error:
        raise OutputError(f"{folder}: this run is still going on") from error
    finally:
        os.close(handle)


def check_free(run: Path, force: bool = False) -> None:
    """Raise OutputError unless a run can be put at ``run``."""
    refuse_folder(run, force, KIND)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write ``content`` whole or not at all; a name that is no UTF-8 reads back as it was."""
    write_whole(path, json_text(content, 1) + "\n")


def tensors_of(head: nn.Module) -> dict[str, torch.Tensor]:
    """The tensors that a checkpoint of it holds; they are its own, and change with it."""
    return head.kept() if isinstance(head, Keeps) else dict(head.state_dict())


def save_head(folder: Path, head: nn.Module, metrics: Mapping[str, float], best: bool) -> None:
    """Keep the head as the last checkpoint of ``folder``, and as the best one too if it is."""
    tensors = {name: tensor.detach().contiguous() for name, tensor in tensors_of(head).items()}
    save_tensors(folder, tensors, metrics, best)


def save_tensors(folder: Path, tensors: Mapping[str, torch.Tensor], metrics: Mapping[str, float], best: bool) -> None:
    """As save_head, of a head's tensors."""
    beside = folder / f"{LAST}.safetensors.tmp"
    beside.unlink(missing_ok=True)  # left by a kill, perhaps as another name of bytes that are in use
    write_tensors(tensors, beside)
    beside.chmod(0o666 & ~umask())  # safetensors keeps its files from others
    os.replace(beside, folder / f"{LAST}.safetensors")
    write_json(folder / f"{LAST}.json", metrics)
    if best:
        for name in (".safetensors", ".json"):
            second_name(folder / f"{LAST}{name}", folder / f"{BEST}{name}")


def write_tensors(tensors: Mapping[str, torch.Tensor], path: Path, metadata: dict[str, str] | None = None) -> None:
    """Write tensors, each contiguous, as safetensors. Raises OutputError where the disk is full."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    try:
        save_file(dict(tensors), path, metadata)
    except SafetensorError as error:
        reason = str(error).rpartition("I/O error: ")[2]
        raise OutputError(f"{path}: cannot be written: {reason}") from error


def read_tensors(path: Path, needed: int) -> dict[str, torch.Tensor]:
    """The tensors of a checkpoint, of some ``needed`` bytes (safetensors_file.read). Raises FileError."""
    import torch

    return {name: torch.from_numpy(array) for name, array in safetensors_file.read(path, needed).items()}


def load_head(run: Path, head: nn.Module, checkpoint: str = BEST) -> dict[str, Any]:
    """Fill ``head`` from a checkpoint of a run; gives the checkpoint's epoch and metrics. Raises ModelError."""
    path = run / f"{checkpoint}.safetensors"
    try:
        wanted = head.kept() if isinstance(head, Keeps) else head.state_dict()
        tensors = read_tensors(path, sum(tensor.nbytes for tensor in wanted.values()))
        (head.load_kept if isinstance(head, Keeps) else head.load_state_dict)(tensors)
        metrics: dict[str, Any] = json_file.read(run / f"{checkpoint}.json")
        return metrics
    except (FileError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).removeprefix(f"{path}: ").split())
        raise ModelError(f"{path}: damaged, or not of this run: {reason}") from error


def read_config(run: Path) -> dict[str, Any]:
    """config.json of a training run. Raises ModelError if ``run`` is none."""
    path = run / "config.json"
    try:
        config: dict[str, Any] = json_file.read(path)
    except FileError as error:
        raise ModelError(f"{run}: not a training run: {error}") from error
    if not isinstance(config, dict) or config.get("format") != FORMAT:
        raise ModelError(f"{run}: not a training run: {path.name} does not say format {FORMAT!r}")
    if not isinstance(config.get("recipe", ""), str):
        raise ModelError(f"{path}: damaged: recipe is no text")
    return config


def _is_run(run: Path) -> bool:
    try:
        return bool(read_config(run))
    except ModelError:
        return False


_WRITTEN = (
    r"(config|split|test|validation|calibration|cuts|cross-validation|best|last|state)\.json"
    r"|(best|last|optimizer)\.safetensors|(metrics|predictions-validation|predictions-test)\.csv"
    r"|(loss|accuracy|samples)\.png|report\.html|model\.onnx"
)
KIND = Kind(
    "a training run",
    _is_run,
    re.compile(
        rf"(fold-[^/]+/)?(\.?resume-\d+(\.tmp)?/)?\.?({_WRITTEN})(\.tmp|\.\d+\.part)?"
        r"|tensorboard/([^/]+/)?events\.out\.tfevents\.[^/]+"
        rf"|(trunk|\.trunk\.\d+\.part|\.trunk\.old)/({TRUNK_FILES.pattern})"
        r"|(.*/)?\.DS_Store"  # of who looked into the folder on a Mac
    ),
)


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
    for path in folder.iterdir():
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
    put_folder(folder, run, KIND, force)


def second_name(source: Path, target: Path) -> None:
    """``target`` as a second name of ``source``'s bytes, or a copy where the disk has no links.

    Checkpoints are only ever replaced by renaming, so the two names part at the next epoch.
    """
    if target.exists() and target.samefile(source):
        return  # renaming one name of a file to another of its names does nothing, and would leave both
    beside = target.with_name(target.name + ".tmp")
    beside.unlink(missing_ok=True)
    try:
        os.link(source, beside)
    except OSError:
        shutil.copyfile(source, beside)
    os.replace(beside, target)
