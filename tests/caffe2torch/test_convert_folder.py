"""What `caffe2torch convert` does with a file: what it keeps, drops and says; and that a difference writes nothing."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from caffe2torch import convert_folder, folder
from caffe2torch.convert_folder import Options, run
from caffe2torch.errors import CaffeError, FileError, NetError, VerifyError
from caffe2torch.sample import write_sample
from caffe2torch.schema import message
from caffe2torch.values import sample_inputs
from tests.caffe2torch import nets
from tests.caffe2torch.nets import CONV, given, layer


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return nets.trained(tmp_path / "small.caffemodel")


def test_the_result_tells_what_was_written(model: Path, tmp_path: Path) -> None:
    result = run(model, tmp_path / "out", Options(onnx=True))
    assert result.files == {path.name: path.stat().st_size for path in (tmp_path / "out").iterdir()}
    assert result.filled == ()
    assert set(result.checks) == {"torch = ONNX", "model.py = torch", "model.onnx = torch"}
    assert result.converted.graph.output_names == ("prob",)


def test_a_net_without_a_name_is_compared_too(model: Path, tmp_path: Path) -> None:
    net: Any = message("NetParameter")()
    net.ParseFromString(model.read_bytes())
    net.ClearField("name")
    model.write_bytes(net.SerializeToString())
    run(model, tmp_path / "out", Options())
    assert "small.caffemodel, converted from Caffe" in (tmp_path / "out" / "model.py").read_text()


def test_two_items_of_a_large_batch_are_compared(tmp_path: Path) -> None:
    model = nets.trained(tmp_path / "large.caffemodel", shape=(4_000_000, 3, 8, 8))
    result = run(model, tmp_path / "out", Options(onnx=True))
    assert result.converted.graph.inputs[0].shape[0] == 4_000_000
    assert set(result.checks) == {"torch = ONNX", "model.py = torch", "model.onnx = torch"}
    feeds = sample_inputs(result.converted)
    assert feeds["data"].shape == (2, 3, 8, 8)


def test_config_json_says_where_it_comes_from(model: Path, tmp_path: Path) -> None:
    run(model, tmp_path / "out", Options(no_verify=True, mean="104,117,123"))
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["source"]["caffemodel"] == "small.caffemodel"
    assert config["source"]["bytes"] == model.stat().st_size
    assert config["preprocessing"]["mean"] == [104, 117, 123]
    assert config["preprocessing"]["size"] == [8, 8]
    assert config["inputs"] == {"data": [1, 3, 8, 8]}
    assert config["batch"] == "any"
    assert str(tmp_path) not in (tmp_path / "out" / "config.json").read_text(), "no path of this machine"


def test_a_known_net_loses_what_fine_tuning_does_not_need(tmp_path: Path) -> None:
    path = tmp_path / "renamed.caffemodel"
    write_sample(path, "illust2vec", 16)
    result = run(path, tmp_path / "out", Options(no_verify=True))
    text = result.text()
    assert "is Illustration2Vec's feature net" in text
    assert "dropped   encode1, encode1neuron, encode2" in text
    assert "88 % of the bytes" in text
    kept = run(path, tmp_path / "all", Options(no_verify=True, keep_all=True))
    assert kept.converted.graph.output_names == ("encode2",)
    assert "note      the file calls its net 'illust2vec stand-in with random weights (seed " in text
    chosen = run(path, tmp_path / "chosen", Options(no_verify=True, keep_all=True, drop=["encode*"]))
    assert "dropped   encode1, encode1neuron, encode2" in chosen.text()
    assert "88 %" not in chosen.text(), "who asked for it knows why"
    assert kept.files["model.safetensors"] > result.files["model.safetensors"]
    asked = run(path, tmp_path / "asked", Options(no_verify=True, outputs=["encode1"]))
    assert asked.converted.graph.output_names == ("encode1",)


@pytest.mark.parametrize(
    ("shape", "options", "words"),
    [
        ((1, 3, 8, 8), Options(), "data (N, 3, 8, 8): BGR (assumed), 0 to 255, mean not known"),
        ((1, 3, 8, 8), Options(mean="5"), "data (N, 3, 8, 8): BGR (assumed), 0 to 255, minus (5, 5, 5)"),
        ((1, 3, 8, 8), Options(channel_order="BGR"), "data (N, 3, 8, 8): BGR, 0 to 255, mean not known"),
        ((1, 1, 8, 8), Options(), "data (N, 1, 8, 8): GRAY, 0 to 255, mean not known"),
        ((1, 6, 8, 8), Options(), "data (N, 6, 8, 8)"),
        ((1, 3, 8), Options(), "data (N, 3, 8)"),
        ((1, 3), Options(), "data (N, 3)"),
    ],
)
def test_pictures_are_spoken_of_where_there_are_some(
    shape: tuple[int, ...], options: Options, words: str, tmp_path: Path
) -> None:
    product = layer("one", "InnerProduct", "data", "one", "inner_product_param { num_output: 2 }")
    path = nets.write(tmp_path, given("data", *shape), product)
    weights = [np.zeros((2, int(np.prod(shape)))), np.zeros(2)]
    model = nets.caffemodel(tmp_path / "net.caffemodel", {"one": weights}, "InnerProduct")
    text = run(model, tmp_path / "out", replace(options, prototxt=path, no_verify=True)).text()
    assert f"  input     {words}\n" in text
    assert ("the mean is in no file" in text) is ("not known" in words)
    printed = (tmp_path / "out" / "model.py").read_text()
    assert (f"pictures: {words.split(': ')[-1]}." in printed) is (":" in words)
    assert ("pictures" in printed) is (":" in words)


def test_a_data_layer_of_pictures_tells_the_channel_order(tmp_path: Path) -> None:
    data = 'layer { name: "data" type: "Data" top: "data" transform_param { crop_size: 8 mean_value: 9 } }'
    path = nets.write(tmp_path, data, layer("one", "Convolution", "data", "one", CONV))
    weights = [np.zeros((2, 3, 3, 3)), np.zeros(2)]
    model = nets.caffemodel(tmp_path / "net.caffemodel", {"one": weights})
    assert ": BGR, 0 to 255, minus (9, 9, 9)\n" in run(model, tmp_path / "out", Options(path, no_verify=True)).text()


def test_an_input_shape_that_does_not_fit_is_named(model: Path, tmp_path: Path) -> None:
    with pytest.raises(NetError, match=r"^--input-shape 1,4,8,8 does not fit the net: ") as caught:
        run(model, tmp_path / "out", Options(input_shape=(1, 4, 8, 8)))
    assert caught.value.problems
    path = nets.write(tmp_path, given("data", 1, 3, 8, 8), layer("conv", "Mystery", "data", "out"))
    with pytest.raises(NetError) as caught:
        run(model, tmp_path / "out", Options(prototxt=path, input_shape=(1, 4, 8, 8)))
    assert "--input-shape" not in str(caught.value), "it is not to blame"


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 bytes"), (312, "312 bytes"), (1000, "1 kB"), (999_499, "999 kB"), (999_500, "1.0 MB"), (2**20, "1.0 MB")],
)
def test_sizes(count: int, text: str) -> None:
    assert convert_folder._size(count) == text


def test_layers_without_weights_in_the_file_are_named(tmp_path: Path) -> None:
    path = nets.write(
        tmp_path,
        given("data", 1, 3, 4, 4),
        layer("one", "Convolution", "data", "one", CONV),
        layer("two", "Convolution", "one", "two", CONV),
    )
    blobs = [np.zeros((2, 3, 3, 3), np.float32), np.zeros(2, np.float32)]
    model = nets.caffemodel(tmp_path / "net.caffemodel", {"one": blobs})
    result = run(model, tmp_path / "out", Options(prototxt=path, no_verify=True))
    assert result.filled == ("two",)
    assert "filled    two: in no file" in result.text()


def test_a_difference_is_an_error_and_nothing_is_written(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from caffe2torch.layers.pooling import Pooling

    monkeypatch.setattr(
        Pooling,
        "onnx",
        lambda self, nodes: nodes.add("AveragePool", nodes.inputs, nodes.outputs, kernel_shape=[2, 2], strides=[2, 2]),
    )
    with pytest.raises(VerifyError, match=r"torch = ONNX does not hold; the first difference is in pool \(Pooling\)"):
        run(model, tmp_path / "out", Options())
    assert {path.name for path in tmp_path.iterdir()} == {"small.caffemodel"}


def test_without_torch_it_says_what_to_do(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convert_folder, "find_spec", lambda name: None)
    with pytest.raises(CaffeError, match="--no-verify"):
        run(model, tmp_path / "out", Options())
    run(model, tmp_path / "out", Options(no_verify=True))
    assert folder.load(tmp_path / "out").graph.output_names == ("prob",)


@pytest.mark.parametrize(
    ("name", "out"),
    [
        ("a.caffemodel", "a"),
        ("a.caffemodel.h5", "a"),
        ("a.v2.caffemodel", "a.v2"),
        ("net_iter_500.caffemodel", "net_iter_500"),
    ],
)
def test_the_default_folder(name: str, out: str, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    model.rename(tmp_path / name)
    assert run(tmp_path / name, None, Options(no_verify=True)).out == Path(out)
    assert (tmp_path / "here" / out / "config.json").is_file()


def test_a_model_without_a_suffix_is_not_its_own_folder(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    model.rename(tmp_path / "model")
    for force in (False, True):
        with pytest.raises(CaffeError, match=r"is what is read; name another folder to write, with -o"):
            run(Path("model"), None, Options(force=force))
    assert (tmp_path / "model").is_file()


@pytest.mark.parametrize("given", ["model", "net", "mean"])
def test_a_folder_that_holds_what_is_read_is_not_replaced(given: str, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(model, out, Options(no_verify=True))
    paths = {"model": model, "net": nets.write(tmp_path, "# a net"), "mean": tmp_path / "mean.npy"}
    np.save(paths["mean"], np.zeros(3))
    paths[given] = paths[given].rename(out / paths[given].name)
    with pytest.raises(CaffeError, match=f"{paths[given].name}, which is read, lies in it"):
        run(paths["model"], out, Options(prototxt=paths["net"], mean=str(paths["mean"]), force=True, no_verify=True))
    assert paths[given].exists()


def test_a_path_that_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="is a folder"):
        run(tmp_path, None, Options())
    with pytest.raises(FileError, match="no such file"):
        run(tmp_path / "nowhere", None, Options())


@pytest.mark.parametrize("batch", [1, 3])
def test_what_was_written_runs_without_this_project(model: Path, batch: int, tmp_path: Path) -> None:
    """As the docstring of model.py says: torch and safetensors alone; the module gives what model.onnx gives."""
    import torch
    from safetensors.torch import load_file

    run(model, tmp_path / "out", Options(onnx=True))
    namespace: dict[str, object] = {"__name__": "model"}
    exec((tmp_path / "out" / "model.py").read_text(), namespace)
    module = namespace["Model"]().eval()  # type: ignore[operator]
    module.load_state_dict(load_file(tmp_path / "out" / "model.safetensors"))
    x = np.random.default_rng(0).standard_normal((batch, 3, 8, 8)).astype(np.float32)
    with torch.no_grad():
        got = module(torch.from_numpy(x)).numpy()
    (want,) = nets.session(tmp_path / "out" / "model.onnx").run(None, {"data": x})
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-6)
