"""Where a command's results go: stdout, a pipe, or a file that is there whole or not at all."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from caffe2torch.errors import OutputError
from caffe2torch.terminal import is_terminal


def spare_inputs(output: Path | None, inputs: Iterable[Path]) -> None:
    """OutputError if the output would take the place of what is read."""
    from caffe2torch.files import same

    if output is None or not output.is_file():
        return
    for path in inputs:
        if same(output, path):
            raise OutputError(f"{output}: is what is read; -o names another file")


@contextlib.contextmanager
def open_stream(output: Path | None) -> Iterator[BinaryIO]:
    """Where the results go: stdout, a pipe or device, or a file that is there whole or not at all."""
    from caffe2torch.files import beside

    if output is None or str(output) == "-":
        if sys.stdout is None:
            raise OutputError("standard output is closed; -o FILE takes the results")
        yield sys.stdout.buffer
        return
    target = Path(os.path.realpath(output))  # behind a link, what it points to
    if target.is_dir():
        raise OutputError(f"{output}: is a folder; give the name of a file to write")
    if not target.parent.is_dir():
        raise OutputError(f"{output}: the folder {target.parent} does not exist")
    if target.exists() and not target.is_file():
        with open(target, "wb") as device:
            yield device
        return
    with beside(target) as place, open(place, "wb") as file:
        yield file


def progress_fits(form: str, stream: BinaryIO) -> bool:
    """A progress bar only on a terminal, and only where no results scroll through it."""
    return is_terminal(sys.stderr) and (form == "table" or not stream.isatty())
