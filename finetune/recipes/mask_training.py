"""Training the facemask network on pictures with boxes, by the loop of `finetune train`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from caffe2torch.errors import DataError
from caffe2torch.preprocess import Preprocessing
from caffe2torch.terminal import note
from finetune.checkpoint import BEST, check_free, load_head, write_json
from finetune.data.batches import Reader, default_workers, plan_batches
from finetune.data.boxes import BoxedPicture, read_boxes
from finetune.data.folders import LabelledPictures
from finetune.data.masks import ConvertGroundTruth, Masks, Rescale, ToTensor, streamed
from finetune.data.sets import Sets
from finetune.data.split import split
from finetune.devices import describe, open_device
from finetune.evaluate import Scores, score
from finetune.loop import Parts
from finetune.models.head import parameters
from finetune.models.networks import Whole, build, open_network
from finetune.options import Options
from finetune.overlays import overlaid
from finetune.plots import plot_curves
from finetune.recipes import Finished
from finetune.recipes.scratch import config_of, sgd
from finetune.table import Epoch, progress
from finetune.train import run_folder, run_to_end

if TYPE_CHECKING:
    from lightning.fabric import Fabric

CLASSES = ("other", "face")  # of pixels
NAME = {"name": "facemask", "classes": 2}
SHOWN = 8  # pictures in samples.png


@dataclass(frozen=True)
class Found:
    """Pictures that can be read, by path, which of them have a face, and the mean R, G, B over all."""

    boxed: dict[Path, BoxedPicture]
    faces: list[int]
    unreadable: tuple[Path, ...]
    mean: tuple[float, float, float]


def train_mask(
    data: Path,
    run: Path,
    options: Options,
    test: Path | None,
    force: bool = False,
    resume: bool = False,
) -> Finished:
    """Train on the boxes of ``data`` with ``options``, whose ``size`` is set; all goes to ``run``.

    Raises DataError, OutputError, DeviceError, ModelError.
    """
    if not resume:
        check_free(run, force)
    assert options.size is not None
    size = options.size
    fabric = open_device(options.device, options.precision, options.devices, options.nodes)
    note(f"device: {describe(fabric)}; precision {options.precision}")
    workers = default_workers(size, options.batch_size) if options.workers is None else options.workers
    options = replace(options, workers=workers)
    sets, found = _sets(data, test, options, workers)
    torch.manual_seed(options.seed)
    whole = Whole(build(NAME), Preprocessing("RGB", sets.mean))
    note(f"network: facemask, {parameters(whole):,} parameters")
    classifier, optimizer = fabric.setup(whole, sgd(whole, options))
    masks = Masks(found, size, workers, options.mirror)
    parts = Parts(fabric, classifier, whole, optimizer, Reader(size, 0), sets, options, masks)
    config = config_of(NAME, Preprocessing("RGB", sets.mean), parts)
    with run_folder(fabric, run, force, resume) as folder:
        _, best, scores, interrupted = run_to_end(folder, parts, config, sets, end=_end)
    said = []
    if best.validation_accuracy is not None:
        said.append(f"best: epoch {best.epoch}, validation accuracy {best.validation_accuracy:.4f} of the pixels")
    if scores is not None:
        said.append(f"test: accuracy {scores.accuracy:.4f} of the pixels, overlap of the faces {overlap(scores):.4f}")
    return Finished(tuple(said), interrupted)


def evaluate_mask(
    fabric: Fabric, run: Path, data: Path, checkpoint: str, batch_size: int, workers: int | None
) -> dict[str, Any]:
    """As finetune.evaluate.evaluate_run, its counts those of pixels, and the overlap of faces beside."""
    whole, config, metrics = open_network(run, checkpoint)
    size = (config["size"][0], config["size"][1])
    workers = default_workers(size, batch_size) if workers is None else workers
    found = _look(data, Options(size=size), workers)
    pictures = _labelled(data, found)
    source = Masks(found.boxed, size, workers, mirror=False).batches(pictures, plan_batches(len(pictures), batch_size))
    with progress("evaluating", len(pictures)) as advance:
        scores = score(fabric, fabric.setup_module(whole), source, len(CLASSES), advance)
    about = {"run": str(run), "data": str(data), "checkpoint": checkpoint, "epoch": metrics["epoch"]}
    told = {**scores.to_json(CLASSES), "face_overlap": overlap(scores)}
    return {**about, **told, "unreadable": [str(path) for path in found.unreadable]}


def overlap(scores: Scores) -> float:
    """Intersection over union of the pixels that are faces and those that are taken for faces."""
    other, face = scores.pictures
    right_other, right_face = scores.right
    return right_face / max(face + other - right_other, 1)


def _sets(data: Path, test: Path | None, options: Options, workers: int) -> tuple[Sets, dict[Path, BoxedPicture]]:
    """Pictures to train, validate and test on; and every picture's boxes."""
    learnt = _look(data, options, workers)
    chosen, held = split(learnt.faces, options.validation, options.seed)
    pictures = _labelled(data, learnt)
    tested = None if test is None else _look(test, options, workers)
    sets = Sets(
        pictures.subset(chosen),
        pictures.subset(held),
        None if test is None or tested is None else _labelled(test, tested),
        learnt.mean,
        learnt.unreadable,
    )
    boxes = sum(len(boxed.boxes) for boxed in learnt.boxed.values())
    more = f", {len(sets.test)} to test" if sets.test else ""
    note(f"data: {boxes} boxes; {len(sets.train)} pictures to train, {len(sets.validation)} to validate{more}")
    if not boxes:
        raise DataError(f"{data}: there is no box in its {len(learnt.boxed)} pictures")
    return sets, {**learnt.boxed, **(tested.boxed if tested else {})}


