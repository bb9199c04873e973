"""One HTML file about an evaluation: figures, a curve, the worst misses and false boxes as pictures. No network."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from caffe2torch.errors import DataError
from caffe2torch.files import write_whole
from caffe2torch.pictures import load_picture
from finetune.detection.evaluate import Evaluation, truths_of
from finetune.detection.geometry import areas, overlaps
from finetune.detection.matching import match
from finetune.detection.page_text import CURVE, PAGE, STYLE

SHOWN = 24  # pictures of each kind
CONTEXT = 0.9  # of a box's size, shown around it
HEIGHT = 180  # of a picture on the page, pixels
TRUTH, FOUND = "#1a9850", "#d7301f"


@dataclass(frozen=True)
class Mistake:
    """A face that was missed, or a box where none is: what is shown of it."""

    picture: int
    box: np.ndarray
    weight: float  # by which the worst come first
    text: str


def write_page(path: Path, title: str, evaluation: Evaluation, figures: dict[str, Any]) -> None:
    """Write the page, whole or not at all; ``figures`` are those of Evaluation.to_json."""
    missed, false = mistakes(evaluation)
    parts = {
        "style": STYLE,
        "title": escape(title),
        "summary": _summary(figures),
        "curve": _curve(evaluation, figures),
        "sizes": _sizes(figures),
        "missed": _gallery(evaluation, missed, "Every face was found."),
        "missed_count": _counted(len(missed), "face was missed", "faces were missed"),
        "false": _gallery(evaluation, false, "There is no false box."),
        "false_count": _counted(len(false), "box is on no face", "boxes are on no face"),
        "truth": TRUTH,
        "found": FOUND,
    }
    write_whole(path, PAGE.format(**parts))


def mistakes(evaluation: Evaluation) -> tuple[list[Mistake], list[Mistake]]:
    """Faces that were missed, the largest (of their picture) first, and false boxes, the surest first."""
    missed: list[Mistake] = []
    false: list[Mistake] = []
    threshold = evaluation.settings.confidence
    for number, (found, truth) in enumerate(zip(evaluation.found, truths_of(evaluation.pictures), strict=True)):
        told = found.scores >= threshold
        boxes, scores = found.boxes[told], found.scores[told]
        chosen = match(boxes, truth, evaluation.overlap)
        everywhere = overlaps(found.boxes.astype(np.float64), truth.boxes.astype(np.float64))
        for face in np.flatnonzero(~truth.difficult & ~np.isin(np.arange(len(truth.boxes)), chosen)):
            box = truth.boxes[face]
            size = float(np.sqrt(areas(box[None])[0]))
            missed.append(Mistake(number, box, size, _nearest(found.scores, everywhere[:, face], size)))
        for place in np.flatnonzero(chosen < 0):
            best = float(everywhere[told][place].max()) if len(truth.boxes) else 0.0
            text = f"score {scores[place]:.2f}" + (f", overlaps a face by {best:.2f}" if best > 0.05 else "")
            false.append(Mistake(number, boxes[place], float(scores[place]), text))
    return sorted(missed, key=lambda one: -one.weight), sorted(false, key=lambda one: -one.weight)


def _nearest(scores: np.ndarray, pairs: np.ndarray, size: float) -> str:
    about = f"{size:.0f} pixels"
    if not len(pairs) or pairs.max() < 0.05:
        return f"{about}; no box near it"
    best = int(pairs.argmax())
    return f"{about}; best box there: score {scores[best]:.2f}, overlap {pairs[best]:.2f}"


def _summary(figures: dict[str, Any]) -> str:
    average, without = figures["average_precision"], figures["without_faces"]
    at = f"at score {figures['threshold']:g}, overlap {figures['overlap']:g}"
    rows = [(f"{name} {at}", figures[key]) for key, name in _SHARES]
    rows += [(f"average precision at overlap {key}", average[key]) for key in average]
    cells = [f"<tr><td>{escape(name)}</td><td>{_share(value)}</td></tr>" for name, value in rows]
    counts = [("pictures", figures["pictures"]), ("faces", figures["faces"]), ("difficult", figures["difficult"])]
    counts += [("found", figures["found"]), ("false boxes", figures["false"])]
    if without["pictures"]:
        of = f"{without['false']} on {without['pictures']}, {without['false_per_picture']:g} a picture"
        cells.append(f"<tr><td>false boxes on pictures without faces</td><td>{of}</td></tr>")
    cells += [f"<tr><td>{name}</td><td>{count}</td></tr>" for name, count in counts]
    return "\n".join(cells)


_SHARES = (("precision", "precision"), ("recall", "recall"), ("f1", "F1"))


def _share(value: dict[str, float | None]) -> str:
    if value["value"] is None:
        return "–"
    return f"<b>{value['value']:.3f}</b> <small>{value['low']:.3f} to {value['high']:.3f}</small>"


def _sizes(figures: dict[str, Any]) -> str:
    def cell(value: float | None) -> str:
        return "–" if value is None else f"{value:.3f}"

    return "\n".join(
        f"<tr><td>{of['size']}</td><td>{of['faces']}</td><td>{cell(of['recall'])}</td>"
        f"<td>{cell(of['average_precision'])}</td></tr>"
        for of in figures["sizes"]
    )


def _curve(evaluation: Evaluation, figures: dict[str, Any]) -> str:
    """Precision over recall as SVG, with the threshold's point."""
    recall, precision, _ = evaluation.matches.curve()
    if not len(recall) or not figures["faces"]:
        return ""
    keep = np.unique(np.linspace(0, len(recall) - 1, 400).round().astype(int))
    corners = zip(60 + 300 * recall[keep], 320 - 300 * precision[keep], strict=True)
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in corners)
    mark = ""
    if figures["precision"]["value"] is not None and figures["recall"]["value"] is not None:
        x, y = 60 + 300 * figures["recall"]["value"], 320 - 300 * figures["precision"]["value"]
        mark = f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5"/>'
    return CURVE.format(points=points, mark=mark, overlap=figures["overlap"], threshold=figures["threshold"])


