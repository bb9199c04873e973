"""What is given to the Python functions, checked: names, the state a net is run in, shapes."""

from __future__ import annotations

from collections.abc import Mapping
from operator import index
from typing import Any

from caffe2torch.errors import CaffeError
from caffe2torch.net import Shape

PHASES = ("TRAIN", "TEST")


def names(given: Any, argument: str) -> tuple[str, ...]:
    """Several names; one string is one name. CaffeError for anything else."""
    if isinstance(given, str):
        return (given,)
    try:
        found = tuple(given)
    except TypeError:
        raise CaffeError(f"{argument}={given!r}: a name or a list of names was expected") from None
    for name in found:
        if not isinstance(name, str):
            raise CaffeError(f"{argument}: {name!r} is not a name; a string was expected")
    return found


def phase(given: Any) -> str:
    """``TRAIN`` or ``TEST``; CaffeError for anything else."""
    if not isinstance(given, str) or given not in PHASES:
        raise CaffeError(f'phase={given!r}: Caffe has the phases "TRAIN" and "TEST"')
    return given


def level(given: Any) -> int:
    """A whole number; CaffeError for anything else."""
    found = _whole(given)
    if found is None:
        raise CaffeError(f"level={given!r}: a whole number was expected")
    return found


def input_shape(given: Any) -> Shape | dict[str, Shape] | None:
    """None, a shape, or shapes by blob, in plain ints; CaffeError for anything else."""
    if given is None:
        return None
    if not isinstance(given, Mapping):
        return _shape(given, "input_shape")
    for blob in given:
        if not isinstance(blob, str):
            raise CaffeError(f"input_shape: {blob!r} is not the name of an input; a string was expected")
    return {blob: _shape(shape, f"input_shape of {blob!r}") for blob, shape in given.items()}


def _shape(given: Any, argument: str) -> Shape:
    expected = "a tuple of whole numbers was expected, as (1, 3, 224, 224)"
    if isinstance(given, (str, bytes)):
        raise CaffeError(f"{argument}: {given!r} is text; {expected}")
    try:
        sizes = tuple(given)
    except TypeError:
        raise CaffeError(f"{argument}: {given!r} is not a shape; {expected}") from None
    found = []
    for size in sizes:
        whole = _whole(size)
        if whole is None:
            raise CaffeError(f"{argument}: {size!r} in {given!r} is not a size; {expected}")
        found.append(whole)
    return tuple(found)


def _whole(given: Any) -> int | None:
    try:
        return None if isinstance(given, bool) else index(given)
    except TypeError:
        return None
