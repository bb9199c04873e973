"""Classify pictures: decoding in threads while the model runs, in batches, in the order of the input."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from caffe2torch.errors import DataError, ModelError
from caffe2torch.pictures import find_pictures
from finetune.calibration import tempered
from finetune.data.views import CentreCrop, read_view
from finetune.runtime import ModelInfo, Session

UNKNOWN = "unknown"  # the label of a picture that is none of the classes


@dataclass(frozen=True)
class Prediction:
    """The most probable classes of one picture, best first, with their probabilities; or why there are none.

    Where it was asked for, ``unknown`` says whether the picture is taken for none of the classes; then ("unknown",
    the probability that the best class is wrong) stands before them.
    """

    path: Path
    classes: tuple[tuple[str, float], ...] = ()
    error: str | None = None
    unknown: bool | None = None


@dataclass(frozen=True)
class Unknown:
    """When a picture is taken for none of the classes: its best probability, at ``temperature``, is below."""

    threshold: float
    temperature: float = 1.0


def unknown_by(session: Session, threshold: float | None = None) -> Unknown:
    """By the model's calibration; ``threshold`` takes the place of the calibrated one.

    Raises ModelError if a model without calibration is to find the threshold itself, or if one of the classes has the
    very name of the answer.
    """
    if UNKNOWN in session.info.classes:
        raise ModelError(
            f"{session.path}: one of its classes is called {UNKNOWN!r}, and a picture of it could not be told from one "
            "that is none of the classes; leave --unknown out, or train with another name"
        )
    calibration = session.info.calibration
    if calibration is None:
        if threshold is None:
            raise ModelError(
                f"{session.path}: was exported without calibration, so no threshold is known: train with validation "
                "pictures and export anew, or give one, such as --unknown 0.7"
            )
        return Unknown(threshold)
    return Unknown(calibration.unknown_threshold if threshold is None else threshold, calibration.temperature)


def list_pictures(paths: Sequence[Path]) -> list[Path | Prediction]:
    """All files to classify: a path that is no folder as it is, a folder's pictures in its place.

    A folder without pictures, or that cannot be read, is a Prediction with that ``error``. Raises DataError if there
    is nothing but empty folders. Whether the files can be read is seen later.
    """
    pictures: list[Path | Prediction] = []
    for path in paths:
        try:
            found = find_pictures(path) if path.is_dir() else [path]
            pictures += found or [Prediction(path, error="no pictures in this folder")]
        except DataError as error:
            pictures.append(Prediction(path, error=_reason(path, error)))
    empty = [picture for picture in pictures if isinstance(picture, Prediction)]
    if len(empty) == len(pictures):
        raise DataError("; ".join(f"{folder.path}: {folder.error}" for folder in empty))
    return pictures


def predict(
    session: Session,
    pictures: Iterable[Path | Prediction],
    top_k: int = 5,
    batch_size: int = 32,
    workers: int | None = None,
    unknown: Unknown | None = None,
) -> Iterator[Prediction]:
    """Classify pictures; one Prediction each, in the order given, as soon as its batch is done.

    A picture that cannot be read gives a Prediction with ``error`` in its place, and a Prediction among ``pictures``
    (of list_pictures) comes out where it stands. ``top_k`` larger than the number of classes gives all of them. With
    ``unknown`` (unknown_by) the probabilities are calibrated. ``workers``: threads that decode, None: one for each
    core. At most three batches of decoded pictures are in memory. Raises ModelError if the model fails.
    """
    batch: list[tuple[Path, np.ndarray] | Prediction] = []
    for read in _read_ahead(pictures, session.info, workers or cores(), 2 * batch_size):
        batch.append(read)
        if len(batch) == batch_size:
            yield from _classify(session, batch, top_k, unknown)
            batch = []
    yield from _classify(session, batch, top_k, unknown)


def cores() -> int:
    """The processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _read_ahead(
    pictures: Iterable[Path | Prediction], info: ModelInfo, workers: int, ahead: int
) -> Iterator[tuple[Path, np.ndarray] | Prediction]:
    """Every path with its picture (uint8, height, width, 3), or what says why it cannot be read, in order."""
    pool = ThreadPoolExecutor(workers, "decode")
    waiting: deque[Future[tuple[Path, np.ndarray] | Prediction]] = deque()
    try:
        for picture in pictures:
            waiting.append(pool.submit(_read, picture, info))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _read(picture: Path | Prediction, info: ModelInfo) -> tuple[Path, np.ndarray] | Prediction:
    if isinstance(picture, Prediction):
        return picture
    try:
        return picture, read_view(CentreCrop(picture, info.crop) if info.crop else picture, info.size)
    except DataError as error:
        return Prediction(picture, error=_reason(picture, error))


def _reason(path: Path, error: DataError) -> str:
    return str(error).removeprefix(f"{path}: ")


def _classify(
    session: Session, batch: list[tuple[Path, np.ndarray] | Prediction], top_k: int, unknown: Unknown | None
) -> Iterator[Prediction]:
    pictures = [read[1] for read in batch if not isinstance(read, Prediction)]
    probabilities = session.probabilities(np.stack(pictures)) if pictures else np.empty((0, 1))
    if unknown is not None:
        probabilities = tempered(probabilities, unknown.temperature)
    rows = iter(probabilities)
    for read in batch:
        if isinstance(read, Prediction):
            yield read
            continue
        classes = _best(session.info.classes, next(rows), top_k)
        none = None if unknown is None else classes[0][1] < unknown.threshold
        yield Prediction(read[0], (((UNKNOWN, 1 - classes[0][1]),) if none else ()) + classes, unknown=none)


def _best(classes: Sequence[str], probabilities: np.ndarray, top_k: int) -> tuple[tuple[str, float], ...]:
    """The ``top_k`` most probable (class, probability), best first; of equals the first class first."""
    scores = probabilities.astype(np.float64)
    total = scores.sum()
    if total > 1:  # by the rounding of float32; nobody should meet a sum above 1
        if total > 1.001:
            raise ModelError(f"the model's probabilities sum to {total:.4f}, not to 1")
        scores *= (1 - 1e-12) / total
    best = np.argsort(-scores, kind="stable")[:top_k]
    return tuple((classes[index], float(scores[index])) for index in best)