def _gallery(evaluation: Evaluation, shown: Sequence[Mistake], none: str) -> str:
    if not shown:
        return f"<p>{none}</p>"
    cards = "\n".join(_card(evaluation, one) for one in shown[:SHOWN])
    more = f"<p>… and {len(shown) - SHOWN} more.</p>" if len(shown) > SHOWN else ""
    return f'<div class="gallery">\n{cards}\n</div>{more}'


def _card(evaluation: Evaluation, one: Mistake) -> str:
    path = evaluation.pictures[one.picture].path
    try:
        picture = _drawn(evaluation, one)
    except DataError as error:  # it could be read a moment ago
        return f"<figure><figcaption>{escape(str(error))}</figcaption></figure>"
    return (
        f'<figure><img src="data:image/jpeg;base64,{picture}" alt="" height="{HEIGHT}">'
        f'<figcaption><span title="{escape(str(path))}">{escape(path.name)}</span><br>{escape(one.text)}</figcaption>'
        "</figure>"
    )


def _drawn(evaluation: Evaluation, one: Mistake) -> str:
    """The surroundings of the box with all boxes in it, as base64 of a JPEG."""
    from PIL import Image, ImageDraw

    whole = load_picture(evaluation.pictures[one.picture].path)
    height, width = whole.shape[:2]
    side = (1 + 2 * CONTEXT) * float(max(one.box[2:] - one.box[:2]))
    left, right = _around(float(one.box[0] + one.box[2]) / 2, side, width)
    top, bottom = _around(float(one.box[1] + one.box[3]) / 2, side, height)
    factor = 2 * HEIGHT / (bottom - top)
    size = max(1, round((right - left) * factor)), 2 * HEIGHT
    image = Image.fromarray(whole[top:bottom, left:right]).resize(size, Image.Resampling.BICUBIC)
    brush = ImageDraw.Draw(image)
    truth, found = evaluation.pictures[one.picture], evaluation.found[one.picture]
    told = found.boxes[found.scores >= evaluation.settings.confidence]
    for boxes, colour, line in ((one.box[None], "white", 9), (truth.boxes, TRUTH, 5), (told, FOUND, 3)):
        for corners in boxes:
            moved = (corners - np.array([left, top, left, top])) * factor
            brush.rectangle([float(edge) for edge in moved], outline=colour, width=line)
    content = io.BytesIO()
    image.save(content, "JPEG", quality=80)
    return base64.b64encode(content.getvalue()).decode("ascii")


def _around(centre: float, length: float, limit: int) -> tuple[int, int]:
    """Whole pixels start..end of that length about the centre, moved into 0..limit, and cut where that is shorter."""
    whole = min(max(1, round(length)), limit)
    start = min(max(0, round(centre - whole / 2)), limit - whole)
    return start, start + whole


def _counted(count: int, one: str, many: str) -> str:
    return f"{count} {one if count == 1 else many}"
