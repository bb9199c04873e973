"""What `caffe2torch convert` does: read, drop, write beside, verify, put in place, and say what was done."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from math import isfinite
from pathlib import Path
from typing import Any

from caffe2torch import folder, known, weights
from caffe2torch.errors import CaffeError, FileError, NetError, ShapeError
from caffe2torch.folder import Converted
from caffe2torch.preprocess import ORDERS, Preprocessing, read_mean
from caffe2torch.replacing import refuse_folder
from caffe2torch.terminal import bytes_progress
from caffe2torch.torch_source import shape_text


@dataclass(frozen=True)
class Options:
    """The options of the command; see its help."""

    prototxt: Path | None = None
    drop: Sequence[str] = ()
    keep_all: bool = False
    outputs: Sequence[str] = ()
    input_shape: tuple[int, ...] | None = None
    fork: str | None = None
    mean: str | None = None
    channel_order: str | None = None
    scale: float | None = None
    onnx: bool = False
    no_verify: bool = False
    force: bool = False


@dataclass(frozen=True)
class Result:
    """What was written."""

    out: Path
    converted: Converted
    files: dict[str, int]  # name -> bytes
    filled: tuple[str, ...]  # layers whose weights no file had
    verified: str  # "" where it was not asked for
    checks: dict[str, float] = field(default_factory=dict)

    def text(self) -> str:
        """The summary a person reads."""
        graph, config = self.converted.graph, self.converted.config
        published = next((net for net in known.NETS if net.name == config["name"]), None)
        title = f" is {published.title}" if published else ""
        lines = [f"{self.converted.path}{title}: {len(graph.nodes)} layers kept"]
        if published and graph.name not in ("", published.name):
            lines.append(f"  note      the file calls its net {graph.name!r}")
        if config["dropped"]:
            why = f" ({config['why']})" if config["why"] else ""
            lines.append(f"  dropped   {_listed(config['dropped'])}{why}")
        pictures = self.converted.pictures()
        inputs = [f"{value.blob} {shape_text(value)}" for value in graph.inputs]
        outputs = [f"{value.blob} {shape_text(value)}" for value in graph.outputs]
        lines.append(f"  input     {_listed(inputs)}{f': {pictures}' if pictures else ''}")
        if pictures and self.converted.preprocessing.mean is None:
            lines.append("  note      the mean is in no file; --mean gives it, fine-tuning takes its pictures' own")
        lines.append(f"  output    {_listed(outputs)}")
        lines.append(f"  weights   {graph.parameters:,} parameters")
        if self.filled:
            lines.append(f"  filled    {_listed(self.filled)}: in no file, so as the prototxt's fillers say")
        lines += [f"  note      {note}" for note in graph.notes]
        lines.append(f"  verified  {self.verified or 'no (--no-verify)'}")
        lines += [f"  wrote     {self.out / name}  {_size(size)}" for name, size in self.files.items()]
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """The same for a program."""
        graph = self.converted.graph
        return {
            "folder": str(self.out),
            "name": self.converted.config["name"],
            "name_in_file": graph.name,
            "layers": len(graph.nodes),
            "dropped": self.converted.config["dropped"],
            "inputs": {value.blob: list(value.shape) for value in graph.inputs},
            "outputs": {name: list(value.shape) for name, value in zip(graph.output_names, graph.outputs, strict=True)},
            "parameters": graph.parameters,
            "preprocessing": self.converted.preprocessing.to_json(),
            "filled": list(self.filled),
            "notes": list(graph.notes),
            "verified": self.checks or None,
            "files": self.files,
        }


def run(caffemodel: Path, out: Path | None, options: Options) -> Result:
    """Convert a caffemodel into a folder, by default one of its own name in the working directory.

    Raises CaffeError; then nothing is written.
    """
    if caffemodel.is_dir():
        raise FileError(f"{caffemodel} is a folder; a .caffemodel was expected")
    if not caffemodel.exists():
        raise FileError(f"{caffemodel}: no such file")
    out = out or Path(caffemodel.name.removesuffix(".h5")).with_suffix("")
    if not options.no_verify and find_spec("torch") is None:
        raise CaffeError(
            "torch is not installed, so the conversion cannot be verified: "
            "pip install 'caffe2torch[train]', or convert with --no-verify"
        )
    refuse_folder(out, options.force, folder.KIND, _read(caffemodel, options))
    with bytes_progress(f"reading {caffemodel}") as progress:
        done = 0
        total = 0

        def step(count: int) -> None:
            nonlocal done
            done += count
            progress(done, max(total, done))

        converted = _converted(caffemodel, options)
        total = 4 * converted.graph.parameters
        verified: list[Any] = []

        def check(beside: Path) -> None:
            from caffe2torch.verify import verify

            verified.extend(verify(beside))
            for comparison in verified:
                comparison.require(out)

        folder.save(converted, out, options.force, options.onnx, None if options.no_verify else check, step)
    return _result(out, converted, verified)


def _read(caffemodel: Path, options: Options) -> list[Path]:
    """The files that are read."""
    mean = [Path(options.mean)] if options.mean is not None and os.path.lexists(options.mean) else []
    return [caffemodel, *([options.prototxt] if options.prototxt else []), *mean]


def _converted(caffemodel: Path, options: Options) -> Converted:
    """The net in memory; an error that is there only with --input-shape names it."""

    def of(input_shape: tuple[int, ...] | None) -> Converted:
        return folder.from_caffemodel(
            caffemodel,
            options.prototxt,
            drop=options.drop,
            keep_all=options.keep_all,
            outputs=options.outputs or None,
            input_shape=input_shape,
            fork=options.fork,
            preprocessing=lambda found: _asked_for(found, options),
        )

    try:
        return of(options.input_shape)
    except NetError as error:
        if options.input_shape is None:
            raise
        try:
            of(None)
        except NetError:
            raise error from None
        except ShapeError:  # the net does not say its size; all else was sound
            pass
        sizes = ",".join(map(str, options.input_shape))
        raise NetError(f"--input-shape {sizes} does not fit the net: {error}", error.problems) from error


def _result(out: Path, converted: Converted, verified: Sequence[Any]) -> Result:
    return Result(
        out=out,
        converted=converted,
        files={path.name: path.stat().st_size for path in sorted(out.iterdir())},
        filled=tuple(weights.missing(converted.graph)),
        verified=verified[0].summary() if verified else "",
        checks={entry.title: entry.worst.relative for entry in verified if entry.rows},
    )


def _asked_for(found: Preprocessing, options: Options) -> Preprocessing:
    order = options.channel_order or found.channel_order
    mean = found.mean
    if options.mean is not None:
        mean = read_mean(options.mean, ORDERS[order])
    elif mean is not None and order != found.channel_order:
        mean = mean[::-1]
    scale = found.scale if options.scale is None else options.scale
    if not isfinite(scale) or scale == 0:
        raise CaffeError(f"--scale {scale}: pixels are multiplied by it, so it is a number other than 0")
    return replace(
        found, channel_order=order, mean=mean, scale=scale, assumed=found.assumed and options.channel_order is None
    )


def _listed(names: Sequence[str]) -> str:
    shown = list(names[:6])
    return ", ".join(shown) + (f" and {len(names) - 6} more" if len(names) > 6 else "")


def _size(count: int) -> str:
    if count < 1000:
        return f"{count} bytes"
    if count < 999_500:
        return f"{count / 1000:.0f} kB"
    return f"{count / 1_000_000:.1f} MB"
