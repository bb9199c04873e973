"""One training run from a converted net and a folder of classes to the run's folder."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from caffe2torch import folder as converted_folder
from caffe2torch.errors import CaffeError, DataError, DeviceError
from caffe2torch.folder import Converted
from caffe2torch.preprocess import Preprocessing
from caffe2torch.terminal import note
from finetune.checkpoint import check_free, read_config, unfinished, write_json
from finetune.cross_validation import KEPT, cross_validate
from finetune.cuts import find_cut
from finetune.data.batches import Reader, default_workers
from finetune.data.sets import Sets, read_sets
from finetune.data.source import Source
from finetune.devices import describe, open_device
from finetune.evaluate import Scores
from finetune.feeding import feed
from finetune.loop import Parts, chosen_by, run_epochs
from finetune.models.head import Head, make_head, parameters
from finetune.models.pieces import parted
from finetune.models.top import Top
from finetune.models.trunk import cut_trunk, map_size
from finetune.optimization import sgd
from finetune.options import AUTO, Options
from finetune.predictions import finish
from finetune.protocols import preprocessing_of
from finetune.resume import check_same, forget, states
from finetune.run_config import VERSIONS, config_of, digests_of, hash_of_data, hash_of_trunk
from finetune.table import Epoch
from finetune.tensorboard import watching

if TYPE_CHECKING:
    from lightning.fabric import Fabric

__all__ = ["VERSIONS", "Trained", "train"]


@dataclass(frozen=True)
class Trained:
    """What came of a run: its epochs, the best of them, scores on the test folder, whether Ctrl-C ended it."""

    run: Path
    epochs: list[Epoch]
    best: Epoch
    test: Scores | None
    interrupted: bool
    passes: int  # pictures and mirror images that went through the trunk


@dataclass(frozen=True)
class Data:
    """The pictures of a run, hashes of their bytes, and how they are prepared for the trunk."""

    sets: Sets
    digests: dict[Source, bytes]
    preprocessing: Preprocessing


def train(
    converted: Converted,
    data: Path,
    run: Path,
    options: Options,
    test: Path | None = None,
    force: bool = False,
    resume: bool = False,
) -> Trained:
    """Train a head on a converted net's map for the folders of classes under ``data``; everything goes to ``run``.

    The same options and seed on the same CPU give the same run. Ctrl-C after an epoch or more ends the run there and
    keeps it (``Trained.interrupted``); earlier it leaves nothing. ``resume`` goes on with such a run, or with one that
    was killed. With ``test`` the best checkpoint is scored on that folder at the end (test.json).
    Raises OutputError where ``run`` exists (``force`` replaces a run), DeviceError, NetError, DataError, and
    ModelError when the loss is no longer finite, or when another run is to be resumed.
    """
    if not resume:
        check_free(run, force)
    _check(options)
    fabric = open_device(options.device, options.precision, options.devices, options.nodes)
    note(f"device: {describe(fabric)}; precision {options.precision}")
    auto = options.at == AUTO
    trunk, at = cut_trunk(converted, None if auto else options.at, options.size)
    height, width = trunk.graph.inputs[0].shape[2:]
    size = (height, width)
    workers = default_workers(size, options.batch_size) if options.workers is None else options.workers
    options = replace(options, size=size, workers=workers)
    with Reader(size, workers, pin_memory=fabric.device.type == "cuda") as reader:
        careful = options.protocol == "careful"
        sets = read_sets(data, test, options.validation, options.seed, reader, careful)
        preprocessing, about = preprocessing_of(options.protocol, trunk.preprocessing, sets)
        known = Data(sets, digests_of(sets), preprocessing)
        with run_folder(fabric, run, force, resume) as folder:
            _tell_mean(preprocessing, about)
            if auto:
                at = find_cut(converted, sets.train, known.digests, preprocessing, reader, fabric, options, folder)
                trunk, _ = cut_trunk(converted, at, size)
            note(f"trunk: {converted.path}, cut at {at}: {height}x{width} pictures, map {_times(_map(trunk, at))}")
            return _train(fabric, trunk, replace(options, at=at), known, reader, run, folder)


def _train(
    fabric: Fabric, trunk: Converted, options: Options, data: Data, reader: Reader, run: Path, folder: Path
) -> Trained:
    """The run itself, once it is known what is trained on what; ``folder`` becomes ``run``."""
    sets = data.sets
    if options.folds and not (folder / KEPT).exists():  # there in a run that goes on
        others = replace(data, sets=replace(sets, test=None))

        def make(of: Sets) -> Parts:
            return _parts(fabric, trunk, options, replace(others, sets=of), reader)

        cross_validate(others.sets, options.folds, options.seed, make, folder)
    parts = _parts(fabric, trunk, options, data, reader)
    head = parts.head.head
    assert isinstance(head, Head)
    config = config_of(trunk, hash_of_trunk(trunk), hash_of_data(sets, data.digests), data.preprocessing, head, parts)

    def begin() -> None:
        shutil.rmtree(folder / "trunk", ignore_errors=True)
        converted_folder.save(trunk, folder / "trunk")

    lines, best, scores, interrupted = run_to_end(folder, parts, config, sets, begin)
    return Trained(run, lines, best, scores, interrupted, parts.source.passes)


def _parts(fabric: Fabric, trunk: Converted, options: Options, data: Data, reader: Reader) -> Parts:
    """A new head on the trunk, by the seed, and all that trains it."""
    torch.manual_seed(options.seed)
    classes = len(data.sets.train.classes)
    # The features of a trunk that is trained too change with it: they are left as they are.
    normalised = options.unfreeze is None
    head = make_head(options.head, _map(trunk, str(options.at)), classes, options.hidden, options.dropout, normalised)
    frozen, live, trained = parted(trunk, options.unfreeze)
    top = Top(None if live is None else live.module(), head, trained, options.batch_norm)
    _tell_head(top, options)
    on_device, optimizer = fabric.setup(top, sgd(top, options))
    inputs = feed(frozen, data.preprocessing, data.sets, data.digests, reader, fabric, options)
    return Parts(fabric, on_device, top, optimizer, reader, data.sets, options, inputs)


def run_to_end(
    folder: Path,
    parts: Parts,
    config: Mapping[str, Any],
    sets: Sets,
    begin: Callable[[], None] = lambda: None,
    end: Callable[[Path, Parts, list[Epoch], Epoch], Scores | None] = finish,
) -> tuple[list[Epoch], Epoch, Scores | None, bool]:
    """All epochs of a run in ``folder``, and what is made of the best: lines, best, test scores, if Ctrl-C came.

    ``sets`` are the pictures as they are kept in split.json and tested; ``parts.sets`` may show them in other ways.
    ``begin`` puts more into the folder of a new run; ``end`` makes what is made of the best.
    """
    first = parts.fabric.is_global_zero
    if states(folder):
        check_same(folder, read_config(folder), config)
    elif first:
        write_json(folder / "config.json", config)
        write_json(folder / "split.json", {"seed": parts.options.seed, **sets.to_json()})
        begin()
    with watching(folder, parts.options.tensorboard and first) as watch:
        lines, best, interrupted = run_epochs(folder, parts, watch)
    scores = None
    if first:
        parts.sets = sets
        scores = end(folder, parts, lines, best)
        kept = {"epoch": best.epoch, "chosen_by": chosen_by(parts)}
        passes = getattr(parts.source, "passes", 0)
        write_json(folder / "config.json", {**config, "trunk_passes": passes, "best": kept})
        _report(folder)
        if not interrupted:
            forget(folder)
    return lines, best, scores, interrupted


def _check(options: Options) -> None:
    """Raise CaffeError for options that do not go together, before anything is read."""
    if options.early_stop and not options.validation:
        raise DataError("--early-stop needs pictures to validate on: --validation above 0")
    if options.head == "nearest-mean" and (options.unfreeze or options.devices * options.nodes > 1):
        raise DataError("--head nearest-mean learns nothing: neither --unfreeze nor several devices go with it")
    if options.tensorboard and importlib.util.find_spec("tensorboard") is None:
        raise DeviceError("--tensorboard: the package tensorboard is not installed; `pip install tensorboard` adds it")


@contextmanager
def run_folder(fabric: Fabric, run: Path, force: bool, resume: bool) -> Iterator[Path]:
    """The folder to train into (``unfinished``), the same in all processes; the first one makes it."""
    if not fabric.is_global_zero:
        yield Path(fabric.broadcast(""))
        return
    with unfinished(run, force, resume) as folder:
        fabric.broadcast(str(folder))
        yield folder


def _report(folder: Path) -> None:
    """Write report.html, if that can be done."""
    from finetune.report import write_report

    try:
        write_report(folder)
    except CaffeError as error:
        note(f"no report.html: {error}")


def _map(trunk: Converted, at: str) -> tuple[int, int, int]:
    return map_size(trunk.graph.shape_of(at))


def _tell_mean(preprocessing: Preprocessing, source: str) -> None:
    assert preprocessing.mean is not None
    values = ", ".join(f"{value:.2f}" for value in preprocessing.mean)
    note(f"mean pixel: {values} {preprocessing.channel_order}, {source}; scale {preprocessing.scale:g}")


def _tell_head(top: Top, options: Options) -> None:
    head = top.head
    assert isinstance(head, Head)
    said = head.describe()
    pooled = f", pooled to {_times(said['pool'])}" if said.get("pool") else ""
    inner = f", fc7 {said['hidden']}, fc8 {head.classes}" if "hidden" in said else f", {head.name}"
    count = parameters(head)
    note(f"head: map {_times(head.features)}{pooled}{inner}: {count:,} parameters, {_size(4 * count)}")
    if options.unfreeze:
        statistics = "follows the batches" if options.batch_norm else "keeps its statistics"
        note(
            f"trunk: {len(top.trained)} layers behind {options.unfreeze} are trained too, {parameters(top) - count:,} "
            f"parameters; their batch normalisation {statistics}"
        )


def _size(count: int) -> str:
    return f"{count / 1e6:,.1f} MB" if count >= 1e6 else f"{count / 1e3:,.0f} kB" if count >= 1e3 else f"{count} bytes"


def _times(numbers: Sequence[int]) -> str:
    return "x".join(map(str, numbers))
