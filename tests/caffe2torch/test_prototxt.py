"""The text format: as Caffe's own parser takes and refuses it, with file, line and column."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from google.protobuf import text_format
from hypothesis import given
from hypothesis import strategies as st

from caffe2torch import prototxt, schema
from caffe2torch.errors import FileError, TextError

GOLDEN = sorted(Path(__file__).parents[1].glob("golden/*/*.prototxt"))


def parse(text: str | bytes) -> Any:
    return prototxt.parse(text.encode() if isinstance(text, str) else text, "net.prototxt")


def layer(text: str) -> Any:
    return parse(f'layer {{ name: "x" {text} }}').layer[0]


def test_what_caffe_wrote_or_took_reads_as_protobuf_reads_it() -> None:
    read = 0
    for path in GOLDEN:
        message: Any = schema.message("NetParameter")()
        try:
            text_format.Parse(path.read_bytes(), message)
        except text_format.ParseError:
            assert path.parent.name.startswith("reject_")
            continue
        assert prototxt.read(path) == message, path
        read += 1
    assert read > 200


@pytest.mark.parametrize(
    ("text", "field", "value"),
    [
        ("convolution_param { num_output: 0x1F }", "num_output", 31),
        ("convolution_param { num_output: 011 }", "num_output", 9),
        ("convolution_param { num_output: 0 }", "num_output", 0),
        ("convolution_param { num_output: 4294967295 }", "num_output", 4294967295),
        ("convolution_param { axis: -1 }", "axis", -1),
        ("convolution_param { axis: - 2 }", "axis", -2),
        ("convolution_param { axis: -2147483648 }", "axis", -2147483648),
        ("convolution_param { kernel_size: [3, 0x5] }", "kernel_size", [3, 5]),
        ("convolution_param { kernel_size: [] }", "kernel_size", []),
        ("convolution_param { kernel_size: 3, kernel_size: 5; }", "kernel_size", [3, 5]),
        ("convolution_param: < bias_term: f >", "bias_term", False),
        ("convolution_param { bias_term: True }", "bias_term", True),
        ("convolution_param { bias_term: 0x1 }", "bias_term", True),
        ("convolution_param { engine: 1 }", "engine", 1),
        ("convolution_param { engine: CUDNN }", "engine", 2),
    ],
)
def test_values(text: str, field: str, value: Any) -> None:
    assert getattr(layer(text).convolution_param, field) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1.0f", 1.0),
        ("2.F", 2.0),
        ("1f", 1.0),
        (".25", 0.25),
        ("-1e-2", -0.01),
        ("3", 3.0),
        ("-inf", float("-inf")),
        ("INFINITY", float("inf")),
        ("1e400", float("inf")),
        ("0.5e+1", 5.0),
    ],
)
def test_decimal_numbers(text: str, value: float) -> None:
    assert layer(f"power_param {{ scale: {text} }}").power_param.scale == pytest.approx(value)


def test_not_a_number() -> None:
    scale = layer("power_param { scale: nan }").power_param.scale
    assert scale != scale


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("'odd' \"ities\"", "oddities"),
        (r'"conv\x31\062\t\"\\"', 'conv12\t"\\'),
        (r'"\u00e9\U0001F600"', "é😀"),
        (r'"\xe6\xbc\xa2"', "漢"),
        ('"漢字"', "漢字"),
        ('"# no comment"', "# no comment"),
    ],
)
def test_texts(text: str, value: str) -> None:
    assert parse(f"name: {text}").name == value


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('name: "a" name: "b"', "1:11: .*name is given twice in one NetParameter"),
        ("layer { power_param { } power_param { } }", "1:25: .*power_param is given twice"),
        ('layer { name: "a"\n  typ: "b" }', "2:3: .*LayerParameter has no field 'typ'; did you mean type"),
        ("layer { norm_param { } }", "no field 'norm_param' in BVLC's Caffe.* known by weiliu89/caffe"),
        ("layer { [caffe.more] { } }", "the name of a field was expected"),
        ("layer {", "1:7: .*never closed"),
        ("layer < name: 'a' }", "the name of a field was expected, not }"),
        ("}", "the name of a field was expected"),
        ('name "a"', "':' was expected, not \"a\""),
        ("name: a", "name must be a text in quotes, not a"),
        ('name: "a', "1:7: .*not closed at the end of its line"),
        ('name: "a\nb"', "not closed at the end of its line"),
        (r'name: "C:\data"', r"\\d is no escape"),
        (r'name: "\xg"', r"\\x is no escape"),
        ("input_dim: 08", "'08' is not a number"),
        ("input_dim: 0x", "'0x' is not a number"),
        ("input_dim: 0b11", "is not a number"),
        ("input_dim: 1_000", "'1_000' is not a number"),
        ("input_dim: 3input: 'a'", "'3input' is not a number, or runs into the next word"),
        ("input_dim: 1.2.3", "is not a number"),
        ("input_dim: +3", r"'\+' has no meaning here"),
        ("input_dim: 3.0", "input_dim must be an integer, not 3.0"),
        ("input_dim: 2147483648", "2147483648 is too large for input_dim"),
        ("input_dim: -2147483649", "too large"),
        ("input_dim: 1,, input_dim: 2", "the name of a field was expected, not ,"),
        ("input_dim: [1 2]", "']' was expected, not 2"),
        ("layer { convolution_param { num_output: -1 } }", "num_output must be an integer of at least 0, not -"),
        ("layer { convolution_param { num_output: 4294967296 } }", "too large for num_output"),
        ("layer { convolution_param { bias_term: TRUE } }", "bias_term must be true or false, not TRUE"),
        ("layer { convolution_param { bias_term: 2 } }", "2 is too large for bias_term"),
        ("layer { pooling_param { pool: SUM } }", "pool must be one of MAX, AVE, STOCHASTIC, not SUM"),
        ("layer { pooling_param { pool: 7 } }", "pool must be one of MAX, AVE, STOCHASTIC, not 7"),
        ('layer { pooling_param { pool: "MAX" } }', "pool must be one of"),
        ("layer { power_param { scale: 0x10 } }", "scale must be a decimal number, not 0x10"),
        ("layer { power_param { scale: 011 } }", "scale must be a decimal number, not 011"),
        ("layer { power_param { scale: one } }", "scale must be a decimal number, not one"),
        ("layer { clip_param { min: 0 } }", r"the required field layer\[0\].clip_param.max is missing"),
        ("name:\u00a0'a'", "1:6: .*not ASCII"),
        ("name: 'a' \x01", "has no meaning here"),
    ],
)
def test_refusals(text: str, says: str) -> None:
    with pytest.raises(TextError, match=f"(?s)net.prototxt:.*{says}"):
        parse(text)


@pytest.mark.parametrize(
    "text",
    [
        "layer { convolution_param { num_output: %s } }",
        "layer { phase: -%s }",
        "layers { type: %s }",
        "layer { convolution_param { num_output: 0x%s } }",
        "layer { convolution_param { num_output: 0%s } }",
    ],
)
def test_a_number_of_thousands_of_digits(text: str) -> None:
    with pytest.raises(TextError, match=r"net\.prototxt:1:\d+: .*digits\) is too large") as caught:
        parse(text % ("7" * 5000))
    assert len(str(caught.value)) < 200


def test_bytes_that_are_no_utf8_are_kept_apart() -> None:
    gbk = "name: '汉' # 注释\n".encode("gbk")
    assert parse(gbk).name == "汉".encode("gbk").decode("latin-1")
    assert parse(b"# \xff\x85\xa0\nname: 'caf\xc3\xa9'").name == "café"


def test_byte_order_mark_line_ends_and_white_space() -> None:
    message = parse(b"\xef\xbb\xbfname:\v'a'\f\r\n# comment\rstill\r\ninput\t:'b';")
    assert (message.name, list(message.input)) == ("a", ["b"])


def test_positions_count_lines_and_columns() -> None:
    with pytest.raises(TextError, match=r"net\.prototxt:3:9: "):
        parse("name: 'a'\n# two\n  input 'b'")


def test_files(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="no.prototxt: No such file"):
        prototxt.read(tmp_path / "no.prototxt")
    (tmp_path / "binary").write_bytes(b"\n\x03abc\x00")
    with pytest.raises(TextError, match="Is it a .caffemodel"):
        prototxt.read(tmp_path / "binary")


@given(st.binary(max_size=60) | st.text("layer{}<>[]:,;\"'\\-0129.efx \n#name", max_size=60).map(str.encode))
def test_hostile_texts_are_refused_in_words(raw: bytes) -> None:
    try:
        parse(raw)
    except TextError as error:
        assert str(error).startswith("net.prototxt:")
