"""Decides how a run gets its features, kept or through the trunk in every epoch, and says what that costs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import torch
from torch import nn

from caffe2torch.folder import Converted
from caffe2torch.preprocess import Preprocessing
from caffe2torch.terminal import note
from finetune.data.batches import Reader
from finetune.data.folders import LabelledPictures
from finetune.data.sets import Sets
from finetune.data.source import Source
from finetune.features import Store, default_cache
from finetune.inputs import Features, Pictures
from finetune.models.trunk import FrozenTrunk
from finetune.options import Options
from finetune.run_config import hash_of_trunk
from finetune.trunk_pass import Pass, in_onnxruntime, in_torch

if TYPE_CHECKING:
    from lightning.fabric import Fabric


def feed(
    frozen: Converted,
    preprocessing: Preprocessing,
    sets: Sets,
    digests: Mapping[Source, bytes],
    reader: Reader,
    fabric: Fabric,
    options: Options,
) -> Features | Pictures:
    """What a run with ``options`` trains on, ready: of ``frozen``, the piece of the trunk that stays as it is.

    Features are kept unless pictures are changed beyond mirroring, or --no-cache says so, or nothing is frozen.
    Raises DataError, OutputError.
    """
    part = (fabric.global_rank, fabric.world_size)
    if options.augment or not options.cache or not frozen.graph.nodes:
        _tell_passes(sets, options, bool(frozen.graph.nodes))
        through = open_pass(frozen, preprocessing, fabric.device)
        return Pictures(reader, options.mirror, options.augment, through, part)
    about = {"trunk": hash_of_trunk(frozen), "preprocessing": preprocessing.to_json(), "size": list(reader.size)}
    store = Store(options.cache_folder or default_cache(), about, frozen.graph.outputs[0].shape[1:], options.half)
    found = Features(store, options.mirror, lambda: open_pass(frozen, preprocessing, fabric.device), reader)
    found.part = part
    kept(found, digests, turned_of(sets, options), fabric.barrier)
    return found


def kept(found: Features, digests: Mapping[Source, bytes], turned: set[Source], wait: Callable[[], object]) -> None:
    """Compute what is missing and say what that took."""
    found.prepare(digests, turned, wait)
    store = found.store
    rows = len(digests) + len(turned)
    where = f"{rows * store.row_bytes / 1e6:,.1f} MB in {store.folder}"
    if not found.missing:
        note(f"features: all {rows:,} were kept from before: no picture went through the trunk; {where}")
        return
    seconds = max(found.seconds, 1e-9)
    speed = f"{found.seconds:,.1f} s ({found.passes / seconds:,.1f} a second)"
    mine = f", {found.passes:,} by this process," if found.part[1] > 1 else ""
    note(
        f"features: {found.missing:,} pictures and mirror images{mine} went through the trunk in {speed}, "
        f"{max(rows - found.missing, 0):,} were kept from before; {where}"
    )


def turned_of(sets: Sets, options: Options) -> set[Source]:
    """The pictures whose mirror images are used."""
    turned = set(sets.train.paths) if options.mirror else set()
    return turned | set(sets.validation.paths) if options.mirrors_validation else turned


def open_pass(frozen: Converted, preprocessing: Preprocessing, device: torch.device) -> Pass:
    """The frozen piece, ready to run: in onnxruntime on the CPU, in torch on a GPU, or where it has no layers."""
    if frozen.graph.nodes and device.type == "cpu":
        return in_onnxruntime(frozen, preprocessing, torch.get_num_threads())
    module = frozen.module() if frozen.graph.nodes else nn.Identity()
    return in_torch(FrozenTrunk(module, preprocessing), device)


def _tell_passes(sets: Sets, options: Options, frozen: bool) -> None:
    an_epoch = len(sets.train) + len(sets.validation)
    why = f"--augment {','.join(options.augment)}" if options.augment else "--no-cache"
    if not frozen:
        why = "nothing of it is frozen"
    once = sum(map(_length, (sets.train, sets.validation, sets.test))) + len(turned_of(sets, options))
    note(
        f"{why}: the trunk runs in every epoch, {an_epoch * options.epochs:,} pictures in all "
        f"(features that are kept would take {once:,})"
    )


def _length(pictures: LabelledPictures | None) -> int:
    return len(pictures or ())
