"""A data set as people keep it: one folder a class, pictures anywhere below."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from caffe2torch.errors import DataError
from caffe2torch.pictures import find_pictures
from finetune.data.source import Source
from finetune.wording import printable

IGNORE = "ignore"  # a class folder that holds a file of this name is left out (animeface-character-dataset)
NAMED_AT_MOST = 10  # names in one message


@dataclass(frozen=True)
class LabelledPictures:
    """Where pictures come from, and their labels: ``labels[i]`` is the index in ``classes`` of ``paths[i]``'s class.

    Where ``groups`` is known, near-duplicates have the same number in it (finetune.data.duplicates).
    """

    root: Path
    classes: tuple[str, ...]
    paths: tuple[Source, ...]
    labels: tuple[int, ...]
    groups: tuple[int, ...] | None = None

    def __len__(self) -> int:
        return len(self.paths)

    def subset(self, indices: Iterable[int]) -> LabelledPictures:
        """The pictures at ``indices``, in that order; the classes stay."""
        chosen = list(indices)
        groups = None if self.groups is None else tuple(self.groups[i] for i in chosen)
        labels = tuple(self.labels[i] for i in chosen)
        return replace(self, paths=tuple(self.paths[i] for i in chosen), labels=labels, groups=groups)

    def counts(self) -> list[int]:
        """Pictures of each class, in the order of ``classes``."""
        counted = Counter(self.labels)
        return [counted[label] for label in range(len(self.classes))]


def read_folders(root: Path, classes: Sequence[str] | None = None) -> tuple[LabelledPictures, list[str]]:
    """The pictures under ``root``, a folder per class, and remarks on what was left out, one line each.

    A class is a direct subfolder, its name the class's name; pictures are found at any depth (find_pictures). Left
    out, with a remark: folders that hold a file named ``ignore``, hidden ones, those without a picture, and pictures
    beside the class folders. Classes are sorted by name, or are ``classes`` in that order where it is given (the
    classes of a trained run): a folder that is none of them is then an error, a class without a folder a remark.
    Raises DataError if ``root`` is no folder, or holds no class with a picture.
    """
    root = Path(root)
    if not root.is_dir():
        raise DataError(
            f"{root}: {'not a folder' if root.exists() else 'no such folder'}; a folder per class is wanted"
        )
    entries = sorted(root.iterdir())
    folders = [entry for entry in entries if entry.is_dir()]
    hidden = [folder for folder in folders if folder.name.startswith(".") or folder.name == "__MACOSX"]
    ignored = [folder for folder in folders if folder not in hidden and (folder / IGNORE).is_file()]
    found = {folder.name: find_pictures(folder) for folder in folders if folder not in hidden + ignored}
    empty = [name for name, pictures in found.items() if not pictures]
    found = {name: pictures for name, pictures in found.items() if pictures}
    loose = [path for path in find_pictures(root) if path.parent == root]
    remarks = _remarks(root, hidden, ignored, empty, loose)
    if not found:
        about = f" ({'; '.join(remarks)})" if remarks else ""
        raise DataError(f"{root}: no folder with pictures in it; a folder per class is wanted{about}")
    names = tuple(found) if classes is None else tuple(classes)
    if unknown := [name for name in found if name not in names]:
        raise DataError(f"{root}: {named(unknown)}: not among the {len(names)} classes that were trained")
    if missing := [name for name in names if name not in found and name not in empty]:
        remarks.append(f"{root}: no folder for {count_of(missing, 'class', 'classes')}: {named(missing)}")
    pairs = [(path, names.index(name)) for name, pictures in found.items() for path in pictures]
    return LabelledPictures(root, names, tuple(p for p, _ in pairs), tuple(label for _, label in pairs)), remarks


def check_trainable(pictures: LabelledPictures) -> None:
    """Raise DataError unless there are two classes or more, each of two pictures or more."""
    few = [name for name, count in zip(pictures.classes, pictures.counts(), strict=True) if count < 2]
    if few:
        raise DataError(
            f"{pictures.root}: fewer than 2 readable pictures in {named(few)}: "
            f"add pictures, remove the folder, or put a file named {IGNORE} into it"
        )
    if len(pictures.classes) < 2:
        raise DataError(f"{pictures.root}: only one class, {printable(pictures.classes[0])}; two or more are wanted")
    try:
        "".join(pictures.classes).encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        raise DataError(
            f"{pictures.root}: a class's name holds half a character, {error.object[error.start]!a}"
        ) from error


def _remarks(root: Path, hidden: list[Path], ignored: list[Path], empty: list[str], loose: list[Path]) -> list[str]:
    remarks = []
    if hidden:
        remarks.append(f"{count_of(hidden, 'hidden folder')} left out: {named(f.name for f in hidden)}")
    if ignored:
        names = named(folder.name for folder in ignored)
        remarks.append(f"{count_of(ignored, 'folder')} with a file named {IGNORE} left out: {names}")
    if empty:
        remarks.append(f"{count_of(empty, 'folder')} without a picture left out: {named(empty)}")
    if loose:
        names = named(path.name for path in loose)
        remarks.append(f"{count_of(loose, 'picture')} beside the class folders left out: {names}")
    return [f"{root}: {remark}" for remark in remarks]


def count_of(things: Sequence[object], one: str, many: str = "") -> str:
    return f"{len(things)} {one if len(things) == 1 else many or one + 's'}"


def named(names: Iterable[str | os.PathLike[str]]) -> str:
    listed = [printable(str(name)) for name in names]
    more = len(listed) - NAMED_AT_MOST
    return ", ".join(listed[:NAMED_AT_MOST]) + (f" and {more} more" if more > 0 else "")
