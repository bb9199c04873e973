"""Layers that a user brings: a Python file of their own, or a package with entry points.

A plugin registers its layers with ``@layer`` as the files in layers/ do, with the fields of its fork in ``proto``, and
may hold the nn.Modules they need, whose source is printed into model.py. Its code runs when the user names the file;
nothing that is read from a model, or a converted folder, makes one run.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from caffe2torch import module_sources, registry
from caffe2torch.errors import CaffeError, FileError

GROUP = "caffe2torch.layers"
_loaded: dict[str, str] = {}  # name of a plugin -> name of its Python module
_packages_done: list[bool] = []


def load_plugin(path: Any) -> str:
    """Run a user's file, so that its layers are known from now on; its name, as config.json keeps it.

    A file that is loaded already is left as it is. CaffeError says what is wrong with it, and where.
    """
    file = Path(path).resolve()
    if not file.is_file():
        raise FileError(f"{path}: no such file; a plugin is a Python file that registers layers")
    module = f"caffe2torch_plugins.{file.stem}"
    present = sys.modules.get(module)
    if present is not None and _loaded.get(file.name) == module:
        if present.__file__ != str(file):
            raise CaffeError(f"{path}: another plugin of this name is loaded already, {present.__file__}")
        return file.name
    registry.load_all()

    def run() -> None:
        spec = importlib.util.spec_from_file_location(module, file)
        if spec is None or spec.loader is None:
            raise CaffeError(f"{path}: not a Python file")
        made = importlib.util.module_from_spec(spec)
        sys.modules[module] = made
        spec.loader.exec_module(made)
        module_sources.add(file)

    _whole_or_not(file.name, module, run)
    return file.name


def load_packages() -> None:
    """Load what installed packages offer under the entry points ``caffe2torch.layers``, once.

    Of a package that cannot be loaded there is a warning: nets that do not need it are converted nevertheless.
    """
    if _packages_done:
        return
    _packages_done.append(True)
    for point in _entry_points():
        name = f"{point.dist.name if point.dist else point.value}:{point.name}"

        def run(point: Any = point) -> None:
            point.load()
            file = getattr(sys.modules[point.module], "__file__", None)
            if file:
                module_sources.add(Path(file))

        try:
            _whole_or_not(name, point.module, run)
        except CaffeError as error:
            warnings.warn(str(error), stacklevel=2)


def _entry_points() -> Iterable[Any]:
    """Those of the group. importlib.metadata takes long to import, so it is only where some package may have one."""
    if not any(map(_may_offer, sys.path)):
        return ()
    from importlib.metadata import entry_points

    return entry_points(group=GROUP)


def _may_offer(place: str) -> bool:
    """Whether one of the packages in an entry of sys.path may have the group; True where that is no folder."""
    folder = Path(place or ".")
    try:
        names = [name for name in os.listdir(folder) if name.endswith((".dist-info", ".egg-info"))]
    except NotADirectoryError:
        return True
    except OSError:
        return False
    return any(_mentions(folder / name / "entry_points.txt") for name in names)


def _mentions(path: Path) -> bool:
    try:
        return GROUP.encode() in path.read_bytes()
    except OSError:
        return False


def _whole_or_not(name: str, module: str, run: Callable[[], None]) -> None:
    """Run a plugin's code; if it fails, nothing of it stays registered."""
    with registry.restored_on_error():
        try:
            run()
            _loaded[name] = module
        except Exception as error:
            sys.modules.pop(module, None)
            raise CaffeError(f"the plugin {name} cannot be loaded: {_where(error)}") from error


def _where(error: Exception) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    line = f" (line {frames[-1].lineno} of {frames[-1].filename})" if frames else ""
    return f"{type(error).__name__}: {error}{line}"


def used(classes: Iterable[type]) -> list[str]:
    """The names of the plugins that these classes come from."""
    modules = {cls.__module__ for cls in classes}
    return sorted(name for name, module in _loaded.items() if module in modules)


@contextmanager
def blamed(classes: Iterable[type], what: str) -> Iterator[None]:
    """What goes wrong with a plugin's classes is an error that says so; ``what`` was made of them."""
    try:
        yield
    except (CaffeError, registry.LayerError, OSError):
        raise
    except Exception as error:
        names = used(classes)
        if not names:
            raise
        raise CaffeError(f"{what}: the plugin {names[0]} makes a fault: {_where(error)}") from error


def require(names: Iterable[str], where: str) -> None:
    """CaffeError if one of these plugins is not loaded: only the user says what is run."""
    load_packages()
    missing = [name for name in names if name not in _loaded]
    if missing:
        raise CaffeError(
            f"{where} was converted with the plugin {missing[0]}, which is not loaded; give it: "
            f"--plugin {missing[0]}, or caffe2torch.load_plugin({missing[0]!r})"
            if missing[0].endswith(".py")
            else f"{where} was converted with layers of the package {missing[0].split(':')[0]}, which is not installed"
        )
