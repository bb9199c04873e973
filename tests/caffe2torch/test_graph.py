"""Net -> Graph: outputs, what is dropped, the batch, and every problem in one error."""

from __future__ import annotations

from pathlib import Path

import pytest

import caffe2torch
from caffe2torch.errors import NetError, ShapeError
from tests.caffe2torch import nets
from tests.caffe2torch.nets import CONV, given, graph, layer

DATA = given("data", 2, 3, 4, 4)


def test_the_outputs_are_what_nothing_reads_in_order(tmp_path: Path) -> None:
    found = graph(
        tmp_path,
        DATA,
        layer("a", "TanH", "data", "a"),
        layer("c", "TanH", "a", "c"),
        layer("b", "TanH", "a", "b"),
        layer("inplace", "ReLU", "b", "b"),
        layer("slice", "Slice", "a", "s1 s2 s3"),
        layer("use", "TanH", "s2", "use"),
    )
    assert found.output_names == ("c", "b", "s1", "s3", "use")
    assert found.dropped == ()


def test_losses_and_labels_are_dropped_and_named(tmp_path: Path) -> None:
    found = graph(
        tmp_path,
        DATA,
        given("label", 2),
        layer("conv", "Convolution", "data", "conv", CONV),
        layer("fc", "InnerProduct", "conv", "fc", "inner_product_param { num_output: 3 }"),
        layer("accuracy", "Accuracy", "fc label", "accuracy"),
        layer("loss", "SoftmaxWithLoss", "fc label", "loss"),
        layer("silence", "Silence", "label", []),
    )
    assert found.output_names == ("fc",)
    assert found.input_names == ("data",)
    assert found.dropped == ("accuracy", "loss", "silence")


def test_a_loss_is_kept_when_it_is_asked_for_or_all_there_is(tmp_path: Path) -> None:
    lines = [DATA, given("label", 2, 3, 4, 4), layer("loss", "EuclideanLoss", "data label", "loss")]
    assert graph(tmp_path, *lines).output_names == ("loss",)
    lines.append(layer("tanh", "TanH", "data", "tanh"))
    assert graph(tmp_path, *lines).output_names == ("tanh",)
    assert graph(tmp_path, *lines, outputs=["loss", "tanh"]).output_names == ("loss", "tanh")


def test_only_what_the_outputs_need_is_kept(tmp_path: Path) -> None:
    found = graph(
        tmp_path,
        DATA,
        given("other", 1, 5),
        layer("a", "TanH", "data", "a"),
        layer("b", "Mystery", "a", "b"),
        layer("c", "TanH", "other", "c"),
        outputs=["a"],
    )
    assert [node.name for node in found.nodes] == ["a"]
    assert found.input_names == ("data",)
    assert found.dropped == ("b", "c")


@pytest.mark.parametrize(("outputs", "words"), [(["nothing"], "no blob 'nothing'"), ([], "no output")])
def test_outputs_that_are_not_there(outputs: list[str], words: str, tmp_path: Path) -> None:
    with pytest.raises(NetError, match=words) as caught:
        graph(tmp_path, DATA, layer("a", "TanH", "data", "a"), outputs=outputs)
    assert "the last blobs are data, a" in str(caught.value)


def test_every_problem_in_one_error(tmp_path: Path) -> None:
    with pytest.raises(NetError) as caught:
        graph(
            tmp_path,
            DATA,
            layer("good", "TanH", "data", "good"),
            layer("strange", "Mystery", "data", "m"),
            layer("behind", "TanH", "m", "behind"),
            layer("conv", "Convolution", "data", "conv", "convolution_param { num_output: 4 group: 2 kernel_size: 3 }"),
            layer("pool", "Pooling", "data", "pool", "pooling_param { pool: STOCHASTIC kernel_size: 2 }"),
            layer("lrn", "LRN", "data", "lrn", "lrn_param { local_size: 4 }"),
            layer("also", "Riddle", "behind", "also"),
        )
    lines = str(caught.value).splitlines()
    assert lines[0] == f"{tmp_path / 'net.prototxt'}: 5 of 7 layers cannot be converted:"
    assert [line.split(":")[0] for line in lines[1:]] == [
        "  strange (Mystery)",
        "  conv (Convolution)",
        "  pool (Pooling)",
        "  lrn (LRN)",
        "  also (Riddle)",
    ]
    assert [problem.layer for problem in caught.value.problems] == ["strange", "conv", "pool", "lrn", "also"]


