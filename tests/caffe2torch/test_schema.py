"""proto/caffe.proto, its compiled descriptor, and the descriptor's life in a process."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorSet

from caffe2torch import schema

PROTO = Path(__file__).parents[2] / "proto" / "caffe.proto"
FIELD = re.compile(r"(\w+) (\d+) (\w+)([*!]?)( packed)?(?: =(.*))?")  # name, number, type, mark, packed, default


def test_descriptor_is_up_to_date(tmp_path: Path) -> None:
    pytest.importorskip("grpc_tools", reason="grpcio-tools (extra dev) compiles the schema")
    fresh = tmp_path / "fresh.binpb"
    command = [
        sys.executable,
        "-m",
        "grpc_tools.protoc",
        f"-I{PROTO.parent}",
        f"--descriptor_set_out={fresh}",
        str(PROTO),
    ]
    subprocess.run(command, check=True)
    stored = FileDescriptorSet.FromString(schema.DESCRIPTOR.read_bytes())
    assert FileDescriptorSet.FromString(fresh.read_bytes()) == stored, "run `make proto`"


def test_every_documented_field(shared: Path) -> None:
    lines = re.findall(r"^- \*\*(\w+)\*\*: (.*)$", (shared / "FIELDS.md").read_text(), re.MULTILINE)
    assert len(lines) > 60
    file = FileDescriptorSet.FromString(schema.DESCRIPTOR.read_bytes()).file[0]
    messages = {message.name: message for message in file.message_type}
    assert {name for name, _ in lines} == set(messages)
    for name, text in lines:
        fields, *enums = text.split(" | ")
        found = [described(field) for field in messages[name].field if not field.name.startswith("raw_")]
        assert sorted(map(documented, fields.split("; "))) == sorted(found), name
        values = {enum.name: {value.name: value.number for value in enum.value} for enum in messages[name].enum_type}
        for enum in enums:
            title, pairs = enum.split(": ")
            assert values[title] == {key: int(number) for key, number in re.findall(r"(\w+)=(\d+)", pairs)}


Row = tuple[str, int, str, str, bool, str | float]


def described(field: FieldDescriptorProto) -> Row:
    kind = (
        field.type_name.rpartition(".")[2] or FieldDescriptorProto.Type.Name(field.type).removeprefix("TYPE_").lower()
    )
    mark = {FieldDescriptorProto.LABEL_REPEATED: "*", FieldDescriptorProto.LABEL_REQUIRED: "!"}.get(field.label, "")
    return field.name, field.number, kind, mark, field.options.packed, plain(field.default_value)


def documented(text: str) -> Row:
    match = FIELD.fullmatch(text)
    assert match, text
    name, number, kind, mark, packed, default = match.groups()
    return name, int(number), kind, mark, bool(packed), plain((default or "").strip("'\""))


def plain(default: str) -> str | float:
    """Defaults are text in both places; .5, 0.5 and 1.0, 1 mean the same."""
    try:
        return float(default)
    except ValueError:
        return default


def test_half_precision_blobs() -> None:
    fields = schema.message("BlobProto").DESCRIPTOR.fields_by_name
    assert (fields["raw_data_type"].number, fields["raw_data"].number) == (10, 12)
    assert schema.message("BlobProto").Type.Name(2) == "FLOAT16"


def test_parameters_are_the_param_fields() -> None:
    parameters = schema.parameters()
    assert parameters["convolution_param"].name == "ConvolutionParameter"
    assert "param" not in parameters and "type" not in parameters
    assert "swish_param" in parameters and "swish_param" not in schema.parameters("V1LayerParameter")


def test_unknown_message() -> None:
    with pytest.raises(KeyError):
        schema.message("NoSuchParameter")


def test_beside_another_caffe_pb2() -> None:
    """A clashing caffe.NetParameter in the default pool, put there before or after ours, changes nothing."""
    script = """
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

def other():
    file = descriptor_pb2.FileDescriptorProto(name="caffe.proto", package="caffe", syntax="proto2")
    file.message_type.add(name="NetParameter").field.add(name="other", number=1, type=5, label=1)
    descriptor_pool.Default().AddSerializedFile(file.SerializeToString())
    found = descriptor_pool.Default().FindMessageTypeByName("caffe.NetParameter")
    return message_factory.GetMessageClass(found)(other=1)

def ours():
    from caffe2torch import schema
    return schema.message("NetParameter")(name="net")

for make in (ORDER):
    assert make().SerializeToString() == (b"\\x08\\x01" if make is other else b"\\x0a\\x03net")
"""
    for order in ("other, ours", "ours, other"):
        subprocess.run([sys.executable, "-c", script.replace("ORDER", order)], check=True)


def test_default_pool_stays_clean() -> None:
    script = """
from google.protobuf import descriptor_pool
from caffe2torch import schema
schema.message("NetParameter")
try:
    descriptor_pool.Default().FindMessageTypeByName("caffe.NetParameter")
except KeyError:
    raise SystemExit(0)
raise SystemExit("caffe.NetParameter is in the default pool")
"""
    subprocess.run([sys.executable, "-c", script], check=True)
