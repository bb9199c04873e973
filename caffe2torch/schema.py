"""The messages of proto/caffe.proto, in a descriptor pool of their own.

No generated code: the compiled descriptor (caffe.binpb) is handed to whatever protobuf runtime is installed, 4.25 or
later. Nothing is put into the default pool, so another caffe_pb2 may live in the same process.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from google.protobuf.descriptor import Descriptor
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

_MESSAGE, _ENUM = FieldDescriptorProto.TYPE_MESSAGE, FieldDescriptorProto.TYPE_ENUM
DESCRIPTOR = Path(__file__).with_name("caffe.binpb")


@cache
def pool() -> DescriptorPool:
    """The pool that holds package ``caffe`` and nothing else."""
    own = DescriptorPool()
    for file in FileDescriptorSet.FromString(DESCRIPTOR.read_bytes()).file:
        own.AddSerializedFile(file.SerializeToString())
    return own


@cache
def types() -> dict[str, tuple[str, int]]:
    """The messages and enums of the schema: name -> full name, and protobuf's number for messages or enums."""
    file = message("LayerParameter").DESCRIPTOR.file
    found = {name: (f".{each.full_name}", _MESSAGE) for name, each in file.message_types_by_name.items()}
    return found | {name: (f".{each.full_name}", _ENUM) for name, each in file.enum_types_by_name.items()}


@cache
def message(name: str) -> type[Message]:
    """The class of a message, such as ``message("NetParameter")``; KeyError if proto/caffe.proto has no such name."""
    return GetMessageClass(pool().FindMessageTypeByName(f"caffe.{name}"))


@cache
def parameters(name: str = "LayerParameter") -> dict[str, Descriptor]:
    """The ``*_param`` fields of a layer message: field name -> descriptor of the field's message."""
    fields = message(name).DESCRIPTOR.fields
    return {field.name: field.message_type for field in fields if field.name.endswith("_param")}