def _look(data: Path, options: Options, workers: int) -> Found:
    """Read every picture once. Raises DataError where none can be read."""
    assert options.size is not None
    pictures = read_boxes(data)
    kept, faces, unreadable = {}, [], []
    sums = np.zeros(3)
    steps = (Rescale(options.size), ConvertGroundTruth(), ToTensor())
    with progress(f"looking at {data}", len(pictures)) as advance:
        for boxed, sample in zip(pictures, streamed(pictures, steps, workers), strict=True):
            advance(1)
            if isinstance(sample, str):
                note(f"left out: {sample}")
                unreadable.append(boxed.path)
                continue
            kept[boxed.path] = boxed
            faces.append(int(len(boxed.boxes) > 0))
            sums += sample[0].float().mean((0, 1)).double().numpy()
    if not kept:
        raise DataError(f"{data}: none of its {len(pictures)} pictures can be read")
    red, green, blue = (sums / len(kept)).tolist()
    return Found(kept, faces, tuple(unreadable), (red, green, blue))


def _labelled(data: Path, found: Found) -> LabelledPictures:
    """The pictures, as the loop takes them; its labels are whether there is a face, the masks say where."""
    root = data if data.is_dir() else data.parent
    return LabelledPictures(root, CLASSES, tuple(found.boxed), tuple(found.faces))


def _end(folder: Path, parts: Parts, lines: list[Epoch], best: Epoch) -> Scores | None:
    """Curves, samples.png and validation.json of the best checkpoint; test.json too, where there is a test."""
    from PIL import Image

    plot_curves(folder, lines, best)
    load_head(folder, parts.head, BEST)
    sets = parts.sets
    if len(sets.validation):
        write_json(folder / "validation.json", _measured(parts, sets.validation)[1])
    shown = sets.validation if len(sets.validation) else sets.train
    Image.fromarray(_samples(parts, shown.subset(range(min(SHOWN, len(shown)))))).save(folder / "samples.png")
    if sets.test is None:
        return None
    scores, told = _measured(parts, sets.test)
    write_json(folder / "test.json", {"data": str(sets.test.root), "checkpoint": BEST, "epoch": best.epoch, **told})
    return scores


def _measured(parts: Parts, pictures: LabelledPictures) -> tuple[Scores, dict[str, Any]]:
    scores = score(parts.fabric, parts.classifier, parts.in_order(pictures), len(CLASSES))
    told = {"pictures": len(pictures), "loss": scores.loss, "pixel_accuracy": scores.accuracy}
    return scores, {**told, "face_overlap": overlap(scores)}


@torch.no_grad()
def _samples(parts: Parts, pictures: LabelledPictures) -> np.ndarray:
    """The pictures above, what the network sees in them below, uint8 (2 H, n W, 3)."""
    parts.classifier.eval()
    rows: Sequence[list[np.ndarray]] = ([], [])
    for batch, _ in parts.in_order(pictures):
        probable = parts.classifier(parts.fabric.to_device(batch)).softmax(1)[:, 1].float().cpu().numpy()
        rows[0].extend(batch.numpy())
        rows[1].extend(overlaid(picture, mask) for picture, mask in zip(batch.numpy(), probable, strict=True))
    return np.concatenate([np.concatenate(row, axis=1) for row in rows])
