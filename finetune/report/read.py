"""What a run's folder says of its results: read and checked; no picture is opened."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from caffe2torch import json_file
from caffe2torch.errors import FileError, ModelError
from caffe2torch.tensors import open_file
from finetune.calibration import Calibration, calibration_of
from finetune.checkpoint import read_config
from finetune.data.source import Source, source_named

MOST = 1 << 30  # bytes of a JSON file: it may name every picture
LONGEST = 1 << 24  # characters of a line of predictions
FOLDS = "cross-validation.json"
PARTS = (("test", "predictions-test.csv"), ("validation", "predictions-validation.csv"))


@dataclass(frozen=True)
class Part:
    """The pictures that were held out, and what the best checkpoint says of them."""

    name: str  # "test", "validation"
    sources: tuple[Source, ...]
    names: tuple[str, ...]
    labels: np.ndarray  # int (N,)
    probabilities: np.ndarray  # float32 (N, classes)

    @property
    def predicted(self) -> np.ndarray:
        return np.asarray(self.probabilities.argmax(axis=1))

    @property
    def right(self) -> np.ndarray:
        return np.asarray(self.predicted == self.labels)


@dataclass(frozen=True)
class Results:
    """A run's folder. ``samples`` are sources and labels of pictures that were trained on."""

    run: Path
    config: Mapping[str, Any]
    classes: tuple[str, ...]
    counts: Mapping[str, int]  # of pictures: train, validation, test
    best: Mapping[str, Any]
    parts: tuple[Part, ...]  # the test pictures first
    calibration: Calibration | None
    near_duplicates: tuple[tuple[Source, ...], ...]
    in_test: tuple[tuple[Source, Source], ...]
    unreadable: tuple[str, ...]
    root: Path
    test_root: Path
    training: tuple[tuple[str, int], ...]  # name, label
    cuts: Mapping[str, Any] | None
    folds: Mapping[str, Any] | None  # of cross-validation


def read_results(run: Path) -> Results:
    """The results of a run. Raises ModelError if it is none, or if a file of it is damaged."""
    config = read_config(run)
    split, best = _json(run / "split.json"), _json(run / "best.json")
    tested = _json(run / "test.json") if (run / "test.json").exists() else {}
    try:
        classes = tuple(str(name) for name in config["classes"])
        root = Path(split["data"])
        test_root = Path(tested.get("data", root))
        roots = {"test": test_root, "validation": root}
        parts = tuple(_part(run / file, name, roots[name], classes) for name, file in PARTS if (run / file).exists())
        calibration = calibration_of(run)
        labels = split.get("train_labels", [])
        return Results(
            run=run,
            config=config,
            classes=classes,
            counts={
                "train": len(split["train"]),
                "validation": len(split["validation"]),
                "test": next((len(part.names) for part in parts if part.name == "test"), 0),
            },
            best=best,
            parts=parts,
            calibration=Calibration.from_json(calibration["calibration"]) if calibration else None,
            near_duplicates=tuple(_sources(group, root) for group in split.get("near_duplicates", ())),
            in_test=tuple(
                (source_named(one, test_root), source_named(other, root)) for one, other in split.get("in_test", ())
            ),
            unreadable=tuple(str(name) for name in split.get("unreadable", ())),
            root=root,
            test_root=test_root,
            training=tuple((str(name), int(label)) for name, label in zip(split["train"], labels, strict=False)),
            cuts=_json(run / "cuts.json") if (run / "cuts.json").exists() else None,
            folds=_json(run / FOLDS) if (run / FOLDS).exists() else None,
        )
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        what = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise ModelError(f"{run}: damaged: {what}") from error


def _sources(names: Sequence[str], root: Path) -> tuple[Source, ...]:
    return tuple(source_named(name, root) for name in names)


def _json(path: Path) -> dict[str, Any]:
    try:
        said = json_file.read(path, MOST)
    except FileError as error:
        raise ModelError(f"{error}; is the run finished?") from error
    if not isinstance(said, dict):
        raise ModelError(f"{path}: damaged: no JSON object")
    return said


def _part(path: Path, name: str, root: Path, classes: tuple[str, ...]) -> Part:
    place = {label: index for index, label in enumerate(classes)}
    names, labels, rows = [], [], []
    try:
        with io.TextIOWrapper(
            io.BufferedReader(open_file(path)), newline="", encoding="utf-8", errors="surrogateescape"
        ) as file:
            reader = csv.reader(iter(lambda: file.readline(LONGEST), ""))
            header = next(reader, [])
            if tuple(header[3:]) != classes:
                raise ModelError(f"{path}: damaged: its columns are not the run's classes")
            for row in reader:
                names.append(row[0])
                labels.append(place[row[1]])
                rows.append(np.array(row[3:], np.float32))
        probabilities = np.stack(rows) if rows else np.empty((0, len(classes)), np.float32)
    except FileError as error:
        raise ModelError(str(error)) from error
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (ValueError, KeyError, IndexError, csv.Error) as error:
        raise ModelError(f"{path}: damaged: line {reader.line_num}: {error}") from error
    if probabilities.shape[1:] != (len(classes),) or not np.isfinite(probabilities).all():
        raise ModelError(f"{path}: damaged: not a probability a class")
    return Part(name, _sources(names, root), tuple(names), np.array(labels, np.int64), probabilities)
