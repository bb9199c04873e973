"""What an interrupted run needs to go on: a folder ``resume-EPOCH`` in the run's, whole or not at all.

It holds the weights, the optimizer's tensors (safetensors), the lines so far (JSON) and the best checkpoint so far.
Chances need no state: every epoch seeds its own (epoch_seed). So a run that goes on after kill -9 ends, on a CPU, with
the same bits as one that was never interrupted.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from caffe2torch import json_file
from caffe2torch.errors import FileError, ModelError
from finetune.checkpoint import BEST, LAST, read_tensors, second_name, write_json, write_tensors
from finetune.table import Epoch

PREFIX = "resume-"
OPTIMIZER = "optimizer.safetensors"
OF_A_PARAMETER = 2  # tensors of its size, at most: Adam's two moments, SGD's one
CHECKPOINTS = (f"{LAST}.safetensors", f"{LAST}.json", f"{BEST}.safetensors", f"{BEST}.json")
# Options that do not change what is computed; everything else must be as it was.
FREE = ("workers", "device", "cache", "cache_folder", "checkpoint_every", "tensorboard")


def save_state(folder: Path, optimizer: Any, lines: Sequence[Epoch], best: Epoch, scaler: Any = None) -> None:
    """Keep what the epochs in ``lines`` led to; the last and the best checkpoint are in ``folder`` already."""
    name = f"{PREFIX}{lines[-1].epoch:06d}"
    beside = folder / f".{name}.tmp"
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir()
    for kept in CHECKPOINTS:
        second_name(folder / kept, beside / kept)
    tensors = {
        f"{number}.{key}": value.detach().cpu().contiguous()
        for number, state in optimizer.state_dict()["state"].items()
        for key, value in state.items()
        if isinstance(value, torch.Tensor)
    }
    write_tensors(tensors, beside / OPTIMIZER)
    said = {"lines": [asdict(line) for line in lines], "best": best.epoch}
    write_json(beside / "state.json", said if scaler is None else {**said, "scaler": scaler.state_dict()})
    os.rename(beside, folder / name)
    for older in states(folder)[:-1]:
        shutil.rmtree(older, ignore_errors=True)


def forget(folder: Path) -> None:
    """Delete the states of a run that is finished."""
    for state in (*folder.glob(f"{PREFIX}*"), *folder.glob(f".{PREFIX}*.tmp")):
        shutil.rmtree(state, ignore_errors=True)


def states(folder: Path) -> list[Path]:
    """The states in a run's folder, the latest last."""
    return sorted(path for path in folder.glob(f"{PREFIX}*") if (path / "state.json").is_file())


def load_state(folder: Path, optimizer: Any, scaler: Any = None, put_back: bool = True) -> tuple[list[Epoch], Epoch]:
    """Put the optimizer back to the latest state: its lines and the best of them.

    With ``put_back`` the run's checkpoints are too. Raises ModelError for a damaged state.
    """
    state = states(folder)[-1]
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    try:
        said = json_file.read(state / "state.json")
        lines = [Epoch(**line) for line in said["lines"]]
        best = next(line for line in lines if line.epoch == said["best"])
        kept: dict[int, dict[str, torch.Tensor]] = {}
        needed = OF_A_PARAMETER * sum(parameter.nbytes for parameter in parameters)
        for name, tensor in read_tensors(state / OPTIMIZER, needed).items():
            number, key = name.split(".", 1)
            if tensor.numel() > 1 and tensor.shape != parameters[int(number)].shape:
                raise ValueError(f"{name} is of shape {tuple(tensor.shape)}")
            kept.setdefault(int(number), {})[key] = tensor
        optimizer.load_state_dict({**optimizer.state_dict(), "state": kept})
        if scaler is not None and "scaler" in said:
            scaler.load_state_dict(said["scaler"])
        for name in CHECKPOINTS if put_back else ():
            second_name(state / name, folder / name)
    except (FileError, OSError, ValueError, LookupError, TypeError, StopIteration) as error:
        reason = str(error).removeprefix(f"{state}/") if isinstance(error, FileError) else repr(error)
        raise ModelError(f"{state}: damaged: {reason}; without --resume the run begins anew") from error
    return lines, best


def check_same(folder: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raise ModelError unless two config.json mean the same run, where it matters."""
    keys = ("recipe", "classes", "size", "preprocessing", "head", "network")
    changed = [key for key in keys if _plain(before.get(key)) != _plain(now.get(key))]
    changed += [key for key in ("trunk", "data") if _hash(before.get(key)) != _hash(now.get(key))]
    old, new = _plain(before.get("options", {})), _plain(now["options"])
    differing = [key for key in new if key in old and key not in FREE and old[key] != new[key]]
    changed += [f"--{key.replace('_', '-')} (was {old.get(key)}, is {new[key]})" for key in differing]
    if changed:
        raise ModelError(
            f"{folder}: cannot be resumed, something else than then: {', '.join(changed)}; "
            "give the same, or begin anew without --resume"
        )


def _hash(said: Any) -> Any:
    return said.get("sha256") if isinstance(said, dict) else None


def _plain(value: Any) -> Any:
    """As JSON gives it back."""
    return json.loads(json.dumps(value, default=str))
