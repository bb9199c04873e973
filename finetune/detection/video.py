"""Frames of video files and cameras, upright, by PyAV (the extra ``video``)."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from caffe2torch.errors import DataError

MOST_PIXELS = 100_000_000  # of a frame: as load_picture's limit


@dataclass(frozen=True)
class Frame:
    """One frame: its number from 0, its time in seconds where the file says it, and the picture."""

    number: int
    time: float | None
    picture: np.ndarray  # uint8 (H, W, 3) RGB, upright


def read_video(path: Path, every: int = 1) -> Iterator[Frame]:
    """Every ``every``-th frame of a video file, the first one first.

    Raises DataError for a file that is missing or no video, where it is damaged (after the frames before that), and
    without PyAV.
    """
    if not path.exists():
        raise DataError(f"{path}: cannot be read: No such file or directory")
    yield from _frames(str(path), str(path), every, {})


def read_camera(camera: str, every: int = 1) -> Iterator[Frame]:
    """Frames of a camera, until the reader stops: ``camera`` is its number (0, 1, …), or its name for FFmpeg.

    Raises DataError if it cannot be opened, and without PyAV.
    """
    number = camera.isdigit()
    if sys.platform == "win32":
        source, kind = f"video={camera}", "dshow"
    elif sys.platform == "darwin":
        source, kind = camera, "avfoundation"
    else:
        source, kind = (f"/dev/video{camera}" if number else camera), "v4l2"
    said = f"camera {camera}" + (f" ({source})" if source != camera else "")
    yield from _frames(source, said, every, {"format": kind})


def frame_rate(path: Path) -> float:
    """Frames a second on average; 25 where the file does not say. Raises DataError as read_video."""
    av = _av()
    with _reading(av, str(path)), av.open(str(path)) as container:
        rate = container.streams.video[0].average_rate if container.streams.video else None
        return float(rate) if rate else 25.0


def _frames(source: str, said: str, every: int, options: dict[str, Any]) -> Iterator[Frame]:
    av = _av()
    with _reading(av, said), av.open(source, **options) as container:
        if not container.streams.video:
            raise DataError(f"{said}: there is no video in it")
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        if stream.width * stream.height > MOST_PIXELS:
            raise DataError(f"{said}: frames of {stream.width} x {stream.height} are more than {MOST_PIXELS} pixels")
        for number, frame in enumerate(container.decode(stream)):
            if number % every:
                continue
            picture = frame.to_ndarray(format="rgb24")
            turns = (
                round((getattr(frame, "rotation", 0) or 0) / 90) % 4
            )  # counter-clockwise, as the file wants it shown
            yield Frame(number, frame.time, np.ascontiguousarray(np.rot90(picture, turns)))


@contextlib.contextmanager
def _reading(av: Any, said: str) -> Iterator[None]:
    try:
        yield
    except av.FFmpegError as error:
        what = "cannot be opened" if said.startswith("camera ") else "cannot be read as a video"
        raise DataError(f"{said}: {what}: {error.strerror or error}") from error


def _av() -> Any:
    try:
        import av
    except ImportError as error:
        raise DataError("videos and cameras need PyAV: pip install 'caffe2torch[video]', or pip install av") from error
    av.logging.set_level(None)  # any level makes FFmpeg's threads wait for Python's lock, and we could wait for them
    return av


class VideoWriter:
    """An MP4 file made frame by frame: H.264 where PyAV was built with it, else MPEG-4."""

    def __init__(self, path: Path, rate: float) -> None:
        from fractions import Fraction

        self._av = _av()
        self._container = self._av.open(str(path), "w", format="mp4")
        self._rate = Fraction(rate).limit_denominator(1001)
        self._stream: Any = None

    def add(self, picture: np.ndarray) -> None:
        """One more frame, uint8 (H, W, 3) RGB; all have the size of the first, an odd edge loses a pixel."""
        height, width = (side // 2 * 2 for side in picture.shape[:2])
        if self._stream is None:
            codec = "libx264" if "libx264" in self._av.codecs_available else "mpeg4"
            self._stream = self._container.add_stream(codec, rate=self._rate)
            self._stream.width, self._stream.height, self._stream.pix_fmt = max(2, width), max(2, height), "yuv420p"
        frame = self._av.VideoFrame.from_ndarray(np.ascontiguousarray(picture[:height, :width]), format="rgb24")
        for packet in self._stream.encode(frame):
            self._container.mux(packet)

    def close(self) -> None:
        """Write what is still in the encoder, and the file's end."""
        if self._stream is not None:
            for packet in self._stream.encode():
                self._container.mux(packet)
        self._container.close()
