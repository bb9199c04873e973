"""Weights of a detector's ONNX file, to train on from there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper

from caffe2torch.errors import ModelError
from finetune.detector.network import Detector, fused


def packaged_network(path: Path) -> Detector:
    """The network that was exported to ``path``, without batch normalisation, which is folded into its weights.

    Raises ModelError if the file is none of this network's.
    """
    try:
        model = onnx.load(path)
        halves = {w.name.removesuffix(".half"): numpy_helper.to_array(w) for w in model.graph.initializer}
        network = fused(Detector())
        names = network.state_dict()
        weights = {name: torch.from_numpy(halves[name].astype(np.float32)) for name in names}
        network.load_state_dict(weights)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (KeyError, RuntimeError, ValueError) as error:
        raise ModelError(f"{path}: holds no weights of this detector: {error}") from error
    except Exception as error:
        if type(error).__name__ != "DecodeError":
            raise
        raise ModelError(f"{path}: damaged, or no ONNX file") from error
    return network.requires_grad_(True)