def test_unknown_layers_are_named_before_an_unknown_size(tmp_path: Path) -> None:
    path = nets.write(tmp_path, layer("data", "Data", [], "data"), layer("a", "Mystery", "data", "a"))
    with pytest.raises(NetError, match=r"a \(Mystery\)"):
        caffe2torch.convert(None, path)


@pytest.mark.parametrize(
    ("lines", "free"),
    [
        ([layer("a", "TanH", "data", "a")], True),
        ([layer("a", "Flatten", "data", "a")], True),
        ([layer("a", "Flatten", "data", "a", "flatten_param { axis: 0 }")], False),
        ([layer("a", "Reshape", "data", "a", "reshape_param { shape { dim: 0 dim: -1 } }")], True),
        ([layer("a", "Reshape", "data", "a", "reshape_param { shape { dim: 2 dim: -1 } }")], False),
        ([layer("a", "Reshape", "data", "a", "reshape_param { shape { dim: -1 dim: 6 } }")], False),
        ([layer("a", "Concat", "data data", "a", "concat_param { axis: 0 }")], False),
        ([layer("a", "Slice", "data", "a b", "slice_param { axis: 0 }")], False),
        ([layer("a", "InnerProduct", "data", "a", "inner_product_param { num_output: 2 axis: 0 }")], False),
        ([layer("a", "Softmax", "data", "a", "softmax_param { axis: 0 }")], True),
    ],
)
def test_whether_the_batch_is_free(lines: list[str], free: bool, tmp_path: Path) -> None:
    found = graph(tmp_path, DATA, *lines)
    assert found.batch is free
    assert [value.rows for value in found.inputs] == ["N" if free else ""]


def test_two_inputs_of_different_batch_are_fixed(tmp_path: Path) -> None:
    lines = [given("a", 2, 3), given("b", 4, 3), layer("x", "TanH", "a", "x"), layer("y", "TanH", "b", "y")]
    assert not graph(tmp_path, *lines).batch
    assert graph(tmp_path, *lines, outputs=["x"]).batch


def test_values_have_names_of_their_own(tmp_path: Path) -> None:
    """The last value of a blob has its name; those before are called after the layer that gave them."""
    found = graph(
        tmp_path,
        given("x", 1, 3),
        layer("a", "TanH", "x", "x"),
        layer("a", "ReLU", "x", "x"),
        layer("b", "ReLU", "x", "x:a"),
    )
    assert [value.name for value in found.inputs] == ["x:input"]
    names = [value.name for node in found.nodes for value in node.outputs]
    assert len(set(names)) == 3
    assert names[1:] == ["x", "x:a"]
    assert found.shape_of("x") == (1, 3)
    assert [node.name for node in found.nodes] == ["a", "a_2", "b"]


def test_a_net_without_layers_or_outputs(tmp_path: Path) -> None:
    with pytest.raises(NetError, match="no layer is left that gives an output"):
        graph(tmp_path, DATA)


def test_a_loss_without_a_top_gets_one(tmp_path: Path) -> None:
    lines = [DATA, given("label", 2, 3, 4, 4), layer("loss", "EuclideanLoss", "data label", [])]
    assert graph(tmp_path, *lines).output_names == ("loss",)
    assert graph(tmp_path, *lines, layer("t", "TanH", "data", "t")).dropped == ("loss",)
    lines = [given("loss", 2, 3), given("label", 2, 3), layer("loss", "EuclideanLoss", "loss label", [])]
    assert graph(tmp_path, *lines).output_names == ("(automatic)",)


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([DATA, layer("a", "TanH", "data", [""])], "a top of layer 'a' (TanH) has an empty name"),
        ([given("", 2, 3), layer("a", "TanH", [""], "a")], "an input has an empty name"),
    ],
)
def test_a_blob_without_a_name_is_refused(lines: list[str], words: str, tmp_path: Path) -> None:
    with pytest.raises(NetError) as caught:
        graph(tmp_path, *lines)
    assert words in str(caught.value)


