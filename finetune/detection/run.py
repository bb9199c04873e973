"""A run of `onnx detect` from its options to what is written: models opened, files found, work begun or taken up."""

from __future__ import annotations

import contextlib
import hashlib
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path, PurePath
from typing import Any

from caffe2torch.errors import DataError, ModelError
from caffe2torch.terminal import is_terminal, note
from finetune.detection import METHODS, output
from finetune.detection.cropping import Margin, even
from finetune.detection.finder import Finder, Settings
from finetune.detection.fonts import Fonts
from finetune.detection.journal import Journal
from finetune.detection.look import Look, cores, look, watch
from finetune.detection.names import UNKNOWN, Namer, open_namer
from finetune.detection.places import check_places
from finetune.detection.results import Seen
from finetune.detection.sources import Source, list_sources
from finetune.output import spare_inputs

RUN_MODEL = "model.onnx"  # what `onnx export RUN` writes


@dataclass(frozen=True)
class Options:
    """What `onnx detect` was asked for; None where the model, or the machine, decides."""

    model: Path | None = None
    method: str = "model"
    conf: float | None = None
    iou: float | None = None
    max_size: int | None = None
    tile: int | None = None  # as in tiles.tile_side
    classify: Path | None = None
    classify_margin: Margin | Path | None = None
    unknown: bool = False
    form: str = "table"
    output: Path | None = None
    overlay: Path | None = None
    font: Path | None = None
    crops: Path | None = None
    margin: float = 0.25
    resume: bool = False
    every: int = 1
    provider: str = "auto"
    threads: int | None = None


def run_on_files(paths: Sequence[Path], options: Options) -> None:
    """Look at files; raises DataError at the end if some could not be read, CaffeError at once for what is wrong."""
    made = [folder for folder in (options.overlay, options.crops) if folder is not None]
    labels = output.labels_folder(options.form, options.output)
    sources = list_sources(paths, made)
    workers = min(options.threads or cores(), len(sources)) if not any(s.is_video for s in sources) else cores()
    work = open_look(options, workers)
    read = [source.path for source in sources if source.error is None]
    models = [work.finder.path, *([work.namer.session.path] if work.namer else [])]
    spare_inputs(options.output, [*read, *models])
    check_places(sources, work.overlay, work.crops, labels, work.namer.session.info.classes if work.namer else ())
    journal = _journal(options, work, len(sources))
    unread: list[Seen] = []
    finished = False
    try:
        silent = options.form == "table" or options.output is not None or not is_terminal(sys.stdout)
        bar = is_terminal(sys.stderr) and silent  # only where no results scroll through it
        with contextlib.closing(look(work, sources, workers, journal)) as looked:
            all_seen = output.watched(looked, len(sources), unread, bar)
            output.write(all_seen, options.form, options.output, _classes(work.namer))
        finished = True
    finally:
        if journal is not None:
            kept = journal.close(keep=options.resume or not finished)
            if kept and not finished:
                note(f"{journal.path} remembers what is done; the same command with --resume goes on")
    if unread:
        more = "" if len(sources) == 1 else f" ({len(unread)} of {len(sources)} files could not be read)"
        raise DataError(f"{unread[0].path}: {unread[0].error}{more}")


def run_on_camera(camera: str, options: Options) -> None:
    """Look at a camera until Ctrl-C, which is its ordinary end."""
    from finetune.detection.video import read_camera

    workers = options.threads or cores()
    work = replace(open_look(options, workers), overlay=None)
    if options.overlay is not None:
        raise DataError("--overlay takes files; a camera's frames have no end to make a file of")
    name = f"camera {camera}"
    source = Source(Path(name), PurePath(name), PurePath(name))

    def until_interrupted() -> Iterator[tuple[Source, Seen]]:
        try:
            for _, seen in watch(work, source, read_camera(camera, options.every), workers):
                yield source, seen[0]
        except KeyboardInterrupt:
            note("the camera is left")

    output.write(until_interrupted(), options.form, options.output, _classes(work.namer))


def open_look(options: Options, workers: int) -> Look:
    """The models opened, and named on stderr, with the settings asked for."""
    threads = max(1, cores() // workers)
    finder = open_finder(options.model, options.method, options.provider, threads)
    note(str(finder))
    namer = None
    if options.classify is not None:
        classifier = options.classify / RUN_MODEL if options.classify.is_dir() else options.classify
        namer = open_namer(classifier, options.provider, threads, finder, options.classify_margin, options.unknown)
        note(str(namer.session))
    return Look(
        finder,
        _settings(finder.settings, options),
        options.tile,
        namer,
        options.overlay,
        Fonts(options.font) if options.overlay is not None else None,
        options.crops,
        even(options.margin),
        options.every,
    )


def open_finder(model: Path | None, method: str, provider: str, threads: int | None) -> Finder:
    """Open a model for a method; None: the one in the package. Raises ModelError if there is none."""
    if model is None:
        if method != "model":
            raise ModelError(
                f"--method {method} wants -m: a classifier of patches, of `finetune train --recipe frgnet64`"
            )
        model = _default_model()
    if model.is_dir():
        model = model / RUN_MODEL
    if not model.exists():
        raise ModelError(f"{model}: no such file; `onnx export RUN` makes the model.onnx of a run")
    opened: Finder = import_module(METHODS[method]).open_finder(model, provider, threads)
    return opened


def _default_model() -> Path:
    try:
        models = import_module("finetune.models_shipped")
    except ImportError as error:
        raise ModelError("no detector comes with this installation: -m names one") from error
    return Path(models.default_model())


def _settings(own: Settings, options: Options) -> Settings:
    given = {"confidence": options.conf, "iou": options.iou, "max_size": options.max_size}
    chosen: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    return replace(own, **chosen)


def _classes(namer: Namer | None) -> tuple[str, ...]:
    """The names that a face may have."""
    if namer is None:
        return ("face",)
    return (*namer.session.info.classes, *((UNKNOWN,) if namer.unknown else ()))


def _journal(options: Options, work: Look, sources: int) -> Journal | None:
    """What is done is written down where something is made in places that last, of more than one file."""
    written = None if options.output is None or str(options.output) == "-" else options.output
    if written is not None:
        path = written.with_name(f".{written.name}.journal")
    elif options.overlay is not None or options.crops is not None:
        path = (options.overlay or options.crops or Path()) / ".detect.journal"
    else:
        return None
    if written is not None and written.exists() and not (written.is_file() or written.is_dir()):
        return None  # a device
    if written is not None and not written.parent.is_dir():
        return None  # a mistake, which is told when the output is opened
    if sources < 2 and not options.resume:
        return None
    settings: dict[str, Any] = {
        "model": _digest(work.finder.path),
        "method": options.method,
        "conf": work.settings.confidence,
        "iou": work.settings.iou,
        "max-size": work.settings.max_size,
        "tile": options.tile,
        "classify": None if work.namer is None else _digest(work.namer.session.path),
        "classify-margin": None if work.namer is None else work.namer.margin,
        "unknown": options.unknown,
        "overlay": None if options.overlay is None else str(options.overlay.resolve()),
        "crops": None if options.crops is None else [str(options.crops.resolve()), options.margin],
        "every": options.every,
    }
    journal = Journal(path, settings, options.resume)
    if options.resume and options.form == "jsonl" and written is not None and journal.adopt(written):
        note(f"{written}: what is in it counts as done, though not known with which settings")
    if len(journal):
        note(f"{path}: {len(journal)} files were looked at before")
    elif options.resume:
        note(f"{path}: nothing was done before; beginning")
    return journal


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()
