"""A run of `onnx evaluate` from its options to figures on stdout and a page."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from caffe2torch.errors import ModelError, OutputError
from caffe2torch.terminal import note, say
from finetune.detection.evaluate import evaluate, read_pictures
from finetune.detection.look import cores
from finetune.detection.page import write_page
from finetune.detection.run import RUN_MODEL, open_finder
from finetune.runtime import read_said
from finetune.table import progress

DEFAULT = "default"  # the word for the detector in the package


@dataclass(frozen=True)
class Asked:
    """What `onnx evaluate` was asked for; None where the model, or the machine, decides."""

    model: Path
    data: Path | None
    without_faces: tuple[Path, ...] = ()
    label: tuple[str, ...] = ()  # of the boxes that are faces; (): all
    method: str = "model"
    conf: float | None = None
    iou: float | None = None
    overlap: float = 0.4
    max_size: int | None = None
    tile: int | None = None
    page: Path | None = None
    as_json: bool = False
    provider: str = "auto"
    threads: int | None = None


def run_evaluation(asked: Asked) -> None:
    """Open, look, measure, tell. Raises CaffeError for what is wrong, before the work where that can be seen."""
    if asked.page is not None and asked.page.is_dir():
        raise OutputError(f"{asked.page}: is a folder; give the name of a file to write")
    model = None if str(asked.model) == DEFAULT and not asked.model.exists() else asked.model
    _refuse_classifier(model, asked.method)
    pictures = read_pictures(asked.data, asked.without_faces, asked.label)
    workers = min(asked.threads or cores(), len(pictures))
    finder = open_finder(model, asked.method, asked.provider, max(1, cores() // workers))
    note(str(finder))
    given = {"confidence": asked.conf, "iou": asked.iou, "max_size": asked.max_size}
    chosen: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    settings = replace(finder.settings, **chosen)
    with progress("evaluate", len(pictures)) as advance:
        result = evaluate(finder, pictures, settings, asked.overlap, asked.tile, workers, advance)
    figures = {"model": str(finder.path), "method": asked.method, **result.to_json()}
    if asked.page is not None:
        what = " and ".join(str(path) for path in (asked.data, *asked.without_faces) if path is not None)
        write_page(asked.page, f"{finder.path.name} on {what}", result, figures)
        note(f"wrote {asked.page}")
    if asked.as_json:
        say(json.dumps(figures, ensure_ascii=False, indent=1))
    else:
        say(table(figures))


def table(figures: dict[str, Any]) -> str:
    """The figures as lines for people."""
    lines = [f"{figures['pictures']} pictures, {figures['faces']} faces ({figures['difficult']} difficult ones aside)"]
    at = f"at score {figures['threshold']:g}, overlap {figures['overlap']:g}"
    lines.append(f"{at}: {figures['found']} found, {figures['false']} false")
    shares = [("precision", figures["precision"]), ("recall", figures["recall"]), ("F1", figures["f1"])]
    shares += [(f"average precision at {name}", value) for name, value in figures["average_precision"].items()]
    for name, value in shares:
        share = "-" if value["value"] is None else f"{value['value']:.3f}  ({value['low']:.3f} to {value['high']:.3f})"
        lines.append(f"  {name:29} {share}")
    for of in figures["sizes"]:
        if of["faces"]:
            named = f"{of['size']} faces: {of['faces']}"
            lines.append(f"  {named:29} recall {of['recall']:.3f}, average precision {of['average_precision']:.3f}")
    without = figures["without_faces"]
    if without["pictures"]:
        each = f"{without['false']} false boxes, {without['false_per_picture']:g} a picture"
        lines.append(f"  {'pictures without faces: ' + str(without['pictures']):29} {each}")
    return "\n".join(lines)


def _refuse_classifier(model: Path | None, method: str) -> None:
    if model is None or method != "model":
        return
    file = model / RUN_MODEL if model.is_dir() else model
    if file.exists() and read_said(file)["kind"] == "classifier":
        raise ModelError(
            f"{file}: a classifier, which marks no boxes; `finetune evaluate RUN DATA` measures it on a folder per "
            "class, and --method windows or dense makes a detector of one that tells faces from other patches"
        )
