"""The LBP cascade for anime faces on a list of pictures, as benchmarks/detect.py asks; needs OpenCV before 5.

usage: python cascade.py CASCADE.xml LONGER_SIDE THREADS find|time < JSON list of paths > JSON

LONGER_SIDE: pixels that pictures are scaled to, 0: as they are. Settings as its author shows them: scale 1.1, 5
neighbours, from 24 pixels, histogram equalised. Boxes come with the number of neighbours as score: those of the
published setting as "boxes", those from one neighbour on, for average precision, as "all".
"""

from __future__ import annotations

import json
import re
import sys
import time
from pathlib import Path
from typing import Any

import cv2


def find(cascade: Any, picture: Any, longer: int, neighbours: int) -> list[list[float]]:
    """Boxes x0 y0 x1 y1 in pixels of the picture (BGR), and their neighbours."""
    factor = longer / max(picture.shape[:2]) if longer else 1.0
    if factor != 1:
        method = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
        picture = cv2.resize(picture, None, fx=factor, fy=factor, interpolation=method)
    grey = cv2.equalizeHist(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY))
    boxes, counts = cascade.detectMultiScale2(grey, scaleFactor=1.1, minNeighbors=neighbours, minSize=(24, 24))
    rows = zip(boxes, counts)  # noqa: B905  # any Python runs this
    return [[float(v) / factor for v in (x, y, x + wide, y + high)] + [float(n)] for (x, y, wide, high), n in rows]


def peak_megabytes() -> float:
    """The most memory that this process has had; not ru_maxrss, which a child has from its parent. Linux."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(found[1]) / 1024 if found else float("nan")


def main() -> None:
    cv2.setNumThreads(int(sys.argv[3]))
    cascade = cv2.CascadeClassifier(sys.argv[1])
    longer = int(sys.argv[2])
    answer: dict[str, Any] = {
        "boxes": [],
        "all": [],
        "alone": [],
        "decoded": [],
        "processor": [],
        "version": cv2.__version__,
    }
    paths = json.load(sys.stdin)
    for path in paths[:3]:
        find(cascade, cv2.imread(path), longer, 5)  # warm
    for path in paths:
        start = time.perf_counter()
        picture = cv2.imread(path)
        middle, before = time.perf_counter(), time.process_time()
        answer["boxes"].append(find(cascade, picture, longer, 5))
        end = time.perf_counter()
        answer["processor"].append(1000 * (time.process_time() - before))
        answer["alone"].append(1000 * (end - middle))
        answer["decoded"].append(1000 * (end - start))
    answer["memory"] = peak_megabytes()
    answer["all"] = [find(cascade, cv2.imread(path), longer, 1) for path in paths] if sys.argv[4] == "find" else []
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
