"""``--plugin`` of commands that need the layers of a converted net."""

from __future__ import annotations

from pathlib import Path

import click


def _load(ctx: click.Context, param: click.Parameter, paths: tuple[Path, ...]) -> None:
    if paths:
        from caffe2torch.plugins import load_plugin

        for path in paths:
            load_plugin(path)


PLUGIN = click.option(
    "--plugin",
    type=click.Path(path_type=Path),
    multiple=True,
    is_eager=True,
    expose_value=False,
    callback=_load,
    metavar="FILE.py",
    help="A Python file of your own with layers; it is run.",
)
