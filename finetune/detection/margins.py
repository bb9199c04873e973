"""With what margin faces are cut for a classifier: as its model says, as is given, or measured on its pictures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from caffe2torch.errors import DataError
from caffe2torch.pictures import find_pictures, load_picture
from caffe2torch.terminal import note
from finetune.detection.cropping import Margin, even
from finetune.detection.finder import Finder
from finetune.runtime import reading_metadata

# As the pictures of the animeface-character-dataset, which the tutorial trains on, lie around their faces, measured
# with the detector of this package: hair above, hardly anything below the chin.
DEFAULT = Margin(0.55, 0.9, 0.55, 0.05)
MOST = 4.0  # times the box
LOOKED_AT = 100  # pictures, evenly out of the folder
SURE = 0.5  # least score of a face that the margin is measured on
LEAST = 5  # of such faces


def margin_of(path: Path, said: Mapping[str, Any], given: Margin | Path | None, finder: Finder) -> Margin:
    """The margin for the classifier at ``path`` whose metadata are ``said``.

    ``given`` has precedence: a margin, or a folder with pictures like those it was trained on, which is measured. Then
    "margin" in the metadata counts (a number, or four: left, top, right, bottom), else DEFAULT, which is said aloud.
    Raises ModelError for a damaged entry, DataError for a folder in which too few faces are found.
    """
    if isinstance(given, Path):
        measured = measure(finder, given)
        note(f"{given}: faces are cut with a margin of {measured} (left, top, right, bottom) of their size")
        return measured
    if given is not None:
        return given
    with reading_metadata(path):
        known = said.get("margin")
        if known is not None:
            return _read(known)
    note(
        f"{path} does not say how its pictures were cut: a margin of {DEFAULT} (left, top, right, bottom) of a face's "
        "size is taken; --classify-margin gives another, or a folder of its pictures to measure it on"
    )
    return DEFAULT


def measure(finder: Finder, folder: Path) -> Margin:
    """The medians of what lies around the best face of each picture in a folder (searched at any depth)."""
    files = find_pictures(folder)
    rows = []
    for place in np.unique(np.linspace(0, len(files) - 1, min(LOOKED_AT, len(files))).round().astype(int)):
        picture = load_picture(files[place])
        height, width = picture.shape[:2]
        found = finder.find(picture, finder.settings)
        if len(found.boxes) and found.scores[0] >= SURE:
            x0, y0, x1, y1 = (float(edge) for edge in found.boxes[0])
            rows.append(np.array([x0, y0, width - x1, height - y1]) / max(x1 - x0, y1 - y0))
    if len(rows) < LEAST:
        raise DataError(f"{folder}: a face is found in {len(rows)} of its pictures; too few to measure a margin on")
    left, top, right, bottom = (round(float(np.clip(share, 0, MOST)), 2) for share in np.median(rows, axis=0))
    return Margin(left, top, right, bottom)


def _read(known: object) -> Margin:
    shares = [known] * 4 if isinstance(known, (int, float)) else known
    if not isinstance(shares, list) or len(shares) != 4:
        raise ValueError(f"margin {known!r}")
    for share in shares:
        if isinstance(share, bool) or not isinstance(share, (int, float)) or not 0 <= share <= MOST:
            raise ValueError(f"margin {known!r}")
    return even(float(shares[0])) if isinstance(known, (int, float)) else Margin(*(float(share) for share in shares))
