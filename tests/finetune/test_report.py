"""The report page: its content, that it escapes and needs no network, with 2 and 146 classes, and in a browser."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from caffe2torch.errors import ModelError
from finetune.calibration import Calibration
from finetune.cli import main
from finetune.report import write_report

HOSTILE = "<script>alert(1)</script>"
QUOTED = "\"'><img src=http://example.com/x onerror=alert(1)>{{ 7 * 7 }}&amp;"
MAGENTA = (255, 0, 255)


class Page(HTMLParser):
    """What a page is made of: tags with their attributes, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.text += " "

    def handle_data(self, data: str) -> None:
        self.text += data

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def write_run(folder: Path, classes: Sequence[str], each: int = 4, wrong: int = 3, **split: Any) -> Path:
    """A run of ``each`` validation pictures a class, of which the first ``wrong`` in all are taken for the next class.

    The pictures are magenta.
    """
    run, data = folder / "run", folder / "data"
    run.mkdir()
    data.mkdir()
    names, rows = [], []
    for label in range(len(classes)):
        for number in range(each):
            names.append(f"{label}-{number}.png")
            answer = (label + (len(rows) < wrong)) % len(classes)
            share = 0.9 - 0.01 * len(rows) / len(classes)
            row = np.full(len(classes), (1 - share) / (len(classes) - 1))
            row[answer] = share
            rows.append([names[-1], classes[label], classes[answer], *(f"{p:.6g}" for p in row)])
    for name in names[:60]:
        Image.new("RGB", (40, 30), MAGENTA).save(data / name)
    labels = [int(name.split("-")[0]) for name in names]
    config = {
        "format": "finetune-run 1",
        "recipe": "tutorial",
        "classes": list(classes),
        "size": [30, 40],
        "options": {"epochs": 9, "seed": 3},
        "versions": {"numpy": np.__version__},
        "trunk": {"name": QUOTED, "sha256": "abc123"},
    }
    said = {"data": str(data), "classes": list(classes), "train": names, "train_labels": labels, "validation": names}
    calibration = Calibration(1.5, 0.6, len(names), 0.1, 0.05).to_json()
    files = {"config": config, "split": {**said, "unreadable": [], **split}, "best": {"epoch": 7}}
    for name, content in {**files, "calibration": calibration}.items():
        (run / f"{name}.json").write_text(json.dumps(content))
    with open(run / "predictions-validation.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["path", "label", "predicted", *classes], *rows])
    Image.new("RGB", (8, 8)).save(run / "loss.png")
    return run


def test_what_the_page_holds(tmp_path: Path) -> None:
    near = {"near_duplicates": [["0-0.png", "0-1.png"]], "in_test": [["0-2.png", "1-0.png"]]}
    run = write_run(tmp_path, ["Ann", "Bo"], each=10, **near)
    folds = {"folds": [{}, {}, {}], "mean": 0.8125, "standard_deviation": 0.031}
    (run / "cross-validation.json").write_text(json.dumps(folds))
    page = Page(write_report(run).read_text(encoding="utf-8"))
    text = " ".join(page.text.split())
    assert "validation accuracy 85.0%" in text and "17 of 20" in text
    assert "cross-validation 81.2% standard deviation 3.1% of 3 folds" in text
    assert "95 % bootstrap interval 70.0% to 100.0%" in text
    assert "Ann 7 of 10 70.0%" in text and "Bo 10 of 10 100.0%" in text
    assert "Ann Bo 3 of 10" in text  # mixed up
    assert "3 of 3 pictures that were answered wrongly" in text
    assert "answered Bo 90.0% is Ann 10.0% 0-0.png" in text
    assert "temperature 1.500" in text and "best epoch 7 of 9" in text
    assert "2 pictures in 1 groups" in text and "1 test pictures are much like one" in text
    assert "abc123" in text and np.__version__ in text and "seed 3" in text
    images = page.of("img")
    assert len(images) >= 1 + 3 + 2 + 2 + 16  # curves, mistakes, near-duplicates, samples
    assert all(str(image["src"]).startswith("data:image/") for image in images)
    assert page.of("svg") and {"confusions", "gallery mistakes"} <= {
        str(a.get("class")).replace("classes ", "") for _, a in page.tags
    }


def test_names_are_text_and_nothing_is_fetched(tmp_path: Path) -> None:
    run = write_run(tmp_path, [HOSTILE, QUOTED])
    html = write_report(run).read_text(encoding="utf-8")
    page = Page(html)
    assert not page.of("script") and not page.of("link") and not page.of("iframe")
    assert all("onerror" not in attributes for _, attributes in page.tags)
    assert HOSTILE in page.text and QUOTED in page.text
    for tag, attributes in page.tags:
        for name in ("src", "href", "action", "data", "srcset"):
            assert str(attributes.get(name, "data:")).startswith("data:"), (tag, name)
    (policy,) = (a["content"] for a in page.of("meta") if a.get("http-equiv") == "Content-Security-Policy")
    assert str(policy).startswith("default-src 'none'")


def test_146_classes(tmp_path: Path) -> None:
    classes = [f"character {number:03} 初音ミク" for number in range(146)]
    run = write_run(tmp_path, classes, each=2)
    html = write_report(run).read_text(encoding="utf-8")
    page = Page(html)
    assert all(name in page.text for name in classes)
    assert "116 more classes" in page.text
    assert not [a for a in page.of("table") if a.get("class") == "matrix"]
    assert [a for a in page.of("img") if a.get("class") == "heat"]
    assert len(html) < 3_000_000


def test_pictures_that_are_gone_are_named(tmp_path: Path) -> None:
    run = write_run(tmp_path, ["Ann", "Bo"])
    shutil.rmtree(tmp_path / "data")
    page = Page(write_report(run).read_text(encoding="utf-8"))
    assert len(page.of("img")) == 1  # the curve
    assert len([a for a in page.of("span") if a.get("class") == "gone"]) >= 3


def test_no_mistakes_and_no_validation(tmp_path: Path) -> None:
    run = write_run(tmp_path, ["Ann", "Bo"], wrong=0)
    assert "There is none." in Page(write_report(run).read_text(encoding="utf-8")).text
    (run / "predictions-validation.csv").unlink()
    (run / "calibration.json").unlink()
    assert "Calibration" not in Page(write_report(run).read_text(encoding="utf-8")).text


def test_the_command_and_damaged_runs(tmp_path: Path) -> None:
    run = write_run(tmp_path, ["Ann", "Bo"])
    result = CliRunner().invoke(main, ["report", str(run)])
    assert (result.exit_code, result.stdout) == (0, f"{run}/report.html\n")
    result = CliRunner().invoke(main, ["report", str(tmp_path)])
    assert result.exit_code == 1 and "not a training run" in result.stderr
    lines = (run / "predictions-validation.csv").read_text().splitlines()
    for damage, message in (
        ([*lines[:2], "x.png,Ann,Bo,0.5"], "line 3: all input arrays"),
        ([*lines[:2], "x.png,Cy,Bo,0.5,0.5"], "line 3: 'Cy'"),
        (["path,label,predicted,Ann"], "its columns are not the run's classes"),
        ([*lines[:2], "x.png,Ann,Bo,nan,0.5"], "not a probability a class"),
    ):
        (run / "predictions-validation.csv").write_text("\n".join(damage))
        with pytest.raises(ModelError, match=message):
            write_report(run)
    (run / "split.json").write_text("{}")
    with pytest.raises(ModelError, match="damaged: 'data' is missing"):
        write_report(run)


def test_in_a_browser(tmp_path: Path) -> None:
    """Chromium shows the mistakes' pictures, runs nothing and asks for nothing."""
    browser = next((name for name in ("chromium", "chromium-browser", "google-chrome") if shutil.which(name)), None)
    if browser is None:
        pytest.skip("no Chromium here")
    run = write_run(tmp_path, [HOSTILE, "Bo"])
    report, shot = write_report(run), tmp_path / "shot.png"
    flags = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    flags += ["--hide-scrollbars", "--window-size=1100,4000", f"--screenshot={shot}", "--dump-dom"]
    done = subprocess.run([browser, *flags, report.as_uri()], capture_output=True, text=True, timeout=120, check=True)
    page = Page(done.stdout)
    assert not page.of("script") and HOSTILE in page.text
    pixels = np.array(Image.open(shot).convert("RGB")).astype(int)
    magenta = (np.abs(pixels - MAGENTA).sum(axis=2) < 30).sum()
    assert magenta > 3 * 1000  # three mistakes of about 128 x 96, and samples
