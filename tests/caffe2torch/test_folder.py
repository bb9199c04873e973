"""The folder that `convert` writes: whole or not at all, opened again as it was, cut, and refused when damaged."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

import caffe2torch
from caffe2torch import folder
from caffe2torch.errors import CaffeError, FileError, NetError, OutputError
from caffe2torch.folder import CONFIG, ONNX, SOURCE, WEIGHTS
from tests.caffe2torch import nets
from tests.caffe2torch.nets import layer, run

FILES = {WEIGHTS, SOURCE, CONFIG}


@pytest.fixture
def model(golden: Path) -> tuple[Path, Path]:
    """A small caffemodel and its prototxt."""
    return golden / "illust2vec_mini" / "weights.caffemodel", golden / "illust2vec_mini" / "deploy.prototxt"


@pytest.fixture
def converted(model: tuple[Path, Path]) -> folder.Converted:
    return folder.from_caffemodel(*model)


def names(path: Path) -> set[str]:
    return {entry.name for entry in path.iterdir()}


@pytest.mark.parametrize("corpus", ["golden", "golden_forks"])
def test_a_folder_holds_the_net_that_its_source_shows(corpus: str, tmp_path: Path) -> None:
    """Also of snapshots alone, whose BatchNorm says more than is meant, and of nets without a name."""
    cases = [case for case in sorted((Path(__file__).parents[1] / corpus).iterdir()) if case.is_dir()]
    tried = 0
    for case in cases:
        weights = case / "weights.caffemodel"
        for prototxt in (None, case / "deploy.prototxt"):
            try:
                converted = folder.from_caffemodel(weights, prototxt)
            except CaffeError:  # a case that Caffe refuses, that has no weights, or that does not say its input
                continue
            if (
                not any(node.layer.readings or "Norm" in node.layer.type for node in converted.graph.nodes)
                and tried % 5
            ):
                continue
            tried += 1
            out = tmp_path / f"{case.name}-{prototxt is None}"
            folder.save(converted, out)
            assert folder.printed(folder.load(out)) == (out / SOURCE).read_text(), case.name
    assert tried > 20


def test_it_opens_as_it_was_saved(converted: folder.Converted, tmp_path: Path) -> None:
    out = tmp_path / "out"
    folder.save(converted, out, onnx=True)
    assert names(out) == FILES | {ONNX}
    opened = folder.load(out)
    assert [node.name for node in opened.graph.nodes] == [node.name for node in converted.graph.nodes]
    assert opened.graph.input_names == converted.graph.input_names
    assert opened.graph.output_names == converted.graph.output_names
    assert opened.graph.batch == converted.graph.batch
    assert opened.preprocessing == converted.preprocessing
    for key, array in converted.state().items():
        np.testing.assert_array_equal(opened.state()[key], array)
    feeds = nets.sample(converted.module())
    for got, want in zip(run(opened.module(), feeds), run(converted.module(), feeds), strict=True):
        np.testing.assert_array_equal(got, want)
    again = tmp_path / "again"
    folder.save(opened, again)
    assert (again / SOURCE).read_text() == (out / SOURCE).read_text()
    assert (again / WEIGHTS).read_bytes() == (out / WEIGHTS).read_bytes()


@pytest.mark.parametrize(
    "case",
    [
        "bn_scale_inplace",
        "net_dense_block",
        "net_channel_shuffle",
        "graph_branches",
        "lstm_hidden",
        "format_hard_names",
        "graph_shared_params",
        "ip_transpose_axis2_no_bias",
    ],
)
def test_any_net_opens_as_it_was_saved(case: str, golden: Path, tmp_path: Path) -> None:
    """In-place layers, shared weights and several inputs survive config.json."""
    place = golden / case
    saved = folder.from_caffemodel(place / "weights.caffemodel", place / "deploy.prototxt")
    folder.save(saved, tmp_path / "out")
    opened = folder.load(tmp_path / "out")
    feeds = nets.sample(saved.module())
    for got, want in zip(run(opened.module(), feeds), run(saved.module(), feeds), strict=True):
        np.testing.assert_array_equal(got, want)


STEPS = [
    "caffe2torch.safetensors_file.write",
    "caffe2torch.folder.source",
    "json.dumps",
    "caffe2torch.onnx_model.save",
    "caffe2torch.folder._write",
    "os.fsync",
    "caffe2torch.files.flush",
    "caffe2torch.files.put_folder",
]


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("fault", [OSError(28, "No space left on device"), KeyboardInterrupt()], ids=["full", "ctrl-c"])
def test_a_failure_at_any_step_leaves_nothing(
    step: str, fault: BaseException, converted: folder.Converted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(step, fails(fault))
    with pytest.raises(OutputError if isinstance(fault, OSError) else KeyboardInterrupt):
        folder.save(converted, tmp_path / "a" / "b" / "out", onnx=True)
    assert names(tmp_path) == set()


@pytest.mark.parametrize("step", STEPS)
def test_a_failure_at_any_step_leaves_the_old_folder(
    step: str, converted: folder.Converted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    folder.save(converted, out)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    monkeypatch.setattr(step, fails(OSError(28, "No space left on device")))
    with pytest.raises(OutputError, match="No space"):
        folder.save(converted, out, force=True, onnx=True)
    monkeypatch.undo()
    assert names(tmp_path) == {"out"}
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def fails(fault: BaseException) -> Callable[..., None]:
    def fail(*_: Any, **__: Any) -> None:
        raise fault

    return fail


def test_the_check_sees_the_finished_folder_before_it_takes_its_place(
    converted: folder.Converted, tmp_path: Path
) -> None:
    out = tmp_path / "out"

    def check(beside: Path) -> None:
        assert not out.exists()
        assert names(beside) == FILES
        raise CaffeError("not good enough")

    with pytest.raises(CaffeError, match="not good enough"):
        folder.save(converted, out, check=check)
    assert names(tmp_path) == set()


def test_force_replaces_what_is_ours_only(converted: folder.Converted, tmp_path: Path) -> None:
    out = tmp_path / "out"
    folder.save(converted, out)
    with pytest.raises(OutputError, match="--force"):
        folder.save(converted, out)
    (out / "__pycache__").mkdir()
    (out / "__pycache__" / "model.cpython-311.pyc").touch()  # of who imported model.py
    folder.save(converted, out, force=True)
    assert names(out) == FILES
    (out / "extra").write_text("mine")
    with pytest.raises(OutputError, match="holds what is no part of a folder that .* wrote: extra; move that away"):
        folder.save(converted, out, force=True)
    assert names(out) == FILES | {"extra"}


def test_force_replaces_no_strangers_folder(converted: folder.Converted, tmp_path: Path) -> None:
    """A file called config.json does not make it one of ours."""
    for name, config in (("photos", ""), ("other", "{}"), ("run", '{"format": "finetune-run 1"}')):
        (tmp_path / name).mkdir()
        (tmp_path / name / CONFIG).write_text(config)
        with pytest.raises(OutputError, match="is there, and not a folder that `caffe2torch convert` wrote"):
            folder.save(converted, tmp_path / name, force=True)
        assert (tmp_path / name / CONFIG).read_text() == config
    (tmp_path / "file").write_text("a file")
    with pytest.raises(OutputError, match="is a file; name a folder"):
        folder.save(converted, tmp_path / "file", force=True)


def test_file_modes_follow_the_umask(converted: folder.Converted, tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        folder.save(converted, tmp_path / "out")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == 0o750
    assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "out").iterdir()} == {0o640}


def edit(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    """Damage done to config.json."""

    def damage(out: Path) -> None:
        config = json.loads((out / CONFIG).read_text())
        change(config)
        (out / CONFIG).write_text(json.dumps(config))

    return damage


def edit_weights(change: Callable[[dict[str, np.ndarray]], Any]) -> Callable[[Path], None]:
    """Damage done to model.safetensors."""

    def damage(out: Path) -> None:
        state = load_file(out / WEIGHTS)
        change(state)
        save_file(state, out / WEIGHTS)

    return damage


DAMAGES: dict[str, Callable[[Path], Any]] = {
    "no config": lambda out: (out / CONFIG).unlink(),
    "config cut short": lambda out: (out / CONFIG).write_text((out / CONFIG).read_text()[:200]),
    "config of another tool": lambda out: (out / CONFIG).write_text('{"architectures": ["Bert"]}'),
    "config that is a list": lambda out: (out / CONFIG).write_text("[]"),
    "config that is no text": lambda out: (out / CONFIG).write_bytes(b"\xff\xfe\x00"),
    "another format": edit(lambda config: config.update(format="caffe2torch 99")),
    "no net": edit(lambda config: config.pop("net")),
    "net of another kind": edit(lambda config: config.update(net=[1, 2])),
    "inputs of another kind": edit(lambda config: config.update(inputs=["data"])),
    "sizes that are words": edit(lambda config: config.update(inputs={"data": ["a", "b"]})),
    "a parameter that does not exist": edit(
        lambda config: config["net"]["layers"][0].update(params={"no_such_param": {"a": 1}})
    ),
    "a field that does not exist": edit(
        lambda config: config["net"]["layers"][0].update(params={"convolution_param": {"no_such": 1}})
    ),
    "preprocessing of another kind": edit(lambda config: config.update(preprocessing={"mean": "x"})),
    "no weights": lambda out: (out / WEIGHTS).unlink(),
    "weights cut short": lambda out: (out / WEIGHTS).write_bytes((out / WEIGHTS).read_bytes()[:-10]),
    "weights that are none": lambda out: (out / WEIGHTS).write_bytes(b"not safetensors"),
    "empty weights": lambda out: (out / WEIGHTS).write_bytes(b""),
    "a weight missing": edit_weights(lambda state: state.pop("conv1_1.weight")),
    "a weight too many": edit_weights(lambda state: state.update(other=np.zeros(1, np.float32))),
    "a weight of another shape": edit_weights(lambda state: state.update({"conv1_1.bias": np.zeros((7,), np.float32)})),
    "a weight of another type": edit_weights(
        lambda state: state.update({"conv1_1.bias": state["conv1_1.bias"].astype(np.float64)})
    ),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_a_damaged_folder_is_refused_by_name(
    damage: Callable[[Path], Any], converted: folder.Converted, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    folder.save(converted, out)
    damage(out)
    with pytest.raises(FileError, match=r"out") as caught:
        folder.load(out).module()
    assert "\n" not in str(caught.value)


def test_a_folder_that_is_not_there_or_not_ours(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="no such folder"):
        folder.load(tmp_path / "nowhere")
    with pytest.raises(FileError, match="not a folder that"):
        folder.load(tmp_path)
    (tmp_path / "file").write_text("x")
    with pytest.raises(FileError):
        folder.load(tmp_path / "file")


@pytest.mark.parametrize("blob", ["conv1_1", "pool1", "conv2_1", "conv6_3"])
def test_a_cut_computes_what_a_conversion_of_that_blob_computes(
    blob: str, model: tuple[Path, Path], converted: folder.Converted, tmp_path: Path
) -> None:
    cut = converted.cut(blob)
    module = caffe2torch.convert(*model, outputs=[blob])
    assert cut.graph.output_names == module.output_names == (blob,)
    feeds = nets.sample(module)
    np.testing.assert_array_equal(run(cut.module(), feeds)[0], run(module, feeds)[0])
    folder.save(cut, tmp_path / "cut")
    np.testing.assert_array_equal(run(folder.load(tmp_path / "cut").module(), feeds)[0], run(module, feeds)[0])


def test_a_cut_of_a_cut_and_of_a_saved_folder(converted: folder.Converted, tmp_path: Path) -> None:
    folder.save(converted, tmp_path / "out")
    direct = converted.cut("pool1")
    twice = folder.load(tmp_path / "out").cut("pool3").cut("pool1")
    feeds = nets.sample(direct.module())
    np.testing.assert_array_equal(run(twice.module(), feeds)[0], run(direct.module(), feeds)[0])
    assert twice.state().keys() == direct.state().keys()
    with pytest.raises(NetError, match="there is no blob 'conv6_3'"):
        direct.cut("conv6_3")


def test_a_cut_for_another_input_size(converted: folder.Converted, tmp_path: Path) -> None:
    cut = converted.cut("pool2", (1, 3, 48, 32))
    assert cut.preprocessing.size == (48, 32)
    assert cut.graph.inputs[0].shape == (1, 3, 48, 32)
    assert cut.module()(torch.zeros(2, 3, 48, 32)).shape[2:] == (12, 8)
    folder.save(cut, tmp_path / "cut")
    assert folder.load(tmp_path / "cut").preprocessing.size == (48, 32)


def test_a_cut_that_does_not_fit_the_weights_is_refused(golden: Path) -> None:
    place = golden / "ip_after_conv_pool"
    whole = folder.from_caffemodel(place / "weights.caffemodel", place / "deploy.prototxt")
    shape = whole.graph.inputs[0].shape
    with pytest.raises(NetError):
        whole.cut(whole.graph.output_names[0], (*shape[:2], shape[2] * 4, shape[3] * 4)).module()


def test_cutting_in_the_middle_of_an_in_place_chain_gives_the_last_value(tmp_path: Path) -> None:
    path = nets.write(
        tmp_path,
        nets.given("data", 1, 3),
        layer("tanh", "TanH", "data", "x"),
        layer("relu", "ReLU", "x", "x"),
        layer("power", "Power", "x", "y", "power_param { scale: 2 }"),
    )
    whole = folder.from_caffemodel(None, path)
    feeds = nets.sample(whole.module())
    (got,) = run(whole.cut("x").module(), feeds)
    np.testing.assert_allclose(got, np.maximum(np.tanh(feeds["data"]), 0), rtol=1e-6)


def test_the_dropped_layers_tell_the_size_of_the_input(model: tuple[Path, Path], tmp_path: Path) -> None:
    """The file says no size; encode1's weights do, which is dropped."""
    found = folder.from_caffemodel(model[0])
    assert "encode1" in found.config["dropped"]
    assert found.graph.inputs[0].shape == (1, 3, 64, 64)
    assert any("64 x 64 assumed" in note for note in found.graph.notes)


def test_open_trunk_takes_a_folder_or_a_caffemodel(
    model: tuple[Path, Path], converted: folder.Converted, tmp_path: Path
) -> None:
    folder.save(converted, tmp_path / "out")
    assert folder.open_trunk(tmp_path / "out").graph.output_names == folder.open_trunk(*model).graph.output_names
    with pytest.raises(CaffeError, match="needs no prototxt"):
        folder.open_trunk(tmp_path / "out", model[1])
    with pytest.raises(CaffeError, match="nowhere"):
        folder.open_trunk(tmp_path / "nowhere")
