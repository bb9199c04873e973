"""config.json of a run: all that its other files do not say, and what export needs."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

from caffe2torch.digest import of_net
from caffe2torch.folder import Converted
from caffe2torch.preprocess import Preprocessing
from caffe2torch.torch_source import source as source_of
from finetune.checkpoint import FORMAT
from finetune.data.folders import LabelledPictures
from finetune.data.sets import Sets
from finetune.data.source import Source, digest, name_of
from finetune.devices import describe
from finetune.loop import Parts
from finetune.models.head import Head

VERSIONS = ("torch", "lightning", "numpy", "pillow", "safetensors", "onnxruntime-gpu", "onnxruntime")
READERS = 8  # threads that read files to hash them


def config_of(
    converted: Converted,
    trunk_hash: str,
    data_hash: str,
    preprocessing: Preprocessing,
    head: Head,
    parts: Parts,
) -> dict[str, Any]:
    """What is known before the first epoch."""
    options = parts.options
    folder = None if options.cache_folder is None else str(options.cache_folder)
    return {
        "format": FORMAT,
        "recipe": "tutorial",
        "classes": list(parts.sets.train.classes),
        "size": list(parts.reader.size),
        "at": options.at,
        "preprocessing": preprocessing.to_json(),
        "head": head.describe(),
        "options": {**asdict(options), "cache_folder": folder},
        "device": describe(parts.fabric),
        "versions": versions(),
        "trunk": {"path": str(converted.path), "name": converted.config.get("name"), "sha256": trunk_hash},
        "data": {"sha256": data_hash},
    }


def digests_of(sets: Sets) -> dict[Source, bytes]:
    """SHA-256 of every picture. Raises DataError for one that cannot be read any more."""
    sources = [source for pictures in _all(sets) for source in pictures.paths]
    with ThreadPoolExecutor(READERS) as pool:
        return dict(zip(sources, pool.map(digest, sources, chunksize=64), strict=True))


def hash_of_data(sets: Sets, digests: Mapping[Source, bytes]) -> str:
    """SHA-256 over name, class and bytes of every picture, and which set it is in."""
    found = hashlib.sha256()
    for pictures in _all(sets):
        for source, label in zip(pictures.paths, pictures.labels, strict=True):
            name = name_of(source, pictures.root)
            found.update(f"{name}\n{pictures.classes[label]}\n".encode("utf-8", "surrogatepass") + digests[source])
        found.update(b"\n")
    return found.hexdigest()


def hash_of_trunk(trunk: Converted) -> str:
    """SHA-256 over what a net computes: its layers, as source, and its weights."""
    return of_net(source_of(trunk.graph), trunk.state())


def _all(sets: Sets) -> list[LabelledPictures]:
    return [pictures for pictures in (sets.train, sets.validation, sets.test) if pictures is not None]


def versions() -> dict[str, str]:
    """Those of the packages that training depends on."""
    found = {"python": platform.python_version()}
    for name in VERSIONS:
        try:
            found[name] = version(name)
        except ModuleNotFoundError:  # one of the two onnxruntimes
            continue
    return found
