"""What an ONNX file for the commands says of itself; neither onnx nor protobuf is needed."""

from __future__ import annotations

from pathlib import Path

from caffe2torch import onnx_headers
from caffe2torch.errors import FileError, ModelError


def read_metadata(path: Path) -> dict[str, str]:
    """The metadata_props of an ONNX file.

    Raises ModelError if the file is missing, no regular file, not ONNX, truncated, of more fields than any net has,
    or if it keeps weights in other files.
    """
    try:
        return onnx_headers.read_metadata(path)
    except FileError as error:
        raise ModelError(str(error)) from error
