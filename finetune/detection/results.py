"""What was seen in a picture or a frame of a video, as dataclasses and as the JSON that users get."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Face:
    """One face: its box x0 y0 x1 y1 in pixels of the upright picture, its score 0..1, and who it is, where asked."""

    box: tuple[float, float, float, float]
    score: float
    name: str | None = None
    name_score: float | None = None

    def to_json(self) -> dict[str, Any]:
        """The entry in "faces": hundredths of a pixel, scores of six digits."""
        said: dict[str, Any] = {"box": [round(edge, 2) for edge in self.box], "score": round(self.score, 6)}
        if self.name is not None and self.name_score is not None:
            said |= {"name": self.name, "name_score": round(self.name_score, 6)}
        return said

    @classmethod
    def from_json(cls, said: Mapping[str, Any]) -> Face:
        """What to_json gave. Raises KeyError, TypeError or ValueError for anything else."""
        x0, y0, x1, y1 = (float(edge) for edge in said["box"])
        score = said.get("name_score")
        return cls((x0, y0, x1, y1), float(said["score"]), said.get("name"), None if score is None else float(score))


@dataclass(frozen=True)
class Seen:
    """One picture, or one frame of a video, and its faces, best first; or why it could not be read."""

    path: Path
    width: int = 0  # of the upright picture
    height: int = 0
    faces: tuple[Face, ...] = ()
    error: str | None = None
    frame: int | None = None  # of a video, from 0
    time: float | None = None  # of the frame, in seconds from the video's start

    def to_json(self) -> dict[str, Any]:
        """The entry of the JSON forms: {"path", "width", "height", "faces"}, or {"path", "error"}."""
        said: dict[str, Any] = {"path": str(self.path)}
        if self.frame is not None:
            said["frame"] = self.frame
        if self.time is not None:
            said["time"] = round(self.time, 3)
        if self.error is not None:
            return said | {"error": self.error}
        return said | {"width": self.width, "height": self.height, "faces": [face.to_json() for face in self.faces]}

    @classmethod
    def from_json(cls, said: Mapping[str, Any]) -> Seen:
        """What to_json gave. Raises KeyError, TypeError or ValueError for anything else."""
        moment: dict[str, Any] = {"frame": said.get("frame"), "time": said.get("time")}
        path = Path(said["path"])
        if "error" in said:
            return cls(path, error=str(said["error"]), **moment)
        faces = tuple(Face.from_json(face) for face in said["faces"])
        return cls(path, int(said["width"]), int(said["height"]), faces, **moment)

    def where(self) -> str:
        """The file, and the frame of a video."""
        return str(self.path) if self.frame is None else f"{self.path}#{self.frame}"
