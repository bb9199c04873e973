"""An .onnx file that may be a stranger's, read whole; what would lead to other files is refused."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from caffe2torch import onnx_headers
from caffe2torch.errors import FileError
from caffe2torch.tensors import open_file

if TYPE_CHECKING:
    import onnx


def read(path: Path) -> onnx.ModelProto:
    """The model in a file, whole. FileError for a file that is none, or that leads to other files for its weights."""
    with open_file(path) as file:
        try:
            onnx_headers.walk(file, path)
        except FileError as error:
            raise FileError(f"{path}: cannot be run: {str(error).removeprefix(f'{path}: ')}") from error
        import onnx
        from google.protobuf.message import DecodeError

        try:
            file.seek(0)
            return onnx.load_model_from_string(file.read())
        except (DecodeError, OSError, ValueError) as error:
            raise FileError(f"{path}: cannot be run: {(str(error).splitlines() or ['not ONNX'])[0]}") from error
