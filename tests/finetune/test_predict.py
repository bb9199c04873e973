"""Predictions come in order, batch by batch, with the unreadable in their place; as text they survive odd names."""

from __future__ import annotations

import csv
import io
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from caffe2torch.errors import DataError, ModelError
from caffe2torch.pictures import load_picture
from finetune.formats import TEXT, printable
from finetune.predict import Prediction, list_pictures, predict
from finetune.runtime import Session, open_model


@pytest.fixture
def session(model: Path) -> Session:
    return open_model(model, "cpu", threads=1)


def colour_of(path: Path) -> str:
    return path.stem.split("-")[1]


@pytest.mark.parametrize("batch_size", [1, 2, 3, 9, 32])
def test_order_and_classes(session: Session, colours: Path, batch_size: int) -> None:
    pictures = list(reversed(list_pictures([colours])))
    predictions = list(predict(session, pictures, batch_size=batch_size, workers=4))
    assert [prediction.path for prediction in predictions] == pictures
    for prediction in predictions:
        assert prediction.error is None
        assert prediction.classes[0][0] == colour_of(prediction.path)


def test_scores_are_those_of_the_model(session: Session, colours: Path) -> None:
    path = colours / "0-red.png"
    (prediction,) = predict(session, [path], top_k=99)
    (expected,) = session.probabilities(load_picture(path, (8, 12))[None])
    scores = dict(prediction.classes)
    assert list(scores.values()) == sorted(scores.values(), reverse=True)
    np.testing.assert_allclose([scores[name] for name in session.info.classes], expected, rtol=3e-7)
    assert len(scores) == 3


def test_scores_never_sum_to_more_than_one(session: Session, colours: Path) -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (300, 8, 12, 3), dtype=np.uint8)
    assert (session.probabilities(pictures).astype(float).sum(1) > 1).any()  # float32 rounds up at times

    class Fixed:
        info = session.info

        def probabilities(self, stacked: np.ndarray) -> np.ndarray:
            return session.probabilities(pictures[: len(stacked)])

    for prediction in predict(Fixed(), [colours / "0-red.png"] * 300, batch_size=300):  # type: ignore[arg-type]
        scores = [score for _, score in prediction.classes]
        assert 0.999999 < sum(scores) <= 1
        assert sum(reversed(scores)) <= 1


def test_top_k_and_ties(write_model: Callable[..., Path], colours: Path) -> None:
    session = open_model(write_model(factor=0.0), "cpu")
    (prediction,) = predict(session, [colours / "2-blue.png"], top_k=2)
    assert [label for label, _ in prediction.classes] == ["red", "green"]


def test_unreadable_pictures_stay_in_their_place(session: Session, colours: Path, tmp_path: Path) -> None:
    (colours / "1-green.png").write_bytes(b"no picture")
    (tmp_path / "empty").mkdir()
    pictures = list_pictures([tmp_path / "missing.png", colours, tmp_path / "empty"])
    for batch_size in (1, 4, 32):
        predictions = list(predict(session, pictures, batch_size=batch_size))
        assert len(predictions) == 11
        assert predictions[0] == Prediction(tmp_path / "missing.png", error="cannot be read: No such file or directory")
        assert predictions[2].path.name == "1-green.png"
        assert predictions[2].error is not None
        assert predictions[2].error.startswith("not a picture")
        assert predictions[10] == Prediction(tmp_path / "empty", error="no pictures in this folder")
        assert sum(prediction.error is not None for prediction in predictions) == 3


def test_all_unreadable(session: Session, tmp_path: Path) -> None:
    assert [prediction.classes for prediction in predict(session, [tmp_path / "a", tmp_path / "b"])] == [(), ()]
    assert list(predict(session, [])) == []


