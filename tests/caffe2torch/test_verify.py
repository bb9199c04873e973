"""verify: what differs is found, and the first layer to blame is named with both values."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from safetensors.numpy import load_file, save_file

from caffe2torch import folder
from caffe2torch.errors import CaffeError, FileError, VerifyError
from caffe2torch.folder import ONNX, SOURCE, WEIGHTS
from caffe2torch.tables import show_comparisons
from caffe2torch.verify import Comparison, compare, verify, verify_against
from tests.caffe2torch import nets
from tests.caffe2torch.nets import layer


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A converted folder with model.onnx: conv, relu, pool, fc, prob."""
    folder.save(folder.from_caffemodel(nets.trained(tmp_path / "small.caffemodel")), tmp_path / "out", onnx=True)
    return tmp_path / "out"


def blamed(comparisons: list[Comparison], out: Path) -> str:
    first = next(entry for entry in comparisons if entry.first_difference)
    with pytest.raises(VerifyError) as caught:
        first.require(out)
    return str(caught.value)


def change_weight(out: Path, key: str = "fc.bias") -> None:
    state = load_file(out / WEIGHTS)
    state[key].flat[0] += 1
    save_file(state, out / WEIGHTS)


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_a_whole_folder_holds(out: Path) -> None:
    comparisons = verify(out)
    assert [entry.title for entry in comparisons] == ["torch = ONNX", "model.py = torch", "model.onnx = torch"]
    for entry in comparisons:
        assert [row.layer for row in entry.rows] == ["conv", "relu", "pool", "fc", "prob"]
        assert entry.first_difference is None
        entry.require(out)
        assert entry.summary().startswith(f"{entry.title} on 5 values, largest difference")


def test_one_table_and_a_line_for_each_comparison(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    show_comparisons(verify(out))
    text = capsys.readouterr().out
    assert text.count("pool (Pooling)") == 1
    assert [line.split(",")[0] for line in text.splitlines()[-3:]] == [
        "torch = ONNX on 5 values",
        "model.py = torch on 5 values",
        "model.onnx = torch on 5 values",
    ]
    change_weight(out)
    show_comparisons(verify(out))
    text = capsys.readouterr().out
    assert text.startswith("model.onnx = torch\n"), "the table is of what differs"
    assert text.count("DIFFERS") == 2, "fc and prob"
    assert "model.onnx = torch does not hold; the first difference is in fc" in text.splitlines()[-1]


def test_a_changed_weight_is_found_in_model_onnx(out: Path) -> None:
    change_weight(out)
    comparisons = verify(out)
    assert [entry.first_difference is None for entry in comparisons] == [True, True, False]
    text = blamed(comparisons, out)
    assert "model.onnx = torch does not hold; the first difference is in fc (InnerProduct), blob 'fc' at [0, 0]" in text
    got, want = map(float, re.findall(r"model\.onnx (-?[\d.e-]+), torch (-?[\d.e-]+)$", text)[0])
    assert want - got == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize(
    ("old", "new", "blame"),
    [
        ("self.pool = nn.MaxPool2d(2", "self.pool = nn.AvgPool2d(2", "pool (Pooling), blob 'pool'"),
        ("F.relu(conv)", "torch.tanh(conv)", "relu (ReLU), blob 'conv'"),
        ("F.softmax(fc, dim=1)", "F.softmax(fc * 2, dim=1)", "prob (Softmax), blob 'prob'"),
        ("conv = self.conv(data)", "data = data * 2\n        conv = self.conv(data)", "prob (Softmax)"),
    ],
)
def test_a_changed_model_py_is_found(old: str, new: str, blame: str, out: Path) -> None:
    text = (out / SOURCE).read_text()
    if "import torch\n" not in text:
        (out / SOURCE).write_text(text.replace("from torch import", "import torch\nfrom torch import", 1))
    replace(out / SOURCE, old, new)
    with pytest.raises(FileError, match="--run-source"):
        verify(out)
    message = blamed(verify(out, run_source=True), out)
    assert f"model.py = torch does not hold; the first difference is in {blame}" in message


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text + "\nthis is no Python",
        lambda text: text.replace("class Model", "class Other"),
        lambda text: text.replace("self.fc = ", "self.other = "),
        lambda text: text.replace("nn.Conv2d(3, 4", "nn.Conv2d(3, 5"),
        lambda text: text.replace("return prob", "return prob, fc"),
        lambda text: text.replace("return prob", "return None"),
        lambda _: "raise SystemError()",
        lambda _: "",
    ],
)
def test_a_model_py_that_does_not_run_is_refused(change: Callable[[str], str], out: Path) -> None:
    (out / SOURCE).write_text(change((out / SOURCE).read_text()))
    with pytest.raises(FileError, match=r"model\.py: (cannot be run|gives 2 outputs)") as caught:
        verify(out, run_source=True)
    assert "\n" not in str(caught.value)


def test_a_changed_model_onnx_is_found(out: Path) -> None:
    model = onnx.load(out / ONNX)
    weight = next(entry for entry in model.graph.initializer if entry.name == "conv.weight")
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) * 1.01, weight.name))
    onnx.save(model, out / ONNX)
    assert "conv (Convolution), blob 'conv:conv'" in blamed(verify(out), out)


