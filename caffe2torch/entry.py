"""Where the commands begin: Ctrl-C while a command is still being imported ends it in words, as it does later."""

from __future__ import annotations

import sys
from importlib import import_module


def caffe2torch() -> None:
    """The command `caffe2torch`."""
    _run("caffe2torch.cli", "main")


def finetune() -> None:
    """The command `finetune`."""
    _run("finetune.cli", "main")


def onnx() -> None:
    """The command `onnx`."""
    _run("finetune.cli", "onnx_main")


def _run(module: str, name: str) -> None:
    try:
        command = getattr(import_module(module), name)
    except KeyboardInterrupt:
        print("interrupted: nothing was begun", file=sys.stderr)  # noqa: T201  # click may not be there yet
        sys.exit(130)
    command()
