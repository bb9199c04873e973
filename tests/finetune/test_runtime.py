"""Models are opened with the provider asked for, checked before they are trusted, and opened without noise."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from PIL import Image

from caffe2torch.errors import DeviceError, ModelError
from finetune import providers
from finetune.onnx_file import read_metadata
from finetune.providers import CPU, CUDA
from finetune.runtime import open_model, open_session

WriteModel = Callable[..., Path]


@pytest.fixture
def pictures() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (5, 8, 12, 3), dtype=np.uint8)


def expected(pictures: np.ndarray) -> np.ndarray:
    logits = np.exp(pictures.mean((1, 2)) / 32)
    return logits / logits.sum(1, keepdims=True)


def test_probabilities(model: Path, pictures: np.ndarray) -> None:
    session = open_model(model, "cpu", threads=1)
    assert session.provider == CPU
    assert session.fallback is None
    assert session.info.classes == ("red", "green", "blue")
    assert session.info.size == (8, 12)
    assert str(session) == f"{model}: 3 classes, 12 x 8, on CPUExecutionProvider"
    for count in (1, 3, 5):
        probabilities = session.probabilities(pictures[:count])
        assert probabilities.dtype == np.float32
        np.testing.assert_allclose(probabilities, expected(pictures[:count]), atol=1e-6)


def test_auto_names_what_it_uses_and_prints_nothing(model: Path, capfd: pytest.CaptureFixture[str]) -> None:
    session = open_model(model)
    assert session.provider in (CPU, CUDA)
    assert (session.provider == CPU) == (session.fallback is not None)
    assert session.provider in str(session)
    assert capfd.readouterr() == ("", "")


def test_onnxruntime_without_cuda(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CPU])
    with pytest.raises(DeviceError, match=r"CUDA is not to be had: onnxruntime .* is built without it"):
        open_model(model, "cuda")
    session = open_model(model, "auto")
    assert session.provider == CPU
    assert "built without it" in str(session)


def test_no_driver(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_library(name: str) -> None:
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA, CPU])
    monkeypatch.setattr(providers.ctypes, "CDLL", no_library)
    with pytest.raises(DeviceError, match="no NVIDIA driver"):
        open_model(model, "cuda")
    assert "no NVIDIA driver" in str(open_model(model))


def test_libraries_of_cuda_missing(
    model: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A driver, but onnxruntime cannot load its provider: it prints red lines and takes the CPU; we give the reason."""
    if CUDA not in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime is built without CUDA")
    if open_model(model).provider == CUDA:
        pytest.skip("CUDA works here")
    monkeypatch.setattr(providers, "_no_cuda", lambda _: None)
    with pytest.raises(DeviceError, match=r"CUDA is not to be had: .+") as caught:
        open_model(model, "cuda")
    assert "\n" not in str(caught.value)
    session = open_model(model)
    assert session.provider == CPU
    assert session.fallback
    assert capfd.readouterr() == ("", "")