def test_a_model_onnx_that_is_none_of_ours_is_refused(out: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = nets.module(tmp_path / "other", nets.given("x", 1, 2), layer("a", "TanH", "x", "a"))
    nets.agree(other, tmp_path / "other")
    for content in ((tmp_path / "other" / "net.onnx").read_bytes(), b"", b"not ONNX", (out / ONNX).read_bytes()[:-9]):
        (out / ONNX).write_bytes(content)
        with pytest.raises(FileError, match=r"model\.onnx: cannot be run") as caught:
            verify(out)
        assert "\n" not in str(caught.value)


def reference(path: Path, **arrays: np.ndarray) -> Path:
    np.savez(path, **arrays)
    return path


@pytest.mark.parametrize("case", ["bn_scale_inplace", "net_dense_block", "format_hard_names", "pool_max_mask_pad"])
def test_the_reference_of_real_caffe_holds(case: str, golden: Path, tmp_path: Path) -> None:
    place = golden / case
    weights = place / "weights.caffemodel"
    given = folder.from_caffemodel(weights if weights.exists() else None, place / "deploy.prototxt")
    folder.save(given, tmp_path / "out")
    comparisons = verify(tmp_path / "out", (place / "inputs.npz", place / "outputs.npz"))
    for entry in comparisons:
        assert entry.rows
        entry.require(tmp_path / "out")


def test_a_wrong_blob_in_a_reference_is_named(golden: Path, tmp_path: Path) -> None:
    place = golden / "bn_scale_inplace"
    folder.save(folder.from_caffemodel(place / "weights.caffemodel", place / "deploy.prototxt"), tmp_path / "out")
    want = dict(np.load(place / "outputs.npz"))
    name = next(iter(folder.load(tmp_path / "out").graph.output_names))
    want[name].flat[-1] += 0.5
    comparisons = verify(tmp_path / "out", (place / "inputs.npz", reference(tmp_path / "o.npz", **want)))
    place_of = [size - 1 for size in want[name].shape]
    assert f"blob {name!r} at {place_of}" in blamed(comparisons, tmp_path / "out")


def test_references_that_do_not_fit(out: Path, tmp_path: Path) -> None:
    data = np.zeros((1, 3, 8, 8), np.float32)
    good = reference(tmp_path / "i.npz", data=data)
    prob = reference(tmp_path / "p.npz", prob=np.zeros((1, 5)))
    wrong = [
        (reference(tmp_path / "a.npz", other=data), prob, "has no 'data'"),
        (reference(tmp_path / "b.npz", data=data[:, :2]), prob, "shape"),
        (good, reference(tmp_path / "c.npz", other=data), "none of its blobs"),
        (tmp_path / "nowhere.npz", prob, "nowhere.npz"),
        (good, tmp_path / "nowhere.npz", "nowhere.npz"),
    ]
    for inputs, outputs, words in wrong:
        with pytest.raises(CaffeError, match=words):
            verify(out, (inputs, outputs))
    batch = reference(tmp_path / "d.npz", data=np.zeros((4, 3, 8, 8), np.float32))
    assert "shape (4, 5) in torch, (1, 5) in reference" in blamed(verify(out, (batch, prob)), out)


def test_a_batch_that_the_net_fixes_is_refused_in_words(tmp_path: Path) -> None:
    path = nets.write(
        tmp_path,
        nets.given("data", 2, 4),
        layer("r", "Reshape", "data", "r", "reshape_param { shape { dim: 2 dim: 2 dim: 2 } }"),
    )
    folder.save(folder.from_caffemodel(None, path), tmp_path / "out")
    inputs = reference(tmp_path / "i.npz", data=np.zeros((3, 4), np.float32))
    with pytest.raises(FileError, match="was converted for"):
        verify(tmp_path / "out", (inputs, reference(tmp_path / "o.npz", r=np.zeros((3, 2, 2)))))


def test_two_outputs_of_ours(out: Path, tmp_path: Path) -> None:
    folder.save(folder.load(out), tmp_path / "twin")
    for other in (tmp_path / "twin", out / ONNX):
        for entry in verify_against(out, other):
            entry.require(out)
    change_weight(tmp_path / "twin")
    assert "fc (InnerProduct), blob 'fc'" in blamed(verify_against(out, tmp_path / "twin"), out)
    (tmp_path / "foreign.onnx").write_bytes(b"not ONNX")
    with pytest.raises(FileError, match="foreign"):
        verify_against(out, tmp_path / "foreign.onnx")


@pytest.mark.parametrize(
    ("got", "want", "holds"),
    [
        ([1.0, 2.0], [1.0, 2.0], True),
        ([1.0, 2.0001], [1.0, 2.0], True),
        ([1.0, 2.001], [1.0, 2.0], False),
        ([np.nan, 2.0], [np.nan, 2.0], True),
        ([np.nan, 2.0], [1.0, 2.0], False),
        ([1.0, 2.0], [np.nan, 2.0], False),
        ([np.inf, 2.0], [np.inf, 2.0], True),
        ([np.inf, 2.0], [-np.inf, 2.0], False),
        ([np.inf, 2.0], [1.0, 2.0], False),
        ([], [], True),
        ([1.0], [1.0, 1.0], False),
    ],
)
def test_compare(got: list[float], want: list[float], holds: bool) -> None:
    row = compare("x", "layer", "Type", np.array(got), np.array(want))
    assert row.holds is holds
    assert "left" in row.difference("left", "right")
