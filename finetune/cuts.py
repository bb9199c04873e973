"""Where to cut a trunk, found by measurement: every blob that all goes through, scored by cross-validation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np
import torch

from caffe2torch.errors import NetError
from caffe2torch.folder import Converted
from caffe2torch.preprocess import Preprocessing
from caffe2torch.terminal import note
from finetune.checkpoint import write_json
from finetune.data.batches import Reader, plan_batches
from finetune.data.folders import LabelledPictures
from finetune.data.source import Source
from finetune.data.split import folds
from finetune.features import Store, default_cache
from finetune.feeding import kept
from finetune.inputs import Features
from finetune.models.pieces import separators
from finetune.models.trunk import FrozenTrunk, map_size, misfitting
from finetune.options import Options
from finetune.run_config import hash_of_trunk
from finetune.trunk_pass import Pass, in_torch, pooled_model, session

if TYPE_CHECKING:
    from lightning.fabric import Fabric

    from caffe2torch.graph import Value

CUTS = "cuts.json"
MOST = 40  # candidates
PICTURES = 1500  # that the cuts are compared on, at most
POOL = 4  # a map is pooled to 4 x 4 for it
FOLDS = 5
RIDGES = (1e-3, 1e-2, 1e-1)  # of the kernel's mean diagonal


@dataclass(frozen=True)
class Cut:
    """A candidate: the blob, its map (C, h, w) and its accuracy in cross-validation."""

    blob: str
    map: tuple[int, int, int]
    accuracy: float


def find_cut(
    converted: Converted,
    pictures: LabelledPictures,
    digests: Mapping[Source, bytes],
    preprocessing: Preprocessing,
    reader: Reader,
    fabric: Fabric,
    options: Options,
    folder: Path,
) -> str:
    """The blob whose features classify the training ``pictures`` best; the table is printed and kept in cuts.json.

    All candidates are computed in one pass through the trunk, pooled to 4 × 4. Raises NetError, DataError.
    """
    trunk = _deepest(converted, reader.size)
    values = candidates(trunk)
    order = np.random.RandomState(options.seed).permutation(len(pictures))[:PICTURES]
    some = pictures.subset(sorted(order.tolist()))
    found = _features(trunk, values, preprocessing, reader, fabric, options)
    note(f"cuts: {len(values)} blobs are compared on {len(some)} training pictures, {FOLDS}-fold cross-validation")
    kept(found, {source: digests[source] for source in some.paths}, set(), fabric.barrier)
    plan = plan_batches(len(some), options.batch_size)
    found.part = (0, 1)
    rows = np.concatenate([batch.pictures.half().numpy() for batch in found.batches(some, plan)])
    parts = folds(some.labels, some.groups, FOLDS, options.seed)
    cuts, start = [], 0
    for value in values:
        length = _length(value)
        accuracy = ridge_accuracy(rows[:, start : start + length], np.array(some.labels), parts)
        cuts.append(Cut(value.blob, _map(value), accuracy))
        start += length
    best = max(cuts, key=lambda cut: cut.accuracy)
    _print(cuts, best)
    if fabric.is_global_zero:
        said = {"pictures": len(some), "folds": FOLDS, "chosen": best.blob, "cuts": [asdict(cut) for cut in cuts]}
        write_json(folder / CUTS, said)
    return best.blob


def candidates(trunk: Converted) -> list[Value]:
    """The last values of the blobs that everything goes through, from the first to the last; at most 40 of them."""
    graph = trunk.graph
    found = [value for value in separators(graph)[1:] if value.name == value.blob]
    step = max(1, -(-len(found) // MOST))
    return found[::-1][::step][::-1]


def ridge_accuracy(
    features: np.ndarray, labels: np.ndarray, parts: Sequence[tuple[Sequence[int], Sequence[int]]]
) -> float:
    """Share of held-out pictures that ridge regression on one-hot classes names rightly, by the best of RIDGES.

    ``features`` (N, any); ``parts`` are pairs of indices, to train on and held out. Solved in the pictures' kernel:
    the cost does not grow with the features' length, but for one product.
    """
    given = features.astype(np.float32)
    given -= given.mean(axis=0)
    kernel = (given @ given.T).astype(np.float64)
    kernel /= max(np.trace(kernel) / len(kernel), 1e-30)
    targets = np.eye(labels.max() + 1)[labels]
    right = np.zeros(len(RIDGES))
    total = 0
    for train, held in parts:
        inner = kernel[np.ix_(train, train)]
        mean = targets[train].mean(axis=0)
        total += len(held)
        for place, ridge in enumerate(RIDGES):
            weights = np.linalg.solve(inner + ridge * np.eye(len(train)), targets[train] - mean)
            answers = (kernel[np.ix_(held, train)] @ weights + mean).argmax(axis=1)
            right[place] += (answers == labels[held]).sum()
    return float(right.max() / total)


def _deepest(converted: Converted, size: tuple[int, int]) -> Converted:
    """The net up to the last blob that everything goes through and that can be computed at ``size``."""
    (value,) = converted.graph.inputs[:1]
    shape = (1, value.shape[1], *size)
    reason: NetError | None = None
    for node in reversed(converted.graph.nodes):
        try:
            cut = converted.cut(node.outputs[0].blob, shape)
        except NetError as error:  # such as an InnerProduct behind maps of another size
            reason = error
            continue
        fits = len(cut.graph.inputs) == 1 and cut.graph.batch and misfitting(cut, converted) is None
        if fits and candidates(cut):
            return cut
    raise NetError(f"{converted.path}: no blob to cut at, for pictures of {size[0]} x {size[1]}: {reason}")


def _features(
    trunk: Converted,
    values: Sequence[Value],
    preprocessing: Preprocessing,
    reader: Reader,
    fabric: Fabric,
    options: Options,
) -> Features:
    """The pooled values of each picture, one after another."""
    graph = replace(trunk.graph, outputs=tuple(values), output_names=tuple(value.blob for value in values))
    several = replace(trunk, graph=graph)
    length = sum(map(_length, values))

    def open_pass() -> Pass:
        if fabric.device.type == "cpu":
            model = pooled_model(several, preprocessing, values, [_pool(value) for value in values])
            return session(model, torch.get_num_threads(), (length,))
        return in_torch(_Pooled(FrozenTrunk(several.module(), preprocessing), values), fabric.device)

    blobs = [value.blob for value in values]
    about = {"trunk": hash_of_trunk(trunk), "preprocessing": preprocessing.to_json(), "size": list(reader.size)}
    store = Store(options.cache_folder or default_cache(), {**about, "cuts": blobs}, (length,), half=True)
    found = Features(store, False, open_pass, reader)
    found.part = (fabric.global_rank, fabric.world_size)
    return found


class _Pooled(torch.nn.Module):
    """As pooled_model, in torch."""

    def __init__(self, trunk: FrozenTrunk, values: Sequence[Value]) -> None:
        super().__init__()
        self.trunk, self.pools = trunk, [_pool(value) for value in values]

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        given: Any = self.trunk(pictures)
        found = zip((given,) if isinstance(given, torch.Tensor) else given, self.pools, strict=True)
        pooled = [torch.nn.functional.adaptive_avg_pool2d(each, pool) if pool else each for each, pool in found]
        return torch.cat([each.flatten(1) for each in pooled], 1)


def _map(value: Value) -> tuple[int, int, int]:
    return map_size(value.shape)


def _pool(value: Value) -> tuple[int, int] | None:
    _, height, width = _map(value)
    if len(value.shape) != 4 or (height <= POOL and width <= POOL):
        return None
    return min(height, POOL), min(width, POOL)


def _length(value: Value) -> int:
    channels, height, width = _map(value)
    return channels * int(np.prod(_pool(value) or (height, width)))


def _print(cuts: Sequence[Cut], best: Cut) -> None:
    width = max(len(cut.blob) for cut in cuts)
    click.secho(f"{'cut at':{width}}  {'map':>12}  accuracy", bold=True)
    for cut in cuts:
        size = "x".join(map(str, cut.map))
        chosen = "  chosen" if cut is best else ""
        click.secho(f"{cut.blob:{width}}  {size:>12}  {cut.accuracy:8.4f}{chosen}", fg="green" if chosen else None)
