"""Faces in pictures and videos: decoded, looked at and drawn in threads, a bounded number ahead, told in order."""

from __future__ import annotations

import contextlib
import os
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from caffe2torch.errors import DataError
from caffe2torch.files import beside
from caffe2torch.pictures import load_picture
from finetune.detection import tiles
from finetune.detection.cropping import QUARTER, Margin, write_crops
from finetune.detection.finder import Finder, Settings
from finetune.detection.fonts import Fonts
from finetune.detection.journal import Journal
from finetune.detection.names import Namer
from finetune.detection.overlay import draw, write_overlay
from finetune.detection.places import face_places, shown_place
from finetune.detection.results import Face, Seen
from finetune.detection.sources import Source
from finetune.detection.video import Frame, VideoWriter, frame_rate, read_video

Looked = tuple[Seen, "np.ndarray | None"]  # what was seen, and the frame with boxes of a video


@dataclass(frozen=True)
class Look:
    """How pictures are looked at, and what is made of them."""

    finder: Finder
    settings: Settings
    tile: int | None = None  # as in tiles.tile_side
    namer: Namer | None = None
    overlay: Path | None = None  # folder of pictures with boxes
    fonts: Fonts | None = None  # for the overlay
    crops: Path | None = None  # folder of faces cut out
    margin: Margin = QUARTER  # around those
    every: int = 1  # n-th frame of a video

    def faces(self, picture: np.ndarray) -> tuple[Face, ...]:
        """The faces in a picture uint8 (H, W, 3) RGB, best first, named if that is asked for."""
        found = tiles.find(self.finder, picture, self.settings, self.tile)
        faces = tuple(
            Face((float(box[0]), float(box[1]), float(box[2]), float(box[3])), float(score))
            for box, score in zip(found.boxes, found.scores, strict=True)
        )
        return self.namer.name(picture, faces) if self.namer and faces else faces

    def picture(self, source: Source) -> Looked:
        """One picture file; overlay and crops are in place when this returns."""
        if source.error is not None:
            return Seen(source.path, error=source.error), None
        try:
            picture = load_picture(source.path)
        except DataError as error:
            return Seen(source.path, error=str(error).removeprefix(f"{source.path}: ")), None
        seen = Seen(source.path, picture.shape[1], picture.shape[0], self.faces(picture))
        if self.crops is not None:
            write_crops(self.crops, picture, seen, source, self.margin)
        if self.overlay is not None:
            write_overlay(shown_place(self.overlay, source), draw(picture, seen, self.fonts or Fonts()))
        return seen, None

    def frame(self, source: Source, frame: Frame) -> Looked:
        """One frame of a video; crops are in place when this returns, the frame with boxes is given back."""
        height, width = frame.picture.shape[:2]
        seen = Seen(source.path, width, height, self.faces(frame.picture), None, frame.number, frame.time)
        if self.crops is not None:
            write_crops(self.crops, frame.picture, seen, source, self.margin)
        if self.overlay is None:
            return seen, None
        return seen, np.asarray(draw(frame.picture, seen, self.fonts or Fonts()))


def look(
    work: Look, sources: Sequence[Source], workers: int, journal: Journal | None = None
) -> Generator[tuple[Source, list[Seen]], None, None]:
    """What is seen in each source, in order: one Seen for a picture, one a frame for a video.

    What the journal says is done comes from there. A file that cannot be read is a Seen with ``error``; a video that
    is damaged gives the frames before that, then the error. At most ``workers`` + 2 pictures are held at a time.
    Raises ModelError if a model fails, OSError if overlay or crops cannot be written. To be closed: that ends threads.
    """
    pool = ThreadPoolExecutor(workers, "look")
    waiting: deque[tuple[Source, Future[Looked] | list[Seen] | None]] = deque()

    def finished() -> tuple[Source, list[Seen]]:
        source, result = waiting.popleft()
        if isinstance(result, list):
            return source, result
        seen = _video(work, source, pool, workers) if result is None else [result.result()[0]]
        if journal is not None:
            journal.add(source, seen)
        return source, seen

    try:
        for source in sources:
            known = None if journal is None else journal.done(source)
            if known is not None and not _made(work, source, known):
                known = None
            if known is None and not (source.is_video and source.error is None):
                waiting.append((source, pool.submit(work.picture, source)))
            else:
                waiting.append((source, known))
            if len(waiting) > workers + 2:
                yield finished()
        while waiting:
            yield finished()
    finally:
        pool.shutdown(cancel_futures=True)


def watch(work: Look, source: Source, frames: Iterator[Frame], workers: int) -> Iterator[tuple[Source, list[Seen]]]:
    """What is seen in the frames of a camera, one by one, until they end."""
    with ThreadPoolExecutor(workers, "look") as pool:
        for seen, _ in _in_order(pool, lambda frame: work.frame(source, frame), frames, workers):
            yield source, [seen]


def _made(work: Look, source: Source, seen: Sequence[Seen]) -> bool:
    """Whether all that is asked for is still there: the picture with boxes, the faces."""
    made = [] if work.overlay is None else [shown_place(work.overlay, source)]
    if work.crops is not None:
        made += [place for one in seen for place in face_places(work.crops, source, one)]
    return all(place.exists() for place in made)


def _video(work: Look, source: Source, pool: ThreadPoolExecutor, workers: int) -> list[Seen]:
    """All frames of a video file; its overlay is a video, put in place if it is whole."""
    seen: list[Seen] = []
    try:
        with contextlib.ExitStack() as stack:
            writer: VideoWriter | None = None
            if work.overlay is not None:
                rate = frame_rate(source.path) / work.every
                part = stack.enter_context(beside(shown_place(work.overlay, source)))
                writer = stack.enter_context(contextlib.closing(VideoWriter(part, rate)))
            frames = read_video(source.path, work.every)
            for one, drawn in _in_order(pool, lambda frame: work.frame(source, frame), frames, workers):
                seen.append(one)
                if writer is not None and drawn is not None:
                    writer.add(drawn)
            if not seen:
                raise DataError("a video without frames")
    except DataError as error:
        seen.append(Seen(source.path, error=str(error).removeprefix(f"{source.path}: ")))
    return seen


def _in_order(
    pool: ThreadPoolExecutor, function: Callable[[Frame], Looked], frames: Iterator[Frame], workers: int
) -> Iterator[Looked]:
    waiting: deque[Future[Looked]] = deque()
    try:
        for frame in frames:
            waiting.append(pool.submit(function, frame))
            if len(waiting) > workers + 2:
                yield waiting.popleft().result()
    except DataError:
        while waiting:
            yield waiting.popleft().result()
        raise
    while waiting:
        yield waiting.popleft().result()


def cores() -> int:
    """The processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
