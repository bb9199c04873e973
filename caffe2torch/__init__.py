"""Caffe files in, ordinary PyTorch and ONNX out.

>>> import caffe2torch
>>> module = caffe2torch.convert("illust2vec.caffemodel")      # an nn.Module in eval mode
>>> caffe2torch.to_onnx(module, "illust2vec.onnx")
>>> print(caffe2torch.to_source(module))
"""

from __future__ import annotations

from caffe2torch.conversion import convert, to_onnx, to_source
from caffe2torch.errors import CaffeError
from caffe2torch.reader import load_net

__all__ = ["CaffeError", "convert", "load_net", "to_onnx", "to_source"]
__version__ = "0.1.0"