def test_failure_of_the_provider_itself(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A driver too old makes onnxruntime raise while the session is made."""
    real = onnxruntime.InferenceSession

    def session(path: str, options: Any, providers: list[Any], **rest: Any) -> Any:
        if providers[0] != CPU:
            raise RuntimeError("CUDA failure 35: CUDA driver version is insufficient\nexpr=cudaSetDevice")
        return real(path, options, providers=providers, **rest)

    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    monkeypatch.setattr(providers, "_no_cuda", lambda _: None)
    assert open_model(model).fallback == "CUDA is not to be had: CUDA failure 35: CUDA driver version is insufficient"
    with pytest.raises(DeviceError, match="CUDA failure 35"):
        open_model(model, "cuda")


def test_cuda_equals_cpu(model: Path, pictures: np.ndarray) -> None:
    if open_model(model).provider != CUDA:
        pytest.skip("CUDA is not to be had")
    on_gpu, on_cpu = (open_model(model, provider).probabilities(pictures) for provider in ("cuda", "cpu"))
    np.testing.assert_allclose(on_gpu, on_cpu, atol=1e-3)


def test_stderr_is_back_afterwards(model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    open_model(model)
    with pytest.raises(ModelError):
        open_model(tmp_path / "missing.onnx")
    os.write(2, b"still here")
    assert capfd.readouterr().err == "still here"


def test_what_is_no_model(model: Path, tmp_path: Path) -> None:
    data = model.read_bytes()
    Image.new("RGB", (8, 8)).save(tmp_path / "picture.jpg")
    files = {
        "jpeg.onnx": (tmp_path / "picture.jpg").read_bytes(),
        "empty.onnx": b"",
        "zeros.onnx": bytes(100),
        "text.onnx": b"hello world, this is no model",
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ModelError, match=rf"{name}: (not|the file is empty;) an ONNX file"):
            open_model(tmp_path / name)
    for path in (tmp_path / "missing.onnx", tmp_path):
        with pytest.raises(ModelError, match="No such file|not a regular file"):
            open_model(path)
    for length in range(0, len(data), 7):
        (tmp_path / "cut.onnx").write_bytes(data[:length])
        with pytest.raises(ModelError, match=r"cut\.onnx: "):
            open_model(tmp_path / "cut.onnx")


def test_a_model_of_others(model: Path) -> None:
    other = onnx.load(model)
    del other.metadata_props[:]
    onnx.save(other, model)
    with pytest.raises(ModelError, match="not one that `onnx export` wrote"):
        open_model(model)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"format": 2}, "written in format 2, this version reads format 1"),
        ({"kind": "detector"}, "a 'detector', not a classifier"),
        ({"resize": "nearest"}, "resized by 'nearest'"),
        ({"classes": []}, "damaged: no classes"),
        ({"classes": ["a", 2, "c"]}, "damaged: 2 is no text"),
        ({"classes": None}, "damaged"),
        ({"size": [8]}, "damaged"),
        ({"size": [0, 12]}, "damaged: size 0"),
        ({"size": "8x"}, "damaged: size '8'"),
        ({"trunk": 3}, "damaged: 3 is no text"),
        ({"size": [12, 8]}, "its graph takes"),
        ({"classes": ["a", "b"]}, "its graph takes"),
    ],
)
def test_metadata_that_cannot_be_trusted(
    write_model: WriteModel, model_metadata: dict[str, Any], change: dict[str, Any], reason: str
) -> None:
    with pytest.raises(ModelError, match=rf"other\.onnx: .*{reason}"):
        open_model(write_model(model_metadata | change), "cpu")


@pytest.mark.parametrize("key", ["format", "kind", "resize", "size", "classes", "recipe", "trunk"])
def test_metadata_with_a_key_missing(write_model: WriteModel, model_metadata: dict[str, Any], key: str) -> None:
    del model_metadata[key]
    with pytest.raises(ModelError, match=f"damaged: '{key}' is missing"):
        open_model(write_model(model_metadata))


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '"text"', '{"format": 1}', "null", "[" * 100_000])
def test_metadata_that_is_something_else(model: Path, text: str) -> None:
    other = onnx.load(model)
    other.metadata_props[0].value = text
    onnx.save(other, model)
    with pytest.raises(ModelError, match="damaged"):
        open_model(model)


def test_weights_in_other_files_are_refused(model: Path, tmp_path: Path) -> None:
    onnx.save(
        onnx.load(model), tmp_path / "spread.onnx", save_as_external_data=True, location="spread.bin", size_threshold=0
    )
    assert onnxruntime.InferenceSession(tmp_path / "spread.onnx", providers=[CPU])  # onnxruntime would take it
    with pytest.raises(ModelError, match="keeps weights in other files"):
        open_model(tmp_path / "spread.onnx")
    inside = onnx.load(tmp_path / "spread.onnx", load_external_data=False)
    tensor = inside.graph.initializer.pop()
    inside.graph.node.insert(0, onnx.helper.make_node("Constant", [], [tensor.name], value=tensor))
    onnx.save(inside, tmp_path / "hidden.onnx")
    with pytest.raises(ModelError, match="keeps weights in other files"):
        open_model(tmp_path / "hidden.onnx")


def test_weights_that_are_no_numbers(write_model: WriteModel, pictures: np.ndarray) -> None:
    session = open_model(write_model(factor=float("nan")), "cpu")
    with pytest.raises(ModelError, match="no numbers"):
        session.probabilities(pictures)


def test_pictures_of_another_size_are_refused(model: Path) -> None:
    with pytest.raises(ModelError, match="cannot be run"):
        open_model(model, "cpu").probabilities(np.zeros((1, 9, 9, 3), np.uint8))


def test_metadata_is_what_onnx_reads(model: Path) -> None:
    loaded = onnx.load(model)
    onnx.helper.set_model_props(loaded, {"finetune": json.dumps({"a": "ü\n"}), "other": "", "long": "x" * 100_000})
    onnx.save(loaded, model)
    assert read_metadata(model) == {entry.key: entry.value for entry in loaded.metadata_props}


def test_a_model_of_any_kind(write_model: WriteModel, model_metadata: dict[str, Any], pictures: np.ndarray) -> None:
    """open_session heeds format and kind alone; what else is said is handed on."""
    path = write_model({"format": 1, "kind": "brightness", "classes": 7})
    opened = open_session(path, "cpu", threads=1)
    assert (opened.kind, opened.said["classes"], opened.provider, opened.fallback) == ("brightness", 7, CPU, None)
    (found,) = opened.run(["probabilities"], {"picture": pictures})
    np.testing.assert_allclose(found, expected(pictures), atol=1e-6)
    with pytest.raises(ModelError, match="cannot be run"):
        opened.run(["boxes"], {"picture": pictures})
    for broken, reason in (({"kind": 3}, "3 is no text"), ({"format": 9}, "format 9")):
        with pytest.raises(ModelError, match=reason):
            open_session(write_model(model_metadata | broken), "cpu")
