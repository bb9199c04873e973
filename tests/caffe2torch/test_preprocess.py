"""Mean, channel order, scale: read from numbers, .binaryproto and .npy, kept as JSON, refused where they do not fit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from caffe2torch.errors import CaffeError, FileError
from caffe2torch.net import Input
from caffe2torch.preprocess import Preprocessing, load_binaryproto, read_mean
from caffe2torch.schema import message


def binaryproto(path: Path, array: np.ndarray, legacy: bool = True, count: int | None = None) -> Path:
    blob: Any = message("BlobProto")()
    if legacy:
        blob.num, blob.channels, blob.height, blob.width = (1,) * (4 - array.ndim) + array.shape
    else:
        blob.shape.dim.extend(array.shape)
    blob.data.extend(array.ravel()[:count].tolist())
    path.write_bytes(blob.SerializeToString())
    return path


MEAN = np.stack([np.full((4, 5), value) for value in (104.0, 117.0, 123.0)]).astype(np.float32)


def test_numbers() -> None:
    assert read_mean("104,117,123", 3) == (104, 117, 123)
    assert read_mean(" 1.5 , -2, 3e1 ", 3) == (1.5, -2, 30)
    assert read_mean("127.5", 3) == (127.5,) * 3
    assert read_mean("33", 1) == (33,)


@pytest.mark.parametrize("legacy", [False, True])
def test_a_binaryproto_is_averaged_by_channel(legacy: bool, tmp_path: Path) -> None:
    path = binaryproto(tmp_path / "mean.binaryproto", MEAN + np.linspace(-1, 1, 20).reshape(4, 5), legacy)
    assert read_mean(str(path), 3) == pytest.approx((104, 117, 123), abs=1e-4)
    assert load_binaryproto(path).shape == ((1, 3, 4, 5) if legacy else (3, 4, 5))
    assert read_mean(str(path.rename(tmp_path / "mean")), 3) == pytest.approx((104, 117, 123), abs=1e-4)


@pytest.mark.parametrize("array", [MEAN, MEAN[None], MEAN.mean((1, 2)), MEAN.astype(np.uint8)])
def test_a_npy(array: np.ndarray, tmp_path: Path) -> None:
    np.save(tmp_path / "mean.npy", array)
    assert read_mean(str(tmp_path / "mean.npy"), 3) == (104, 117, 123)


def test_what_is_no_mean(tmp_path: Path) -> None:
    np.save(tmp_path / "transposed.npy", MEAN.transpose(1, 2, 0))
    np.save(tmp_path / "two.npy", np.stack([MEAN, MEAN]))
    np.save(tmp_path / "flat.npy", MEAN[0])
    np.save(tmp_path / "empty.npy", MEAN[:, :0])
    np.save(tmp_path / "nan.npy", np.full(3, np.nan))
    np.save(tmp_path / "words.npy", np.array(["a", "b", "c"]))
    np.save(tmp_path / "objects.npy", np.array([{}], object), allow_pickle=True)
    with (tmp_path / "zip.npy").open("wb") as file:
        np.savez(file, mean=MEAN)
    (tmp_path / "text.npy").write_text("104,117,123")
    (tmp_path / "empty.binaryproto").touch()
    (tmp_path / "text.binaryproto").write_text("104,117,123 and so on")
    (tmp_path / "folder.binaryproto").mkdir()
    binaryproto(tmp_path / "short.binaryproto", MEAN, count=7)
    binaryproto(tmp_path / "grey.binaryproto", MEAN[:1].repeat(2, 0))
    (tmp_path / "cut.binaryproto").write_bytes(binaryproto(tmp_path / "whole", MEAN).read_bytes()[:-3])
    (tmp_path / "whole").unlink()
    names = [path.name for path in tmp_path.iterdir()]
    for name in [*names, "nowhere.npy", "nowhere.binaryproto"]:
        with pytest.raises(FileError, match=name) as caught:
            read_mean(str(tmp_path / name), 3)
        assert "\n" not in str(caught.value)
    for text in ("", "a,b,c", "1,2", "1,2,3,4", "1,,3", "nan,1,2", "inf,1,2", "104 117 123"):
        with pytest.raises(FileError, match="--mean"):
            read_mean(text, 3)


def test_the_mean_of_the_real_anime_face_net(shared: Path) -> None:
    (path,) = (shared / "caffemodels").rglob("*lovelive*mean*.binaryproto")
    picture = load_binaryproto(path)
    assert picture.shape[-3] == 3
    values = read_mean(str(path), 3)
    assert values == pytest.approx(picture.reshape(3, -1).mean(1), abs=1e-3)
    assert all(0 < value < 255 for value in values)


@pytest.mark.parametrize(
    "preprocessing",
    [
        Preprocessing(),
        Preprocessing("RGB", (1.5, 2.5, 3.5), 0.0078125, (160, 200)),
        Preprocessing("GRAY", (0.0,), 1 / 256, (28, 28)),
        Preprocessing(assumed=True),
    ],
)
def test_json_and_back(preprocessing: Preprocessing) -> None:
    assert Preprocessing.from_json(json.loads(json.dumps(preprocessing.to_json()))) == preprocessing


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"channel_order": "BRG"},
        {"channel_order": "BGR", "mean": [1, 2]},
        {"channel_order": "BGR", "mean": "abc"},
        {"channel_order": "BGR", "mean": 5},
        {"channel_order": "BGR", "scale": "x"},
        {"channel_order": "BGR", "size": [1]},
        {"channel_order": "BGR", "size": 224},
    ],
)
def test_json_of_something_else(given: dict[str, Any]) -> None:
    with pytest.raises(CaffeError):
        Preprocessing.from_json(given)


def test_what_a_data_layer_says() -> None:
    data = Input("data", None, "Data", mean=(104.0, 117.0, 123.0), scale=0.5)
    found = Preprocessing("BGR").of_input(data)
    assert (found.mean, found.scale) == ((104, 117, 123), 0.5)
    assert Preprocessing("BGR").of_input(Input("data", None, mean=(127.0,))).mean == (127, 127, 127)
    assert Preprocessing("BGR", (1, 2, 3)).of_input(Input("data", None)).mean == (1, 2, 3)


def test_a_number_of_values_that_is_not_the_channels() -> None:
    with pytest.raises(CaffeError, match="2 values, GRAY pictures have 1"):
        Preprocessing("GRAY", (1.0, 2.0))
    with pytest.raises(CaffeError, match="channel order"):
        Preprocessing("CMYK")
