"""What is done already, kept while the work goes on: --resume takes it up where Ctrl-C, or a power cut, ended it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from caffe2torch.errors import OutputError
from finetune.detection.results import Seen
from finetune.detection.sources import Source

FORMAT = 2


class Journal:
    """A file of JSON lines: first the settings, then a line for each file that is done: its stamp and what was seen.

    A line is written when everything made of that file is in place. Lines are whole or not counted.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any], resume: bool) -> None:
        """Begin a journal, or with ``resume`` go on with the one that is there.

        Raises OutputError if that one was kept with other settings, is none, or cannot be written.
        """
        self.path = path
        self._done: dict[str, tuple[list[int], list[str] | None, list[Seen]]] = {}  # stamp, names, seen
        self._lines = 0
        head = {"journal": FORMAT, "settings": json.loads(json.dumps(settings))}
        sound = self._read(head) if resume and path.exists() else None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = open(path, "wb" if sound is None else "rb+")  # noqa: SIM115  # closed by close()
        except OSError as error:
            raise OutputError(f"{path}: cannot be written: {error.strerror}") from error
        if sound is None:
            self._write(head)
        else:
            self._file.truncate(sound)
            self._file.seek(sound)
            self._lines = 1 + len(self._done)

    def __len__(self) -> int:
        return len(self._done)

    def done(self, source: Source) -> list[Seen] | None:
        """What was seen in that file, if it is done and has not been changed since; errors are tried again."""
        stamp, names, seen = self._done.get(str(source.path), (None, None, []))
        if stamp is None or stamp != _stamp(source.path) or any(one.error for one in seen):
            return None
        if names is not None and names != _names(source):  # a file of the same name came before it
            return None
        return seen

    def add(self, source: Source, seen: Sequence[Seen]) -> None:
        """That file is done."""
        done = {"path": str(source.path), "stamp": _stamp(source.path), "names": _names(source)}
        self._write(done | {"seen": [one.to_json() for one in seen]})

    def adopt(self, lines: Path) -> bool:
        """Take what a finished run has written as JSON lines for done, where nothing else is known; whether it was.

        Pictures that were changed after that file are not done. Raises OutputError for other lines.
        """
        if self._done or not lines.is_file():
            return False
        written = lines.stat().st_mtime_ns
        groups: dict[str, list[Seen]] = {}
        try:
            for line in lines.read_bytes().splitlines():
                seen = Seen.from_json(json.loads(line))
                groups.setdefault(str(seen.path), []).append(seen)
        except (ValueError, KeyError, TypeError) as error:
            raise OutputError(f"{lines}: is not what onnx detect wrote; without --resume it is replaced") from error
        for path, group in groups.items():
            stamp = _stamp(Path(path))
            if stamp is not None and stamp[1] <= written:
                self._done[path] = stamp, None, group
                self._write({"path": path, "stamp": stamp, "names": None, "seen": [one.to_json() for one in group]})
        return bool(self._done)

    def close(self, keep: bool) -> bool:
        """``keep``: for another --resume; a journal of nothing is never kept. Whether it was."""
        self._file.close()
        kept = keep and self._lines > 1
        if not kept:
            self.path.unlink(missing_ok=True)
        return kept

    def _write(self, line: Mapping[str, Any]) -> None:
        self._file.write(json.dumps(line).encode() + b"\n")
        self._file.flush()
        self._lines += 1

    def _read(self, head: Mapping[str, Any]) -> int | None:
        """Fill ``_done``; where the last whole line ends, None if there is none."""
        lines = self.path.read_bytes().split(b"\n")[:-1]
        if not lines:
            return None
        try:
            first = json.loads(lines[0])
            kept = first["settings"]
            if first["journal"] != FORMAT:
                raise ValueError("another format")
        except (ValueError, KeyError, TypeError) as error:
            raise OutputError(f"{self.path}: is no journal of onnx detect; without --resume it is replaced") from error
        other = [name for name in head["settings"] | kept if head["settings"].get(name) != kept.get(name)]
        if other:
            raise OutputError(
                f"{self.path}: was begun with another {', '.join(other)}; give the same settings, or begin anew "
                "without --resume"
            )
        end = len(lines[0]) + 1
        for line in lines[1:]:
            try:
                said = json.loads(line)
                seen = [Seen.from_json(one) for one in said["seen"]]
                self._done[str(said["path"])] = said["stamp"], said["names"], seen
            except (ValueError, KeyError, TypeError):  # torn by a power cut: what follows is not trusted
                break
            end += len(line) + 1
        return end


def _names(source: Source) -> list[str]:
    """What the file is called in what is made of it."""
    return [str(source.shown), str(source.stem)]


def _stamp(path: Path) -> list[int] | None:
    """Size and time of change."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return [status.st_size, status.st_mtime_ns]
