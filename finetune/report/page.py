"""The page of a run's report: what is shown of the results, put into the template, which escapes every text."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from finetune.calibration import bins, calibration_error, tempered
from finetune.data.source import Source, name_of, source_named
from finetune.intervals import bootstrap, of_counts
from finetune.report.pictures import heat, png_file, thumbnail
from finetune.report.read import Part, Results
from finetune.wording import printable

if TYPE_CHECKING:
    from jinja2 import Template

MISTAKES = 24
CONFUSIONS = 12
MATRIX_CLASSES = 26  # more are drawn as a picture, without numbers
ROWS = 30  # of classes, before the rest is folded away
GROUPS, OF_GROUP = 16, 6  # of near-duplicates
SAMPLES = 120


def page(results: Results) -> str:
    """The whole HTML document."""
    parts = [_part(results, part) for part in results.parts]
    return _template().render(
        title=re.sub(r"\.partial-\d+$", "", results.run.name),
        results=results,
        parts=parts,
        tiles=_tiles(results, parts),
        curves=[(name, png_file(results.run / f"{name}.png")) for name in ("loss", "accuracy")],
        calibration=_calibration(results),
        groups=[
            [_picture(results, source) for source in group[:OF_GROUP]] for group in results.near_duplicates[:GROUPS]
        ],
        sizes=[len(group) for group in results.near_duplicates[:GROUPS]],
        near=sum(len(group) for group in results.near_duplicates),
        leaks=_leaks(results),
        samples=_samples(results),
        careful=results.config.get("options", {}).get("protocol", "careful") == "careful",
        facts=_facts(results.config),
    )


def _tiles(results: Results, parts: list[dict[str, Any]]) -> list[tuple[str, str, str]]:
    """Title, figure, remark."""
    tiles = [
        (
            f"{part['name']} accuracy",
            f"{part['accuracy']:.1%}",
            f"{part['low']:.1%} to {part['high']:.1%} (95 %); {part['right']:,} of {part['pictures']:,}",
        )
        for part in parts
    ]
    if results.folds:
        folds = results.folds
        tiles.append(
            ("cross-validation", f"{folds['mean']:.1%}",
             f"standard deviation {folds['standard_deviation']:.1%} of {len(folds['folds'])} folds")
        )  # fmt: skip
    counts = results.counts
    held = ", ".join(
        f"{counts[name]:,} {to}" for name, to in (("validation", "to validate"), ("test", "to test")) if counts[name]
    )
    tiles.append(("pictures", f"{counts['train']:,}", "to train" + (f"; {held}" if held else "")))
    tiles.append(("classes", f"{len(results.classes):,}", ""))
    of = f"of {results.config.get('options', {}).get('epochs', '?')}"
    chosen = counts["validation"] > 0
    last = "" if chosen else "; the last one: no picture was held out to choose by"
    tiles.append(("best epoch" if chosen else "epoch kept", str(results.best.get("epoch", "?")), of + last))
    return tiles


def _part(results: Results, part: Part) -> dict[str, Any]:
    classes = len(results.classes)
    counts = np.zeros((classes, classes), np.int64)
    np.add.at(counts, (part.labels, part.predicted), 1)
    low, high = bootstrap(part.right)
    rows = []
    for index, name in enumerate(results.classes):
        pictures, right = int(counts[index].sum()), int(counts[index, index])
        if pictures:
            rows.append((name, pictures, right, right / pictures, *of_counts(right, pictures)))
    rows.sort(key=lambda row: (row[3], row[0]))
    wrong = counts - np.diag(np.diag(counts))
    order = [divmod(int(place), classes) for place in np.argsort(-wrong, axis=None, kind="stable")[:CONFUSIONS]]
    totals = np.maximum(counts.sum(axis=1, keepdims=True), 1)
    small = classes <= MATRIX_CLASSES
    return {
        "name": part.name,
        "pictures": len(part.labels),
        "right": int(part.right.sum()),
        "accuracy": float(part.right.mean()) if len(part.labels) else 0.0,
        "low": low,
        "high": high,
        "rows": rows[:ROWS],
        "more": rows[ROWS:],
        "matrix": counts.tolist() if small else None,
        "shares": (counts / totals).round(3).tolist(),
        "heat": None if small else heat(counts / totals),
        "confusions": [
            (results.classes[a], results.classes[b], int(wrong[a, b]), int(totals[a, 0]))
            for a, b in order
            if wrong[a, b]
        ],
        "mistakes": _mistakes(results, part),
        "wrong": int((~part.right).sum()),
    }


def _mistakes(results: Results, part: Part) -> list[dict[str, Any]]:
    wrong = np.flatnonzero(~part.right)
    scores = part.probabilities.max(axis=1)
    chosen = wrong[np.argsort(-scores[wrong], kind="stable")][:MISTAKES]
    return [
        {
            "picture": thumbnail(part.sources[place]),
            "name": part.names[place],
            "label": results.classes[part.labels[place]],
            "predicted": results.classes[part.predicted[place]],
            "score": float(scores[place]),
            "own": float(part.probabilities[place, part.labels[place]]),
        }
        for place in chosen
    ]


def _calibration(results: Results) -> dict[str, Any] | None:
    """The reliability diagram of the test pictures, or of the validation pictures where there are no others."""
    if results.calibration is None or not results.parts or not len(results.parts[0].labels):
        return None
    part = results.parts[0]
    after = tempered(part.probabilities, results.calibration.temperature)
    best, right = after.max(axis=1), part.right
    accepted = best >= results.calibration.unknown_threshold
    return {
        "part": part.name,
        "own": part.name == "validation",
        "lines": [
            ("as the network gives them", "#999999", bins(part.probabilities, part.labels)),
            ("calibrated", "#2b6cb0", bins(after, part.labels)),
        ],
        "before": calibration_error(part.probabilities, part.labels),
        "after": calibration_error(after, part.labels),
        "kept": float(accepted[right].mean()) if right.any() else 0.0,
        "refused": float((~accepted)[~right].mean()) if (~right).any() else None,
    }


def _leaks(results: Results) -> list[tuple[str | None, str | None, str, str]]:
    """A test picture and one to train on, as pictures and by name."""
    return [
        (thumbnail(one, 96), thumbnail(other, 96), name_of(one, results.test_root), name_of(other, results.root))
        for one, other in results.in_test[:GROUPS]
    ]


def _samples(results: Results) -> list[tuple[str, int, list[tuple[str | None, str]]]]:
    """For each class its name, how many pictures train, and some of them, picked by seed 0."""
    names: list[list[str]] = [[] for _ in results.classes]
    for name, label in results.training:
        names[label].append(name)
    each = max(1, min(8, SAMPLES // len(results.classes)))
    random = np.random.RandomState(0)
    found = []
    for label, own in enumerate(names):
        chosen = [own[place] for place in random.permutation(len(own))[:each]]
        shown = [(thumbnail(source_named(name, results.root), 80), name) for name in chosen]
        found.append((results.classes[label], len(own), shown))
    return found if results.training else []


def _picture(results: Results, source: Source) -> tuple[str | None, str]:
    return thumbnail(source, 96), name_of(source, results.root)


def _facts(config: Mapping[str, Any]) -> list[tuple[str, list[tuple[str, str]]]]:
    """config.json as tables: everything of it but the classes."""
    tables: list[tuple[str, list[tuple[str, str]]]] = [("run", [])]
    for key, value in config.items():
        if key in ("classes", "format"):
            continue
        if isinstance(value, Mapping):
            tables.append((key, [(str(name), _text(inner)) for name, inner in value.items()]))
        else:
            tables[0][1].append((key, _text(value)))
    return tables


def _text(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, (list, tuple)):
        return ", ".join(_text(each) for each in value)
    return "–" if value is None else str(value)


def _shown(value: object) -> object:
    """Text of the page's own stays; names from elsewhere show control characters and stray bytes as escapes."""
    return printable(value) if type(value) is str else value


@functools.cache
def _template() -> Template:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("finetune.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = lambda share: f"{share:.1%}"
    return environment.get_template("page.html.jinja")