def test_an_input_with_a_size_of_0(tmp_path: Path) -> None:
    with pytest.raises(ShapeError, match=r"the size of input 'data' is \(2, 0\) in the file, and a size cannot be 0"):
        graph(tmp_path, given("data", 2, 0), layer("a", "TanH", "data", "a"))


SCORES = [given("x", 2, 4), layer("fc", "InnerProduct", "x", "fc", "inner_product_param { num_output: 3 }")]


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([given("label", 3), layer("loss", "SoftmaxWithLoss", "fc label", "loss")], "loss (SoftmaxWithLoss)"),
        ([given("other", 2, 5), layer("loss", "EuclideanLoss", "fc other", "loss")], "one count behind the first axis"),
        ([given("label", 2), layer("a", "Accuracy", "fc label", "a", "accuracy_param { top_k: 4 }")], "top_k 4"),
        ([layer("quiet", "Silence", [], [])], "it has 0 bottoms, Caffe wants 1 or more"),
        ([layer("loss", "SoftmaxWithLoss", "fc", "loss")], "it has 1 bottoms"),
        ([layer("a", "Accuracy", "fc x", [])], "it has 0 tops"),
    ],
)
def test_what_caffe_refuses_of_dropped_layers_is_refused(lines: list[str], words: str, tmp_path: Path) -> None:
    with pytest.raises(NetError) as caught:
        graph(tmp_path, *SCORES, *lines)
    assert words in str(caught.value)
    assert len(caught.value.problems) == 1
    assert graph(tmp_path, *SCORES, *lines, outputs=["fc"]).output_names == ("fc",)


def test_dropped_layers_of_unknown_sizes_are_not_checked(tmp_path: Path) -> None:
    loss = layer("loss", "SoftmaxWithLoss", "fc label", "loss")
    data = 'layer { name: "d" type: "Data" top: "other" top: "label" }'
    assert graph(tmp_path, *SCORES, data, loss).dropped == ("loss",)
    assert graph(tmp_path, *SCORES, given("label", 2), loss, input_shape=(5, 4)).dropped == ("loss",)


def test_a_dropped_layer_that_is_not_understood_is_told(tmp_path: Path) -> None:
    found = graph(tmp_path, *SCORES, given("label", 2), layer("center", "CenterLoss", "fc label", "center"))
    assert found.dropped == ("center",)
    assert found.notes == ("layer center (CenterLoss): an unknown type, dropped as what serves training only",)


def test_which_layer_fixes_the_batch_is_told(tmp_path: Path) -> None:
    reshape = layer("r", "Reshape", "data", "r", "reshape_param { shape { dim: 2 dim: -1 } }")
    assert graph(tmp_path, DATA, reshape).notes == ("batch fixed at 2: r (Reshape) fixes it",)
    lstm = [
        given("x", 5, 2, 3),
        given("go", 5, 2),
        layer("l", "LSTM", "x go", "l", "recurrent_param { num_output: 2 }"),
    ]
    assert graph(tmp_path, *lstm).notes == ("time fixed at 5: l (LSTM) fixes it",)
    assert graph(tmp_path, DATA, layer("t", "TanH", "data", "t")).notes == ()


def test_a_message_of_another_type_is_told(tmp_path: Path) -> None:
    found = graph(tmp_path, DATA, layer("relu", "ReLU", "data", "y", CONV + " relu_param { }"))
    assert found.notes == ("layer relu (ReLU): its convolution_param changes nothing; Caffe does not read it there",)


def test_a_dropped_loss_whose_matrix_is_not_there_is_told(tmp_path: Path) -> None:
    loss = layer("loss", "InfogainLoss", "fc label", "loss", 'infogain_loss_param { source: "gone.binaryproto" }')
    (note,) = graph(tmp_path, *SCORES, given("label", 2), loss).notes
    assert note.startswith("layer loss (InfogainLoss) is dropped unchecked: the infogain matrix cannot be read")
