"""Pictures through the frozen trunk, for features that are kept: in onnxruntime on a CPU, in torch on a GPU.

On two Zen 4 cores, Illustration2Vec's trunk at 160 x 160 and batches of 16: onnxruntime 23.0 pictures/s, torch eager
15.1, torch channels last 16.9. In onnxruntime a picture's features do not depend on those beside it in the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from caffe2torch.graph import BATCH
from caffe2torch.onnx_model import Nodes, add_graph
from caffe2torch.preprocess import Preprocessing
from finetune.classifier_graph import add_preprocessing
from finetune.pooling_graph import add_average_pooling

if TYPE_CHECKING:
    import onnx

    from caffe2torch.folder import Converted
    from caffe2torch.graph import Value

BATCH_SIZE = 16  # pictures and mirror images that go through the trunk at once
Pass = Callable[[torch.Tensor], torch.Tensor]  # pictures uint8 [N, H, W, 3] RGB -> features float32 [N, …]


def in_onnxruntime(frozen: Converted, preprocessing: Preprocessing, threads: int) -> Pass:
    """The frozen piece of a trunk in onnxruntime on the CPU: features float32 (N, *its shape)."""
    (value,) = frozen.graph.outputs
    return session(trunk_model(frozen, preprocessing), threads, value.shape[1:])


def in_torch(trunk: nn.Module, device: torch.device) -> Pass:
    """A FrozenTrunk on ``device``, in full precision whatever the run's precision is."""
    trunk = trunk.to(device)

    def run(pictures: torch.Tensor) -> torch.Tensor:
        with torch.no_grad(), torch.autocast(device.type, enabled=False):
            found: torch.Tensor = trunk(pictures.to(device)).float()
        return found

    return run


def trunk_model(frozen: Converted, preprocessing: Preprocessing) -> onnx.ModelProto:
    """Preprocessing and trunk: "picture" uint8 (N, H, W, 3) RGB -> "features" float32 (N, all of one picture's)."""
    return pooled_model(frozen, preprocessing, frozen.graph.outputs, [None])


def pooled_model(
    trunk: Converted,
    preprocessing: Preprocessing,
    values: Sequence[Value],
    pools: Sequence[tuple[int, int] | None],
) -> onnx.ModelProto:
    """As ``trunk_model``, of several values, each average-pooled to a size (None: as it is), one after another."""
    nodes = Nodes("trunk")
    nodes.reserve(["features"])
    start = trunk.graph.inputs[0]
    picture = nodes.add_input("picture", np.uint8, [BATCH, *start.shape[2:], 3])
    feeds = {start.blob: add_preprocessing(nodes, preprocessing, picture)}
    found = add_graph(nodes, trunk.graph, trunk.state(), feeds, prefix="trunk/")
    places = [value.name for value in trunk.graph.outputs]
    flat = []
    for value, pool in zip(values, pools, strict=True):
        name = found[places.index(value.name)]
        if pool is not None:
            name = add_average_pooling(nodes, name, value.shape[2:], pool)
        flat.append(nodes.add("Flatten", [name], axis=1))
    nodes.add("Concat", flat, ["features"], axis=1)
    length = sum(
        prod(value.shape[1:] if pool is None else (value.shape[1], *pool))
        for value, pool in zip(values, pools, strict=True)
    )
    nodes.add_output("features", np.float32, [BATCH, length])
    return nodes.model()


def session(model: onnx.ModelProto, threads: int, shape: tuple[int, ...]) -> Pass:
    """A model of ``trunk_model`` made ready; it gives (N, *shape)."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    opened = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])

    def run(pictures: torch.Tensor) -> torch.Tensor:
        (found,) = opened.run(["features"], {"picture": pictures.cpu().numpy()})
        return torch.from_numpy(found).view(len(pictures), *shape)

    return run