def test_nothing_but_empty_folders(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no pictures in this folder"):
        list_pictures([tmp_path])


def test_memory_does_not_grow_with_the_input(session: Session, colours: Path) -> None:
    taken = 0

    def endless() -> Iterator[Path]:
        nonlocal taken
        while True:
            taken += 1
            yield colours / "0-red.png"

    predictions = predict(session, endless(), batch_size=4, workers=2)
    for given in range(1, 40):
        next(predictions)
        assert taken <= given + 3 * 4
    predictions.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("decode")]


def test_decoding_goes_on_while_the_model_runs(session: Session, colours: Path) -> None:
    """The model waits for a picture of the next batch to be decoded: it never returns unless the two overlap."""
    seen: list[int] = []
    decoded = threading.Semaphore(0)

    def watched() -> Iterator[Path]:
        for _ in range(12):
            yield colours / "0-red.png"

    class Waiting:
        info = session.info

        def probabilities(self, stacked: np.ndarray) -> np.ndarray:
            if not seen:
                for _ in range(8):
                    assert decoded.acquire(timeout=20)
            seen.append(len(stacked))
            return session.probabilities(stacked)

    def counted(path: Path, size: tuple[int, int], max_pixels: int) -> np.ndarray:
        picture = load_picture(path, size)
        decoded.release()
        return picture

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("finetune.data.source.load_picture", counted)
        assert len(list(predict(Waiting(), watched(), batch_size=4, workers=2))) == 12  # type: ignore[arg-type]
    assert seen == [4, 4, 4]


def test_a_model_that_gives_no_probabilities(session: Session, colours: Path) -> None:
    class Wrong:
        info = session.info

        def probabilities(self, stacked: np.ndarray) -> np.ndarray:
            return np.ones((len(stacked), 3), np.float32)

    with pytest.raises(ModelError, match="sum to 3"):
        list(predict(Wrong(), [colours / "0-red.png"]))  # type: ignore[arg-type]


ODD = [
    Prediction(Path("plain.png"), (("red", 0.75), ("green", 0.25))),
    Prediction(Path("new\nline\tand tab, \"quoted\" 'ü' 顔.png"), (("a,b\n", 1.0),)),
    Prediction(Path("stray\udcff.png"), error="damaged or truncated: \x1b[31m"),
]


def text(form: str, predictions: list[Prediction]) -> str:
    return "".join(TEXT[form](predictions))


def test_json() -> None:
    expected = [
        {"path": "plain.png", "predictions": [{"label": "red", "score": 0.75}, {"label": "green", "score": 0.25}]},
        {"path": str(ODD[1].path), "predictions": [{"label": "a,b\n", "score": 1.0}]},
        {"path": str(ODD[2].path), "error": "damaged or truncated: \x1b[31m"},
    ]
    as_bytes = text("json", ODD).encode("utf-8", "backslashreplace")
    assert json.loads(as_bytes) == expected
    assert "顔" in as_bytes.decode()
    assert [json.loads(line) for line in text("jsonl", ODD).splitlines()] == expected
    assert json.loads(text("json", [])) == []
    assert json.loads(text("json", ODD[:1])) == expected[:1]


def test_csv() -> None:
    rows = list(csv.DictReader(io.StringIO(text("csv", ODD))))
    assert [(row["path"], row["rank"], row["label"], row["score"], row["error"]) for row in rows] == [
        ("plain.png", "1", "red", "0.75", ""),
        ("plain.png", "2", "green", "0.25", ""),
        (str(ODD[1].path), "1", "a,b\n", "1.0", ""),
        (str(ODD[2].path), "", "", "", "damaged or truncated: \x1b[31m"),
    ]


def test_plain_table() -> None:
    rows = [line.split("\t") for line in text("table", ODD).splitlines()]
    assert rows == [
        ["plain.png", "red", "0.750000", "green", "0.250000"],
        ["new\\nline\\tand tab, \"quoted\" 'ü' 顔.png", "a,b\\n", "1.000000"],
        ["stray\\udcff.png", "error: damaged or truncated: \\x1b[31m"],
    ]
    assert printable("顔 ü") == "顔 ü"
