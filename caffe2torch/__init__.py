"""Caffe files in, ordinary PyTorch and ONNX out.

>>> import caffe2torch
>>> module = caffe2torch.convert("illust2vec.caffemodel")      # an nn.Module in eval mode
>>> caffe2torch.to_onnx(module, "illust2vec.onnx")
>>> print(caffe2torch.to_source(module))
"""

from __future__ import annotations

TYPE_CHECKING = False  # for type checkers it is true; not typing's, so that nothing is imported before the commands

if TYPE_CHECKING:
    from typing import Any

    from caffe2torch.conversion import convert, to_onnx, to_source
    from caffe2torch.errors import CaffeError
    from caffe2torch.plugins import load_plugin
    from caffe2torch.reader import load_net
    from caffe2torch.training import parameter_groups

__all__ = ["CaffeError", "convert", "load_net", "load_plugin", "parameter_groups", "to_onnx", "to_source"]
__version__ = "0.1.0"

_HOMES = {"CaffeError": "errors", "convert": "conversion", "load_net": "reader", "load_plugin": "plugins"}
_HOMES |= {"parameter_groups": "training", "to_onnx": "conversion", "to_source": "conversion"}


def __getattr__(name: str) -> Any:
    """Names of the interface, imported when they are first used: a command's help needs none of them."""
    if name not in _HOMES:
        raise AttributeError(f"module 'caffe2torch' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"caffe2torch.{_HOMES[name]}"), name)
