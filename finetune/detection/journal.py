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

FORMAT = 1


class Journal:
    """A file of JSON lines: first the settings, then a line for each file that is done: its stamp and what was seen.

    A line is written when everything made of that file is in place. Lines are whole or not counted.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any], resume: bool) -> None:
        """Begin a journal, or with ``resume`` go on with the one that is there.

        Raises OutputError if that one was kept with other settings, is none, or cannot be written.
        """
        self.path = path
        self._done: dict[str, tuple[list[int], list[Seen]]] = {}
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

    def __len__(self) -> int:
        return len(self._done)

    def done(self, source: Source) -> list[Seen] | None:
        """What was seen in that file, if it is done and has not been changed since; errors are tried again."""
        stamp, seen = self._done.get(str(source.path), (None, []))
        if stamp is None or stamp != _stamp(source.path) or any(one.error for one in seen):
            return None
        return seen

    def add(self, source: Source, seen: Sequence[Seen]) -> None:
        """That file is done."""
        line = {"path": str(source.path), "stamp": _stamp(source.path), "seen": [one.to_json() for one in seen]}
        self._write(line)

    def close(self, keep: bool) -> None:
        """``keep``: for another --resume."""
        self._file.close()
        if not keep:
            self.path.unlink(missing_ok=True)

    def _write(self, line: Mapping[str, Any]) -> None:
        self._file.write(json.dumps(line).encode() + b"\n")
        self._file.flush()

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
                self._done[str(said["path"])] = said["stamp"], [Seen.from_json(one) for one in said["seen"]]
            except (ValueError, KeyError, TypeError):  # torn by a power cut: what follows is not trusted
                break
            end += len(line) + 1
        return end


def _stamp(path: Path) -> list[int] | None:
    """Size and time of change."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return [status.st_size, status.st_mtime_ns]
