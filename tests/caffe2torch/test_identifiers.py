"""Names as identifiers: valid, ASCII, deterministic, never merged, never hiding what a module has."""

from __future__ import annotations

import keyword

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from caffe2torch.identifiers import RESERVED, identifier, identifiers, module_attributes


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("conv4-2", "conv4_2"),
        ("inception_3a/3x3_reduce", "inception_3a_3x3_reduce"),
        ("1x1", "layer_1x1"),
        ("class", "class_"),
        ("match", "match_"),
        ("None", "None_"),
        ("forward", "forward_"),
        ("train", "train_"),
        ("nn", "nn_"),
        ("self", "self_"),
        ("", "layer"),
        ("///", "layer"),
        ("漢字", "layer"),
        ("__import__('os')", "import___os"),
        ("conv\n1", "conv_1"),
    ],
)
def test_one_name(name: str, expected: str) -> None:
    assert identifier(name) == expected


@given(st.lists(st.text(max_size=20), max_size=20))
def test_any_names(names: list[str]) -> None:
    found = identifiers(names)
    assert len(set(found)) == len(names), "never merged"
    assert found == identifiers(names), "deterministic"
    for text in found:
        assert text.isidentifier()
        assert text.isascii()
        assert not keyword.iskeyword(text)
        assert text not in RESERVED
        assert not hasattr(nn.Module, text)


def test_unicode_look_alikes_stay_apart() -> None:
    """NFKC makes the ligature, the full-width and the plain name one identifier in Python; here they are ASCII."""
    found = identifiers(["file", "ﬁle", "ｆｉｌｅ", "ﬁle", "fi\u200dle"])
    assert len(set(found)) == 5
    assert all(text.isascii() for text in found)


def test_collisions_are_numbered_in_order_of_appearance() -> None:
    assert identifiers(["a/b", "a_b", "a-b", "a_b_2"]) == ["a_b", "a_b_2", "a_b_3", "a_b_2_2"]
    assert identifiers(["x", "x"], taken=["x"]) == ["x_2", "x_3"]


def test_the_list_of_module_attributes_is_that_of_the_installed_torch() -> None:
    """Whatever nn.Module has without an underscore in front must be on the list, that no submodule hides it."""
    public = {name for name in dir(nn.Module()) if not name.startswith("_")}
    assert public <= module_attributes(), sorted(public - module_attributes())


def test_an_instance_takes_every_name() -> None:
    module = nn.Module()
    for name in identifiers(sorted(module_attributes()) + sorted(RESERVED)):
        module.add_module(name, nn.Identity())
    module.eval().state_dict()
