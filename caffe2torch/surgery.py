"""Parts of a net: layers dropped, with all that cannot be computed without them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fnmatch import fnmatchcase

from caffe2torch.errors import NetError
from caffe2torch.net import Layer, Net


def drop(net: Net, patterns: Sequence[str]) -> tuple[Net, tuple[str, ...]]:
    """The net without the layers whose names match a glob, nor those that only they feed; and the dropped names.

    An in-place layer that is dropped leaves its blob as it was. NetError for a pattern that matches no layer.
    """
    unmatched = [pattern for pattern in patterns if not any(_matches(layer, pattern) for layer in net.layers)]
    if unmatched:
        names = ", ".join(layer.name for layer in net.layers[:8])
        raise NetError(
            f"{net.path}: no layer matches --drop {unmatched[0]!r}; layers are {names}"
            + (", …" if len(net.layers) > 8 else "")
        )
    present = {entry.blob for entry in net.inputs}
    kept: list[Layer] = []
    dropped: list[str] = []
    for layer in net.layers:
        chosen = any(_matches(layer, pattern) for pattern in patterns)
        if chosen or not all(bottom in present for bottom in layer.bottoms):
            dropped.append(layer.name)
            # A blob of that name made earlier is the one that in-place layers were to change.
            present.difference_update(set(layer.tops) - set(layer.bottoms) if chosen else layer.tops)
            continue
        kept.append(layer)
        present.update(layer.tops)
    return replace(net, layers=tuple(kept), whole=net.whole or net), tuple(dropped)


def _matches(layer: Layer, pattern: str) -> bool:
    return layer.name == pattern or fnmatchcase(layer.name, pattern)
