"""Weights as `snapshot_format: HDF5` writes them: /data/LAYER/INDEX. Such a file holds no net."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from caffe2torch import limits
from caffe2torch.errors import FileError
from caffe2torch.fields import plain_text
from caffe2torch.net import Blob
from caffe2torch.tensors import TensorFile, open_file

if TYPE_CHECKING:
    import h5py

MAGIC = b"\x89HDF\r\n\x1a\n"
DEEPEST = 20  # groups within each other: the parts of a layer's name between slashes


def is_hdf5(path: Path) -> bool:
    """Whether a file begins as HDF5 files do, whatever its name."""
    with open_file(path) as file:
        return file.read(len(MAGIC)) == MAGIC


def read(path: Path) -> dict[str, dict[int, Blob]]:
    """The blobs of each layer by place, in the order of the file; numbers are read when asked for.

    FileError if h5py is not installed, or the file is damaged or has another layout.
    """
    with open_file(path) as file:
        state = TensorFile.of(file, path)
    try:
        with _opened(path) as content:
            if "data" not in content:
                raise FileError(f"{path}: HDF5, but without the group /data, so not weights that Caffe saved")
            layers: dict[str, dict[int, Blob]] = {}
            for order, (name, group) in enumerate(_layers(content["data"], "", path)):
                layers[name] = {
                    int(index): _blob(group[index], order, int(index), state)
                    for index in sorted(group)
                    if index.isdigit()
                }
            return layers
    except (OSError, RuntimeError, KeyError) as error:
        raise FileError(f"{path}: damaged, or not HDF5: {error}") from error


def headers(layers: Mapping[str, Mapping[int, Blob]]) -> bytes:
    """SHA-256 of what a file says beside its numbers: names, places and shapes."""
    said = {name: {str(index): blob.shape for index, blob in blobs.items()} for name, blobs in layers.items()}
    return sha256(json.dumps(said).encode(), usedforsecurity=False).digest()


def _opened(path: Path) -> h5py.File:
    try:
        import h5py
    except ModuleNotFoundError as error:
        raise FileError(
            f"{path}: weights in HDF5; reading them needs h5py: pip install 'caffe2torch[hdf5]' "
            "(or save the weights with snapshot_format: BINARYPROTO in Caffe)"
        ) from error
    return h5py.File(path, "r")


def _layers(group: Any, prefix: str, path: Path, depth: int = 0) -> Iterator[tuple[str, Any]]:
    """Groups that hold blobs, or nothing; a name with slashes is a group within a group."""
    import h5py

    if depth > DEEPEST:
        raise FileError(f"{path}: more than {DEEPEST} groups within each other in /data")
    for name in group:
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            raise FileError(f"{path}: /data/{prefix}{name} is a link to somewhere else, which Caffe does not write")
        child = group[name]
        if not isinstance(child, h5py.Group):
            continue
        full = prefix + plain_text(name)
        inner = [each for each in child if isinstance(child[each], h5py.Group)]
        if len(inner) < len(child) or not len(child):
            yield full, child
        yield from _layers(child, f"{full}/", path, depth + 1)


def _blob(dataset: Any, order: int, index: int, state: TensorFile) -> Blob:
    path, name = state.path, dataset.name
    if dataset.dtype.kind not in "fiu":
        raise FileError(f"{path}: {name} holds {dataset.dtype}, no numbers")
    if dataset.external or dataset.is_virtual:
        raise FileError(f"{path}: {name} lies in another file, as Caffe never writes it")
    if dataset.nbytes > limits.BESIDE + limits.GAIN * dataset.id.get_storage_size():
        raise FileError(
            f"{path}: {name} claims {dataset.nbytes:,} bytes and keeps {dataset.id.get_storage_size():,}; "
            "Caffe writes its numbers as they are"
        )

    def numbers() -> np.ndarray:
        with open_file(path) as file:
            if TensorFile.of(file, path) != state:
                raise FileError(f"{path}: the file has changed since it was opened; convert it again")
        try:
            with _opened(path) as content:
                return np.asarray(content[name], dtype=np.float32).reshape(-1)
        except (OSError, RuntimeError, KeyError) as error:
            raise FileError(f"{path}: {name} cannot be read: {error}") from error

    return Blob(tuple(dataset.shape), False, int(dataset.size), numbers, order, index)
